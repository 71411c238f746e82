"""A finished run as a small folder to give away: configuration, labels, weights of its chosen state.

`Predictor.load` reads it as it reads a run; nothing of the machine that trained is in it.
"""

import dataclasses
import json
import pathlib
import shutil
from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy

from aufer_jax.errors import UserError
from aufer_jax.train import logs
from aufer_jax.train.base import Labels
from aufer_jax.weights import keymap, loading

WEIGHTS = "model.safetensors"
SUMMARY = "summary.json"
CONVERTED = (loading.CONVERTED, loading.CARD)


def write(
    folder: pathlib.Path,
    source: pathlib.Path,
    labels: Labels,
    variables: Mapping[str, Any],
    state: str,
    step: int,
) -> None:
    """Writes the run of `source` into `folder`; `variables`: parameters and model state, by collection."""
    config = json.loads((source / "config.json").read_text())
    flat = {"/".join(p): np.ascontiguousarray(v) for p, v in keymap.flat(variables).items()}
    told = {"model": config["model"]["name"], "state": state, "step": str(step)}
    (folder / WEIGHTS).write_bytes(safetensors.numpy.save(flat, metadata=told))
    config |= {"resume": "", "init_from": "", "data": config["data"] | {"dir": ""}}
    logs.write_json(folder / "config.json", config)
    logs.write_json(folder / "labels.json", dataclasses.asdict(labels))
    if (source / SUMMARY).exists():
        shutil.copyfile(source / SUMMARY, folder / SUMMARY)


def copy_converted(source: pathlib.Path, folder: pathlib.Path) -> None:
    """The same for converted weights, which are such a folder already."""
    for name in CONVERTED:
        shutil.copyfile(source / name, folder / name)


@dataclasses.dataclass(frozen=True)
class Reader:
    """The one state in such a folder, read as `checkpoints.Reader` reads those of a workdir."""

    path: pathlib.Path

    def _told(self) -> dict[str, str]:
        try:
            with safetensors.safe_open(self.path, "numpy") as file:
                return file.metadata() or {}
        except safetensors.SafetensorError as error:
            raise UserError(f"{self.path}: not a whole safetensors file: {error}") from None

    def latest_step(self, kind: str = "latest") -> int | None:
        """The step of the packed state; None where it is of another kind."""
        told = self._told()
        return int(told.get("step", 0)) if told.get("state", "best") == kind else None

    def usable(self) -> str:
        """The kind of the one state that there is."""
        return self._told().get("state", "best")

    def variables(self, *, kind: str = "best") -> dict[str, Any]:
        """Parameters and other collections, nested."""
        del kind
        return loading.nested(loading.read_safetensors(self.path)[0])


def reader(folder: str | pathlib.Path) -> Reader | None:
    """The reader of such a folder; None for a workdir."""
    path = pathlib.Path(folder) / WEIGHTS
    return Reader(path) if path.is_file() else None
