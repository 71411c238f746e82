"""t-SNE and silhouettes of points whose classes are known."""

import functools
import importlib
import sys

import numpy as np
import pytest
from sklearn import manifold
from threadpoolctl import threadpool_limits

from aufer_jax.errors import UserError
from aufer_jax.explain import tsne


@pytest.fixture(autouse=True)
def one_core():
    """Several add up in any order, and wait for each other where they are shared."""
    with threadpool_limits(1):
        yield


@functools.cache
def blobs(count=90, apart=6.0):
    """Four classes in ten dimensions, two of which overlap."""
    rng = np.random.default_rng(0)
    middles = rng.normal(size=(4, 10)) * apart / 3
    middles[3] = middles[2] + 0.5
    labels = np.arange(count) % 4
    return middles[labels] + rng.normal(size=(count, 10)), labels


def test_classes_that_lie_apart_do_so_in_the_map():
    x, labels = blobs()
    mapped = tsne.tsne(x, perplexity=12)
    assert mapped.shape == (90, 2)
    assert manifold.trustworthiness(x, mapped, n_neighbors=8) > 0.9
    apart = labels < 2  # the other two overlap
    assert tsne.silhouette(mapped[apart], labels[apart]) > 0.5
    assert tsne.silhouette(mapped[~apart], labels[~apart]) < 0.3


def test_nothing_is_random():
    x = blobs(40)[0]
    np.testing.assert_array_equal(tsne.tsne(x, perplexity=5), tsne.tsne(x, perplexity=5))


def test_a_silhouette_by_hand():
    """Of 0 and 1 against 3 and a class of one, 9: each (b - a) / max(a, b)."""
    x, labels = np.array([[0.0], [1.0], [3.0], [5.0], [9.0]]), np.array([0, 0, 1, 1, 2])
    expected = [(4 - 1) / 4, (3 - 1) / 3, (2.5 - 2) / 2.5, (4 - 2) / 4, 0]
    assert tsne.silhouette(x, labels) == pytest.approx(np.mean(expected))
    with pytest.raises(ValueError, match="1 classes of 5 points"):
        tsne.silhouette(x, np.zeros(5))
    with pytest.raises(ValueError, match="5 classes of 5 points"):
        tsne.silhouette(x, np.arange(5))


@pytest.mark.parametrize(
    "x", [np.arange(5.0)[:, None], np.zeros((5, 3)), np.eye(5)[:, :1] * np.ones(3)]
)
def test_few_points_of_few_dimensions_are_mapped(x):
    assert np.isfinite(tsne.tsne(x, perplexity=2)).all()


def test_a_perplexity_needs_more_points():
    with pytest.raises(ValueError, match="perplexity: 30"):
        tsne.tsne(np.zeros((5, 3)))


def test_without_scikit_learn_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.delitem(sys.modules, tsne.__name__)
    with pytest.raises(UserError, match=r"pip install 'aufer-jax\[analysis\]'"):
        importlib.import_module(tsne.__name__)
