"""A run as its files tell of it: whole or still growing, on whatever machine it was trained."""

import csv
import dataclasses
import pathlib
from typing import Any

from aufer_jax import remote
from aufer_jax.errors import UserError
from aufer_jax.train import logs


@dataclasses.dataclass(frozen=True)
class Run:
    """What is in a workdir; empty where a file is not there yet."""

    name: str
    folder: pathlib.Path
    config: dict[str, Any]
    environment: dict[str, Any]
    labels: dict[str, Any]
    resources: dict[str, Any]
    lines: list[dict[str, Any]]  # of metrics.jsonl
    summary: dict[str, Any]
    conclusion: dict[str, Any]
    problems: dict[str, list[str]]  # kind -> keys of records

    @property
    def finished(self) -> bool:
        """Whether the run has written its summary."""
        return bool(self.summary)

    @property
    def splits(self) -> dict[str, dict[str, Any]]:
        """The evaluated splits of the chosen state, those named test first: name -> metrics."""
        found = {
            name.removesuffix("_best"): values
            for name, values in self.summary.items()
            if name.endswith("_best") and isinstance(values, dict)
        }
        return dict(sorted(found.items(), key=lambda item: not item[0].startswith("test")))

    def of(self, split: str) -> list[dict[str, Any]]:
        """The epochs' lines of "train" or "validation"."""
        return [line for line in self.lines if line["split"] == split]

    def predictions(self, split: str, state: str = "best") -> list[dict[str, str]]:
        """The rows of the predictions' table, if it was written."""
        path = self.folder / f"predictions_{split}_{state}.csv"
        if not path.exists() and self.conclusion.get("split") == split and state == "best":
            path = self.folder / "predictions.csv"
        if not path.exists():
            return []
        with path.open(newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))


def read(workdir: str | pathlib.Path) -> Run:
    """The run of a workdir; one that has been begun is enough."""
    folder = remote.copy(workdir)
    if not (folder / "config.json").exists():
        raise UserError(f"workdir: {str(workdir)!r} holds no run, it has no config.json")
    found: dict[str, Any] = {
        name: _json(folder / f"{name}.json")
        for name in ("config", "environment", "labels", "resources", "summary", "conclusion")
    }
    problems: dict[str, list[str]] = {}
    for path in sorted(folder.glob("data_problems_*.json")):
        for kind, keys in _json(path).items():
            problems.setdefault(kind, []).extend(keys)
    log = folder / "metrics.jsonl"
    lines = logs.read_lines(log) if log.exists() else []
    return Run(folder.resolve().name, folder, lines=lines, problems=problems, **found)


def _json(path: pathlib.Path) -> dict[str, Any]:
    return logs.read_json(path) if path.exists() else {}
