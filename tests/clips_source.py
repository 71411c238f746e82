"""Fabricated sources of clips: frames of drawn faces, videos, and the AU files of OpenFace."""

import cv2
import faces_source as faces
import numpy as np

from aufer_jax.datasets import catalog, prepare

AUS = (
    1,
    2,
    4,
    5,
    6,
    7,
    9,
    10,
    12,
    14,
    15,
    17,
    20,
    23,
    25,
    26,
    28,
    45,
)  # of OpenFace's `_c` columns


def write(path, data):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())


def frame(index):
    """A PNG of 16 x 16 whose pixels tell its index."""
    rng = np.random.default_rng(index)
    image = rng.integers(0, 256, (16, 16, 3), np.uint8)
    image[:8] = index % 256
    return faces.encoded(image, ".png")


def folder(path, count, first=0, name="{:05}.png"):
    """A folder of frames, numbered from 1."""
    for i in range(count):
        write(path / name.format(i + 1), frame(first + i))


def video(path, count, size=(64, 48), code="MJPG"):
    """Frame i is grey of value 8 i."""
    path.parent.mkdir(parents=True, exist_ok=True)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*code), 25, size)
    for i in range(count):
        writer.write(np.full((size[1], size[0], 3), min(8 * i, 255), np.uint8))
    writer.release()


def openface(rows, presence=AUS, points=None):
    """An OpenFace CSV; rows are (frame, confidence, AUs present). Intensities are 2.5 or 0.

    `points` are the landmarks [68, 2] of each row.
    """
    head = ["frame", "face_id", "timestamp", "confidence", "success"]
    columns = [*(f"AU{au:02}_r" for au in AUS if au != 28), *(f"AU{au:02}_c" for au in presence)]
    if points is not None:
        columns += [f"{axis}_{i}" for axis in "xyXY" for i in range(68)]  # X, Y are millimetres
    lines = [", ".join(head + columns)]
    for row, (number, confidence, present) in enumerate(rows):
        cells = [number, 0, (number - 1) / 25, confidence, int(confidence > 0.5)]
        cells += [2.5 * (au in present) for au in AUS if au != 28]
        cells += [float(au in present) for au in presence]
        if points is not None:
            cells += [*np.ravel(np.transpose(points[row])), *[777.0] * 136]
        lines.append(", ".join(f"{cell:g}" for cell in cells))
    return "\n".join(lines) + "\n"


def pixels(data):
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    return image


def run(source, data_dir, **options):
    return prepare.prepare("clips", source, name="mine", data_dir=data_dir, **options)


def records(data_dir, name="mine"):
    found = {}
    for split in catalog.info(name, data_dir).splits:
        source = catalog.source(name, split, data_dir)
        found |= {record["key"]: record for record in map(source.__getitem__, range(len(source)))}
    return found
