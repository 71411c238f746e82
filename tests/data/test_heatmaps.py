import json

import numpy as np
import places
import pytest
import toydata

from aufer_jax import facs
from aufer_jax.data import heatmaps
from aufer_jax.data.heatmaps import HeatmapSpec
from aufer_jax.geometry import align, landmarks

EXAMPLE = toydata.EXAMPLE
FACE = toydata.FACE_LANDMARKS
REGIONS = json.loads((places.GOLDEN / "au_regions.json").read_text())
FIVE = landmarks.five_points(FACE)  # eye centres, nose tip, mouth corners


def au_centres(face, au, rules="published"):
    """The centres [n, 2] of one AU, and the ruler."""
    return heatmaps.centres(face, (au,), rules)[:2]


def faces(count, seed=0):
    """Plausible landmarks [count, 68, 2]: turned, scaled, moved, and no two points quite as before."""
    rng = np.random.default_rng(seed)
    angle, scale = rng.uniform(-0.4, 0.4, count), rng.uniform(0.6, 1.1, count)
    turn = np.stack([np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)], -1)
    turned = (FACE - 56) @ (scale[:, None] * turn).reshape(count, 2, 2)
    moved = turned + 56 + rng.uniform(-6, 6, (count, 1, 2))
    return (moved + rng.normal(0, 1.5, moved.shape)).astype(np.float32)


@pytest.mark.parametrize("au", sorted(EXAMPLE["per_au"], key=int))
def test_each_au_of_the_worked_example(au):
    expected = EXAMPLE["per_au"][au]
    centres, ruler = au_centres(FACE, int(au))
    np.testing.assert_allclose(centres, expected["centres"], atol=1e-4)
    np.testing.assert_allclose(ruler, EXAMPLE["ruler"], atol=1e-4)
    heatmap, valid = heatmaps.draw(FACE, HeatmapSpec(size=112, aus=(int(au),)), 112)
    assert valid
    np.testing.assert_allclose(heatmap.sum(), expected["sum"], atol=2e-3)
    np.testing.assert_allclose(heatmap.max(), expected["max"], atol=1e-5)


def test_merged_map_of_the_worked_example():
    heatmap, _ = heatmaps.draw(FACE, HeatmapSpec(size=112), 112)
    assert heatmap.shape == (112, 112, 1) and heatmap.dtype == np.float32
    np.testing.assert_allclose(heatmap.sum(), EXAMPLE["merged_max"]["sum"], atol=1e-2)
    np.testing.assert_allclose(heatmap.max(), EXAMPLE["merged_max"]["max"], atol=1e-5)
    for place, value in EXAMPLE["merged_max"]["values"].items():
        x, y = map(int, place.split(","))
        np.testing.assert_allclose(heatmap[y, x, 0], value, atol=1e-5)


def test_the_eye_line_of_the_worked_example():
    # AU20 lies 0.3 rulers out along the eye line u, and 0.1 down, at right angles to it.
    (_, right), ruler = au_centres(FACE, 20)
    x, y = (right - FACE[54]) / ruler
    u = np.array([0.3 * x + 0.1 * y, 0.3 * y - 0.1 * x]) / 0.1
    np.testing.assert_allclose(u, EXAMPLE["u"], atol=1e-5)


@pytest.mark.parametrize("combine", heatmaps.COMBINE)
@pytest.mark.parametrize("per_au", [False, True])
def test_numpy_and_jax_agree(combine, per_au):
    import jax
    import jax.numpy as jnp

    spec = HeatmapSpec(size=14, combine=combine, per_au=per_au)
    five = landmarks.from_five(FIVE * 0.9)
    mixed = np.stack([FACE, np.full((68, 2), np.nan), FACE * 1.3 - 20, five]).astype(np.float32)
    host, host_valid = heatmaps.draw(mixed, spec, 112)
    device, valid = jax.jit(lambda x: heatmaps.draw(x, spec, 112, jnp))(mixed)
    assert device.shape == (4, 14, 14, 23 if per_au else 1)
    np.testing.assert_allclose(device, host, atol=1e-5)
    np.testing.assert_array_equal(valid, host_valid)
    np.testing.assert_array_equal(host_valid, [True, False, True, True])
    np.testing.assert_array_equal(heatmaps.drawable(mixed, jnp), host_valid)
    assert not host[1].any()


