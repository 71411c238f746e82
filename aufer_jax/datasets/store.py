"""Records on disk: ArrayRecord files in the order of their hashed keys, such as TFDS writes and reads."""

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import shutil
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from aufer_jax.data import records
from aufer_jax.data.records import DatasetInfo, Record
from aufer_jax.errors import UserError, brief

PIECE = {records.IMAGE: 4096, records.CLIP: 256}  # records of one file, or more of very many
FILES = 512  # of a split at most: readers keep them open, and a process may often have 1,024

SUMS = "checksums.json"  # file -> its size and CRC-32

_NAME, _VERSION = "faces", "1.0.0"


class Piece(NamedTuple):
    """One file to write: the records at `places` of a split, in this order."""

    split: str
    places: Sequence[int]
    path: pathlib.Path


def folder(place: pathlib.Path, name: str = _NAME, version: str = _VERSION) -> pathlib.Path:
    """Where the files of a dataset are; TFDS takes name and version from there."""
    return place / name / version


def write(
    info: DatasetInfo,
    folder: pathlib.Path,
    keys: Mapping[str, Sequence[str]],
    write_pieces: Callable[[list[Piece]], None],
) -> None:
    """Writes a dataset into a folder that appears when all is written.

    Args:
      info: what it is.
      folder: one that `folder` gives.
      keys: split -> the keys of its records.
      write_pieces: writes all pieces it is given, each with `write_piece`.
    """
    part = folder.with_name(f"{folder.name}.incomplete")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    pieces = [piece for split in keys for piece in _pieces(info, part, split, keys[split])]
    write_pieces(pieces)
    _write_metadata(info, part, pieces)
    held = {path.name: [path.stat().st_size, _sum(path)] for path in sorted(part.iterdir())}
    (part / SUMS).write_text(json.dumps(held, indent=1), encoding="utf-8")
    os.replace(part, folder)


def damage(folder: pathlib.Path, *, whole: bool = False) -> str:
    """The first file of a dataset that is not as it was written, and why; "" if there is none.

    By the sizes alone (of what describes them by the content), or by the `whole` content. Nothing is known of
    what an earlier version wrote.
    """
    try:
        held = json.loads((folder / SUMS).read_text(encoding="utf-8"))
        for name, (size, total) in held.items():
            path = folder / name
            if not path.is_file():
                return f"{path} is missing"
            if path.stat().st_size != size:
                return f"{path} is damaged: {path.stat().st_size:,} bytes, {size:,} were written"
            if (whole or path.suffix == ".json") and _sum(path) != total:
                return f"{path} is damaged: it is not what was written"
    except FileNotFoundError:
        return ""
    except (ValueError, TypeError, AttributeError):
        return f"{folder / SUMS} is damaged"
    return ""


def _sum(path: pathlib.Path) -> int:
    total = 0
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            total = zlib.crc32(block, total)
    return total


def write_records(
    info: DatasetInfo, folder: pathlib.Path, rows: Mapping[str, Sequence[Record]]
) -> None:
    """Writes records that are in memory; `rows` are those of each split."""

    def write_pieces(pieces: list[Piece]) -> None:
        for piece in pieces:
            write_piece(info, piece.path, (rows[piece.split][place] for place in piece.places))

    keys = {split: [row["key"] for row in mine] for split, mine in rows.items()}
    write(info, folder, keys, write_pieces)


