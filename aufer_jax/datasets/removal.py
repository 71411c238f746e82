"""Removing a dataset: what was prepared or drawn under its name, and nothing else."""

import os
import pathlib
import re
import shutil
from collections.abc import Iterable

from aufer_jax import remote
from aufer_jax.datasets import catalog, prepare, prepare_report
from aufer_jax.errors import UserError, unknown

_FILES = (
    *prepare_report.FILES, prepare.SPLITS_FILE, prepare.SHEET_FILE, catalog.RECORD,
    f"{catalog.RECORD}.new", "checked.sqlite", "checked.sqlite-wal", "checked.sqlite-shm", "checked.beam",
    ".lock",
)  # fmt: skip


def remove(name: str, data_dir: str | os.PathLike | None = None) -> dict[pathlib.Path, int]:
    """Removes a dataset that was prepared, or a synthetic one that was drawn, from `data_dir`.

    Source photographs are never touched, nor files of others that lie in the dataset's folder.

    Returns:
      What was removed, a folder or a file, and the bytes of each.
    """
    root = catalog.root(data_dir)
    found = _drawn(root, name) if catalog.is_drawn(name) else _prepared(root, name)
    if not found:
        if catalog.is_drawn(name) and name in catalog.names(data_dir):
            raise UserError(f"dataset: {name} is not drawn in {root}; there is nothing to remove")
        there = [other for other in catalog.names(data_dir) if catalog.prepared(other, root)]
        if not there:
            raise UserError(f"dataset: {name!r} is not in {root}, nor is any other prepared one")
        raise unknown(f"dataset in {root}", name, there)
    sizes = {path: _size(path) for path in found}
    remote.remove(found)
    for path in found:
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    folder = root / name
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()
    return sizes


def left(name: str, data_dir: str | os.PathLike | None = None) -> list[str]:
    """What is not ours in a dataset's folder and stays there."""
    folder = catalog.root(data_dir) / name
    return sorted(path.name for path in folder.iterdir()) if folder.is_dir() else []


def _prepared(root: pathlib.Path, name: str) -> list[pathlib.Path]:
    """The parts of a dataset; the record that makes it one comes first, so that no half of it stays."""
    folder = root / name
    if not prepare.NAME.fullmatch(name) or not folder.is_dir():
        return []
    ours = [folder / file for file in (catalog.RECORD, *_FILES)]
    made = [path for path in folder.iterdir() if prepare.MADE.fullmatch(path.name)]
    return list(dict.fromkeys(path for path in (*ours, *made) if path.exists()))


def _drawn(root: pathlib.Path, name: str) -> list[pathlib.Path]:
    """A folder for each way in which it was drawn: size, seed and numbers of records."""
    ways = re.compile(rf"{re.escape(name)}_\d+px_seed-?\d+_.*")
    folders: Iterable[pathlib.Path] = root.glob(f"{name}_*px_seed*")
    return sorted(path for path in folders if ways.fullmatch(path.name) and path.is_dir())


def _size(path: pathlib.Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