@pytest.mark.parametrize("known", [68, 5])
@pytest.mark.parametrize("rules", heatmaps.RULES)
@pytest.mark.parametrize("per_au", [False, True])
@pytest.mark.parametrize("combine", heatmaps.COMBINE)
def test_the_mirrored_face_has_the_mirrored_map(known, rules, per_au, combine):
    spec = HeatmapSpec(size=28, rules=rules, per_au=per_au, combine=combine)
    points = faces(8) if known == 68 else landmarks.from_five(landmarks.five_points(faces(8)))
    heatmap, valid = heatmaps.draw(points, spec, 112)
    mirrored, _ = heatmaps.draw(landmarks.flip(points, 112), spec, 112)
    assert valid.all() and heatmap.max() > 0.9
    np.testing.assert_allclose(mirrored, heatmap[:, :, ::-1], atol=1e-5)


# --- Five points --------------------------------------------------------------------------------


def five_point_oracle(five, size, sigma=0.25):
    """Heatmaps [size, size, 23] of five points, from the table of the fixture, pixel by pixel."""
    left, right, _, *mouth = five
    ruler = 0.561 * np.linalg.norm(right - left)
    ruler = max(ruler, 0.4 * np.linalg.norm(np.mean(mouth, 0) - (left + right) / 2))
    y, x = np.mgrid[:size, :size]
    maps = []
    for au in facs.HEATMAP_23:
        spots = [
            np.array(c["weights"]) @ five for c in REGIONS["aus"][str(au)]["five_point"]["centres"]
        ]
        squares = [((x - cx) ** 2 + (y - cy) ** 2) / (sigma * ruler) ** 2 for cx, cy in spots]
        maps.append(np.exp(-0.5 * np.array(squares)).max(0))
    return np.stack(maps, -1)


def test_five_points_follow_their_weights():
    points = landmarks.five_points(faces(3, seed=1).astype(np.float64))
    points[2, :2] += [[8, 0], [-8, 0]]  # a profile: eye to mouth decides the ruler
    given = landmarks.from_five(points)
    per_au, valid = heatmaps.draw(given, HeatmapSpec(size=112, per_au=True), 112)
    merged, _ = heatmaps.draw(given, HeatmapSpec(size=112), 112)
    assert valid.all()
    for i in range(3):
        expected = five_point_oracle(points[i], 112)
        np.testing.assert_allclose(per_au[i], expected, atol=1e-4)
        np.testing.assert_allclose(merged[i, ..., 0], expected.max(-1), atol=1e-4)


@pytest.mark.parametrize("au", facs.HEATMAP_23)
def test_five_points_come_close_to_all_of_them(au):
    centres, ruler = au_centres(FACE, au)
    close, _ = au_centres(landmarks.from_five(FIVE), au)
    error = np.linalg.norm(close - centres, axis=-1).max() / ruler
    assert error <= 2 * REGIONS["aus"][str(au)]["five_point"]["err_p90"] + 1e-3


def test_anatomical_centres_of_five_points():
    # What lies at an eye or a mouth corner is as exact as with all points, but for the ruler.
    five, ruler = landmarks.from_five(FIVE), 0.561 * np.linalg.norm(FIVE[1] - FIVE[0])
    u = (FIVE[1] - FIVE[0]) / np.linalg.norm(FIVE[1] - FIVE[0])
    v = np.array([-u[1], u[0]])

    def centres(au):
        return au_centres(five, au, "anatomical")[0]

    np.testing.assert_allclose(centres(7), FIVE[:2], atol=1e-4)
    outwards = 0.2 * ruler * np.stack([-u, u])
    np.testing.assert_allclose(centres(14), FIVE[3:] + outwards, atol=1e-4)
    np.testing.assert_allclose(centres(15), FIVE[3:] + 0.3 * ruler * v, atol=1e-4)
    for au in (17, 26):  # one centre, midway between the published two
        expected = au_centres(five, au)[0].mean(0, keepdims=True)
        np.testing.assert_allclose(centres(au), expected, atol=1e-3)
    np.testing.assert_array_equal(centres(4), au_centres(five, 4)[0])