def _pieces(
    info: DatasetInfo, folder: pathlib.Path, split: str, keys: Sequence[str]
) -> list[Piece]:
    if len(set(keys)) < len(keys) or not keys:
        raise ValueError(f"{info.name}: {len(keys)} records in {split}, {len(set(keys))} keys")
    order = hashed_order(split, keys)
    most = max(PIECE[info.kind], -(-len(order) // FILES))
    starts = range(0, len(order), most)
    name = f"{folder.parent.name}-{split}.array_record"
    return [
        Piece(split, order[start : start + most], folder / f"{name}-{i:05}-of-{len(starts):05}")
        for i, start in enumerate(starts)
    ]


def hashed_order(split: str, keys: Sequence[str]) -> list[int]:
    """The places of a split's keys in the order of their hashes, which is TFDS's order of records."""
    salt = hashlib.md5(split.encode())

    def digest(place: int) -> bytes:
        salted = salt.copy()
        salted.update(keys[place].replace("\\", "/").encode())
        return salted.digest()

    return sorted(range(len(keys)), key=digest)


def write_piece(info: DatasetInfo, path: pathlib.Path, rows: Iterable[Record]) -> None:
    """Writes records into a file that is complete as soon as it appears, also if two processes do."""
    from array_record.python import array_record_module  # pyright: ignore

    features = records.features(info.kind, len(info.aus))
    part = path.with_name(f"{path.name}.{os.getpid()}-{threading.get_ident()}")
    writer = array_record_module.ArrayRecordWriter(str(part), "group_size:1")
    try:
        for row in rows:
            writer.write(features.serialize_example(records.complete(row, info.kind)))
    finally:
        writer.close()
    os.replace(part, path)


def _write_metadata(info: DatasetInfo, folder: pathlib.Path, pieces: Sequence[Piece]) -> None:
    """What TFDS must know to read the files."""
    import tensorflow_datasets as tfds

    splits = []
    for split in dict.fromkeys(piece.split for piece in pieces):
        mine = [piece for piece in pieces if piece.split == split]
        size = sum(piece.path.stat().st_size for piece in mine)
        splits.append(tfds.core.SplitInfo(split, [len(p.places) for p in mine], size))
    tfds.folder_dataset.write_metadata(
        data_dir=str(folder),
        features=records.features(info.kind, len(info.aus)),
        split_infos=splits,
        version=folder.name.removesuffix(".incomplete"),
        check_data=False,
        description=f"{info.name}: {info.how_to_get}",
        license=info.licence,
        metadata=tfds.core.MetadataDict(
            kind=info.kind, expressions=list(info.expressions), aus=list(info.aus)
        ),
    )


class ArrayRecordSource:
    """Random access to the records of one split, or of pieces of splits; can be pickled."""

    def __init__(self, info: DatasetInfo, folder: pathlib.Path, split: str):
        import tensorflow_datasets as tfds
        from array_record.python import array_record_data_source

        made_as = "/".join(folder.parts[-3:])  # variant, name and version
        self.info = dataclasses.replace(info, version=made_as)
        if wrong := damage(folder):
            raise UserError(_damaged(info.name, wrong))
        try:
            self._read = tfds.builder_from_directory(str(folder)).info.splits[split]
            files = self._read.file_instructions
            self._files = array_record_data_source.ArrayRecordDataSource(files)  # pyright: ignore
        except Exception as error:  # of TFDS, of ArrayRecord and of protocol buffers
            raise UserError(_damaged(info.name, f"{folder}: {brief(error)}")) from error

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> Record:
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        try:
            return records.parse(self._files[index], self.info.kind, len(self.info.aus))
        except Exception as error:  # of ArrayRecord, of protocol buffers and of what they hold
            if "Too many open files" in str(error):
                raise UserError(
                    f"dataset {self.info.name}: the system allows this process too few open files; "
                    "allow it more: ulimit -n 8192"
                ) from error
            where = f"{self._file_of(index)}, record {index} of the split: {brief(error)}"
            raise UserError(_damaged(self.info.name, where)) from error

    def _file_of(self, index: int) -> str:
        for part in self._read.file_instructions:
            index -= part.take
            if index < 0:
                return str(part.filename)
        raise IndexError(index)


def _damaged(name: str, what: str) -> str:
    return f"dataset {name}: damaged: {what}; prepare it again, after: aufer data remove {name}"


@contextlib.contextmanager
def locked(path: pathlib.Path) -> Iterator[None]:
    """Waits until no other process holds the lock file, and holds it; a process that dies lets go."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        lock(file.fileno())
        yield


def lock(number: int, *, wait: bool = True) -> bool:
    """Locks an open file until it is closed; without `wait`, False if another has locked it."""
    if os.name != "nt":
        import fcntl

        try:
            fcntl.flock(number, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            return False
        return True
    import msvcrt

    while True:
        with contextlib.suppress(OSError):  # after ten seconds of waiting
            msvcrt.locking(number, msvcrt.LK_LOCK if wait else msvcrt.LK_NBLCK, 1)  # pyright: ignore
            return True
        if not wait:
            return False
        time.sleep(1)
