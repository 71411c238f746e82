"""The one record schema, for images and for clips: what builders write and loaders read."""

import dataclasses
import functools
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from aufer_jax import facs

Record = dict[str, Any]

IMAGE, CLIP = "image", "clip"
LANDMARKS = 68

# dtype and shape of every numeric field; "A" stands for the dataset's AUs, "T" for the frames.
# `expression_votes` are counts of annotators' votes or the shares of a soft label, of any number: none, one
# for each class of the dataset, or more (10 for FERPlus), those after the classes being for none of them;
# see `votes`. `landmarks` come from `geometry.landmarks`, NaN where unknown, as `blendshapes` are.
# `mesh_features` are of the network that found the face's mesh, none where unknown.
_COMMON = {"expression": (np.int32, ()), "expression_votes": (np.float32, (None,))}
_FIELDS: dict[str, dict[str, tuple[Any, tuple[Any, ...]]]] = {
    IMAGE: {
        **_COMMON,
        "au": (np.float32, ("A",)),
        "au_known": (np.bool_, ("A",)),
        "landmarks": (np.float32, (LANDMARKS, 2)),
        "blendshapes": (np.float32, (len(facs.BLENDSHAPES),)),
        "mesh_features": (np.float32, (None,)),
    },
    CLIP: {
        **_COMMON,
        "au": (np.float32, ("T", "A")),
        "au_known": (np.bool_, ("A",)),
        "landmarks": (np.float32, ("T", LANDMARKS, 2)),
    },
}
_TEXTS = ("subject", "key", "note")


@dataclasses.dataclass(frozen=True)
class DatasetInfo:
    """What is known of a dataset before any of its files is opened."""

    name: str
    kind: str  # "image" or "clip"
    expressions: tuple[str, ...]  # in label order
    aus: tuple[int, ...]  # in the order of the records' `au`
    splits: Mapping[str, int | None]  # split -> records, None where only the files can say
    licence: str
    how_to_get: str
    version: str = ""  # of the files, once they are open


class Source(Protocol):
    """Random access to the records of one split."""

    @property
    def info(self) -> DatasetInfo:
        """What all records of the dataset have in common."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Record: ...


@dataclasses.dataclass(frozen=True)
class MemorySource:
    """Records held in memory, for notebooks and tests."""

    info: DatasetInfo
    records: Sequence[Record]

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Record:
        return self.records[index]


def features(kind: str, num_aus: int) -> Any:
    """The TFDS feature specification of a record; images are kept as their encoded bytes."""
    import tensorflow_datasets as tfds

    sizes = {"A": num_aus, "T": None}
    spec: dict[str, Any] = {
        name: tfds.features.Tensor(shape=tuple(sizes.get(d, d) for d in shape), dtype=dtype)
        for name, (dtype, shape) in _FIELDS[kind].items()
    }
    spec |= {name: tfds.features.Text() for name in _TEXTS}
    image = tfds.features.Image(shape=(None, None, 3))
    if kind == IMAGE:
        spec["image"] = image
    else:
        spec["frames"] = tfds.features.Sequence(image)
    return tfds.features.FeaturesDict(spec)


def complete(record: Record, kind: str) -> Record:
    """A record ready to write: dtypes set, and what the dataset does not give marked unknown.

    A dataset must give `key`, the image or frames, and `au` and `au_known` in its AU order.
    """
    shape = (LANDMARKS, 2) if kind == IMAGE else (len(record["frames"]), LANDMARKS, 2)
    unknown: Record = {"expression": -1, "expression_votes": (), "subject": "", "note": ""}
    unknown["landmarks"] = np.full(shape, np.nan)
    unknown["blendshapes"] = np.full(len(facs.BLENDSHAPES), np.nan)
    unknown["mesh_features"] = ()
    whole = unknown | record
    names = [*_FIELDS[kind], *_TEXTS, "image" if kind == IMAGE else "frames"]
    whole = {name: whole[name] for name in names}
    for name, (dtype, _) in _FIELDS[kind].items():
        whole[name] = np.asarray(whole[name], dtype)
    return whole


@functools.cache
def _shape(shape: tuple[Any, ...], num_aus: int) -> tuple[int, ...]:
    return tuple(num_aus if d == "A" else -1 if d in ("T", None) else d for d in shape)


def _reshaped(values: np.ndarray, shape: tuple[int, ...], frames: int) -> np.ndarray:
    # Without AUs only the frames show how many rows there are.
    return values.reshape(tuple(frames if d == -1 else d for d in shape) if 0 in shape else shape)


def parse(raw: bytes, kind: str, num_aus: int) -> Record:
    """The record in the bytes of one ArrayRecord entry.

    TFDS's own reader gives the same but takes several times as long, most of it on decoding.
    """
    from tensorflow_datasets.proto import tf_example_pb2

    stored = tf_example_pb2.Example.FromString(raw).features.feature  # pyright: ignore
    record: Record = {}
    frames = len(stored["frames"].bytes_list.value) if kind == CLIP else 0
    for name, (dtype, shape) in _FIELDS[kind].items():
        values = stored[name].float_list if dtype is np.float32 else stored[name].int64_list
        if name == "blendshapes" and not values.value:  # written before records had them
            record[name] = np.full(shape, np.nan, dtype)
            continue
        record[name] = _reshaped(np.array(values.value, dtype), _shape(shape, num_aus), frames)
    record["expression"] = int(record["expression"])
    for name in _TEXTS:
        record[name] = stored[name].bytes_list.value[0].decode()
    if kind == IMAGE:
        record["image"] = stored["image"].bytes_list.value[0]
    else:
        record["frames"] = list(stored["frames"].bytes_list.value)
    return record


def key_id(key: str) -> int:
    """A stable non-negative 63-bit number for a record's key.

    >>> key_id("photographs/1.jpg") == key_id("photographs/1.jpg") != key_id("photographs/2.jpg")
    True
    """
    digest = hashlib.blake2b(key.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
