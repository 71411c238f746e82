"""A dataset of which the card alone is known: its published counts, and blank records."""

import dataclasses
import functools

import cv2
import numpy as np

from aufer_jax import facs
from aufer_jax.data import records
from aufer_jax.datasets import splits
from aufer_jax.datasets.card import Card
from aufer_jax.geometry import mean_face

RECORDS = 10_000  # of a split that no card counts
_SIDE = 32  # pixels of a blank picture


def info(card: Card) -> records.DatasetInfo:
    """What a prepared copy would say, as far as the card knows.

    Nothing is held out for validation: that is decided as a dataset is prepared. Folds that the card does
    not count are as large as its first. Where its files have no AUs, all are taken as joined.

    >>> from aufer_jax.datasets import rafdb
    >>> info(rafdb.CARD).splits
    {'train': 12271, 'test': 3068, 'validation': 0}
    """
    counts: dict[str, int | None] = {name: sum(rows) for name, rows in card.counts.items()}
    if splits.fold(1) in counts:
        for number in range(1, 6):
            counts.setdefault(splits.fold(number), counts[splits.fold(1)])
        counts |= {splits.validation_of(name): 0 for name in list(counts)}
    elif counts:
        counts[splits.VALIDATION] = 0
    return records.DatasetInfo(
        name=card.name,
        kind=card.kind,
        expressions=card.expressions,
        aus=card.aus or tuple(facs.AUS),
        splits=counts or dict.fromkeys(splits.SPLITS),
        licence=card.licence,
        how_to_get=card.how_to_get,
    )


@dataclasses.dataclass(frozen=True)
class Blank:
    """Records with all labels and no picture worth the name, as many as the parts of a split."""

    info: records.DatasetInfo
    split: str

    def __len__(self) -> int:
        found = [self.info.splits[piece.split("[")[0].strip()] for piece in self.split.split("+")]
        return sum(RECORDS if count is None else count for count in found)

    def __getitem__(self, index: int) -> records.Record:
        label = index % len(self.info.expressions) if self.info.expressions else -1
        return {**_record(self.info.kind, self.info.aus), "expression": label, "key": str(index)}


@functools.cache
def _record(kind: str, aus: tuple[int, ...]) -> records.Record:
    picture = np.full((_SIDE, _SIDE, 3), 127, np.uint8)
    encoded = cv2.imencode(".png", picture)[1].tobytes()
    frames = 1 if kind == records.IMAGE else 16
    au = np.tile(np.arange(len(aus)) % 2, (frames, 1)).astype(np.float32)
    points = (mean_face.NEUTRAL[:, :2] * _SIDE / 4 + (_SIDE / 2, _SIDE / 2.5)).astype(np.float32)
    record = {
        "au": au[0] if kind == records.IMAGE else au,
        "au_known": np.ones(len(aus), bool),
        "landmarks": points if kind == records.IMAGE else np.tile(points, (frames, 1, 1)),
        "key": "",
        "image": encoded,
        "frames": [encoded] * frames,
    }
    return records.complete(record, kind)
