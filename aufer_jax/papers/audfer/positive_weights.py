"""Positive weights of AU-DFER (eq. 6 to 8): how much the rare positives of an AU count in its loss."""

import csv
import importlib.resources
from collections.abc import Sequence

import numpy as np

from aufer_jax import errors, facs
from aufer_jax.datasets import catalog

STRATEGIES = ("none", "global", "distinct", "minor")
DATASETS = ("dfew", "ferv39k")  # for which the released code holds constants
FORMS = ("repaired", "released")
# The classes below one seventh of the samples, for which `minor` keeps weights.
MINOR_EXPRESSIONS = ("surprise", "disgust", "fear")

# The fear row of the released `minor` tables is this row of a `distinct` table instead.
_RELEASED_FEAR = {"dfew": ("ferv39k", "fear"), "ferv39k": ("ferv39k", "neutral")}
# The frames FERV39k's rows were counted over, in the order of the file: training and test together.
_FERV39K_FRAMES = (207116, 201556, 249851, 215472, 88608, 67663, 60367)


def counted(
    au: np.ndarray, known: np.ndarray, expression: np.ndarray, *, strategy: str, num_classes: int,
    minor: tuple[int, ...] = (),
) -> np.ndarray:  # fmt: skip
    """Negatives / positives [num_classes, n] of each AU in the training split.

    `global` counts over all samples, `distinct` within each expression, `minor` is distinct for the
    `minor` classes and 1 for the others, `none` is 1. Where an AU has no positive or no negative, 1.

    Args:
      au, known: labels 0/1 and whether they are known, [N, n].
      expression: classes [N].

    >>> au, known = np.array([[1], [0], [0], [0]]), np.ones((4, 1), bool)
    >>> counted(au, known, np.array([0, 0, 1, 1]), strategy="global", num_classes=2).tolist()
    [[3.0], [3.0]]
    >>> counted(au, known, np.array([0, 0, 1, 1]), strategy="distinct", num_classes=2).tolist()
    [[1.0], [1.0]]
    """
    _check_strategy(strategy)
    weights = np.ones((num_classes, au.shape[1]))
    if strategy == "none":
        return weights
    for label in range(num_classes):
        rows = np.ones(len(au), bool) if strategy == "global" else expression == label
        if strategy == "minor" and label not in minor:
            continue
        count = known[rows].sum(0)
        positives = (au[rows].astype(bool) & known[rows]).sum(0)
        usable = (positives > 0) & (positives < count)
        weights[label] = np.where(usable, (count - positives) / np.maximum(positives, 1), 1.0)
    return weights


def published(
    dataset: str,
    *,
    strategy: str,
    expressions: Sequence[str],
    aus: Sequence[int],
    form: str = "repaired",
) -> np.ndarray:
    """The constants of the released code [len(expressions), len(aus)]; 1 where it has none.

    They were counted over frames, not videos, of training and test clips together, DFEW's fear over
    something else, and DFEW's `global` over 16 frames a clip. The form "released" keeps two slips of
    the code: the `fear` row of both `minor` tables is another row, and FERV39k's `global` is its
    `distinct` row of surprise. "repaired" takes the fear row itself, and counts `global` anew from
    the `distinct` rows.

    Args:
      dataset: one of `DATASETS`.
      strategy: one of `STRATEGIES`; the minor classes are surprise, disgust and fear.
      expressions: rows, in any spelling of `facs.expression`.
      aus: columns.
      form: one of `FORMS`.
    """
    _check_strategy(strategy)
    for what, value, permitted in (("dataset", dataset, DATASETS), ("form", form, FORMS)):
        if value not in permitted:
            raise errors.unknown(f"published positive weights, {what}", value, permitted)
    names = catalog.card(dataset).expressions
    table = {**_table(dataset, "distinct")}
    if strategy == "none":
        table = {}
    elif strategy == "global":
        (row,) = _table(dataset, "global").values()
        if dataset == "ferv39k" and form == "repaired":
            row = _pooled(np.array([table[name] for name in names]), _FERV39K_FRAMES)
        table = dict.fromkeys(map(facs.expression, expressions), row)
    elif strategy == "minor":
        table = {name: table[name] for name in MINOR_EXPRESSIONS}
        if form == "released":
            other, name = _RELEASED_FEAR[dataset]
            table["fear"] = _table(other, "distinct")[name]
    columns = facs.au_index(facs.OPENFACE_18, aus)
    weights = np.ones((len(expressions), len(aus)))
    for row, name in enumerate(map(facs.expression, expressions)):
        if name in table:
            weights[row] = np.append(table[name], 1.0)[list(columns)]  # index -1
    return weights


def _pooled(weights: np.ndarray, counts: Sequence[int]) -> np.ndarray:
    """The global weights [n] of those of classes [C, n] with so many samples."""
    total = np.array(counts, np.float64)[:, None]
    positives = (total / (weights + 1)).sum(0)
    return (total.sum() - positives) / positives


def _table(dataset: str, strategy: str) -> dict[str, np.ndarray]:
    """Expression -> its constants [18]; a `global` row is called "all"."""
    text = (
        importlib.resources.files("aufer_jax.papers.audfer") / "positive_weights.csv"
    ).read_text()
    rows = [row for row in csv.reader(text.splitlines()) if row[0].lower() == dataset]
    return {
        row[2] if row[2] == "all" else facs.expression(row[2]): np.array(row[3:], np.float64)
        for row in rows
        if row[1] == strategy
    }


def _check_strategy(strategy: str) -> None:
    if strategy not in STRATEGIES:
        raise errors.unknown("loss.au", strategy, STRATEGIES)
