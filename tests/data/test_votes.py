"""FERPlus's vote rules, and shares of votes and soft labels, against cases worked out by hand."""

import numpy as np
import pytest

from aufer_jax.data import votes

# Columns: neutral, happiness, surprise, sadness, anger, disgust, fear, contempt; unknown, not a face.
NONE = [0.0] * 8


def shares(**columns):
    names = ("ne", "ha", "su", "sa", "an", "di", "fe", "co")
    return [columns.get(name, 0) for name in names]


@pytest.mark.parametrize(
    ("row", "label"),
    [
        ([6, 4, 0, 0, 0, 0, 0, 0, 0, 0], 0),
        ([5, 5, 0, 0, 0, 0, 0, 0, 0, 0], -1),  # half is not more than half
        ([5, 1, 1, 1, 1, 0, 0, 0, 1, 0], 0),  # single votes do not count: 5 of 5
        ([1, 1, 1, 1, 1, 1, 1, 1, 1, 1], -1),  # nothing counts
        ([0, 0, 0, 0, 0, 0, 0, 4, 3, 0], 7),
        ([2, 0, 0, 0, 0, 0, 0, 0, 6, 2], -1),  # most say unknown
        ([2, 0, 0, 0, 0, 0, 0, 0, 2, 6], -1),  # most say not a face
        ([3, 2, 2, 0, 0, 0, 0, 0, 0, 0], -1),  # 3 of 7
        ([0, 0, 0, 0, 0, 0, 6, 0, 0, 0], 6),  # fewer than ten votes
    ],
)
def test_majority(row, label):
    found, kept = votes.majority(row)
    assert (found, kept) == (label, label >= 0)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ([10, 0, 0, 0, 0, 0, 0, 0, 0, 0], shares(ne=1)),
        # 8 of 10 covers three quarters: happiness is not taken.
        ([8, 2, 0, 0, 0, 0, 0, 0, 0, 0], shares(ne=1)),
        ([6, 4, 0, 0, 0, 0, 0, 0, 0, 0], shares(ne=0.6, ha=0.4)),
        # The slip is not counted: 7 of 9 is enough.
        ([7, 2, 1, 0, 0, 0, 0, 0, 0, 0], shares(ne=1)),
        # Two equal classes come together, though the first alone would not do: 3 + 3 of 8 is 3/4.
        ([0, 3, 3, 2, 0, 0, 0, 0, 0, 0], shares(ha=0.5, su=0.5)),
        # 4 covers 0.4, the tie of three brings four classes: too many.
        ([4, 2, 2, 2, 0, 0, 0, 0, 0, 0], NONE),
        # 5 of 10, then 3: 0.8; the 2 is not reached.
        ([2, 5, 3, 0, 0, 0, 0, 0, 0, 0], shares(ha=0.625, su=0.375)),
        # Five equal pairs: all come together.
        ([2, 2, 2, 2, 2, 0, 0, 0, 0, 0], NONE),
        # Three classes of 3, 3, 2 beside 2 votes for unknown, which ties with sadness but comes after
        # it: 3 + 3 is 0.6, the next round takes sadness and stops at unknown, which is given back.
        ([0, 3, 3, 2, 0, 0, 0, 0, 2, 0], shares(ha=0.375, su=0.375, sa=0.25)),
        # Unknown is foremost: it is taken alone and the face is dropped.
        ([3, 0, 0, 0, 0, 0, 0, 0, 7, 0], NONE),
        # A tie of happiness and unknown: happiness has 5 of 10, which is not more than half.
        ([0, 5, 0, 0, 0, 0, 0, 0, 5, 0], NONE),
        # Unknown is second: nothing after it is taken, and it does not count. 6 of 10 are covered.
        ([6, 0, 0, 0, 0, 0, 0, 0, 4, 0], shares(ne=1)),
        # The same with 5 of 10: too little.
        ([5, 0, 2, 0, 0, 0, 0, 0, 3, 0], NONE),
        # Unknown ties with anger after neutral; anger comes first and stays: 4 + 3 of 10.
        ([4, 0, 0, 0, 3, 0, 0, 0, 3, 0], shares(ne=4 / 7, an=3 / 7)),
        # "Not a face" stops as well.
        ([6, 2, 0, 0, 0, 0, 0, 0, 0, 2], shares(ne=0.75, ha=0.25)),
        ([1, 1, 1, 1, 1, 1, 1, 1, 1, 1], NONE),
    ],
)
def test_crossentropy(row, expected):
    spread, kept = votes.crossentropy(row)
    np.testing.assert_allclose(spread, expected, atol=1e-6)
    assert kept == (sum(expected) > 0)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ([5, 3, 2, 0, 0, 0, 0, 0, 0, 0], shares(ne=0.625, ha=0.375)),  # 2 of 10 is below 30 %
        ([4, 3, 3, 0, 0, 0, 0, 0, 0, 0], shares(ne=0.4, ha=0.3, su=0.3)),
        ([3, 3, 2, 2, 0, 0, 0, 0, 0, 0], shares(ne=0.5, ha=0.5)),  # 6 of 10
        ([5, 2, 0, 2, 0, 0, 0, 0, 0, 0], shares(ne=1)),  # 5 of 9; 30 % are 2.7
        ([4, 2, 2, 2, 0, 0, 0, 0, 0, 0], NONE),  # 4 of 10
        ([4, 0, 0, 0, 0, 0, 0, 0, 6, 0], NONE),  # unknown is foremost
        ([5, 0, 0, 0, 0, 0, 0, 0, 5, 0], shares(ne=1)),  # of equals the first is foremost
        ([6, 1, 0, 0, 0, 0, 0, 0, 0, 3], shares(ne=1)),  # "not a face" is cut away
        ([1, 1, 1, 1, 1, 1, 1, 1, 1, 1], NONE),
    ],
)
def test_multi_target(row, expected):
    spread, kept = votes.multi_target(row)
    np.testing.assert_allclose(spread, expected, atol=1e-6)
    assert kept == (sum(expected) > 0)


