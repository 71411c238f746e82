"""The margin around the faces of records, told from their landmarks."""

import numpy as np
import pytest
import toydata

from aufer_jax.data import framing, records
from aufer_jax.faces import crops, detect

POINTS = toydata.PHOTO_LANDMARKS


def source(found):
    return records.MemorySource(toydata.info(), found)


def cropped(size, margin, moved=0.0):
    """A record of a face as `aufer faces align` cuts it out."""
    points = POINTS + moved
    face = detect.Face(detect.box_of(points), 1.0, points, "landmarks")
    image, matrix = crops.aligned(np.zeros((9, 9, 3), np.uint8), face, size, margin)
    landmarks = points @ matrix[:, :2].T + matrix[:, 2]
    return toydata.image_record(0, image=toydata.encode(image), landmarks=landmarks)


@pytest.mark.parametrize("margin", [-0.1, 0.0, 0.15, 1.0])
def test_the_margin_of_crops_is_found(margin):
    found = [cropped(size, margin, size) for size in (48, 112, 200)]
    assert framing.margin(source(found)) == margin


def test_unknown_faces_and_broken_pictures_do_not_count():
    unknown = toydata.image_record(1, landmarks=np.full((68, 2), np.nan))
    broken = cropped(64, 0.0) | {"image": b"none"}
    assert framing.margin(source([unknown, broken])) == 0
    assert framing.margin(source([])) == 0
    assert framing.margin(source([unknown, broken, cropped(64, 0.4)])) == 0.4


def test_clips_are_told_by_their_first_frame():
    record = cropped(64, 0.2)
    clip = toydata.clip_record(0, 3) | {
        "frames": [record["image"]] * 3,
        "landmarks": np.stack([record["landmarks"], np.full((68, 2), np.nan), record["landmarks"]]),
    }
    assert (
        framing.margin(source([clip, clip | {"frames": [], "landmarks": np.zeros((0, 68, 2))}]))
        == 0.2
    )
