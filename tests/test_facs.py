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
    ("call", "message"),
    [
        (lambda: facs.au_number("cheek raser"), "cheek raiser"),
        (lambda: facs.au_number(3), "AU04"),
        (lambda: facs.au_order("au_vit_12"), "au_vit_21"),
        (lambda: facs.expression("hapiness"), "happiness"),
        (lambda: facs.expressions_of("raf-db"), "Did you mean 'rafdb'"),
        (lambda: facs.label_map("dfwe", "mafw"), "Did you mean 'dfew'"),
        (lambda: facs.regions(8), "1, 2, 3, 5, 7, 9"),
        (lambda: facs.regions(7, aus=(1, 45)), "45"),
        (lambda: facs.regions(7, grid=7), "14x14"),
        (lambda: facs.stored_label("rafdb", 0), r"1\.\.7"),
        (lambda: facs.stored_label("affectnet8", 11), "no face"),
        (lambda: facs.stored_label("mafw", "anxious"), "anxiety"),
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


TOTALS = {
    "rafdb": {"train": 12271, "test": 3068},
    "ferplus": {"train": 25060, "valid": 3199, "test": 3153},
    "affectnet7": {"valid": 3500},
    "affectnet8": {"valid": 4000},
    "dfew": {
        **{f"train_{k}": n for k, n in enumerate((9356, 9356, 9357, 9358, 9361), 1)},
        **{f"test_{k}": n for k, n in enumerate((2341, 2341, 2340, 2339, 2336), 1)},
    },
    "ferv39k": {"train": 31088, "test": 7847},
    "mafw": {"train_1": 7333, "test_1": 1839},
    "ravdess": {"speech": 1440},
}


def test_class_counts_sum_to_the_published_sizes():
    totals = {
        dataset: {split: sum(counts) for split, counts in splits.items()}
        for dataset, splits in facs.CLASS_COUNTS.items()
    }
    assert totals == TOTALS
    for dataset, splits in facs.CLASS_COUNTS.items():
        for counts in splits.values():
            assert len(counts) == len(facs.expressions_of(dataset))


def test_dfew_folds_share_out_the_same_clips():
    counts = {split: np.array(values) for split, values in facs.CLASS_COUNTS["dfew"].items()}
    pooled = sum(counts[f"test_{k}"] for k in range(1, 6))
    assert pooled.tolist() == [2445, 1894, 2669, 2173, 1469, 145, 902]
    for k in range(1, 6):
        np.testing.assert_array_equal(counts[f"train_{k}"] + counts[f"test_{k}"], pooled)


@pytest.mark.parametrize(("split", "total"), [("train_1", 6059), ("test_1", 1517)])
def test_mafw_maps_to_the_seven_basic_classes(split, total):
    kept = np.zeros(7, int)
    for count, target in zip(
        facs.CLASS_COUNTS["mafw"][split], facs.label_map("mafw", "mafw7"), strict=True
    ):
        if target >= 0:
            kept[target] += count
    assert kept.sum() == total
    # happy <- MAFW 3, sad 5, neutral 4, angry 0, surprise 6, disgust 1, fear 2
    source = facs.CLASS_COUNTS["mafw"][split]
    assert kept.tolist() == [source[i] for i in (3, 5, 4, 0, 6, 1, 2)]


def test_label_maps():
    assert facs.label_map("rafdb", "dfew") == (4, 6, 5, 0, 1, 3, 2)
    assert facs.label_map("affectnet8", "affectnet7") == (0, 1, 2, 3, 4, 5, 6, -1)
    assert facs.label_map("ravdess", "dfew")[:2] == (2, -1)  # calm has no counterpart
    assert facs.label_map("ferv39k_alphabetical", "ferv39k") == (3, 5, 6, 0, 2, 1, 4)
    assert facs.label_map(["Happy", "sad"], "rafdb") == (3, 4)
    for dataset in facs.LABEL_ORDERS:
        identity = facs.label_map(dataset, dataset)
        assert identity == tuple(range(len(identity)))


@pytest.mark.parametrize(
    ("dataset", "label", "index"),
    [
        ("rafdb", 1, 0),
        ("rafdb", 7, 6),
        ("dfew", 7, 6),
        ("affectnet8", 7, 7),
        ("affectnet7", 7, -1),
        ("affectnet7", 10, -1),
        ("ferplus", 0, 0),
        ("ferplus", 9, -1),
        ("ravdess", 8, 7),
        ("affwild2", -1, -1),
        ("affwild2", 7, -1),
        ("affwild2", "Other", -1),
        ("ferv39k", "Angry", 3),
        ("ferv39k_alphabetical", "Angry", 0),
        ("mafw", "disappointment", 10),
        ("mafw7", "disappointment", -1),
    ],
)
def test_stored_label(dataset, label, index):
    assert facs.stored_label(dataset, label) == index


@pytest.mark.parametrize(
    ("spelling", "name"),
    [("Happy", "happiness"), ("disgusted", "disgust"), (" Contemptuous", "contempt")],
)
def test_other_spellings_of_expressions(spelling, name):
    assert facs.expression(spelling) == name


def test_orders_spell_canonical_names():
    for order in facs.LABEL_ORDERS.values():
        assert all(facs.expression(name) == name for name in order.expressions)
        assert len(set(order.expressions)) == len(order.expressions)
    assert facs.expressions_of("dfew")[:2] == ("happiness", "sadness")
    assert facs.expressions_of("mafw_alphabetical")[:3] == ("anger", "anxiety", "contempt")


def test_minor_expressions_hold_less_than_a_seventh():
    for dataset, split in (("dfew", "train_1"), ("ferv39k", "train")):
        counts = np.array(facs.CLASS_COUNTS[dataset][split])
        minor = {
            name
            for name, count in zip(facs.expressions_of(dataset), counts, strict=True)
            if count * 7 < counts.sum()
        }
        assert minor == set(facs.MINOR_EXPRESSIONS)


def test_prototypes():
    for table in facs.PROTOTYPES.values():
        for name, aus in table.items():
            assert name in facs.EXPRESSIONS
            assert set(aus) <= set(facs.AUS)
    sources = [facs.PROTOTYPES[name] for name in ("emfacs", "facs_1978", "codebook")]
    for name, aus in facs.PROTOTYPES["union"].items():
        union = {au for table in sources for au in table.get(name, ())}
        assert set(aus) == union - ({5} if name == "disgust" else set())
