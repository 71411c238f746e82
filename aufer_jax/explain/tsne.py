"""Exact t-SNE (van der Maaten and Hinton 2008) and how far classes lie apart, in NumPy.

    places = tsne(features)  # [N, 2]
    silhouette(features, labels), silhouette(places, labels)

Every pair of points is looked at: up to a few thousand of them. It begins with the two main axes of the
data, so nothing is random.
"""

import math

import numpy as np

from aufer_jax.errors import UserError

_EXAGGERATION, _EARLY = 12.0, 250  # attraction is so much stronger in so many first steps
_TINY = 1e-12


def tsne(x: np.ndarray, *, perplexity: float = 30.0, iterations: int = 1000) -> np.ndarray:
    """Places [N, 2] of points [N, D], in which near points stay near.

    Args:
      x: the points.
      perplexity: about how many neighbours a point has; less than N.
      iterations: steps of gradient descent.
    """
    x = np.asarray(x, np.float64)
    if not 1 <= perplexity < len(x):
        raise UserError(
            f"perplexity: {perplexity} must be at least 1 and less than the {len(x)} points"
        )
    p = joint_probabilities(squared_distances(x), perplexity)
    y = _main_axes(x)
    step, gains = np.zeros_like(y), np.ones_like(y)
    rate = max(len(x) / _EXAGGERATION / 4, 50.0)
    for i in range(iterations):
        early = i < _EARLY
        gradient = _gradient(p * _EXAGGERATION if early else p, y)
        same = np.sign(gradient) == np.sign(step)
        gains = np.maximum(np.where(same, gains * 0.8, gains + 0.2), 0.01)
        step = (0.5 if early else 0.8) * step - rate * gains * gradient
        y = y + step
    return y - y.mean(0)


def squared_distances(x: np.ndarray) -> np.ndarray:
    """[N, N], between all rows."""
    norms = np.einsum("nd,nd->n", x, x)
    distances = np.maximum(norms[:, None] + norms - 2 * x @ x.T, 0)
    np.fill_diagonal(distances, 0)
    return distances


def joint_probabilities(distances: np.ndarray, perplexity: float) -> np.ndarray:
    """Symmetric neighbour probabilities [N, N] of sum 1, each row first of the given perplexity.

    The width of each row's Gaussian is found by halving intervals.
    """
    count = len(distances)
    away = ~np.eye(count, dtype=bool)
    rows = distances[away].reshape(count, count - 1)
    rows = rows - rows.min(1, keepdims=True)  # the same probabilities, and none is 0 / 0
    low, high = np.zeros(count), np.full(count, np.inf)
    precision = 1 / np.maximum(rows.mean(1), _TINY)
    for _ in range(64):
        weights = np.exp(-rows * precision[:, None])
        total = weights.sum(1)
        entropy = np.log(total) + precision * (rows * weights).sum(1) / total
        wide = entropy > math.log(perplexity)
        low, high = np.where(wide, precision, low), np.where(wide, high, precision)
        middle = (low + np.where(np.isinf(high), low, high)) / 2
        precision = np.where(np.isinf(high), 2 * precision, middle)
    p = np.zeros_like(distances)
    p[away] = (weights / total[:, None]).reshape(-1)
    return np.maximum((p + p.T) / (2 * count), _TINY)


def divergence(p: np.ndarray, y: np.ndarray) -> float:
    """Kullback-Leibler divergence of the neighbours in places `y` from probabilities `p`: the loss."""
    kernel = _kernel(y)
    q = np.maximum(kernel / kernel.sum(), _TINY)
    away = ~np.eye(len(y), dtype=bool)
    return float(np.sum((p * np.log(p / q))[away]))


def silhouette(x: np.ndarray, labels: np.ndarray) -> float:
    """Mean of (b - a) / max(a, b): a point's mean distance to its class, and to the nearest other one.

    From -1 to 1; about 0 where classes overlap. A point alone in its class counts 0.
    """
    classes, place, counts = np.unique(labels, return_inverse=True, return_counts=True)
    if len(classes) < 2:
        raise UserError(f"labels: {len(classes)} class, at least two can lie apart")
    distances = np.sqrt(squared_distances(np.asarray(x, np.float64)))
    sums = distances @ (place[:, None] == np.arange(len(classes)))  # [N, C]
    own = np.arange(len(place)), place
    inside = sums[own] / np.maximum(counts[place] - 1, 1)
    means = sums / counts
    means[own] = np.inf
    outside = means.min(1)
    values = (outside - inside) / np.maximum(np.maximum(inside, outside), _TINY)
    return float(np.where(counts[place] > 1, values, 0).mean())


def _main_axes(x: np.ndarray) -> np.ndarray:
    """The first two principal components, the first of deviation 1e-4; signs by the largest entry."""
    centred = x - x.mean(0)
    left, values, _ = np.linalg.svd(centred, full_matrices=False)
    y = np.zeros((len(x), 2))
    kept = min(2, len(values))
    y[:, :kept] = left[:, :kept] * values[:kept]
    y *= np.sign(y[np.abs(y).argmax(0), np.arange(2)] + _TINY)
    return y / max(y[:, 0].std(), _TINY) * 1e-4


def _kernel(y: np.ndarray) -> np.ndarray:
    kernel = 1 / (1 + squared_distances(y))
    np.fill_diagonal(kernel, 0)
    return kernel


def _gradient(p: np.ndarray, y: np.ndarray) -> np.ndarray:
    kernel = _kernel(y)
    forces = (p - kernel / kernel.sum()) * kernel
    return 4 * (forces.sum(1)[:, None] * y - forces @ y)