def test_a_face_with_a_gap_is_drawn_from_its_five_points():
    gap = FACE.copy()
    gap[8] = np.nan  # the chin
    found, valid = heatmaps.draw(np.stack([gap, FACE]), HeatmapSpec(size=56), 112)
    five, _ = heatmaps.draw(landmarks.from_five(FIVE), HeatmapSpec(size=56), 112)
    alone, _ = heatmaps.draw(FACE, HeatmapSpec(size=56), 112)
    assert valid.all()
    np.testing.assert_allclose(found[0], five, atol=1e-5)
    np.testing.assert_allclose(found[1], alone, atol=1e-5)


@pytest.mark.parametrize("lost", [30, 36, 47, 48, 54])
def test_without_one_of_the_five_nothing_is_drawn(lost):
    points = FACE.copy()
    points[lost] = np.nan
    heatmap, valid = heatmaps.draw(points, HeatmapSpec(), 112)
    assert not valid and not heatmap.any() and not heatmaps.drawable(points)


# --- Landmarks that are off ---------------------------------------------------------------------


class Ones:
    """A generator whose every draw is one deviation."""

    def standard_normal(self, shape):
        return np.ones(shape)


def test_landmarks_are_off_by_a_share_of_the_distance_of_the_eyes():
    # Eye centres (30, 50) and (60, 90) are 50 pixels apart, and 6 % of that is 3.
    five = landmarks.from_five([[30, 50], [60, 90], [20, 90], [10, 110], [40, 130]])
    off = heatmaps.misplaced(five[None], 0.06, Ones())
    np.testing.assert_allclose(landmarks.five_points(off[0]), landmarks.five_points(five) + 3)
    assert np.isnan(off[0, 0]).all() and off.dtype == five.dtype
    # Of 68 points all are moved, by a deviation of 3 pixels in x and in y; the ends of a 99.9 % interval.
    face = (FACE * 50 / np.linalg.norm(FIVE[1] - FIVE[0])).astype(np.float32)
    moved = heatmaps.misplaced(face, 0.06, np.random.default_rng(0)) - face
    assert (moved != 0).all() and (np.abs(moved.std(0) - 3) < 0.9).all()
    unknown = np.full((1, 68, 2), np.nan, np.float32)
    assert np.isnan(heatmaps.misplaced(unknown, 0.06, Ones())).all()


# --- The rules ----------------------------------------------------------------------------------


def test_a_turned_face_has_the_same_rulers_and_turned_centres():
    turn = np.array([[0.0, -1.0], [1.0, 0.0]])
    for au in facs.HEATMAP_23:
        centres, ruler = au_centres(FACE, au)
        turned, same = au_centres(FACE @ turn.T, au)
        np.testing.assert_allclose(turned, centres @ turn.T, atol=1e-4)
        np.testing.assert_allclose(same, ruler, atol=1e-6)


def test_anatomical_centres():
    # AU14 lies 0.2 rulers outside the lip corners, AU17 midway between lower lip and chin tip.
    published, ruler = au_centres(FACE, 14)
    anatomical, _ = au_centres(FACE, 14, "anatomical")
    np.testing.assert_allclose(np.linalg.norm(anatomical - published, axis=1), 0.2 * ruler)
    assert anatomical[0, 0] < published[0, 0] and anatomical[1, 0] > published[1, 0]
    chin, _ = au_centres(FACE, 17, "anatomical")
    np.testing.assert_allclose(chin, [(FACE[57] + FACE[8]) / 2])
    same, _ = au_centres(FACE, 12, "anatomical")
    np.testing.assert_allclose(same, au_centres(FACE, 12)[0])


