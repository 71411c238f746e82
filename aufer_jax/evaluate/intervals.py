"""How sure a score is, given its test records: BCa intervals, and McNemar's test of two runs."""

import numpy as np
from scipy import stats


def accuracy(confusion: np.ndarray) -> np.ndarray:
    """[...] of confusion matrices [..., C, C], true classes in rows."""
    return np.trace(confusion, axis1=-2, axis2=-1) / confusion.sum((-2, -1))


def uar(confusion: np.ndarray) -> np.ndarray:
    """[...], the mean recall of the classes that occur in each matrix [..., C, C]."""
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


def mcnemar(right_a: np.ndarray, right_b: np.ndarray) -> float:
    """The exact two-sided p that two runs, right or wrong on the same records, are equally accurate."""
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    if only_a + only_b == 0:
        return 1.0
    return float(stats.binomtest(only_a, only_a + only_b).pvalue)


def uar_difference(
    labels: np.ndarray,
    ours: np.ndarray,
    theirs: np.ndarray,
    *,
    level: float = 0.95,
    resamples: int = 1000,
    seed: int = 0,
) -> tuple[float, float, float]:
    """By how much the UAR of the predictions `ours` is above that of `theirs` on the same records.

    And the interval of that: records are drawn again and again, within each class.

    Args:
      labels, ours, theirs: classes [N].
      level: the share of intervals that hold the true difference.
      resamples: how often.
      seed: of the draws.
    """
    gain = (ours == labels).astype(float) - (theirs == labels)
    rng = np.random.default_rng(seed)
    value, drawn = 0.0, np.zeros(resamples)
    present = np.unique(labels)
    for label in present:
        # A record adds -1, 0 or 1: to draw records is to draw how many of each.
        mine = gain[labels == label]
        shares = np.array([(mine == step).mean() for step in (-1, 0, 1)])
        counts = rng.multinomial(len(mine), shares, resamples)
        value += float(mine.mean()) / len(present)
        drawn += (counts[:, 2] - counts[:, 0]) / len(mine) / len(present)
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return value, float(low), float(high)
