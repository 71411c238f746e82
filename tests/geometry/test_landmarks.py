"""Every form of landmarks becomes iBUG-68, against the table and its mirror table of the fixture."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import places
import pytest
import toydata

from aufer_jax.geometry import align, landmarks

TABLE = json.loads((places.GOLDEN / "ibug68_to_mediapipe.json").read_text())
FIVE = np.array(toydata.EXAMPLE["five_points"], np.float32)


def mesh(seed, vertices=468, dimensions=2):
    return np.random.default_rng(seed).uniform(0, 300, (vertices, dimensions))


@pytest.mark.parametrize("vertices", landmarks.MESH)
def test_mesh_points_are_the_means_of_the_table(vertices):
    points = mesh(0, vertices, 3)
    expected = [points[TABLE["points"][str(i)], :2].mean(0) for i in range(68)]
    found = landmarks.from_mesh(points)
    assert found.shape == (68, 2) and found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_the_mirrored_mesh_gives_the_mirrored_points():
    points, width = mesh(1), 300
    mirrored = points[TABLE["flip468"]] * [-1, 1] + [width - 1, 0]
    expected = landmarks.flip(landmarks.from_mesh(points), width)
    np.testing.assert_allclose(landmarks.from_mesh(mirrored), expected, atol=1e-4)


def test_five_points_are_put_where_ibug_has_them():
    found = landmarks.from_five(FIVE)
    assert (found[36:42] == FIVE[0]).all() and (found[42:48] == FIVE[1]).all()
    np.testing.assert_array_equal(found[[30, 48, 54]], FIVE[2:])
    known = [30, *range(36, 48), 48, 54]
    assert np.isnan(np.delete(found, known, axis=0)).all()
    np.testing.assert_allclose(landmarks.five_points(found), FIVE, atol=1e-5)


def test_five_points_are_enough_to_align():
    matrix = align.face_matrix(landmarks.from_five(FIVE), 112)
    np.testing.assert_allclose(matrix, toydata.EXAMPLE["matrix"], atol=3e-5)


def test_five_points_mirror_like_all_others():
    swapped = FIVE[[1, 0, 2, 4, 3]] * [-1, 1] + [349, 0]
    expected = landmarks.flip(landmarks.from_five(FIVE), 350)
    np.testing.assert_allclose(landmarks.from_five(swapped), expected, atol=1e-4)


@pytest.mark.parametrize("count", [5, 68, 468, 478])
def test_the_number_of_points_tells_their_form(count):
    points = np.stack([mesh(i, count) for i in range(3)])
    found = landmarks.from_any(points)
    assert found.shape == (3, 68, 2) and found.dtype == np.float32
    one_by_one = {5: landmarks.from_five, 68: np.float32}.get(count, landmarks.from_mesh)
    for points_, found_ in zip(points, found, strict=True):
        np.testing.assert_array_equal(found_, one_by_one(points_))


def test_other_numbers_of_points_are_named():
    with pytest.raises(ValueError, match=r"number of landmarks: 467 .* 5, 68, 468, 478"):
        landmarks.from_any(mesh(0, 467))
    with pytest.raises(ValueError, match="choose one of: 468, 478"):
        landmarks.from_mesh(mesh(0, 68))
    with pytest.raises(ValueError, match=r"shape \(136,\)"):
        landmarks.from_any(np.zeros(136))


@pytest.mark.parametrize("xp", [np, jnp])
def test_what_is_known(xp):
    whole = toydata.FACE_LANDMARKS.astype(np.float32)
    no_chin, no_nose = whole.copy(), whole.copy()
    no_chin[8], no_nose[30] = np.nan, np.nan
    faces = np.stack([whole, landmarks.from_five(FIVE), no_chin, no_nose, whole * np.nan])
    known = landmarks.known
    if xp is jnp:
        known = jax.jit(lambda x: landmarks.known(x, jnp))
    all_known, five_known = known(faces)
    assert all_known.tolist() == [True, False, False, False, False]
    assert five_known.tolist() == [True, True, True, False, False]
