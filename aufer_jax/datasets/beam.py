"""Checking the items of a source and writing their records by Apache Beam, for sets of a million images."""

import dataclasses
import functools
import hashlib
import os
import pathlib
import pickle
import shlex
import shutil
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from aufer_jax.data.records import DatasetInfo
from aufer_jax.datasets import checking, items, store
from aufer_jax.datasets.card import Card
from aufer_jax.datasets.items import Items, Row
from aufer_jax.datasets.options import Options
from aufer_jax.errors import UserError
from aufer_jax.sources.files import Files

PIECE = 256  # items a worker checks at a time


def import_beam() -> Any:
    """The Apache Beam package, or a UserError that says how to get it."""
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

    card: Card
    options: Options
    source: str

    def items(self) -> Items:
        """What is listed, opened again in this worker."""
        listing = self.card.list(Files(self.source), self.options)
        return items.of(self.card, listing, self.options)


class Pipelines:
    """What `local.Local` does in this process, done by Beam's workers.

    Lists of items, and what was found of them, go from process to process as files in `folder`,
    which all workers must reach under its name, as they must the source. What was found stays
    there until the dataset is complete, so a second run continues where the first one died.
    """

    def __init__(self, origin: Origin, listed: Items, folder: pathlib.Path, options: str):
        self._beam = import_beam()
        self._origin, self._items = origin, listed
        self._folder = folder.resolve() / "checked.beam"
        self._options = shlex.split(options)

    def check(self, faces: Sequence[Any]) -> tuple[dict[str, Any], int]:
        """What is found of each item, by its file, and how many were known from an earlier run."""
        self._folder.mkdir(parents=True, exist_ok=True)
        pieces = [faces[start : start + PIECE] for start in range(0, len(faces), PIECE)]
        paths = [self._folder / f"{self._name(piece)}.items" for piece in pieces]
        todo = [place for place, path in enumerate(paths) if not _found(path).exists()]
        for place in todo:
            _write(paths[place], list(pieces[place]))
        self._run([str(paths[place]) for place in todo], functools.partial(_check, self._origin))
        found = {file: found for path in paths for file, found in _read(_found(path))}
        return found, len(faces) - sum(len(pieces[place]) for place in todo)

    def stored(self, face: Any) -> bytes | None:
        """The bytes to store of an item that are not its files' own; made again."""
        return self._items.check(face)[1]

    def write(
        self, info: DatasetInfo, folder: pathlib.Path, rows: Mapping[str, Sequence[Row]]
    ) -> None:
        """Writes the rows of each split."""

        def write_pieces(pieces: list[store.Piece]) -> None:
            todo = []
            for number, piece in enumerate(pieces):
                todo.append(str(self._folder / f"{number}.rows"))
                mine = [rows[piece.split][place] for place in piece.places]
                _write(pathlib.Path(todo[-1]), [piece.path.resolve(), mine])
            self._run(todo, functools.partial(_write_piece, self._origin, info))

        keys = {split: [row.face.file for row in mine] for split, mine in rows.items()}
        store.write(info, folder, keys, write_pieces)

    def close(self) -> None:
        """What was found is in files already."""

    def remove(self) -> None:
        """Forgets what was found."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def _run(self, todo: list[str], work: Callable[[str], None]) -> None:
        from apache_beam.options import pipeline_options  # pyright: ignore

        if todo:
            beam, options = self._beam, pipeline_options.PipelineOptions(self._options)
            with beam.Pipeline(options=options) as pipeline:
                _ = pipeline | beam.Create(todo) | beam.Reshuffle() | beam.Map(work)

    def _name(self, piece: Sequence[Any]) -> str:
        """Another one if a file of the piece is another."""
        digest = hashlib.blake2b(digest_size=16)
        for face in piece:
            stamp = checking.versioned(self._items.stamp(face))
            digest.update(f"{face.file}\0{stamp}\0".encode())
        return digest.hexdigest()


# --- In the workers -----------------------------------------------------------------------------

_lock = threading.Lock()
_opened: dict[bytes, Items] = {}


def _items_of(origin: Origin) -> Items:
    """Opens a source once in a process."""
    with _lock:
        name = pickle.dumps(origin)
        if name not in _opened:
            _opened.clear()
            _opened[name] = origin.items()
        return _opened[name]


def _check(origin: Origin, place: str) -> None:
    path, listed = pathlib.Path(place), _items_of(origin)
    _write(_found(path), [(face.file, listed.check(face)[0]) for face in _read(path)])


def _write_piece(origin: Origin, info: DatasetInfo, place: str) -> None:
    """What an item stores is made again when its record is written."""
    listed = _items_of(origin)
    path, rows = _read(pathlib.Path(place))
    stored: items.Stored = lambda face: listed.check(face)[1]  # noqa: E731
    store.write_piece(info, path, (items.record(listed, row, stored, info.aus) for row in rows))


def _found(path: pathlib.Path) -> pathlib.Path:
    return path.with_suffix(".found")


def _write(path: pathlib.Path, values: list[Any]) -> None:
    """Writes a file that is complete as soon as it appears, also if two processes write it."""
    part = path.with_suffix(f".{os.getpid()}-{threading.get_ident()}")
    part.write_bytes(pickle.dumps(values))
    os.replace(part, path)


def _read(path: pathlib.Path) -> list[Any]:
    return pickle.loads(path.read_bytes())
