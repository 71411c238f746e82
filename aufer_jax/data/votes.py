"""Votes of several annotators, or soft labels -> a label or a distribution over classes.

Votes are counts [..., n]: first those of the classes, in the dataset's order, then those for "none of
them" (FERPlus: unknown, not a face). Soft labels are shares of the same order that sum to 1. Every rule
also says which faces it keeps; the others get label -1 or a row of zeros. `shares` takes both as they are;
the other rules are FERPlus's, Barsoum et al. 2016: they take a single vote for a slip and do not count it.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

LABELS = ("majority", "probability", "crossentropy", "multi_target", "distribution")

_SLIP = 1  # votes that do not count
_WHOLE = 1.001  # what shares sum to at most, among which there are no slips
_MAJORITY = 0.5  # of the votes; also what the classes taken by the other rules must exceed
_COVERED = 0.75  # of the votes, at which crossentropy takes no further class
_MOST = 3  # classes that crossentropy takes
_SHARE = 0.3  # of the votes, from which multi_target takes a class


def majority(votes: Any, classes: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """The class with more than half of the votes [...], and whether there is one [...].

    >>> label, kept = majority([[6, 4, 0, 0, 0, 0, 0, 0, 0, 0], [5, 5, 0, 0, 0, 0, 0, 0, 0, 0]])
    >>> label.tolist(), kept.tolist()
    ([0, -1], [True, False])
    """
    counts = _counts(votes)
    best = counts.argmax(-1)
    kept = (counts.max(-1) > _MAJORITY * counts.sum(-1)) & (best < classes)
    return np.where(kept, best, -1).astype(np.int32), np.asarray(kept)


def crossentropy(votes: Any, classes: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """A distribution [..., classes] over the foremost classes, and which faces are kept [...].

    Classes are taken by falling votes, equal ones together, until three quarters of the votes are
    covered, three classes are taken, or the next is not a class. Faces are left out if more than three
    are taken, or if half of the votes or more are not covered.

    >>> crossentropy([4, 4, 2, 0, 0, 0, 0, 0, 0, 0])[0][:3].tolist()
    [0.5, 0.5, 0.0]
    """
    return _each(_foremost, votes, classes)


def multi_target(votes: Any, classes: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """Shares [..., classes] of all classes with 30 % of the votes, and which faces are kept [...].

    >>> multi_target([4, 4, 2, 0, 0, 0, 0, 0, 0, 0])[0][:3].tolist()
    [0.5, 0.5, 0.0]
    """
    return _each(_large, votes, classes)


def shares(votes: Any, classes: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """The share of each class [..., classes] in the votes for classes, and which faces are kept [...].

    A face is left out if more of its votes are for one kind of "none of them" than for any class.

    >>> shares([6, 1, 1, 0, 0, 0, 0, 0, 2, 0])[0][:3].tolist()
    [0.75, 0.125, 0.125]
    """
    votes = np.asarray(votes, np.float32)
    kept = (votes.max(-1) > 0) & (votes.argmax(-1) < classes)
    mine = np.where(kept[..., None], votes[..., :classes], 0)
    return mine / np.where(kept, mine.sum(-1), 1)[..., None], kept


def distribution(votes: Any, labels: str, classes: int = 8) -> tuple[np.ndarray, np.ndarray]:
    """The distribution [..., classes] that a kind of `LABELS` learns from, and what is kept [...]."""
    if labels == "majority":
        label, kept = majority(votes, classes)
        return one_hot(label, classes), kept
    rules = {"multi_target": multi_target, "distribution": shares}
    return rules.get(labels, crossentropy)(votes, classes)


def one_hot(label: Any, classes: int) -> np.ndarray:
    """Labels [...] as distributions [..., classes]; zeros for -1.

    >>> one_hot(1, classes=3).tolist()
    [0.0, 1.0, 0.0]
    """
    return (np.asarray(label)[..., None] == np.arange(classes)).astype(np.float32)


def draw(spread: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One class [...] of each distribution [..., C]; -1 from a row of zeros."""
    reached = (
        spread.cumsum(-1) > rng.random(spread.shape[:-1])[..., None] * spread.sum(-1)[..., None]
    )
    return np.where(reached.any(-1), reached.argmax(-1), -1).astype(np.int32)


def _counts(votes: Any) -> np.ndarray:
    votes = np.asarray(votes, np.float32)
    soft = votes.sum(-1, keepdims=True) <= _WHOLE
    return np.where(soft | (votes > _SLIP), votes, 0)


def _each(
    rule: Callable[[list[float], int], list[float]], votes: Any, classes: int
) -> tuple[np.ndarray, np.ndarray]:
    counts = _counts(votes)
    rows = [_classes_only(rule(row, classes), row, classes) for row in _rows(counts)]
    spread = np.array(rows, np.float32).reshape(*counts.shape[:-1], classes)
    return spread, np.asarray(spread.any(-1))


def _rows(counts: np.ndarray) -> list[list[float]]:
    return counts.reshape(-1, counts.shape[-1]).tolist()


def _foremost(row: list[float], classes: int) -> list[float]:
    total, left, taken = sum(row), list(row), [0.0] * len(row)
    count, covered, stop = 0, 0.0, False
    while covered < _COVERED * total and count < _MOST and not stop:
        most = max(left)
        for place, votes in enumerate(left):
            if votes != most:
                continue
            left[place] = 0.0
            if stop := place >= classes:
                # No class: it counts only where nothing else does, and nothing comes after it.
                if not count:
                    taken[place], count = most, 1
                break
            taken[place], count, covered = most, count + 1, covered + most
    return taken if count <= _MOST else [0.0] * len(row)


def _large(row: list[float], classes: int) -> list[float]:
    del classes  # columns that are not classes are taken like the others
    least = _SHARE * sum(row)
    return [votes if votes >= least else 0.0 for votes in row]


def _classes_only(taken: list[float], row: list[float], classes: int) -> list[float]:
    """What was taken as a distribution over the classes; zeros if it is to be left out."""
    if sum(taken) <= _MAJORITY * sum(row) or taken.index(max(taken)) >= classes:
        return [0.0] * classes
    total = sum(taken[:classes])
    return [votes / total for votes in taken[:classes]]
