"""Decoding and checking every image or clip of a source: in threads, and once even if interrupted."""

import collections
import concurrent.futures
import dataclasses
import json
import pathlib
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import tqdm

from aufer_jax.data.cores import cores
from aufer_jax.sources import images
from aufer_jax.sources.images import Checked

_VERSION = "2"  # of `images.check`: what another version found is not taken over
_COMMIT_S = 2.0


class Cache:
    """What is known of the files of a source, on disk, so that a killed run need not start again.

    Holds one row per file: its stamp, what was found (a `checked_as`), and the bytes to store where
    they are not the file's own.
    """

    def __init__(self, path: pathlib.Path, checked_as: type = Checked):
        self._checked_as = checked_as
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

    def known(self, stamps: Mapping[str, str]) -> dict[str, Any]:
        """What was found of files whose stamp is still the same."""
        rows = self._base.execute("select file, stamp, found from checked")
        return {
            file: self._checked_as(*map(_tuples, json.loads(found)))
            for file, stamp, found in rows
            if stamp == versioned(stamps.get(file, ""))
        }

    def add(self, file: str, stamp: str, found: Any, stored: bytes | None) -> None:
        """Keeps what was found, and what was stored, of a file with this stamp."""
        row = (file, versioned(stamp), json.dumps(dataclasses.astuple(found)), stored)
        self._base.execute("insert or replace into checked values (?, ?, ?, ?)", row)
        if time.monotonic() - self._saved > _COMMIT_S:
            self.save()

    def save(self) -> None:
        """Makes all that was added last."""
        self._base.commit()
        self._saved = time.monotonic()

    def stored(self, file: str) -> bytes | None:
        """The bytes to store of a file, where they are not its own."""
        row = self._base.execute("select stored from checked where file = ?", (file,)).fetchone()
        return row[0]

    def close(self) -> None:
        """Saves and lets go of the file."""
        self.save()
        self._base.close()

    def remove(self) -> None:
        """Deletes its files, after it was closed."""
        for suffix in ("", "-wal", "-shm"):
            pathlib.Path(f"{self.path}{suffix}").unlink(missing_ok=True)


def versioned(stamp: str) -> str:
    """A stamp that changes when the checking itself does."""
    return f"{_VERSION}/{images.MAX_SIDE}/{stamp}"


def _tuples(value: Any) -> Any:
    """JSON's lists as tuples."""
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def check_all(
    stamps: Mapping[str, str],
    check: Callable[[str], tuple[Any, bytes | None]],
    cache: Cache,
    workers: int | None = None,
    ahead: int = 8,
    title: str = "checking",
) -> tuple[dict[str, Any], int]:
    """What `check` finds of each name in `stamps`, and how many of them the cache knew.

    Threads suffice: reading, hashing and decoding leave the interpreter free. Each of them is
    at most `ahead` results ahead of what has been written down.
    """
    found = cache.known(stamps)
    todo = [name for name in stamps if name not in found]
    bar = tqdm.tqdm(
        total=len(stamps),
        initial=len(found),
        desc=title,
        unit="",
        leave=False,
        mininterval=1,
        disable=None,
    )
    try:
        with bar:
            for name, (checked, stored) in _in_threads(check, todo, workers or len(cores()), ahead):
                found[name] = checked
                cache.add(name, stamps[name], checked, stored)
                bar.update()
    finally:
        cache.save()
    return found, len(stamps) - len(todo)


def _in_threads(
    work: Callable[[str], Any], names: Sequence[str], workers: int, ahead: int
) -> Iterator[tuple[str, Any]]:
    """Results in the order of names; no more of them in memory than the threads need."""
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        running: collections.deque = collections.deque()
        try:
            for name in names:
                running.append((name, pool.submit(work, name)))
                if len(running) >= ahead * workers:
                    first, future = running.popleft()
                    yield first, future.result()
            while running:
                first, future = running.popleft()
                yield first, future.result()
        finally:
            for _, future in running:
                future.cancel()
