"""How sure a score is, given its test records: BCa intervals, and McNemar's test of two runs."""

import numpy as np
from scipy import stats


def accuracy(confusion: np.ndarray) -> np.ndarray:
    """[...] of confusion matrices [..., C, C], true classes in rows.

    >>> float(accuracy(np.array([[8, 2], [0, 10]])))
    0.9
    """
    return np.trace(confusion, axis1=-2, axis2=-1) / confusion.sum((-2, -1))


def uar(confusion: np.ndarray) -> np.ndarray:
    """[...], the mean recall of the classes that occur in each matrix [..., C, C].

    >>> float(uar(np.array([[18, 2], [5, 5]])))  # the mean of 0.9 and 0.5
    0.7
    """
    true = confusion.sum(-1)
    recall = np.diagonal(confusion, axis1=-2, axis2=-1) / np.maximum(true, 1)
    return recall.sum(-1) / (true > 0).sum(-1)


SCORES = {"accuracy": accuracy, "uar": uar}


def bca(
    confusion: np.ndarray,
    score: str,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """The bootstrap interval of a score over records, corrected for bias and acceleration (Efron 1987).

    Records of one cell of the confusion matrix are alike, so to draw records with replacement is to draw
    a matrix, and to leave one out is to take one from its cell.

    Args:
      confusion: counts [C, C] of at least one record, true classes in rows.
      score: a name of `SCORES`.
      level: the share of intervals that hold the true score.
      resamples: drawn matrices.
      seed: of the draws.

    >>> low, high = bca(np.array([[8, 2], [1, 9]]), "accuracy")
    >>> bool(low < 0.85 < high), bca(np.array([[8, 2], [1, 9]]), "accuracy") == (low, high)
    (True, True)
    """
    statistic, confusion = SCORES[score], np.asarray(confusion)
    cells, records = confusion.ravel(), int(confusion.sum())
    value = float(statistic(confusion))
    drawn = np.random.default_rng(seed).multinomial(records, cells / records, resamples)
    found = statistic(drawn.reshape(resamples, *confusion.shape))
    below = (np.mean(found < value) + np.mean(found <= value)) / 2
    if records < 2 or below in (0, 1) or np.ptp(found) == 0:  # nothing varies
        return value, value
    used = np.flatnonzero(cells)
    without = cells - np.eye(len(cells), dtype=int)[used]
    left = statistic(without.reshape(len(used), *confusion.shape))
    weight = cells[used]
    away = np.average(left, weights=weight) - left
    spread = (weight * away**2).sum()
    acceleration = (weight * away**3).sum() / (6 * spread**1.5) if spread else 0.0
    bias = stats.norm.ppf(below)
    z = bias + stats.norm.ppf([(1 - level) / 2, (1 + level) / 2])
    low, high = np.quantile(found, stats.norm.cdf(bias + z / (1 - acceleration * z)))
    return float(low), float(high)


def paired(
    label: np.ndarray,
    said_a: np.ndarray,
    said_b: np.ndarray,
    score: str,
    *,
    level: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float, float]:
    """How much better b is than a on the same records, and the percentile bootstrap interval of it.

    Args:
      label: [N] the true classes, of any type.
      said_a, said_b: [N] the predicted ones.
      score: a name of `SCORES`.
      level: the share of intervals that hold the true difference.
      resamples: of the records.
      seed: of the draws.

    >>> label, always, never = np.array([0, 1] * 20), np.array([0, 1] * 20), np.array([1, 0] * 20)
    >>> paired(label, never, always, "accuracy")
    (1.0, 1.0, 1.0)
    """
    names, number = np.unique(np.concatenate([label, said_a, said_b]), return_inverse=True)
    true, a, b = number.reshape(3, -1)
    side = len(names)
    # Records alike in all three are drawn together.
    cells, counts = np.unique((true * side + a) * side + b, return_counts=True)
    drawn = np.random.default_rng(seed).multinomial(len(true), counts / len(true), resamples)
    drawn = np.concatenate([counts[None], drawn])
    row, column_a, column_b = cells // side**2, cells // side % side, cells % side

    def scores(column: np.ndarray) -> np.ndarray:
        confusion = np.zeros((len(drawn), side, side), np.int64)
        for i, j, count in zip(row, column, drawn.T, strict=True):
            confusion[:, i, j] += count
        return SCORES[score](confusion)

    difference = scores(column_b) - scores(column_a)
    low, high = np.quantile(difference[1:], [(1 - level) / 2, (1 + level) / 2])
    return float(difference[0]), float(low), float(high)


def mcnemar(right_a: np.ndarray, right_b: np.ndarray) -> float:
    """The exact two-sided p that two runs, right or wrong on the same records, are equally accurate.

    >>> a, b = np.array([True, False, False, False, False]), np.array([True] * 5)
    >>> round(mcnemar(a, b), 3)  # four records, all for b: 2 / 2**4
    0.125
    """
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    if only_a + only_b == 0:
        return 1.0
    return float(stats.binomtest(only_a, only_a + only_b).pvalue)
