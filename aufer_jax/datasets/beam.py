"""The checking and writing of `prepare` as Apache Beam pipelines, for sets of a million images."""

import dataclasses
import functools
import hashlib
import os
import pathlib
import pickle
import shlex
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from aufer_jax.data import records
from aufer_jax.data.records import DatasetInfo, Record
from aufer_jax.datasets import checking
from aufer_jax.datasets.file_dataset import Faces, FileDataset
from aufer_jax.datasets.media import Kept, Medium
from aufer_jax.errors import UserError
from aufer_jax.sources.files import Files

PIECE = 256  # items a worker takes at a time

MakeRecord = Callable[[Medium, Any, Any, Kept], Record]


def import_beam() -> Any:
    """The Apache Beam package, or a ValueError that says how to get it."""
    try:
        import apache_beam  # pyright: ignore
    except ImportError as error:
        raise UserError(
            "beam: Apache Beam is not installed; run: pip install 'aufer-jax[beam]'"
        ) from error
    return apache_beam


@dataclasses.dataclass(frozen=True)
class Origin:
    """How a worker opens the source again; workers see no other process's memory."""

    maker: FileDataset
    source: str

    def medium(self) -> Medium:
        files = Files(self.source)
        return self.maker.medium(files, self.maker.listing(files))


class Pipelines:
    """Checks and writes the items of a source by Beam, and stands where else the cache does.

    Lists of items, and what was found of them, go from process to process as files in `folder`,
    which all workers must reach under its name, as they must the source. What was found stays
    there until the dataset is whole, so a second run goes on where the first one died.
    """

    def __init__(
        self,
        origin: Origin,
        medium: Medium,
        faces: Sequence[Any],
        folder: pathlib.Path,
        options: str,
    ):
        self._beam = import_beam()
        self._origin, self._medium = origin, medium
        self._faces = {face.file: face for face in faces}
        self._folder = folder.resolve()
        self._options = shlex.split(options)

    def check_all(self) -> tuple[dict[str, Any], int]:
        """What is found of each item, by its file, and how many were known from an earlier run."""
        self._folder.mkdir(parents=True, exist_ok=True)
        faces = list(self._faces.values())
        pieces, known = [], 0
        for start in range(0, len(faces), PIECE):
            piece = faces[start : start + PIECE]
            path = self._folder / f"{self._name(piece)}.items"
            pieces.append(path)
            if _found(path).exists():
                known += len(piece)
            else:
                _write(path, piece)
        todo = [str(path) for path in pieces if not _found(path).exists()]
        if todo:
            with self._beam.Pipeline(options=self.options()) as pipeline:
                _ = (
                    pipeline
                    | self._beam.Create(todo)
                    | self._beam.Reshuffle()
                    | self._beam.Map(functools.partial(_check, self._origin))
                )
        return {file: found for path in pieces for file, found in _read(_found(path))}, known

    def faces(
        self,
        info: DatasetInfo,
        folder: pathlib.Path,
        items: Mapping[str, Iterable[tuple[Any, Any]]],
        make: MakeRecord,
    ) -> Faces:
        """The builder whose splits hold the given items, each a face and what was found of it.

        `make` gives the record of a medium, a face, what was found, and a stand-in for the cache.
        """
        beam, paths = self._beam, {split: self._lists(split, items[split]) for split in items}
        rows = functools.partial(_rows, self._origin, make, info.kind)
        splits = {
            split: beam.Create(paths[split]) | beam.Reshuffle() | beam.FlatMap(rows)
            for split in paths
        }
        return _Piped(info, folder, splits, self.options)

    def stored(self, file: str) -> bytes | None:
        """The bytes to store of a file, where they are not its own; made again."""
        return self._medium.check(self._faces[file])[1]

    def close(self, remove: bool = False) -> None:
        if remove:
            shutil.rmtree(self._folder, ignore_errors=True)

    def options(self) -> Any:
        from apache_beam.options import pipeline_options  # pyright: ignore

        return pipeline_options.PipelineOptions(self._options)

    def _name(self, piece: Sequence[Any]) -> str:
        """Another one if a file of the piece is another."""
        digest = hashlib.blake2b(digest_size=16)
        for face in piece:
            stamp = checking.versioned(self._medium.stamp(face))
            digest.update(f"{face.file}\0{stamp}\0".encode())
        return digest.hexdigest()

    def _lists(self, split: str, items: Iterable[tuple[Any, Any]]) -> list[str]:
        """Writes the items of a split in pieces; the names of the files."""
        items, paths = list(items), []
        for start in range(0, len(items), PIECE):
            paths.append(self._folder / f"{split}-{start}.rows")
            _write(paths[-1], items[start : start + PIECE])
        return list(map(str, paths))


class _Piped(Faces):
    """The builder `Faces`, its splits written by Beam."""

    name = Faces.name

    def __init__(
        self,
        dataset: DatasetInfo,
        data_dir: pathlib.Path,
        splits: Mapping[str, Any],
        options: Callable[[], Any],
    ):
        self._splits, self._beam_options = splits, options
        super().__init__(dataset, data_dir)

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        del dl_manager
        return dict(self._splits)

    def write(self) -> None:
        import tensorflow_datasets as tfds

        config = tfds.download.DownloadConfig(beam_options=self._beam_options())
        self.download_and_prepare(download_config=config)


# --- In the workers -----------------------------------------------------------------------------

_lock = threading.Lock()
_media: dict[bytes, Medium] = {}


def _medium_of(origin: Origin) -> Medium:
    """Opens a source once in a process."""
    with _lock:
        name = pickle.dumps(origin)
        if name not in _media:
            _media.clear()
            _media[name] = origin.medium()
        return _media[name]


def _check(origin: Origin, place: str) -> None:
    path, medium = pathlib.Path(place), _medium_of(origin)
    _write(_found(path), [(face.file, medium.check(face)[0]) for face in _read(path)])


def _rows(origin: Origin, make: MakeRecord, kind: str, place: str) -> Iterator[tuple[str, Record]]:
    medium = _medium_of(origin)
    for face, found in _read(pathlib.Path(place)):
        record = records.complete(make(medium, face, found, _Again(medium, face)), kind)
        yield record["key"], record


@dataclasses.dataclass(frozen=True)
class _Again:
    """Stands in for the cache: what an item stores is made again when it is asked for."""

    medium: Medium
    face: Any

    def stored(self, file: str) -> bytes | None:
        del file
        return self.medium.check(self.face)[1]


def _found(path: pathlib.Path) -> pathlib.Path:
    return path.with_suffix(".found")


def _write(path: pathlib.Path, values: list[Any]) -> None:
    """Writes a file that is whole as soon as it is there, also if two processes write it."""
    part = path.with_suffix(f".{os.getpid()}-{threading.get_ident()}")
    part.write_bytes(pickle.dumps(values))
    os.replace(part, path)


def _read(path: pathlib.Path) -> list[Any]:
    return pickle.loads(path.read_bytes())
