"""What a finished run says of every record, as tables: for tests of two runs, and for readers who count."""

import csv
import dataclasses
import pathlib
from collections.abc import Iterable

import numpy as np

from aufer_jax import facs
from aufer_jax.runs.predictor import Predictor
from aufer_jax.train import checkpoints

STATES = {"best": "best", "last": "latest"}  # as a summary names them, and as checkpoints do


@dataclasses.dataclass(frozen=True)
class Predictions:
    """The records of a split that can be read, in order.

    Attributes:
      expressions, aus: the classes and AUs.
      rows: where the records are in the split.
      files: their keys.
      labels: their classes, -1 for unknown.
      expression, au: the probability of each class [N, C], and of each AU [N, A].
    """

    expressions: tuple[str, ...]
    aus: tuple[int, ...]
    rows: np.ndarray
    files: list[str]
    labels: np.ndarray
    expression: np.ndarray
    au: np.ndarray

    @property
    def predicted(self) -> np.ndarray:
        """The likeliest class of each record."""
        return self.expression.argmax(1)

    def save(self, path: pathlib.Path) -> None:
        """Writes `file`, `label` and `predicted` (classes; an unknown label is empty), and probabilities."""
        names = self.expressions
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            labels = (facs.AUS[au].label for au in self.aus)
            writer.writerow(["file", "label", "predicted", *names, *labels])
            told = np.concatenate([self.expression, self.au], 1)
            for name, label, said, values in zip(
                self.files, self.labels, self.predicted, told, strict=True
            ):
                known = names[label] if label >= 0 else ""
                writer.writerow([name, known, names[said], *(f"{p:.6g}" for p in values)])


def predict(predictor: Predictor, split: str) -> Predictions:
    """Of all records of a split that can be read."""
    heads = ["expression_probability", *["au_probability"] * bool(predictor.aus)]
    found = predictor.collect(split, heads)
    source = predictor.split(split).source
    return Predictions(
        expressions=predictor.expressions,
        aus=predictor.aus,
        rows=found["row"],
        files=[source[int(row)]["key"] for row in found["row"]],
        labels=found["label"],
        expression=found["expression_probability"],
        au=found.get("au_probability", np.zeros((len(found["row"]), 0))),
    )


def write(workdir: str | pathlib.Path, states: Iterable[str] = tuple(STATES)) -> list[pathlib.Path]:
    """Writes `predictions_SPLIT_STATE.csv` for every evaluation split, of these states.

    Its columns are those of `Predictions.save`. A run without classes has none of it.
    """
    predictor = Predictor.load(workdir)
    if not predictor.expressions:
        return []
    written = []
    reader = checkpoints.Reader(workdir)
    for state in states:
        kind = STATES[state]
        if reader.latest_step(kind) is None:
            continue
        rest = reader.variables(kind=kind)
        params = rest.pop("params")
        chosen = dataclasses.replace(predictor, params=params, model_state=rest, state=state)
        for split in predictor.inference.evaluation_splits():
            path = pathlib.Path(workdir) / f"predictions_{split}_{state}.csv"
            predict(chosen, split).save(path)
            written.append(path)
    return written


def right(path: str | pathlib.Path) -> dict[str, bool]:
    """file -> whether it was predicted as labelled, of a written table; unlabelled files are left out."""
    with pathlib.Path(path).open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {row["file"]: row["predicted"] == row["label"] for row in rows if row["label"]}
