"""t-SNE maps of features, and how far classes lie apart, by scikit-learn.

    places = tsne(features)  # [N, 2]
    silhouette(features, labels), silhouette(places, labels)

A map begins with the two main axes of the data and every draw has the same seed, so nothing is random but
the order in which several cores add up.
"""

import numpy as np

from aufer_jax.errors import UserError

try:
    from sklearn import manifold, metrics
except ImportError as error:
    raise UserError(
        "t-SNE: scikit-learn is not installed; run: pip install 'aufer-jax[analysis]'"
    ) from error


def tsne(x: np.ndarray, *, perplexity: float = 30.0) -> np.ndarray:
    """Places [N, 2] of points [N, D], in which near points stay near.

    Args:
      x: the points.
      perplexity: about how many neighbours a point has; less than N.
    """
    if not 1 <= perplexity < len(x):
        raise UserError(
            f"perplexity: {perplexity} must be at least 1 and less than the {len(x)} points"
        )
    axes = np.count_nonzero(np.ptp(x, axis=0)) >= 2  # else there are no two main ones
    return manifold.TSNE(
        perplexity=perplexity, init="pca" if axes else "random", random_state=0
    ).fit_transform(x)


def silhouette(x: np.ndarray, labels: np.ndarray) -> float:
    """Mean of (b - a) / max(a, b): a point's mean distance to its class, and to the nearest other one.

    From -1 to 1; about 0 where classes overlap. A point alone in its class counts 0.
    """
    classes = len(np.unique(labels))
    if not 1 < classes < len(x):
        raise UserError(
            f"labels: {classes} classes of {len(x)} points; a silhouette needs at least two classes, "
            "and one of more than one point"
        )
    return float(metrics.silhouette_score(x, labels))
