"""The face chain: boxes of the anchors, crops and their way back, a photograph, the turn of a head."""

import cv2
import numpy as np
import pytest

from aufer_jax import facs
from aufer_jax.faces import boxes, chain, crops, detect
from aufer_jax.geometry import align, landmarks, pose
from aufer_jax.geometry.mean_face import NEUTRAL

# MediaPipe 0.10.21's eye centres in scikit-image's portrait, as pixel indices.
EYES = np.array([[203.02, 101.00], [246.61, 103.28]])


@pytest.fixture(scope="module")
def portrait():
    data = pytest.importorskip("skimage.data")
    return data.astronaut()


@pytest.fixture(scope="module")
def face(portrait):
    (found,) = chain.MeshDetector().read([portrait])[0]
    return found


def error(points, eyes=EYES):
    found = landmarks.five_points(points)[:2]
    return np.linalg.norm(found - eyes, axis=-1).max() / np.linalg.norm(eyes[1] - eyes[0])


# --- Boxes --------------------------------------------------------------------------------------


def test_anchors_are_the_middles_of_cells_row_by_row():
    assert boxes.ANCHORS.shape == (896, 2)
    np.testing.assert_allclose(boxes.ANCHORS[:4], np.array([[1, 1], [1, 1], [3, 1], [3, 1]]) / 32)
    np.testing.assert_allclose(boxes.ANCHORS[32], [1 / 32, 3 / 32])
    coarse = boxes.ANCHORS[[512, 517, 518, 895]]
    np.testing.assert_allclose(coarse, np.array([[1, 1], [1, 1], [3, 1], [15, 15]]) / 16)


def test_raw_outputs_become_pixels():
    raw, scores = np.zeros((896, 16), np.float32), np.zeros(896, np.float32)
    raw[0] = [2, 3, 40, 20, 1, -1, *[0] * 10]
    scores[:2] = 200, -200
    points, sure = map(np.asarray, boxes.decode(raw, scores))
    # The first anchor lies 4 pixels from the edges, which is at the pixel index 3.5.
    np.testing.assert_allclose(points[0, :3], [[-14.5, -3.5], [25.5, 16.5], [4.5, 2.5]])
    np.testing.assert_allclose(points[0, 3:], np.full((5, 2), 3.5))
    np.testing.assert_allclose(sure[:3], [1, 0, 0.5], atol=1e-6)


def test_overlapping_finds_are_averaged_by_their_scores():
    def find(left, top, side):
        points = np.zeros((8, 2))
        points[:2] = [left, top], [left + side, top + side]
        points[2:] = left
        return points

    # The second overlaps the first by 90 / 110; the third touches neither.
    finds = np.stack([find(0, 0, 10), find(1, 0, 10), find(40, 40, 5)])
    points, scores = boxes.merge(finds, np.array([0.5, 0.75, 0.6]))
    np.testing.assert_allclose(scores, [0.75, 0.6])
    np.testing.assert_allclose(points[0, 0], [0.6, 0], atol=1e-6)
    np.testing.assert_allclose(points[0, 2:], 0.6, atol=1e-6)
    np.testing.assert_allclose(points[1], finds[2])
    none, no_scores = boxes.merge(finds[:0], np.zeros(0))
    assert none.shape == (0, 8, 2) and no_scores.shape == (0,)


# --- Crops and half pixels ----------------------------------------------------------------------


def test_edges_of_a_picture_meet_edges_of_the_detector_s():
    # 256 x 128 fills the width: pixel edges -0.5 and 255.5 become -0.5 and 127.5.
    edges = np.array([[-0.5, -0.5], [255.5, 127.5]])
    np.testing.assert_allclose(
        align.transform(edges, chain.letterbox((128, 256))), [[-0.5, 31.5], [127.5, 95.5]]
    )
    # With a quarter on each side it is 1.5 times as small, around the same middle.
    np.testing.assert_allclose(
        align.transform(edges, chain.letterbox((128, 256), 0.25)),
        [[63.5 - 64 / 1.5, 63.5 - 32 / 1.5], [63.5 + 64 / 1.5, 63.5 + 32 / 1.5]],
    )


def test_crops_are_upright_and_lead_back():
    points = np.zeros((8, 2))
    points[:4] = [10, 20], [50, 40], [20, 30], [20, 50]  # the eyes one above the other
    matrix = chain.upright(points)
    left, right, middle = align.transform(np.array([[20, 30], [20, 50], [30, 30]]), matrix)
    np.testing.assert_allclose(middle, [127.5, 127.5])
    np.testing.assert_allclose(right - left, [20 * 256 / 60, 0], atol=1e-9)
    mesh = np.array([[*(left + 0.5), 256 / 60], [128, 128, 0]])
    np.testing.assert_allclose(chain._back(mesh, matrix), [[20, 30, 1], [30, 30, 0]], atol=1e-5)


