import cv2
import numpy as np
import toydata
from skimage.transform import SimilarityTransform

from aufer_jax.geometry import align, landmarks

EXAMPLE = toydata.EXAMPLE


def test_five_points_of_the_worked_example():
    points = landmarks.five_points(toydata.PHOTO_LANDMARKS)
    np.testing.assert_allclose(points, EXAMPLE["five_points"], atol=1e-4)


def test_matrix_scale_and_residual_of_the_worked_example():
    matrix = align.face_matrix(toydata.PHOTO_LANDMARKS, 112)
    np.testing.assert_allclose(matrix, EXAMPLE["matrix"], atol=3e-5)
    np.testing.assert_allclose(np.hypot(*matrix[:, 0]), EXAMPLE["scale"], atol=1e-6)
    error = align.transform(np.array(EXAMPLE["five_points"]), matrix) - EXAMPLE["template"]
    rms = np.sqrt((error**2).sum(-1).mean())
    np.testing.assert_allclose(rms, EXAMPLE["residual_rms"], atol=1e-3)


def test_similarity_agrees_with_umeyama():
    rng = np.random.default_rng(0)
    source, target = rng.normal(size=(5, 2)), rng.normal(size=(5, 2))
    target += 3 * source  # near enough to a similarity for Umeyama not to reflect
    reference = SimilarityTransform.from_estimate(source, target)
    np.testing.assert_allclose(align.similarity(source, target), reference.params[:2], atol=1e-9)


def test_a_similarity_is_recovered_and_never_a_mirror():
    points = np.random.default_rng(1).normal(size=(5, 2))
    angle = 0.4
    matrix = np.array([[np.cos(angle), -np.sin(angle), 3], [np.sin(angle), np.cos(angle), -2]])
    np.testing.assert_allclose(align.similarity(points, align.transform(points, matrix)), matrix)
    assert np.linalg.det(align.similarity(points, points * [-1, 1])[:, :2]) > 0


def test_equal_or_unknown_points_have_no_finite_map():
    good = align.TEMPLATE + 1
    maps = align.similarity(
        np.stack([np.ones((5, 2)), np.full((5, 2), np.nan), good]), align.TEMPLATE
    )
    assert np.isfinite(maps).all((1, 2)).tolist() == [False, False, True]
    np.testing.assert_allclose(maps[2], [[1, 0, -1], [0, 1, -1]], atol=1e-12)


def test_many_faces_are_aligned_as_one_by_one():
    faces = toydata.PHOTO_LANDMARKS + np.random.default_rng(0).normal(0, 9, (4, 68, 2))
    maps = align.face_matrix(faces, 112)
    moved = align.transform(faces, maps)
    for i in range(4):
        np.testing.assert_allclose(maps[i], align.face_matrix(faces[i], 112))
        np.testing.assert_allclose(moved[i], align.transform(faces[i], maps[i]))


def test_template_scales_with_the_size():
    np.testing.assert_allclose(align.template(224)[0], [76.5892, 103.3926])


def test_compose_applies_the_first_then_the_second():
    rng = np.random.default_rng(2)
    first, second, points = (
        rng.normal(size=(2, 3)),
        rng.normal(size=(2, 3)),
        rng.normal(size=(7, 2)),
    )
    both = align.transform(align.transform(points, first), second)
    np.testing.assert_allclose(align.transform(points, align.compose(second, first)), both)


def test_resize_matrix_is_opencv_s_resize():
    image = toydata.picture(0, 96)[:80]
    warped = align.warp(image, align.resize_matrix(80, 96, 112), 112)
    resized = cv2.resize(image, (112, 112))
    assert np.abs(warped[1:-1, 1:-1].astype(int) - resized[1:-1, 1:-1]).max() <= 2


def test_shrinking_averages_whole_blocks():
    image = np.zeros((64, 64, 3), np.uint8)
    image[::4] = 200  # one bright row in four: plain bilinear sampling would see some or none
    small = align.warp(image, align.resize_matrix(64, 64, 16), 16)
    assert np.abs(small.astype(int) - 50).max() <= 1


def test_warp_puts_landmarks_where_transform_says():
    image = np.zeros((200, 200, 3), np.uint8)
    cv2.circle(image, (120, 90), 4, (255, 255, 255), -1)
    matrix = align.similarity(align.TEMPLATE * 1.6 + [5, -8], align.TEMPLATE)
    face = align.warp(image, matrix, 112)[..., 0].astype(float)
    y, x = (np.indices(face.shape) * face).sum((1, 2)) / face.sum()
    np.testing.assert_allclose(
        [x, y], align.transform(np.array([[120.0, 90.0]]), matrix)[0], atol=0.1
    )
