"""The folder of a run: whose it is, and with which configuration it was started."""

import dataclasses
import itertools
import json
import logging
import pathlib
import shlex
import shutil
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from ml_collections import ConfigDict

from aufer_jax import remote
from aufer_jax.data import loader
from aufer_jax.errors import UserError
from aufer_jax.train import checkpoints, free, logs
from aufer_jax.train import config as config_lib
from aufer_jax.train.base import Labels

log = logging.getLogger(__name__)

TRACKERS = "trackers.json"  # what trackers outside of the workdir call its run


def saved_config(workdir: str | pathlib.Path) -> ConfigDict:
    """The configuration that a workdir's run was started with, brought up to date.

    A key that is newer than the run has its default, one that is gone since is left out.
    """
    path = pathlib.Path(workdir) / "config.json"
    if not path.exists():
        raise UserError(f"workdir: {str(workdir)!r} holds no run")
    return ConfigDict(config_lib.up_to_date(_config(path)))


def _config(path: pathlib.Path) -> dict[str, Any]:
    """A run's `config.json`."""
    saved = logs.read_json(path)
    if not isinstance(saved.get("method"), str) or not isinstance(saved.get("model"), dict):
        raise UserError(f"{path} is damaged: it names no method and model")
    return saved


def saved_labels(workdir: str | pathlib.Path) -> Labels | None:
    """The classes and AUs of a workdir's run; None where an earlier version of the library wrote it."""
    path = pathlib.Path(workdir) / "labels.json"
    if not path.exists():
        return None
    values = logs.read_json(path)
    try:
        margin = float(values.get("margin", 0.0))
        return Labels(values["kind"], tuple(values["expressions"]), tuple(values["aus"]), margin)
    except (KeyError, TypeError, ValueError):
        raise UserError(f"{path} is damaged: it names no kind, expressions and aus") from None


def saved_summary(workdir: str | pathlib.Path) -> dict[str, Any] | None:
    """The summary of a finished run; None, after a line, where it is damaged and has to be made again."""
    path = pathlib.Path(workdir) / "summary.json"
    if not path.exists():
        return None
    try:
        return logs.read_json(path)
    except UserError as error:
        log.warning("%s; the run is evaluated again", error)
        return None


def note_problems(workdir: str | pathlib.Path, report: loader.Report) -> None:
    """Names every record that could not be used, in `data_problems_<process>.json`."""
    path = pathlib.Path(workdir) / f"data_problems_{jax.process_index()}.json"
    if not report.problems:
        return
    before, now = _problems_before(path), report.problems
    problems = {
        kind: sorted({*before.get(kind, ()), *now.get(kind, ())})
        for kind in sorted(before.keys() | now.keys())
    }
    logs.write_json(path, problems)
    counts = ", ".join(f"{len(keys)} x {kind}" for kind, keys in problems.items())
    print(f"records with problems: {counts}; see {path}", flush=True)


def _problems_before(path: pathlib.Path) -> dict[str, list[str]]:
    """What an earlier start has named; nothing, after a line, where the file is damaged."""
    if not path.exists():
        return {}
    try:
        found = logs.read_json(path)
        if all(isinstance(k, str) for keys in found.values() for k in keys):
            return found
    except (UserError, TypeError):
        pass
    log.warning("%s is damaged and begun anew", path)
    return {}


def refuse_another_run(workdir: pathlib.Path, config: dict[str, Any]) -> None:
    """Raises if a workdir belongs to a run of another configuration, and something would be lost."""
    if not (workdir / "config.json").exists() or not _holds_results(workdir):
        return
    try:
        before = identity(_config(workdir / "config.json"))
    except (UserError, TypeError, KeyError, ValueError) as error:
        raise UserError(
            f"workdir: {error}; remove that file to go on with the configuration given now"
        ) from None
    now = identity(config)
    changes = [
        f"{key} was {before.get(key)!r}, is {now.get(key)!r}"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key)
    ]
    if changes:
        others = (workdir.with_name(f"{workdir.name}-{n}") for n in itertools.count(2))
        free = next(other for other in others if not other.exists())
        raise UserError(
            f"workdir: {remote.name(workdir)!r} holds a run of another configuration: "
            f"{'; '.join(changes)}; choose another --workdir, such as "
            f"--workdir={shlex.quote(remote.name(free))}"
        )


def _holds_results(workdir: pathlib.Path) -> bool:
    """Whether its run can go on, or has finished."""
    latest = checkpoints.Reader(workdir).latest_step()
    return latest is not None or (workdir / "summary.json").exists()


def identity(config: dict[str, Any]) -> dict[str, Any]:
    """The settings by dotted key that make a run this one: all but those that may change."""
    current = ConfigDict(config_lib.up_to_date(config))
    flat = flatten(json.loads(current.to_json_best_effort()))
    return {key: value for key, value in flat.items() if not _free(key)}


def begin(workdir: pathlib.Path, config: dict[str, Any], labels: Labels) -> None:
    """Writes what the run is; what a run that came to nothing has left goes."""
    workdir.mkdir(parents=True, exist_ok=True)
    if not _holds_results(workdir):
        shutil.rmtree(workdir / "checkpoints", ignore_errors=True)
        for path in [*workdir.glob("data_problems_*.json"), workdir / TRACKERS]:
            path.unlink(missing_ok=True)
    logs.write_json(workdir / "config.json", config)
    logs.write_json(workdir / "labels.json", dataclasses.asdict(labels))
    logs.write_json(workdir / "environment.json", logs.environment())


def _free(key: str) -> bool:
    return key in free.KEYS


def flatten(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The values of nested sections by dotted key.

    >>> flatten({"seed": 0, "train": {"epochs": 3}})
    {'seed': 0, 'train.epochs': 3}
    """
    flat = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def names(workdirs: Sequence[str | pathlib.Path]) -> list[str]:
    """Short names that differ: as many of the last folders as it takes; one named twice gets numbers.

    >>> names(["runs/a", "runs/b"]), names(["old/run", "new/run"]), names(["run", "run"])
    (['a', 'b'], ['old/run', 'new/run'], ['run (1)', 'run (2)'])
    """
    parts = [pathlib.Path(workdir).resolve().parts for workdir in workdirs]
    found: list[str] = []
    for count in range(1, max(map(len, parts)) + 1):
        found = ["/".join(path[-count:]) for path in parts]
        if len(set(found)) == len(set(parts)):
            break
    return [
        f"{name} ({found[: i + 1].count(name)})" if found.count(name) > 1 else name
        for i, name in enumerate(found)
    ]
