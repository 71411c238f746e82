import numpy as np
import pytest
import toydata

from aufer_jax import facs
from aufer_jax.data import heatmaps
from aufer_jax.data.heatmaps import HeatmapSpec

EXAMPLE = toydata.EXAMPLE
FACE = toydata.FACE_LANDMARKS


@pytest.mark.parametrize("au", sorted(EXAMPLE["per_au"], key=int))
def test_each_au_of_the_worked_example(au):
    expected = EXAMPLE["per_au"][au]
    centres, ruler = heatmaps.au_centres(FACE, int(au))
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
    for place, value in EXAMPLE["merged_max"]["values"].items():
        x, y = map(int, place.split(","))
        np.testing.assert_allclose(heatmap[y, x, 0], value, atol=1e-5)


@pytest.mark.parametrize("combine", heatmaps.COMBINE)
@pytest.mark.parametrize("per_au", [False, True])
def test_numpy_and_jax_agree(combine, per_au):
    import jax
    import jax.numpy as jnp

    spec = HeatmapSpec(size=14, combine=combine, per_au=per_au)
    faces = np.stack([FACE, np.full((68, 2), np.nan), FACE * 1.3 - 20]).astype(np.float32)
    host, host_valid = heatmaps.draw(faces, spec, 112)
    device, valid = jax.jit(lambda x: heatmaps.draw(x, spec, 112, jnp))(faces)
    assert device.shape == (3, 14, 14, 23 if per_au else 1)
    np.testing.assert_allclose(device, host, atol=1e-5)
    np.testing.assert_array_equal(valid, host_valid)
    np.testing.assert_array_equal(host_valid, [True, False, True])
    assert not host[1].any()


@pytest.mark.parametrize("rules", heatmaps.RULES)
@pytest.mark.parametrize("per_au", [False, True])
def test_the_mirrored_face_has_the_mirrored_map(rules, per_au):
    spec = HeatmapSpec(size=28, rules=rules, per_au=per_au)
    heatmap, _ = heatmaps.draw(FACE, spec, 112)
    mirrored, _ = heatmaps.draw(facs.flip68(FACE, 112), spec, 112)
    np.testing.assert_allclose(mirrored, heatmap[:, ::-1], atol=1e-5)


def test_a_turned_face_has_the_same_rulers_and_turned_centres():
    turn = np.array([[0.0, -1.0], [1.0, 0.0]])
    for au in facs.HEATMAP_23:
        centres, ruler = heatmaps.au_centres(FACE, au)
        turned, same = heatmaps.au_centres(FACE @ turn.T, au)
        np.testing.assert_allclose(turned, centres @ turn.T, atol=1e-4)
        np.testing.assert_allclose(same, ruler, atol=1e-6)


def test_anatomical_centres():
    # AU14 lies 0.2 rulers outside the lip corners, AU17 midway between lower lip and chin tip.
    published, ruler = heatmaps.au_centres(FACE, 14)
    anatomical, _ = heatmaps.au_centres(FACE, 14, "anatomical")
    np.testing.assert_allclose(np.linalg.norm(anatomical - published, axis=1), 0.2 * ruler)
    assert anatomical[0, 0] < published[0, 0] and anatomical[1, 0] > published[1, 0]
    chin, _ = heatmaps.au_centres(FACE, 17, "anatomical")
    np.testing.assert_allclose(chin, [(FACE[57] + FACE[8]) / 2])
    same, _ = heatmaps.au_centres(FACE, 12, "anatomical")
    np.testing.assert_allclose(same, heatmaps.au_centres(FACE, 12)[0])


def test_profiles_keep_a_ruler():
    profile = FACE.copy()
    profile[42] = profile[39] + 1  # the far eye vanishes behind the nose
    eyes = (profile[36:42].mean(0) + profile[42:48].mean(0)) / 2
    distance = np.linalg.norm((profile[48] + profile[54]) / 2 - eyes)
    np.testing.assert_allclose(heatmaps.au_centres(profile, 1)[1], 0.4 * distance)


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
    x, y = np.rint(heatmaps.au_centres(FACE, 1)[0][0] / 2).astype(int)
    assert twice[y, x, 0] < 0.6


def test_an_au_far_outside_the_image_is_left_out():
    moved = FACE + [0, 45]  # the mouth leaves the image, the brows stay
    heatmap, valid = heatmaps.draw(moved, HeatmapSpec(per_au=True, aus=(1, 26)), 112)
    assert valid and heatmap[..., 0].max() > 0.9
    assert not heatmap[..., 1].any()


def test_wrong_options_are_named():
    with pytest.raises(ValueError, match="anatomical"):
        HeatmapSpec(rules="anatomic")
    with pytest.raises(ValueError, match=r"heatmap\.aus"):
        HeatmapSpec(aus=(3,))
    with pytest.raises(ValueError, match="sigma"):
        HeatmapSpec(sigma=0)