# --- A photograph -------------------------------------------------------------------------------


def test_the_portrait_is_read(portrait, face):
    assert error(face.landmarks) < 0.02
    assert face.mesh.shape == (478, 3) and face.presence > 0.99 and face.score > 0.8
    left, top, right, bottom = face.box
    assert left < EYES[0, 0] and EYES[1, 0] < right and top < EYES[0, 1] < bottom
    assert np.abs(face.pose).max() < 12  # looks ahead
    shapes = dict(zip(facs.BLENDSHAPES, face.blendshapes, strict=True))
    assert min(shapes["mouthSmileLeft"], shapes["mouthSmileRight"]) > 0.7  # and smiles
    assert max(shapes["mouthFrownLeft"], shapes["mouthPucker"], shapes["eyeBlinkLeft"]) < 0.2
    (told,) = detect.create("mesh")(portrait)
    assert told.points == "landmarks"
    np.testing.assert_allclose(told.landmarks, face.landmarks, atol=0.05)


def test_a_mirrored_picture_gives_mirrored_points(portrait, face):
    (mirrored,) = chain.MeshDetector().read([portrait[:, ::-1]])[0]
    back = landmarks.flip(mirrored.landmarks, portrait.shape[1])
    size = np.linalg.norm(EYES[1] - EYES[0])
    assert np.linalg.norm(back - face.landmarks, axis=-1).max() < 0.05 * size
    # Half a pixel more or less in the crop would show twice.
    assert np.abs((back - face.landmarks).mean(0)).max() < 0.01 * size
    np.testing.assert_allclose(mirrored.pose * (1, -1, -1), face.pose, atol=3)


def test_pictures_of_all_sizes_at_once(portrait):
    around = portrait[:250, 100:350]
    pictures = [
        cv2.cvtColor(portrait, cv2.COLOR_RGB2GRAY),
        portrait[60:190, 150:290],  # found with a rim only
        np.zeros((8, 300, 3), np.uint8),
        np.zeros((1, 1, 3), np.uint8),
        np.concatenate([around, around], 1),
    ]
    grey, tight, thin, dot, twins = chain.MeshDetector().read(pictures)
    assert error(grey[0].landmarks) < 0.04
    assert error(tight[0].landmarks, EYES - [150, 60]) < 0.04
    assert thin == dot == []
    lefts = sorted(twins, key=lambda found: found.box[0])
    for found, shift in zip(lefts, (100, -150), strict=True):
        assert error(found.landmarks, EYES - [shift, 0]) < 0.04
    assert chain.MeshDetector().read([]) == []


def test_photographs_are_aligned_by_default(tmp_path, portrait):
    (tmp_path / "in").mkdir()
    cv2.imwrite(str(tmp_path / "in" / "p.png"), portrait[..., ::-1])
    found = crops.align_folder(tmp_path / "in", tmp_path / "out", size=64)
    assert "1 of 1 photographs have a face: 1 by landmarks." in str(found)
    held = np.load(tmp_path / "out" / crops.LANDMARKS)["points"]
    five = landmarks.five_points(held)[0]
    assert np.abs(five - align.template(64)).max() < 4


# --- The turn of a head -------------------------------------------------------------------------


def mesh_of(points):
    """A mesh whose 68 points, with their depth, are these [68, 3]."""
    mesh = np.zeros((478, 3), np.float32)
    for which in (landmarks._FIRST, landmarks._LAST):
        mesh[which] = points
    return mesh


@pytest.mark.parametrize("turn", [(0, 0, 0), (20, 0, 0), (0, -30, 0), (0, 0, 40), (10, -20, 30)])
def test_the_turn_of_a_head_is_found(turn):
    pitch, roll, yaw = np.radians(turn)
    about_x = cv2.Rodrigues(np.array([pitch, 0, 0]))[0]
    about_y = cv2.Rodrigues(np.array([0, yaw, 0]))[0]
    about_z = cv2.Rodrigues(np.array([0, 0, roll]))[0]
    rest = NEUTRAL * (1, 1, -1)
    points = 80 * rest @ (about_x @ about_y @ about_z).T + [200, 100, 7]
    np.testing.assert_allclose(pose.angles(mesh_of(points)), turn, atol=0.01)
    if yaw > 0 and not pitch and not roll:
        eyes, nose = landmarks.five_points(points[:, :2])[:2].mean(0), points[30]
        assert nose[0] < eyes[0]  # to the left of the picture
