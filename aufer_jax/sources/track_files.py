"""The AU files of clips: one CSV per clip in a folder or .zip, or one CSV for all; matched by name."""

import csv
import functools
import os
import pathlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence

from aufer_jax import errors
from aufer_jax.sources import tables, tracks
from aufer_jax.sources.files import VIDEOS, Files, base_name, decoded, normal, paired

SUFFIX = ".csv"


class TrackFiles:
    """The texts of many tracks by their names; threads may share it."""

    def __init__(
        self, source: str, names: Sequence[str], text: Callable[[str], str], stamp: Callable
    ):
        self.source, self.names = source, names
        self.text: Callable[[str], str] = text
        self.stamp: Callable[[str], str] = stamp


def find(au: str, files: Files) -> TrackFiles:
    """The tracks in a folder, a .zip or a CSV named by the user, or in a folder of the source."""
    place = pathlib.Path(au).expanduser()
    if place.is_file() and place.suffix.lower() == SUFFIX:
        return _one_file(place)
    below = "" if place.exists() else f"{normal(au).rstrip('/')}/"
    held = Files(place) if place.exists() else files
    names = [n for n in held.names if n.startswith(below) and _is_track(n)]
    if not names:
        if place.exists():
            raise errors.UserError(f"au: {au} holds no {SUFFIX} files")
        folders = {n.rpartition("/")[0] for n in files.names if n.lower().endswith(SUFFIX)}
        raise errors.unknown("au, a folder, .zip or .csv", au, sorted(folders))
    return TrackFiles(au, names, held.open_text, held.stamp)


def _is_track(name: str) -> bool:
    return name.lower().endswith(SUFFIX) and base_name(name).lower() != tracks.LABELS


def _one_file(path: pathlib.Path) -> TrackFiles:
    """The rows of one large CSV by the clip they name; only their places are kept in memory."""
    places: dict[str, list[tuple[int, int]]] = defaultdict(list)
    with path.open("rb") as file:
        header = file.readline()
        column, separator = _key_column(path, _one_text(path, header))
        start = file.tell()
        for line in file:
            end = start + len(line)
            key = _cell(_one_text(path, line), column, separator) if line.strip() else ""
            runs = places[key] if key else []
            if runs and runs[-1][1] == start:
                runs[-1] = runs[-1][0], end
            else:
                runs.append((start, end))
            start = end

    def text(name: str) -> str:
        with path.open("rb") as file:
            parts = [header]
            for first, last in places[name]:
                file.seek(first)
                parts.append(file.read(last - first))
        return _one_text(path, b"".join(parts))

    def stamp(name: str) -> str:
        status = os.stat(path)
        return f"{status.st_size}.{status.st_mtime_ns}/{name}"

    return TrackFiles(str(path), sorted(places), text, stamp)


def _one_text(path: pathlib.Path, data: bytes) -> str:
    """Lines of a large table; those of UTF-16 cannot be taken one by one."""
    if b"\0" in data:
        raise errors.UserError(f"{path}: a large table in UTF-16; save it as UTF-8")
    return decoded(str(path), data)


def _key_column(path: pathlib.Path, header: str) -> tuple[int, str]:
    table = tables.Table(path.name, header)
    place = table.place("file")
    if place is None:
        table.need("file")
    return place or 0, tables.separator(header)


def _cell(line: str, column: int, separator: str) -> str:
    try:
        quoted = '"' in line
        cells = next(csv.reader([line], delimiter=separator)) if quoted else line.split(separator)
    except csv.Error:  # the table's reader tells of it
        return ""
    return cells[column].strip() if column < len(cells) else ""


def match(clips: Iterable[str], tracks: Sequence[str]) -> tuple[dict[str, str], Counter[str]]:
    """Clip -> track, and how many were found in which way.

    By the whole path, else by its last three, two or one parts, where these name one clip and one
    track only; without suffix and capitals. One track is never the track of two clips.
    """
    return paired(clips, tracks, _WAYS)


def _tail(name: str, parts: int) -> str:
    path, suffix = os.path.splitext(normal(name).lower().rstrip("/"))
    path += "" if suffix in (*VIDEOS, SUFFIX) else suffix
    return "/".join(path.split("/")[-parts:])


_WAYS = {
    "path": functools.partial(_tail, parts=0),
    **{f"last {parts} parts": functools.partial(_tail, parts=parts) for parts in (3, 2)},
    "name": functools.partial(_tail, parts=1),
}
