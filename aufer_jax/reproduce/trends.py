"""Whether rows lose the more, the more they have of something, and where a gain turns into a loss."""

import numpy as np
from scipy import stats


def rank_correlations(measure: np.ndarray, lost: np.ndarray) -> np.ndarray:
    """Spearman's correlation of each seed: measures [R], losses [S, R] -> [S].

    NaN where a loss is missing, or where all are the same.

    >>> rank_correlations(np.array([0.0, 0.1, 0.5]), np.array([[1, 2, 3], [2, 1, 3]])).round(3)
    array([1. , 0.5])
    """
    x, y = stats.rankdata(measure), stats.rankdata(lost, axis=1)
    x, y = x - x.mean(), y - y.mean(1, keepdims=True)
    lengths = np.linalg.norm(x) * np.linalg.norm(y, axis=1)
    known = np.isfinite(lost).all(1) & (lengths > 0)
    return np.where(known, y @ x / np.where(known, lengths, 1), np.nan)


def crossings(measure: np.ndarray, gained: np.ndarray) -> np.ndarray:
    """Where the gain of each seed first turns into a loss: measures [R], gains [S, R] -> [S].

    Between two rows a straight line; NaN where no gain turns into a loss.

    >>> crossings(np.array([0.4, 0.0, 0.2]), np.array([[-3, 2, 1], [1, 2, 3]]))
    array([0.25,  nan])
    """
    order = np.argsort(measure, kind="stable")
    x, found = measure[order], np.full(len(gained), np.nan)
    for seed, y in enumerate(gained[:, order]):
        turns = np.flatnonzero((y[:-1] > 0) & (y[1:] <= 0))
        if turns.size:
            left, right = turns[0], turns[0] + 1
            found[seed] = x[left] + (x[right] - x[left]) * y[left] / (y[left] - y[right])
    return found
