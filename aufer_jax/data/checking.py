"""Decoding and checking every image of a source: in threads, and once even if interrupted."""

import collections
import concurrent.futures
import dataclasses
import json
import os
import pathlib
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import tqdm

from aufer_jax.data import images
from aufer_jax.data.files import Images
from aufer_jax.data.images import Checked, Cut

_VERSION = "1"  # of `images.check`: what another version found is not taken over
_COMMIT_S = 2.0


class Cache:
    """What is known of the files of a source, on disk, so that a killed run need not begin again.

    Holds one row a file: its stamp, what was found, and the bytes to store where they are not the
    file's own.
    """

    def __init__(self, path: pathlib.Path):
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._base = sqlite3.connect(path)
        self._base.execute("pragma journal_mode = wal")
        self._base.execute("pragma synchronous = normal")
        self._base.execute(
            "create table if not exists checked (file text primary key, stamp text, found text, "
            "stored blob)"
        )
        self._saved = time.monotonic()

    def known(self, stamps: dict[str, str]) -> dict[str, Checked]:
        """What was found of files whose stamp is still the same."""
        rows = self._base.execute("select file, stamp, found from checked")
        return {
            file: _from_json(found)
            for file, stamp, found in rows
            if stamp == _stamp(stamps.get(file, ""))
        }

    def add(self, file: str, stamp: str, found: Checked, stored: bytes | None) -> None:
        row = (file, _stamp(stamp), json.dumps(dataclasses.astuple(found)), stored)
        self._base.execute("insert or replace into checked values (?, ?, ?, ?)", row)
        if time.monotonic() - self._saved > _COMMIT_S:
            self.save()

    def save(self) -> None:
        self._base.commit()
        self._saved = time.monotonic()

    def stored(self, file: str) -> bytes:
        """The bytes to store of a file that has been changed."""
        row = self._base.execute("select stored from checked where file = ?", (file,)).fetchone()
        return row[0]

    def close(self, remove: bool = False) -> None:
        self.save()
        self._base.close()
        if remove:
            for suffix in ("", "-wal", "-shm"):
                pathlib.Path(f"{self.path}{suffix}").unlink(missing_ok=True)


def _stamp(stamp: str) -> str:
    return f"{_VERSION}/{images.MAX_SIDE}/{stamp}"


def _from_json(text: str) -> Checked:
    values: list[Any] = [tuple(v) if isinstance(v, list) else v for v in json.loads(text)]
    return Checked(*values)


def check_all(
    files: Images,
    names: Sequence[str],
    cache: Cache,
    workers: int | None = None,
    cuts: Mapping[str, Cut] | None = None,
) -> tuple[dict[str, Checked], int]:
    """What is found of each file, and how many of them the cache knew.

    Of files named in `cuts` only that part is kept.

    Threads suffice: reading, hashing and decoding leave the interpreter free.
    """
    cuts = cuts or {}
    stamps = {name: stamp(files, name, cuts.get(name)) for name in names}
    found = cache.known(stamps)
    todo = [name for name in names if name not in found]
    bar = tqdm.tqdm(
        total=len(names), initial=len(found), desc="checking images", unit="", leave=False,
        mininterval=1,
    )  # fmt: skip
    try:
        with bar:
            for name, (checked, stored) in _in_threads(
                lambda name: _check(files, name, cuts.get(name)),
                todo,
                workers or os.cpu_count() or 1,
            ):
                found[name] = checked
                cache.add(name, stamps[name], checked, stored)
                bar.update()
    finally:
        cache.save()
    return found, len(names) - len(todo)


def stamp(files: Images, name: str, cut: Cut | None) -> str:
    """Changes when what is stored of a file does."""
    part = f"/{dataclasses.astuple(cut)}" if cut else ""
    return f"{files.stamp(name)}{part}"


def _check(files: Images, name: str, cut: Cut | None) -> tuple[Checked, bytes | None]:
    try:
        data = files.read(name)
    except Exception as error:  # a damaged archive raises errors of many kinds
        return Checked(problem=f"cannot be read: {error}"), None
    return images.check(data, cut)


def _in_threads(
    work: Callable[[str], Any], names: Sequence[str], workers: int
) -> Iterator[tuple[str, Any]]:
    """Results in the order of names; no more of them in memory than the threads need."""
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        running: collections.deque = collections.deque()
        try:
            for name in names:
                running.append((name, pool.submit(work, name)))
                if len(running) >= 8 * workers:
                    first, future = running.popleft()
                    yield first, future.result()
            while running:
                first, future = running.popleft()
                yield first, future.result()
        finally:
            for _, future in running:
                future.cancel()
