"""Tiny made-up datasets for the tests of the data chain."""

import json

import cv2
import numpy as np
import places

from aufer_jax.data import records
from aufer_jax.geometry import align

AUS = (1, 2, 4, 6, 12, 25)
EXPRESSIONS = ("neutral", "happiness", "anger")
EXAMPLE = json.loads((places.GOLDEN / "mvfer_example.json").read_text())
PHOTO_LANDMARKS = np.array(EXAMPLE["landmarks"])  # in a photograph
FACE_LANDMARKS = align.transform(PHOTO_LANDMARKS, align.face_matrix(PHOTO_LANDMARKS, 112))


def encode(image):
    return cv2.imencode(".png", image)[1].tobytes()


def picture(seed, size=112):
    noise = np.random.default_rng(seed).integers(0, 256, (size, size, 3)).astype(np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 2)  # BGR


def info(name="toy", kind=records.IMAGE, **changes):
    fields = {
        "expressions": EXPRESSIONS,
        "aus": AUS,
        "splits": {"train": 20, "validation": 5, "test": 5},
        "licence": "none",
        "how_to_get": "made up",
    }
    return records.DatasetInfo(name, kind, **(fields | changes))


def image_record(i, **changes):
    rng = np.random.default_rng(i)
    record = {
        "key": f"face{i}",
        "image": encode(picture(i)),
        "expression": i % 3,
        "au": rng.integers(0, 6, len(AUS)),
        "au_known": np.arange(len(AUS)) != i % len(AUS),
        "landmarks": FACE_LANDMARKS + rng.normal(0, 0.5, (68, 2)),
    }
    return records.complete(record | changes, records.IMAGE)


def images(count=20, name="toy", **changes):
    return records.MemorySource(info(name), [image_record(i, **changes) for i in range(count)])


def clip_record(i, frames=6, **changes):
    record = {
        "key": f"clip{i}",
        "frames": [encode(picture(10 * i + t, 32)) for t in range(frames)],
        "expression": i % 3,
        "au": np.random.default_rng(i).integers(0, 3, (frames, len(AUS))),
        "au_known": np.ones(len(AUS), bool),
    }
    return records.complete(record | changes, records.CLIP)


def clip_source(count=8):
    return records.MemorySource(
        info("toyclips", records.CLIP), [clip_record(i) for i in range(count)]
    )
