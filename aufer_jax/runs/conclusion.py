"""What a run's result is worth: its recalls, what simple guesses reach on the same records, its mistakes."""

import dataclasses
import json
import pathlib
from typing import Any

import numpy as np

from aufer_jax.data import records
from aufer_jax.datasets import catalog
from aufer_jax.evaluate import intervals, logistic, metrics
from aufer_jax.geometry.landmarks import known
from aufer_jax.runs import mistakes, predictions
from aufer_jax.runs.predictor import Predictor
from aufer_jax.train import logs

FILE = "conclusion.json"
_MOST = 20_000  # training records of which the simple models are made
_LANDMARKS = 0.5  # share of the records that must have them


@dataclasses.dataclass(frozen=True)
class Rival:
    """A simple model on the same records: what it is, what it reaches, and how far above it the run is."""

    name: str
    accuracy: float
    uar: float
    ahead: tuple[float, float, float]  # in UAR, with its interval

    @property
    def verdict(self) -> str:
        """Whether the network is better than this guess, with the interval."""
        value, low, high = self.ahead
        told = f"UAR {value:+.3f}, 95 % interval {low:+.3f} to {high:+.3f}"
        if low > 0:
            return f"yes ({told})"
        return f"no ({told})" if value <= 0 else f"no, it may be chance ({told})"


def of_run(workdir: str | pathlib.Path) -> list[str]:
    """The lines about a finished run's test split, made once; none where it predicts no classes."""
    folder = pathlib.Path(workdir)
    if (folder / FILE).exists():
        return json.loads((folder / FILE).read_text())["lines"]
    predictor = Predictor.load(folder)
    splits = predictor.inference.evaluation_splits()
    if not predictor.expressions or not splits:
        return []
    return conclude(predictor, folder, "test" if "test" in splits else splits[0])["lines"]


def conclude(
    predictor: Predictor,
    folder: str | pathlib.Path,
    split: str,
    stem: str = "",
    home: Predictor | None = None,
) -> dict[str, Any]:
    """Writes the predictions of a split and the worst mistakes, and says what the result is worth.

    Args:
      predictor: of a run, maybe on another dataset.
      folder: that is written into.
      split: one of the predictor's evaluation splits that has labels.
      stem: of the names of what is written: predictions_STEM.csv and mistakes_STEM.png.
      home: the same run on the dataset that it was trained on, where `predictor` is on another.

    Returns:
      `lines` to be shown, and the numbers in them.
    """
    folder, end = pathlib.Path(folder), f"_{stem}" if stem else ""
    found = predictions.predict(predictor, split)
    table = folder / f"predictions{end}.csv"
    found.save(table)
    labelled = found.labels >= 0
    if not labelled.any():
        return {"lines": [f"no record of {split} has a label", f"written to {table}"]}
    labels, said, classes = found.labels[labelled], found.predicted[labelled], found.expressions
    counts = logistic.confusion(labels, said, len(classes))
    scores = metrics.scores(counts, classes)
    lines = [_recalls(split, counts, classes)]
    rivals = _rivals(home or predictor, predictor, split, found)
    if isinstance(rivals, str):
        lines.append(rivals)
        rivals = []
    for rival in rivals:
        lines.append(f"  {rival.name}: accuracy {rival.accuracy:.4f}  UAR {rival.uar:.4f}")
    lines += [f"  better than {rival.name}: {rival.verdict}" for rival in rivals]
    sheet = folder / f"mistakes{end}.png"
    shown = mistakes.save(predictor, split, found, sheet)
    lines.append(f"written to {table}" + (f" and {sheet}" if shown else "; no mistakes"))
    told = {
        "split": split,
        "records": len(labels),
        "accuracy": scores["accuracy"],
        "uar": scores["uar"],
        "rivals": {
            rival.name: {"accuracy": rival.accuracy, "uar": rival.uar, "ahead": list(rival.ahead)}
            for rival in rivals
        },
        "lines": lines,
    }
    logs.write_json(folder / f"conclusion{end}.json", told)
    return told


def _recalls(split: str, counts: np.ndarray, classes: tuple[str, ...]) -> str:
    true, right = counts.sum(1), np.diag(counts)
    told = [
        f"{name} {right[i] / true[i]:.2f} of {true[i]}" for i, name in enumerate(classes) if true[i]
    ]
    never = [name for i, name in enumerate(classes) if true[i] and not counts[:, i].sum()]
    return f"{split} recall: {', '.join(told)}" + (
        f"; never predicted: {', '.join(never)}" if never else ""
    )


# --- Simple models ------------------------------------------------------------------------------


def _rivals(
    home: Predictor, predictor: Predictor, split: str, found: predictions.Predictions
) -> list[Rival] | str:
    """Always the most frequent class, and logistic regression; or why there is none of them."""
    classes, labelled = len(found.expressions), found.labels >= 0
    labels, ours = found.labels[labelled], found.predicted[labelled]
    train = _labelled(home, "train")
    if not len(train[0]):
        return "  nothing to compare with: no training record has a label"
    most = int(np.bincount(train[0], minlength=classes).argmax())
    guesses = {f"always saying {found.expressions[most]}": np.full_like(ours, most)}
    drawn = home.run is not None and catalog.is_drawn(home.run.data.target)  # landmarks are exact
    mine = None if drawn else _shapes(predictor.split(split).source, found.rows[labelled])
    if train[1] is not None and mine is not None:
        held = _labelled(home, "validation")
        shapes = train[1][:0] if held[1] is None else held[1]
        model = logistic.chosen((train[1], train[0]), (shapes, held[0][: len(shapes)]), classes)
        guesses["logistic regression on landmarks"] = model.predict(mine)
    return [_rival(name, labels, ours, said, classes) for name, said in guesses.items()]


def _rival(
    name: str, labels: np.ndarray, ours: np.ndarray, said: np.ndarray, classes: int
) -> Rival:
    counts = logistic.confusion(labels, said, classes)
    ahead = intervals.paired(labels, said, ours, "uar")
    return Rival(name, float(intervals.accuracy(counts)), float(intervals.uar(counts)), ahead)


def _labelled(home: Predictor, split: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Labels and shapes of the labelled records of a split, `_MOST` of them at most."""
    source = home.split(split).source
    rows = np.unique(np.linspace(0, len(source) - 1, min(len(source), _MOST)).round().astype(int))
    labels = np.array([source[int(row)]["expression"] for row in rows])
    return labels[labels >= 0], _shapes(source, rows[labels >= 0])


def _shapes(source: records.Source, rows: np.ndarray) -> np.ndarray | None:
    """Features of records; None where too few have landmarks."""
    landmarks = [source[int(row)]["landmarks"] for row in rows]
    there = [bool(known(points)[1].any()) for points in landmarks]
    if np.mean(there or [False]) < _LANDMARKS:
        return None
    unknown = np.full((records.LANDMARKS, 2), np.nan)
    return logistic.shapes([points if len(points) else unknown for points in landmarks])
