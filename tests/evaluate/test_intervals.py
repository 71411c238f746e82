"""Intervals and McNemar's test against SciPy's own on the records, and against tables."""

import numpy as np
import pytest
from published import MAE_DFER_FOLD_1
from scipy import stats
from sklearn import metrics as oracle

from aufer_jax.evaluate import intervals

SMALL = 5 * np.array([[30, 6, 0], [4, 10, 2], [1, 3, 4]])


@pytest.mark.parametrize("score", ["accuracy", "uar"])
def test_an_interval_is_that_of_scipy_on_the_records(score):
    true, predicted = (np.repeat(index.ravel(), SMALL.ravel()) for index in np.indices(SMALL.shape))
    of_records = {"accuracy": oracle.accuracy_score, "uar": oracle.balanced_accuracy_score}[score]
    assert intervals.SCORES[score](SMALL) == pytest.approx(of_records(true, predicted))

    def statistic(t, p):
        hit = t == p
        if score == "accuracy":
            return hit.mean()
        return np.mean([hit[t == c].mean() for c in np.unique(t)])

    expected = stats.bootstrap(
        (true, predicted), statistic, paired=True, vectorized=False, n_resamples=4000, method="BCa",
        rng=np.random.default_rng(1),
    ).confidence_interval  # fmt: skip
    found = intervals.bca(SMALL, score, resamples=20_000)
    np.testing.assert_allclose(found, (expected.low, expected.high), atol=0.012)


def test_many_records_give_the_normal_interval():
    low, high = intervals.bca(MAE_DFER_FOLD_1, "accuracy")
    p = intervals.accuracy(MAE_DFER_FOLD_1)
    margin = 1.96 * np.sqrt(p * (1 - p) / MAE_DFER_FOLD_1.sum())
    np.testing.assert_allclose((low, high), (p - margin, p + margin), atol=0.002)


def test_where_nothing_varies_an_interval_is_its_value():
    assert intervals.bca(np.diag([5, 5]), "uar") == (1, 1)
    assert intervals.bca(np.array([[0, 1], [0, 0]]), "accuracy") == (0, 0)


def test_mcnemar_counts_the_records_on_which_two_runs_differ():
    # Ten records on which one run alone is right, two on which the other is: 2 P(X <= 2), X ~ B(12, 1/2).
    a = np.array([1] * 10 + [0] * 2 + [1] * 50 + [0] * 7, bool)
    b = np.array([0] * 10 + [1] * 2 + [1] * 50 + [0] * 7, bool)
    assert intervals.mcnemar(a, b) == intervals.mcnemar(b, a) == pytest.approx(2 * 79 / 4096)
    assert intervals.mcnemar(a, a) == 1


@pytest.mark.parametrize("score", intervals.SCORES)
def test_paired_differences_are_of_the_same_records(score):
    """Against a bootstrap that draws record by record."""
    rng = np.random.default_rng(1)
    label = rng.integers(3, size=60)
    a = np.where(rng.random(60) < 0.5, label, rng.integers(3, size=60))
    b = np.where(rng.random(60) < 0.8, label, rng.integers(3, size=60))
    value, low, high = intervals.paired(label, a, b, score, resamples=4000)

    def measured(rows):
        def one(said):
            matrix = np.zeros((3, 3))
            np.add.at(matrix, (label[rows], said[rows]), 1)
            return intervals.SCORES[score](matrix)

        return one(b) - one(a)

    drawn = [measured(rng.integers(60, size=60)) for _ in range(4000)]
    assert value == pytest.approx(measured(np.arange(60)))
    np.testing.assert_allclose((low, high), np.quantile(drawn, (0.025, 0.975)), atol=0.02)
    assert intervals.paired(label, a, a, score) == (0, 0, 0)
    words = np.array(["x", "y", "z"])
    assert intervals.paired(words[label], words[a], words[b], score, resamples=4000) == (
        value,
        low,
        high,
    )