def test_probability_draws_from_the_distribution():
    rows = np.tile([2, 5, 3, 0, 0, 0, 0, 0, 0, 0], (4000, 1))
    drawn = votes.draw(votes.crossentropy(rows)[0], np.random.default_rng(0))
    assert set(drawn) == {1, 2}
    assert abs((drawn == 1).mean() - 0.625) < 3 * np.sqrt(0.625 * 0.375 / 4000)
    spread, kept = votes.crossentropy([1] * 10)
    assert votes.draw(spread, np.random.default_rng(0)) == -1 and not kept


def test_many_faces_are_as_one_by_one():
    rng = np.random.default_rng(0)
    rows = rng.multinomial(10, [0.3, 0.2, 0.1, 0.1, 0.05, 0.05, 0.05, 0.05, 0.05, 0.05], (40, 5))
    for rule in (votes.majority, votes.crossentropy, votes.multi_target):
        found, kept = rule(rows)
        assert kept.shape == (40, 5) and 0 < kept.mean() < 1
        for place in np.ndindex(40, 5):
            one, one_kept = rule(rows[place])
            np.testing.assert_array_equal(one, found[place])
            assert one_kept == kept[place]


def test_datasets_without_other_columns_have_their_own_number_of_classes():
    label, _ = votes.majority([1, 4, 2], classes=3)
    spread, _ = votes.crossentropy([0, 4, 3], classes=3)
    assert label == 1
    np.testing.assert_allclose(spread, [0, 4 / 7, 3 / 7], rtol=1e-6)


@pytest.mark.parametrize("labels", votes.LABELS)
def test_every_kind_gives_a_distribution(labels):
    rows = [[0, 6, 4, 0, 0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0, 0, 10, 0]]
    spread, kept = votes.distribution(rows, labels)
    assert spread.shape == (2, 8) and spread.dtype == np.float32 and kept.tolist() == [True, False]
    expected = [0, 1] if labels == "majority" else [0, 0.6, 0.4]
    np.testing.assert_allclose(spread[0, : len(expected)], expected, atol=1e-6)
    assert not spread[1].any()


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ([6, 3, 1, 0, 0, 0, 0, 0, 0, 0], shares(ne=0.6, ha=0.3, su=0.1)),  # single votes count
        ([6, 0, 0, 0, 0, 0, 0, 0, 2, 2], shares(ne=1)),  # those for no class do not
        ([3, 2, 0, 0, 0, 0, 0, 0, 5, 0], NONE),  # unknown is foremost
        ([0] * 10, NONE),
        ([0.5, 0.25, 0, 0, 0, 0, 0, 0.25], shares(ne=0.5, ha=0.25, co=0.25)),  # a soft label
        ([0.25, 0.25, 0, 0, 0, 0, 0, 0, 0.125, 0.375], NONE),
    ],
)
def test_distribution(row, expected):
    spread, kept = votes.shares(row)
    np.testing.assert_allclose(spread, expected, atol=1e-6)
    assert kept == (sum(expected) > 0)
    many, all_kept = votes.distribution([row, row], "distribution")
    np.testing.assert_array_equal(many, [spread, spread])
    assert all_kept.tolist() == [kept, kept] and many.dtype == np.float32


@pytest.mark.parametrize("rule", [votes.crossentropy, votes.multi_target])
def test_there_are_no_slips_in_a_soft_label(rule):
    # 0.5 and 0.3 cover three quarters, and 0.2 is below 30 %.
    spread, kept = rule([0.5, 0.3, 0.2, 0, 0, 0, 0, 0])
    np.testing.assert_allclose(spread, shares(ne=0.625, ha=0.375), atol=1e-6)
    assert kept
