"""Positive weights of AU-DFER: counted in the training split, or the constants of its code."""

import csv

import numpy as np
import places
import pytest

from aufer_jax import facs
from aufer_jax.datasets import catalog
from aufer_jax.papers.audfer import positive_weights

GOLDEN = places.GOLDEN / "audfer_loss_weights.csv"
DFEW = catalog.card("dfew").expressions


def constants(dataset, strategy):
    """Expression -> [18], as the released code writes them, from a copy of ours that is older."""
    with GOLDEN.open() as file:
        rows = [row for row in csv.reader(file) if row[0] == f"{dataset} {strategy}"]
    return np.array([row[2:] for row in rows], float)


def published(dataset, strategy, **options):
    return positive_weights.published(
        dataset, strategy=strategy, expressions=DFEW, aus=facs.OPENFACE_18, **options
    )


# --- Counted ------------------------------------------------------------------------------------

# Two classes; the AUs: mixed, never, always, half of it unknown.
AU = np.array([[1, 0, 1, 1], [0, 0, 1, 1], [0, 0, 1, 0], [0, 0, 1, 1], [1, 0, 1, 0]], bool)
KNOWN = np.array([[1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 0]], bool)
EXPRESSION = np.array([0, 0, 0, 1, 1])


@pytest.mark.parametrize(
    "strategy, expected",
    [
        ("none", [[1, 1, 1, 1], [1, 1, 1, 1]]),
        # 2 of 5 positive: 3/2; no positive and no negative: 1; 2 of 3 known: 1/2.
        ("global", [[1.5, 1, 1, 0.5], [1.5, 1, 1, 0.5]]),
        # 1 of 3: 2; 1 of 2 known: 1. In the other class 1 of 2: 1; 1 of 1: no negative.
        ("distinct", [[2, 1, 1, 1], [1, 1, 1, 1]]),
        ("minor", [[1, 1, 1, 1], [1, 1, 1, 1]]),
    ],
)
def test_counts_worked_by_hand(strategy, expected):
    found = positive_weights.counted(
        AU, KNOWN, EXPRESSION, strategy=strategy, num_classes=2, minor=(1,)
    )
    np.testing.assert_allclose(found, expected)


def test_minor_is_distinct_for_minor_classes_only():
    options = {"strategy": "minor", "num_classes": 3, "minor": (0,)}
    found = positive_weights.counted(AU, KNOWN, EXPRESSION, **options)
    np.testing.assert_allclose(found, [[2, 1, 1, 1], [1] * 4, [1] * 4])


def test_strategies_are_checked():
    with pytest.raises(ValueError, match=r"loss\.au: 'disinct'.*Did you mean 'distinct'"):
        positive_weights.counted(AU, KNOWN, EXPRESSION, strategy="disinct", num_classes=2)


# --- Published ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dataset", ["DFEW", "FERV39k"])
@pytest.mark.parametrize("form", positive_weights.FORMS)
def test_the_constants_of_the_code(dataset, form):
    name = dataset.lower()
    distinct = constants(dataset, "distinct")
    assert distinct.shape == (7, 18)
    np.testing.assert_array_equal(published(name, "distinct", form=form), distinct)
    np.testing.assert_array_equal(published(name, "none", form=form), np.ones((7, 18)))
    minor = published(name, "minor", form=form)
    np.testing.assert_array_equal(minor[:4], np.ones((4, 18)))
    np.testing.assert_array_equal(minor[4:6], distinct[4:6])
    if form == "repaired":
        np.testing.assert_array_equal(minor[6], distinct[6])
    else:  # DFEW's fear is FERV39k's, and that one's its neutral
        other = constants("FERV39k", "distinct")
        np.testing.assert_array_equal(minor[6], other[6 if name == "dfew" else 2])
        released = np.repeat(constants(dataset, "global"), 7, axis=0)
        np.testing.assert_array_equal(published(name, "global", form=form), released)


def test_ferv39k_was_not_counted_globally():
    released = published("ferv39k", "global", form="released")
    np.testing.assert_allclose(released[0], constants("FERV39k", "distinct")[4], rtol=1e-12)
    repaired, distinct = published("ferv39k", "global"), constants("FERV39k", "distinct")
    assert (repaired == repaired[0]).all()
    assert (distinct.min(0) < repaired[0]).all() and (repaired[0] < distinct.max(0)).all()
    # AU01: positives of each class are its frames / (weight + 1), whole numbers.
    frames = np.array([207116, 201556, 249851, 215472, 88608, 67663, 60367])
    positives = frames / (distinct[:, 0] + 1)
    np.testing.assert_allclose(positives, positives.round(), atol=1e-6)
    expected = (1090633 - positives.sum()) / positives.sum()
    np.testing.assert_allclose(repaired[0, 0], expected)
    released, repaired = (published("dfew", "global", form=f) for f in positive_weights.FORMS)
    np.testing.assert_array_equal(released, repaired)


def test_other_orders_and_what_has_no_constant():
    found = positive_weights.published(
        "dfew", strategy="global", expressions=("calm", "fearful"), aus=(43, 2, 1)
    )
    np.testing.assert_allclose(found, [[1, 10.40521645603657, 8.123028391167193]] * 2)
    found = positive_weights.published(
        "dfew", strategy="distinct", expressions=("calm", "fearful"), aus=(43, 1)
    )
    np.testing.assert_allclose(found, [[1, 1], [1, 5.96072648535643]])


@pytest.mark.parametrize(
    "dataset, options, message",
    [
        ("dfwe", {}, "dataset: 'dfwe'.*Did you mean 'dfew'"),
        ("dfew", {"form": "release"}, "form: 'release'.*Did you mean 'released'"),
    ],
)
def test_names_are_checked(dataset, options, message):
    with pytest.raises(ValueError, match=message):
        published(dataset, "global", **options)
