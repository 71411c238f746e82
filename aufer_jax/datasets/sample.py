"""What recipes must know of a prepared dataset, from its counts and a sample of its records."""

import dataclasses
import os
from collections import Counter

import numpy as np

from aufer_jax.data import records, views
from aufer_jax.data.records import Record
from aufer_jax.datasets import catalog, judge, splits
from aufer_jax.geometry import align
from aufer_jax.geometry.landmarks import known

_RECORDS = 200  # that are looked at
_SIDE = 32  # of the pictures on which is measured what an image does not show


@dataclasses.dataclass(frozen=True)
class There:
    """What is there.

    Attributes:
      name, kind: of the dataset; kind is "image" or "clip".
      training: class -> records to train with; validation: records to validate on.
      aus: those that it annotates.
      landmarks: the share of records whose faces can be aligned.
      outside: the mean share of an aligned face that its image does not show; black bars are not shown.
    """

    name: str
    kind: str
    training: dict[str, int]
    validation: int
    aus: tuple[int, ...]
    landmarks: float
    outside: float

    @property
    def records(self) -> int:
        """How many records the training split has."""
        return sum(self.training.values())

    @property
    def skew(self) -> tuple[float, str, str]:
        """How many times as frequent the most frequent class is as the least, and both names."""
        counts = {name: count for name, count in self.training.items() if count}
        if not counts:
            return 1.0, "", ""
        most, least = max(counts, key=counts.__getitem__), min(counts, key=counts.__getitem__)
        return counts[most] / counts[least], most, least


def look(name: str, data_dir: str | os.PathLike | None = None) -> There | None:
    """What there is of a prepared dataset; None if it is not there."""
    if catalog.prepared(name, data_dir) is None:
        return None
    info = catalog.info(name, data_dir)
    train = splits.TRAIN if splits.TRAIN in info.splits else next(iter(info.splits))
    source = catalog.source(name, train, data_dir)
    places = np.linspace(0, len(source) - 1, min(_RECORDS, len(source))).round().astype(int)
    seen = [source[int(place)] for place in places]
    faces = [_face(record) for record in seen]
    outside = [share for share in map(_outside, faces) if share is not None]
    facts = judge.of_prepared(name, data_dir)
    if facts is None:  # prepared by an earlier version
        labels = Counter(record["expression"] for record in seen)
        scale = len(source) / len(seen)
        training = {n: round(labels[i] * scale) for i, n in enumerate(info.expressions)}
    else:
        training = facts.training
    return There(
        name=name,
        kind=info.kind,
        training=training,
        validation=info.splits.get(splits.VALIDATION) or 0,
        aus=info.aus,
        landmarks=len(outside) / max(len(seen), 1),
        outside=float(np.mean(outside)) if outside else 0.0,
    )


def _face(record: Record) -> tuple[bytes, np.ndarray]:
    """An image and its landmarks; of a clip, its middle frame."""
    if "image" in record:
        return record["image"], record["landmarks"]
    middle = len(record["frames"]) // 2
    if not record["frames"]:
        return b"", np.full((records.LANDMARKS, 2), np.nan)
    return record["frames"][middle], record["landmarks"][middle]


def _outside(face: tuple[bytes, np.ndarray]) -> float | None:
    """The share of the aligned face that the image does not show; None without landmarks or image."""
    data, landmarks = face
    image = views.decode(data)
    if image is None or not known(landmarks)[1]:
        return None
    matrix = align.face_matrix(landmarks, _SIDE)
    return align.outside(image, matrix, _SIDE) if np.isfinite(matrix).all() else None