def test_profiles_keep_a_ruler():
    profile = FACE.copy()
    profile[42] = profile[39] + 1  # the far eye vanishes behind the nose
    eyes = (profile[36:42].mean(0) + profile[42:48].mean(0)) / 2
    distance = np.linalg.norm((profile[48] + profile[54]) / 2 - eyes)
    np.testing.assert_allclose(au_centres(profile, 1)[1], 0.4 * distance)


def test_a_small_map_samples_the_cell_centres_of_the_large_one():
    small, _ = heatmaps.draw(FACE, HeatmapSpec(size=37, sigma=0.4), 111)
    large, _ = heatmaps.draw(FACE, HeatmapSpec(size=111, sigma=0.4), 111)
    np.testing.assert_allclose(small, large[1::3, 1::3], atol=1e-5)


def test_gaussians_are_never_narrower_than_a_cell():
    narrow, _ = heatmaps.draw(FACE, HeatmapSpec(size=7, sigma=0.01), 112)
    assert narrow.max() > np.exp(-0.5)


def test_sum_is_divided_by_its_maximum():
    spec = HeatmapSpec(size=56, combine="sum")
    heatmap, _ = heatmaps.draw(FACE, spec, 112)
    per_au = [
        heatmaps.draw(FACE, HeatmapSpec(56, combine="sum", aus=(au,)), 112) for au in spec.aus
    ]
    np.testing.assert_allclose(heatmap.max(), 1, atol=1e-6)
    assert all(m.max() == pytest.approx(1) for m, _ in per_au)
    # AUs that share their centres count once each.
    twice, _ = heatmaps.draw(FACE, HeatmapSpec(56, combine="sum", aus=(1, 12, 14)), 112)
    x, y = np.rint(au_centres(FACE, 1)[0][0] / 2).astype(int)
    assert twice[y, x, 0] < 0.6


def test_an_au_far_outside_the_image_is_left_out():
    moved = FACE + [0, 45]  # the mouth leaves the image, the brows stay
    heatmap, valid = heatmaps.draw(moved, HeatmapSpec(per_au=True, aus=(1, 26)), 112)
    assert valid and heatmap[..., 0].max() > 0.9
    assert not heatmap[..., 1].any()


@pytest.mark.parametrize(("place", "drawn"), [(116, True), (118, False)])
def test_how_far_outside_an_au_may_lie(place, drawn):
    """Three sigmas of two pixels from the last pixel, 111."""
    spec = HeatmapSpec(size=56, sigma=0.01, per_au=True, aus=(1, 26))
    moved = FACE + [0, place - au_centres(FACE, 26)[0][0][1]]
    heatmap, _ = heatmaps.draw(moved, spec, 112)
    assert heatmap[..., 1].any() == drawn


def test_a_heatmap_has_one_channel_or_one_for_each_au():
    assert HeatmapSpec(aus=(1, 26)).channels == 1
    assert HeatmapSpec(aus=(1, 26), per_au=True).channels == 2


def test_wrong_options_are_named():
    with pytest.raises(ValueError, match="anatomical"):
        HeatmapSpec(rules="anatomic")
    with pytest.raises(ValueError, match=r"heatmap\.aus"):
        HeatmapSpec(aus=(3,))
    with pytest.raises(ValueError, match="sigma"):
        HeatmapSpec(sigma=0)


def test_the_sigma_that_is_said_is_the_one_that_is_drawn():
    # The template's eyes are 35.24 of 112 pixels apart, the ruler is 0.561 of that.
    face = landmarks.from_five(align.template(64))
    ruler = 0.561 * 35.24 * 64 / 112
    for size, sigma, drawn in ((16, 0.25, 4 / ruler), (16, 0.5, 0.5), (64, 0.25, 0.25)):
        spec = HeatmapSpec(size=size, sigma=sigma, aus=(6,))
        assert heatmaps.drawn_sigma(spec, 64) == pytest.approx(drawn, rel=0.01)
        wide = HeatmapSpec(size=size, sigma=drawn, aus=(6,))
        maps = (heatmaps.draw(face, s, 64)[0] for s in (spec, wide))
        np.testing.assert_allclose(*maps, atol=0.02)
