"""The runs of a study, before any is made: rows x seeds x folds, each with its configuration and folder."""

import copy
import dataclasses
import hashlib
import json
import os
import pathlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from ml_collections import ConfigDict

from aufer_jax.papers.study import Row, Study
from aufer_jax.train import config as config_lib
from aufer_jax.train import workdir as workdir_lib

# Keys that are newer than runs that are kept, with the value at which a run is what it was without them: it
# keeps the name of its folder.
ADDED = {"heatmap.noise": 0.0}


@dataclasses.dataclass(frozen=True)
class Planned:
    """A run that is to be made, or has been."""

    row: Row
    seed: int
    fold: int  # 0: that of the row's configuration
    config: ConfigDict
    workdir: pathlib.Path

    @property
    def finished(self) -> bool:
        """Whether the run has written its summary."""
        return (self.workdir / "summary.json").exists()


@dataclasses.dataclass(frozen=True)
class Plan:
    """The runs of a study in the order in which they are made."""

    starts: tuple[Planned, ...]  # before the others, which begin with their weights
    runs: tuple[Planned, ...]  # seed by seed: a study that is cut short has whole tables

    def of(self, row: str, seed: int) -> list[Planned]:
        """The runs of a row with a seed: one for each fold."""
        return [run for run in self.runs if (run.row.name, run.seed) == (row, seed)]


def plan(
    study: Study,
    folder: str | os.PathLike,
    *,
    seeds: Sequence[int],
    changes: Mapping[str, Any] | None = None,
) -> Plan:
    """The runs of every row with every seed, in folders that are named by their configurations.

    So a run that two studies share is made once, and a run of another configuration gets another folder.
    """
    folder, changes = pathlib.Path(folder) / study.name, dict(changes or {})
    starts: dict[str, Planned] = {}
    for row in study.rows:
        if row.start and row.start.name not in starts:
            starts[row.start.name] = _planned(row.start, 0, 0, changes, folder)
    runs = []
    for seed in seeds:
        for row in study.rows:
            begin = {"init_from": str(starts[row.start.name].workdir)} if row.start else {}
            for fold in row.folds or (0,):
                runs.append(_planned(row, seed, fold, {**changes, **begin}, folder))
    return Plan(tuple(starts.values()), tuple(runs))


def _planned(
    row: Row, seed: int, fold: int, changes: Mapping[str, Any], folder: pathlib.Path
) -> Planned:
    if fold:
        changes = {**changes, "data.fold": fold}
    config = row_config(row, seed, changes)
    identity = workdir_lib.identity(settings(config))
    own = {k: v for k, v in identity.items() if k not in ADDED or v != ADDED[k]}
    digest = hashlib.sha256(json.dumps(own, sort_keys=True).encode()).hexdigest()[:8]
    name = re.sub(r"[^\w.]+", "_", row.name) + f"-seed{seed}" + (f"-fold{fold}" if fold else "")
    made = sorted(folder.glob(f"*-{digest}"))  # by another study, under its own name for the row
    return Planned(row, seed, fold, config, made[0] if made else folder / f"{name}-{digest}")


def settings(config: ConfigDict) -> dict[str, Any]:
    """A configuration as a workdir keeps it."""
    return json.loads(config.to_json_best_effort())


def row_config(row: Row, seed: int, changes: Mapping[str, Any]) -> ConfigDict:
    """The checked configuration of a row."""
    config = copy.deepcopy(row.config)
    config.seed = seed
    for key, value in {**row.changes, **changes}.items():
        config_lib.set_value(config, key, value)
    config_lib.check(config)
    return config


def with_weights(study: Study, weights: Mapping[str, str]) -> Study:
    """The study with first weights for the rows, or the networks, that are named."""

    def begun(row: Row) -> Row:
        file = weights.get(row.name) or weights.get(row.config.model.name)
        if not file:
            return row
        return dataclasses.replace(row, changes={**row.changes, "init_from": file}, start=None)

    return dataclasses.replace(study, rows=tuple(map(begun, study.rows)))


def networks_and_rows(studies: Iterable[Study]) -> list[str]:
    """What `with_weights` knows."""
    rows = [row for study in studies for row in study.rows]
    return sorted({name for row in rows for name in (row.name, row.config.model.name)})


def describe(study: Study, plan: Plan) -> Iterator[str]:
    """Every run, under its row and what that row's configuration has of its own.

    The first row is compared with the method's defaults, the others with the first.
    """
    yield f"{study.title}: {len(plan.starts) + len(plan.runs)} runs"
    first: dict[str, Any] = {}
    for row in {run.row.name: run.row for run in (*plan.starts, *plan.runs)}.values():
        runs = [run for run in (*plan.starts, *plan.runs) if run.row.name == row.name]
        flat = workdir_lib.identity(settings(runs[0].config))
        default = config_lib.default(flat["method"])
        before = first or workdir_lib.identity(settings(default))
        yield f"  {row.name}: differs from {'the first row' if first else 'the defaults'} in"
        for key in sorted(flat.keys() | before.keys()):
            if key not in ("seed", "data.fold") and flat.get(key) != before.get(key):
                yield f"    {key} = {flat.get(key)!r}"
        first = first or flat
        for run in runs:
            number = settings(run.config)["data"]["fold"]
            fold = f", fold {number}" if number else ""
            state = "finished" if run.finished else "to do"
            yield f"    seed {run.seed}{fold}: {run.workdir} ({state})"
