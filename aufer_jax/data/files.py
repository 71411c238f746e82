"""The files of a source: a folder, or a .zip that is read in place."""

import contextlib
import dataclasses
import os
import pathlib
import unicodedata
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Protocol

from aufer_jax import suggest

IMAGES = (".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff")

_UTF8_NAME = 0x800  # the flag of a zip entry whose name is UTF-8


class Images(Protocol):
    """Where the bytes of a source's images come from."""

    @property
    def source(self) -> pathlib.Path: ...

    def read(self, name: str, /) -> bytes: ...

    def stamp(self, name: str, /) -> str: ...


@dataclasses.dataclass(frozen=True)
class Derived:
    """Images that are no files of their own, made from a source's files as they are read."""

    source: pathlib.Path
    read: Callable[[str], bytes]
    stamp: Callable[[str], str]  # changes when the image does


class Files:
    """Read access to all files below a folder or inside a .zip, by their path from there.

    Paths have forward slashes and composed characters (NFC), however the file system spells
    them. Hidden files and the shadows macOS puts into archives are left out. Threads may share it.
    """

    def __init__(self, source: str | os.PathLike):
        self.source = pathlib.Path(source).expanduser()
        if not self.source.exists():
            raise ValueError(f"source: {str(source)!r} does not exist")
        if self.source.is_dir():
            self._zip, self._places = None, dict(_walk(self.source))
        elif zipfile.is_zipfile(self.source):
            self._zip = zipfile.ZipFile(self.source)
            self._places = dict(_entries(self._zip))
        else:
            raise ValueError(f"source: {str(source)!r} is neither a folder nor a .zip")
        self.names = sorted(self._places)
        self._by_name: dict[str, list[str]] = defaultdict(list)
        for name in self.names:
            self._by_name[base_name(name)].append(name)

    def images(self) -> list[str]:
        """The files that are images by their names."""
        return [name for name in self.names if name.lower().endswith(IMAGES)]

    def read(self, name: str) -> bytes:
        place = self._places[name]
        return pathlib.Path(place).read_bytes() if self._zip is None else self._zip.read(place)

    def stamp(self, name: str) -> str:
        """Changes when the file does: its size, and its time or (in a .zip) its checksum."""
        if self._zip is not None:
            entry = self._zip.getinfo(self._places[name])
            return f"{entry.file_size}.{entry.CRC}"
        status = os.stat(self._places[name])
        return f"{status.st_size}.{status.st_mtime_ns}"

    def find(self, name: str) -> list[str]:
        """The files a written name can mean: that very path, or else all files of that name."""
        path = normal(name)
        return [path] if path in self._places else self._by_name.get(base_name(path), [])

    def open_text(self, name: str) -> str:
        return self.read(name).decode("utf-8-sig")

    def need(self, paths: Iterable[str], how_to_get: str) -> None:
        """A ValueError that names every missing file or folder and where to get them."""
        folders = {
            "/".join(n.split("/")[:i]) for n in self.names for i in range(1, n.count("/") + 1)
        }
        missing = [path for path in paths if path not in self._places and path not in folders]
        if missing:
            raise ValueError(f"source: {self.source} lacks {', '.join(missing)}; {how_to_get}")

    def pick(self, what: str, path: str) -> bytes:
        """The bytes of a file named by the user: one on disk, or one of these files."""
        if pathlib.Path(path).expanduser().is_file():
            return pathlib.Path(path).expanduser().read_bytes()
        found = self.find(path)
        if len(found) != 1:
            raise suggest.unknown(what, path, [n for n in self.names if not n.endswith(IMAGES)])
        return self.read(found[0])

    def shallowest(self, name: str) -> str | None:
        """The file of that name nearest to the top, if there is one."""
        return min(self._by_name.get(name, ()), key=lambda path: path.count("/"), default=None)


def normal(path: str) -> str:
    path = unicodedata.normalize("NFC", path.strip().replace("\\", "/"))
    return path.removeprefix("./")


def base_name(path: str) -> str:
    return path.rsplit("/", 1)[-1]


def stem(path: str) -> str:
    """The name without folders and suffix, in lower case."""
    return os.path.splitext(base_name(path))[0].lower()


def _hidden(path: str) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in path.split("/"))


def _walk(folder: pathlib.Path) -> Iterable[tuple[str, str]]:
    for parent, _, names in os.walk(folder, followlinks=True):
        for name in names:
            place = os.path.join(parent, name)
            path = normal(os.path.relpath(place, folder))
            if not _hidden(path):
                yield path, place


def _entries(archive: zipfile.ZipFile) -> Iterable[tuple[str, str]]:
    for entry in archive.infolist():
        name = entry.filename
        if not entry.flag_bits & _UTF8_NAME:
            # Many programs write UTF-8 without saying so.
            with contextlib.suppress(UnicodeError):
                name = name.encode("cp437").decode("utf-8")
        path = normal(name)
        if not entry.is_dir() and not _hidden(path):
            yield path, entry.filename
