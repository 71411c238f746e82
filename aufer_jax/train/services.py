"""Weights & Biases, MLflow and trackio as trackers: where one of them fails, the run goes on without it.

Each is told the configuration and all numbers; no pictures, and no names of records.
"""

import functools
import importlib
import importlib.util
import logging
import os
import pathlib
import secrets
import time
from collections.abc import Iterable, Mapping
from typing import Any

from aufer_jax.errors import UserError
from aufer_jax.train import logs
from aufer_jax.train import workdir as workdir_lib
from aufer_jax.train.trackers import Aside, Tracker, numbers

log = logging.getLogger(__name__)

PROJECT = "aufer_jax"  # or experiment, where the environment names no other
_BATCH = 100  # values that MLflow takes at once
# How long a server that does not answer may hold a run up, where the environment does not say.
_PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "20"}
_BEGIN_S, _END_S = 30, 60  # the same for Weights & Biases


def check(names: Iterable[str]) -> None:
    """Raises for a tracker whose package is not installed."""
    for name in names:
        if importlib.util.find_spec(name) is None:
            raise UserError(
                f"train.trackers: {name} is not installed; run: pip install 'aufer-jax[{name}]'"
            )


def begin(names: Iterable[str], workdir: str | pathlib.Path) -> list[Tracker]:
    """The trackers of these names; a resumed run goes on with what they called it before."""
    folder = pathlib.Path(workdir).absolute()
    kept = _kept(folder / workdir_lib.TRACKERS)

    def start(name: str) -> Tracker:
        tracker = _KINDS[name](folder, str(kept.get(name, "")))
        kept[name] = tracker.id
        return tracker

    begun = [Aside(name, functools.partial(start, name)) for name in dict.fromkeys(names)]
    if begun:
        logs.write_json(folder / workdir_lib.TRACKERS, kept)
    return [*begun]


def _kept(path: pathlib.Path) -> dict[str, Any]:
    try:
        return logs.read_json(path) if path.exists() else {}
    except UserError as error:
        log.warning("%s; trackers begin a new run", error)
        return {}


def _end(summary: Mapping[str, Any]) -> dict[str, float]:
    """What of a summary no line has told: steps, and the epoch that was chosen."""
    return numbers("run", {"steps": summary["steps"]}) | numbers(
        "chosen", summary.get("chosen") or {}
    )


class _Wandb(Tracker):
    """Steps are a value like others: Weights & Biases drops what comes with a step it has seen."""

    def __init__(self, folder: pathlib.Path, kept: str) -> None:
        wandb = importlib.import_module("wandb")
        self.id = kept or secrets.token_hex(4)
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            name=folder.name,
            id=self.id,
            dir=folder,
            resume="allow",
            settings=wandb.Settings(
                console="off", init_timeout=_BEGIN_S, finish_timeout=_END_S,
                finish_timeout_raises=True,
            ),
        )  # fmt: skip
        self._run.define_metric("*", step_metric="step")
        self._ended = False

    def config(self, values: Mapping[str, Any]) -> None:
        self._run.config.update(dict(values), allow_val_change=True)

    def scalars(self, step: int, split: str, values: Mapping[str, Any]) -> None:
        self._run.log({"step": step, **numbers(split, values)})

    def summary(self, values: Mapping[str, Any]) -> None:
        self._run.summary.update(_end(values))
        self._ended = True

    def close(self) -> None:
        self._run.finish(exit_code=0 if self._ended else 1)


class _MLflow(Tracker):
    """Where to is what MLFLOW_TRACKING_URI says, and whom it belongs to MLFLOW_EXPERIMENT_NAME."""

    def __init__(self, folder: pathlib.Path, kept: str) -> None:
        for key, value in _PATIENCE.items():
            os.environ.setdefault(key, value)
        mlflow = importlib.import_module("mlflow")
        self._entities = importlib.import_module("mlflow.entities")
        self._client, self._ended = mlflow.MlflowClient(), False
        if kept:
            self._client.update_run(kept, status="RUNNING")
        self.id = (
            kept or self._client.create_run(self._experiment(), run_name=folder.name).info.run_id
        )

    def _experiment(self) -> str:
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        found = self._client.get_experiment_by_name(name)
        return found.experiment_id if found else self._client.create_experiment(name)

    def config(self, values: Mapping[str, Any]) -> None:
        """A parameter that is there already is never changed: MLflow refuses that."""
        there = self._client.get_run(self.id).data.params
        params = [
            self._entities.Param(key, str(value))
            for key, value in workdir_lib.flatten(values).items()
            if key not in there
        ]
        for first in range(0, len(params), _BATCH):
            self._client.log_batch(self.id, params=params[first : first + _BATCH])

    def scalars(self, step: int, split: str, values: Mapping[str, Any]) -> None:
        self._log(step, numbers(split, values))

    def summary(self, values: Mapping[str, Any]) -> None:
        self._log(values["steps"], _end(values))
        self._ended = True

    def close(self) -> None:
        self._client.set_terminated(self.id, "FINISHED" if self._ended else "KILLED")

    def _log(self, step: int, values: Mapping[str, float]) -> None:
        now = int(1000 * time.time())
        metrics = [self._entities.Metric(name, float(v), now, step) for name, v in values.items()]
        self._client.log_batch(self.id, metrics=metrics)


class _Trackio(Tracker):
    """Knows a run by its name; TRACKIO_DIR, TRACKIO_SPACE_ID and TRACKIO_SERVER_URL say where it is kept."""

    def __init__(self, folder: pathlib.Path, kept: str) -> None:
        self._trackio = importlib.import_module("trackio")
        self.id = kept or f"{folder.name}-{secrets.token_hex(3)}"
        self._run: Any = None

    def config(self, values: Mapping[str, Any]) -> None:
        """Begins the run, which takes a configuration only then."""
        self._run = self._trackio.init(
            os.environ.get("TRACKIO_PROJECT", PROJECT),
            name=self.id,
            resume="allow",
            config=dict(values),
            embed=False,
        )

    def scalars(self, step: int, split: str, values: Mapping[str, Any]) -> None:
        self._run.log(numbers(split, values), step=step)

    def summary(self, values: Mapping[str, Any]) -> None:
        self._run.log(_end(values), step=values["steps"])

    def close(self) -> None:
        self._trackio.finish()


_KINDS = {"wandb": _Wandb, "mlflow": _MLflow, "trackio": _Trackio}
