"""Checking the items of a source and writing their records on this machine; `beam` does the same on many."""

import itertools
import pathlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import tqdm

from aufer_jax.data import records
from aufer_jax.data.cores import cores
from aufer_jax.data.records import DatasetInfo, Record
from aufer_jax.datasets import checking, items, store
from aufer_jax.datasets.checking import Cache
from aufer_jax.datasets.items import Items, Row

_AHEAD = {records.IMAGE: 8, records.CLIP: 2}  # items that may wait in memory for each thread


class Local:
    """Checks in threads, and keeps what was found in a file until the dataset is complete."""

    def __init__(self, listed: Items, kind: str, folder: pathlib.Path, workers: int | None = None):
        self._items, self._kind, self._workers = listed, kind, workers or len(cores())
        self._cache = Cache(folder / "checked.sqlite", items.FOUND[kind])

    def check(self, faces: Sequence[Any]) -> tuple[dict[str, Any], int]:
        """What is found of each item, by its file, and how many were known from an earlier run."""
        by_name = {face.file: face for face in faces}
        stamps = {name: self._items.stamp(face) for name, face in by_name.items()}
        return checking.check_all(
            stamps,
            lambda name: self._items.check(by_name[name]),
            self._cache,
            self._workers,
            _AHEAD[self._kind],
            f"checking {self._kind}s",
        )

    def stored(self, face: Any) -> bytes | None:
        """The bytes to store of an item that are not its files' own."""
        return self._cache.stored(face.file)

    def write(
        self, info: DatasetInfo, folder: pathlib.Path, rows: Mapping[str, Sequence[Row]]
    ) -> None:
        """Writes the rows of each split."""

        def made(piece: store.Piece) -> Iterator[Record]:
            for row in map(rows[piece.split].__getitem__, piece.places):
                yield items.record(self._items, row, self.stored, info.aus)

        def write_pieces(pieces: list[store.Piece]) -> None:
            for split, mine in itertools.groupby(pieces, key=lambda piece: piece.split):
                title = f"{info.name} {split}"
                with tqdm.tqdm(
                    None, title, len(rows[split]), leave=False, mininterval=1, disable=None
                ) as bar:
                    for piece in mine:
                        store.write_piece(info, piece.path, _counted(made(piece), bar))

        keys = {split: [row.face.file for row in mine] for split, mine in rows.items()}
        store.write(info, folder, keys, write_pieces)

    def close(self) -> None:
        """Saves what was checked."""
        self._cache.close()

    def remove(self) -> None:
        """Forgets what was found."""
        self._cache.remove()


def _counted(rows: Iterator[Record], bar: tqdm.tqdm) -> Iterator[Record]:
    for row in rows:
        yield row
        bar.update()
