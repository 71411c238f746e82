"""The vocabulary against the published tables, counts and orders."""

import jax.numpy as jnp
import numpy as np
import pytest

from aufer_jax import facs
from aufer_jax.geometry import landmarks


@pytest.mark.parametrize("name", facs.AU_ORDERS)
def test_orders_hold_known_aus_in_rising_order(name):
    order = facs.au_order(name)
    assert list(order) == sorted(set(order))
    assert set(order) <= set(facs.AUS)
    length = name.rsplit("_", 1)[-1]
    assert len(order) == int(length)


def test_orders_agree_with_one_another():
    # The 13 common AUs are the pseudo-AUs without positions 6, 10, 14, and these places of the 21.
    kept = [au for place, au in enumerate(facs.OPENFACE_16, 1) if place not in (6, 10, 14)]
    assert tuple(kept) == facs.COMMON_13
    places = (0, 1, 2, 3, 4, 6, 7, 8, 10, 12, 14, 18, 19)
    assert tuple(facs.AU_VIT_21[i] for i in places) == facs.COMMON_13
    assert facs.au_index(facs.AU_VIT_21, facs.COMMON_13) == places
    assert facs.OPENFACE_18.index(28) == 16
    assert set(facs.PY_FEAT_20) - set(facs.OPENFACE_18) == {11, 24, 43}
    assert set(facs.OPENFACE_18) - set(facs.PY_FEAT_20) == {45}


def test_au_index_marks_what_is_missing():
    assert facs.au_index((1, 2, 4), (4, 9, 1)) == (2, -1, 0)


@pytest.mark.parametrize("name", [6, "6", "AU6", "AU 06", "AU06_r", "au06_c", "Cheek Raiser"])
def test_au_number_reads_every_spelling(name):
    assert facs.au_number(name) == 6


def test_au_names():
    assert facs.AUS[12].name == "lip corner puller"
    assert facs.AUS[12].label == "AU12"
    assert facs.AUS[1].label == "AU01"
    assert facs.AUS[12].muscle == "zygomaticus major"


@pytest.mark.parametrize(
    ("word", "name"),
    [("hapiness", "happiness"), ("Freud", "happiness"), ("anrgy", "anger"), ("grumpy", None)],
)
def test_misspelled_expressions(word, name):
    assert facs.nearest_expression(word) == name


