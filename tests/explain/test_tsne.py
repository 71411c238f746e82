"""t-SNE and silhouette against scikit-learn."""

import functools
import importlib

import numpy as np
import pytest
from sklearn import manifold, metrics

from aufer_jax.explain import tsne


@functools.cache
def blobs(count=90, apart=6.0):
    """Four classes in ten dimensions, two of which overlap."""
    rng = np.random.default_rng(0)
    middles = rng.normal(size=(4, 10)) * apart / 3
    middles[3] = middles[2] + 0.5
    labels = np.arange(count) % 4
    return middles[labels] + rng.normal(size=(count, 10)), labels


@functools.cache
def mapped():
    return tsne.tsne(blobs()[0], perplexity=12, iterations=500)


def test_maps_are_as_trustworthy_as_those_of_scikit_learn():
    x, _ = blobs()
    theirs = manifold.TSNE(
        perplexity=12, method="exact", init="pca", max_iter=500, random_state=0
    ).fit(x)
    ours, other = (
        manifold.trustworthiness(x, y, n_neighbors=8) for y in (mapped(), theirs.embedding_)
    )
    assert ours > 0.9 and ours > other - 0.01
    p = tsne.joint_probabilities(tsne.squared_distances(x), 12)
    assert tsne.divergence(p, mapped()) < 1.02 * theirs.kl_divergence_
    # the loss itself is theirs, on their map
    assert tsne.divergence(p, theirs.embedding_) == pytest.approx(theirs.kl_divergence_, rel=1e-3)


def test_probabilities_have_the_perplexity_asked_for():
    """Against the definition, row by row, on points of which two are the same."""
    x = blobs()[0].copy()
    x[1] = x[0]
    distances, count = tsne.squared_distances(x), len(x)
    p = tsne.joint_probabilities(distances, 5.0)
    np.testing.assert_allclose(p, p.T)
    assert p.sum() == pytest.approx(1, abs=1e-6)
    search = importlib.import_module("sklearn.manifold._utils")._binary_search_perplexity
    theirs = search(distances.astype(np.float32), 5.0, 0)
    np.testing.assert_allclose(p, np.maximum((theirs + theirs.T) / (2 * count), 1e-12), atol=1e-6)


def test_gradient_is_that_of_the_divergence():
    x, rng = blobs()[0][:12], np.random.default_rng(1)
    p = tsne.joint_probabilities(tsne.squared_distances(x), 4)
    y = rng.normal(size=(12, 2))
    gradient = tsne._gradient(p, y)
    for place in [(0, 0), (5, 1), (11, 0)]:
        nudge = np.zeros_like(y)
        nudge[place] = 1e-5
        slope = (tsne.divergence(p, y + nudge) - tsne.divergence(p, y - nudge)) / 2e-5
        assert gradient[place] == pytest.approx(slope, rel=1e-4)


def test_nothing_is_random():
    np.testing.assert_array_equal(mapped(), tsne.tsne(blobs()[0], perplexity=12, iterations=500))


def test_silhouette():
    x, labels = blobs()
    assert tsne.silhouette(x, labels) == pytest.approx(metrics.silhouette_score(x, labels))
    labels = labels.copy()
    labels[0] = 9  # a class of one
    assert tsne.silhouette(x, labels) == pytest.approx(metrics.silhouette_score(x, labels))
    with pytest.raises(ValueError, match="at least two"):
        tsne.silhouette(x, np.zeros(len(x)))


def test_few_points_and_one_dimension():
    assert np.isfinite(tsne.tsne(np.arange(5.0)[:, None], perplexity=2, iterations=300)).all()
    assert np.isfinite(tsne.tsne(np.zeros((5, 3)), perplexity=2, iterations=300)).all()
    with pytest.raises(ValueError, match="perplexity: 30"):
        tsne.tsne(np.zeros((5, 3)))
