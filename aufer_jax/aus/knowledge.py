"""AU-expression knowledge of AU-DFER: how typical each AU is of each expression, as loss weights."""

import importlib.resources

import numpy as np

from aufer_jax import facs, suggest

SHIFTS = ("midrange", "half_range")
STRATEGIES = ("none", "global", "distinct", "minor")


def published() -> tuple[tuple[str, ...], np.ndarray]:
    """Expressions, and the sums [7, 18] over four datasets of the median OpenFace intensities."""
    text = (importlib.resources.files("aufer_jax.aus") / "knowledge.csv").read_text()
    rows = [line.split(",") for line in text.split()[1:]]
    return tuple(row[0] for row in rows), np.array([row[1:] for row in rows], np.float64)


def matrix(sums: np.ndarray, shift: str | float = "midrange") -> np.ndarray:
    """sigmoid(sums - shift): `midrange` is (max + min) / 2, `half_range` (the published figure) half
    of max - min, or a number."""
    if isinstance(shift, str):
        if shift not in SHIFTS:
            raise suggest.unknown("knowledge shift", shift, SHIFTS)
        low, high = sums.min(), sums.max()
        shift = (high + low) / 2 if shift == "midrange" else (high - low) / 2
    return 1 / (1 + np.exp(-(sums - shift)))


def positive_weights(
    au: np.ndarray, known: np.ndarray, expression: np.ndarray, *, strategy: str, num_classes: int,
    minor: tuple[int, ...] = (),
) -> np.ndarray:  # fmt: skip
    """Negatives / positives [num_classes, n] of each AU in the training split (eq. 6 to 8).

    `global` counts over all samples, `distinct` within each expression, `minor` is distinct for the
    `minor` classes and 1 for the others, `none` is 1. Where an AU has no positive or no negative, 1.

    Args:
      au, known: labels 0/1 and whether they are known, [N, n].
      expression: classes [N].
    """
    if strategy not in STRATEGIES:
        raise suggest.unknown("loss.au", strategy, STRATEGIES)
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


def for_orders(
    expressions: tuple[str, ...], aus: tuple[int, ...], shift: str | float
) -> np.ndarray:
    """The published matrix in another order [len(expressions), len(aus)]; 0.5 where it has no entry."""
    names, sums = published()
    rows = facs.label_map(expressions, names)
    columns = facs.au_index(facs.OPENFACE_18, aus)
    values = np.pad(matrix(sums, shift), ((0, 1), (0, 1)), constant_values=0.5)  # index -1
    return values[np.ix_(rows, columns)]