def test_no_word_means_two_expressions():
    words = [facs.folded(w) for text in facs._SYNONYMS.values() for w in text.split()]
    assert len(set(words)) == len(words) and not set(words) & set(facs.EXPRESSIONS)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: facs.au_number("cheek raser"), "cheek raiser"),
        (lambda: facs.au_number(3), "51 others"),
        (lambda: facs.au_order("au_vit_12"), "au_vit_21"),
        (lambda: facs.expression("hapiness"), "happiness"),
        (lambda: facs.regions(8), "1, 2, 3, 5, 7, 9"),
        (lambda: facs.regions(7, aus=(1, 99)), "99"),
        (lambda: facs.regions(7, grid=7), "14x14"),
    ],
)
def test_unknown_names_are_refused_with_a_hint(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# Head sizes of the published AU branch, region by region.
HEAD_SIZES = {
    1: [21],
    2: [7, 14],
    3: [5, 2, 14],
    5: [5, 1, 1, 1, 14],
    7: [4, 1, 4, 1, 1, 1, 14],
    9: [4, 1, 4, 1, 1, 1, 14, 14, 14],
}


@pytest.mark.parametrize("scheme", facs.REGIONS)
def test_regions_have_the_published_heads(scheme):
    regions = facs.regions(scheme)
    assert [len(region.aus) for region in regions] == HEAD_SIZES[scheme]
    assert sorted({au for region in regions for au in region.aus}) == list(facs.AU_VIT_21)
    for region in regions:
        for start, stop in (region.rows, region.cols):
            assert 0 <= start < stop <= 14


def test_seven_regions_cell_by_cell():
    spans = {region.key: (region.rows, region.cols) for region in facs.regions(7)}
    assert spans == {
        "AU11": ((0, 7), (0, 7)),
        "AU12": ((0, 7), (4, 10)),
        "AU13": ((0, 7), (7, 14)),
        "AU21": ((5, 12), (0, 6)),
        "AU22": ((4, 10), (4, 10)),
        "AU23": ((5, 12), (8, 14)),
        "AU3": ((6, 14), (0, 14)),
    }
    assert [region.cols for region in facs.regions(9)[-3:]] == [(0, 5), (5, 10), (9, 14)]


def test_regions_follow_the_grid_and_the_au_list():
    # The multi-stage model reads two regions on 7x7, rows 0:4 and 3:7.
    assert [region.rows for region in facs.regions(2, grid=7)] == [(0, 4), (3, 7)]
    sizes = {
        facs.COMMON_13: [6, 7],
        facs.OPENFACE_16: [7, 9],
        facs.EMOTIONET_16: [6, 10],
    }
    for aus, expected in sizes.items():
        assert [len(region.aus) for region in facs.regions(2, aus=aus)] == expected
    assert [region.key for region in facs.regions(7, aus=(4, 12))] == ["AU12", "AU3"]


def test_flip68_is_a_mirror():
    permutation = np.array(landmarks.FLIP)
    np.testing.assert_array_equal(permutation[permutation], np.arange(68))
    midline = [i for i in range(68) if permutation[i] == i]
    assert midline == [8, 27, 28, 29, 30, 33, 51, 57, 62, 66]
    pairs = {0: 16, 17: 26, 21: 22, 31: 35, 36: 45, 39: 42, 41: 46, 48: 54, 59: 55, 60: 64, 67: 65}
    assert all(permutation[left] == right for left, right in pairs.items())


def test_flip68_moves_pixels_and_keeps_the_unknown():
    points = np.random.default_rng(0).uniform(0, 100, (2, 68, 2)).astype(np.float32)
    points[1, 48] = np.nan
    mirrored = landmarks.flip(points, 101)
    assert mirrored.dtype == np.float32
    np.testing.assert_allclose(mirrored[0, 54], [100 - points[0, 48, 0], points[0, 48, 1]])
    assert np.isnan(mirrored[1, 54]).all() and not np.isnan(mirrored[0]).any()
    np.testing.assert_allclose(landmarks.flip(mirrored, 101), points, rtol=1e-5)
    np.testing.assert_allclose(landmarks.flip(jnp.asarray(points), 101), mirrored)


def test_label_maps():
    basic = ("happiness", "sadness", "neutral", "anger", "surprise", "disgust", "fear")
    assert facs.label_map(["Happy", "sad", "calm"], basic) == (0, 1, -1)
    assert facs.label_map(basic, sorted(basic)) == (3, 5, 4, 0, 6, 1, 2)
    assert facs.label_map(basic, basic) == tuple(range(7))


def test_classes_of_ones_own_are_found_by_their_words_first():
    own = ("happy", "Joy", "grumpy", "anger")
    assert facs.label_map(["joy", "Freude", "Grumpy", "angry", "fear"], own) == (1, 0, 2, 3, -1)
    assert facs.label_map(own, own) == tuple(range(4))
    assert (
        facs.class_name("Très Grumpy ") == "tres_grumpy" and facs.class_name("Joy") == "happiness"
    )


@pytest.mark.parametrize(
    ("spelling", "name"),
    [
        ("Happy", "happiness"),
        ("disgusted", "disgust"),
        (" Contemptuous", "contempt"),
        ("ÜBERRASCHUNG", "surprise"),
        ("colere", "anger"),
        ("złość", "anger"),
        ("İğrenme", "disgust"),
        ("Нейтральный", "neutral"),
        ("悲伤", "sadness"),
        ("paura", "fear"),
        ("blij", "happiness"),
        ("alegría", "happiness"),
        ("nojo", "disgust"),
    ],
)
def test_other_spellings_of_expressions(spelling, name):
    assert facs.expression(spelling) == name
