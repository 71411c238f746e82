"""The files of a source: a folder, or a .zip that is read in place."""

import codecs
import contextlib
import dataclasses
import os
import pathlib
import re
import shutil
import stat
import tempfile
import unicodedata
import zipfile
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Protocol

from aufer_jax import errors
from aufer_jax.sources import archives, limits

IMAGES = (".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff")
VIDEOS = (".mp4", ".avi", ".mov", ".mkv", ".webm")

_UTF8_NAME = 0x800  # the flag of a zip entry whose name is UTF-8


class Images(Protocol):
    """Where the bytes of a source's images come from."""

    @property
    def source(self) -> pathlib.Path:
        """The folder or archive that they come from."""
        ...

    def read(self, name: str, /) -> bytes:
        """The bytes of a file."""
        ...

    def stamp(self, name: str, /) -> str:
        """Changes when the file does."""
        ...


@dataclasses.dataclass(frozen=True)
class Derived:
    """Images that are not files of their own, made from a source's files as they are read."""

    source: pathlib.Path
    read: Callable[[str], bytes]
    stamp: Callable[[str], str]  # changes when the image does


class Files:
    """Read access to all files below a folder or inside a .zip, by their path from there.

    Paths have forward slashes and composed characters (NFC), however the file system spells
    them; files whose paths become the same are numbered, "a (2).jpg". Hidden files and the shadows
    macOS puts into archives are left out. Threads may share it.
    """

    def __init__(self, source: str | os.PathLike):
        self.source = pathlib.Path(source).expanduser()
        if not self.source.exists():
            raise errors.UserError(f"source: {str(source)!r} does not exist")
        if self.source.is_dir():
            self._zip, self._places = None, _distinct(_walk(self.source))
        elif zipfile.is_zipfile(self.source):
            try:
                self._zip = archives.opened(self.source)
            except errors.UserError as error:
                raise errors.UserError(f"source: {self.source}: {error}") from error
            self._places = _distinct(_entries(self._zip))
        else:
            raise errors.UserError(f"source: {str(source)!r} is neither a folder nor a .zip")
        self.names = sorted(self._places)
        self._by_name: dict[str, list[str]] = defaultdict(list)
        for name in self.names:
            self._by_name[base_name(name)].append(name)

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def images(self) -> list[str]:
        """The files that are images by their names."""
        return [name for name in self.names if name.lower().endswith(IMAGES)]

    def read(self, name: str) -> bytes:
        """All bytes of a file; a UserError with its name if they are damaged or too many."""
        place = self._places[name]
        if self._zip is None:
            return whole(place)
        try:
            return archives.read(self._zip, self._zip.getinfo(place))
        except errors.UserError as error:
            raise errors.UserError(f"{name}: {error}") from error

    @contextlib.contextmanager
    def on_disk(self, name: str) -> Iterator[str]:
        """A file's place on the disk, for libraries that open files themselves."""
        if self._zip is None:
            yield self._places[name]
            return
        with tempfile.NamedTemporaryFile(suffix=os.path.splitext(name)[1]) as copy:
            archives.check_entry(self._zip.getinfo(self._places[name]))
            with self._zip.open(self._places[name]) as packed:
                shutil.copyfileobj(packed, copy)
            copy.flush()
            yield copy.name

    def empty_folders(self) -> list[str]:
        """The folders with nothing in them."""
        if self._zip is None:
            found = (normal(os.path.relpath(p, self.source)) for p in _empty(self.source))
        else:
            entries = [e for e in self._zip.infolist() if e.filename and e.is_dir()]
            folders = {normal(e.filename).rstrip("/") for e in entries}
            held = folders_of([*self.names, *folders])
            found = (folder for folder in folders if folder not in held)
        return sorted(path for path in found if path != "." and not _hidden(path))

    def stamp(self, name: str) -> str:
        """Changes when the file does: its size, and its time or (in a .zip) its checksum."""
        if self._zip is not None:
            entry = self._zip.getinfo(self._places[name])
            return f"{entry.file_size}.{entry.CRC}"
        try:
            status = os.stat(self._places[name])
        except OSError:  # a broken link; reading it will fail
            return "missing"
        return f"{status.st_size}.{status.st_mtime_ns}"

    def find(self, name: str) -> list[str]:
        """The files a written name can mean: that very path, or else all that end alike."""
        path = normal(name)
        if path in self._places:
            return [path]
        return [held for held in self._by_name.get(base_name(path), ()) if end_alike(held, path)]

    def open_text(self, name: str) -> str:
        """A file as text."""
        return decoded(name, self.read(name))

    def need(self, paths: Iterable[str], how_to_get: str) -> None:
        """A ValueError that names every missing file or folder and where to get them."""
        folders = folders_of(self.names)
        missing = [path for path in paths if path not in self._places and path not in folders]
        if missing:
            raise errors.UserError(
                f"source: {self.source} lacks {', '.join(missing)}; {how_to_get}"
            )

    def pick(self, what: str, path: str) -> bytes:
        """The bytes of a file named by the user: one on disk, or one of these files."""
        place = pathlib.Path(path).expanduser()
        if place.is_file():
            return whole(place)
        if place.is_dir():
            raise errors.UserError(f"{what}: {path} is a folder; name one file")
        found = self.find(path)
        if len(found) != 1:
            others = [n for n in self.names if not n.lower().endswith((*IMAGES, *VIDEOS))]
            alike = [n for n in others if n.lower().endswith(place.suffix.lower())]
            raise errors.unknown(what, path, _highest(alike or others))
        return self.read(found[0])

    def pick_text(self, what: str, path: str) -> str:
        """As `pick`, as text."""
        return decoded(path, self.pick(what, path))

    def shallowest(self, name: str) -> str | None:
        """The file of that name nearest to the top, if there is one."""
        return min(self._by_name.get(name, ()), key=lambda path: path.count("/"), default=None)


def whole(place: str | os.PathLike) -> bytes:
    """All bytes of a file on the disk, if they are not too many."""
    status = os.stat(place)
    if not stat.S_ISREG(status.st_mode):  # reading a pipe would never end
        raise OSError("is not a regular file")
    if status.st_size > limits.most("BYTES"):
        raise errors.UserError(f"{place}: {status.st_size:,} bytes; {limits.hint('BYTES')}")
    return pathlib.Path(place).read_bytes()


def decoded(name: str, data: bytes) -> str:
    """The text of a file: UTF-8, UTF-16 as its first bytes say, else what Windows writes (Latin-1)."""
    utf_16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    for codec in ("utf-16",) if utf_16 else ("utf-8-sig", "cp1252"):
        with contextlib.suppress(UnicodeDecodeError):
            text = data.decode(codec)
            if codec != "cp1252" or "\0" not in text:
                return text
    raise errors.UserError(f"{name}: text in no encoding that is read; save it as UTF-8")


def _highest(paths: Sequence[str], count: int = 20) -> list[str]:
    """Some of the paths, those nearest to the top: a source may have a million."""
    return sorted(paths, key=lambda path: path.count("/"))[:count]


def normal(path: str) -> str:
    r"""A path as it is compared: with /, composed characters, and no ./ in front.

    >>> normal("./photographs\\1.jpg")
    'photographs/1.jpg'
    """
    path = unicodedata.normalize("NFC", path.strip().replace("\\", "/"))
    return path.removeprefix("./")


def base_name(path: str) -> str:
    """The last part of a path.

    >>> base_name("photographs/1.jpg")
    '1.jpg'
    """
    return path.rsplit("/", 1)[-1]


def end_alike(path: str, other: str) -> bool:
    """Whether one of two paths is the end of the other, folder by folder.

    >>> end_alike("photographs/sad/1.jpg", "sad/1.jpg"), end_alike("happy/1.jpg", "sad/1.jpg")
    (True, False)
    """
    return f"/{path}".endswith(f"/{other}") or f"/{other}".endswith(f"/{path}")


def joined(files: Iterable[str], written: Iterable[str]) -> dict[str, str]:
    """File -> the written path that means it: the same, or one that ends alike and means no other.

    >>> joined(["happy/1.jpg", "sad/1.jpg", "sad/2.jpg"], ["happy/1.jpg", "2.jpg"])
    {'happy/1.jpg': 'happy/1.jpg', 'sad/2.jpg': '2.jpg'}
    """
    ours, theirs = dict.fromkeys(files), dict.fromkeys(written)
    alike = [(file, file) for file in ours if file in theirs]
    alike += [(file, end) for file in ours for end in _shorter(file) if end in theirs]
    alike += [(end, path) for path in theirs for end in _shorter(path) if end in ours]
    of_file, of_path = Counter(file for file, _ in alike), Counter(path for _, path in alike)
    return {f: path for f, path in alike if f == path or of_file[f] == of_path[path] == 1}


def paired(
    ours: Iterable[str], theirs: Iterable[str], ways: Mapping[str, Callable[[str], str]]
) -> tuple[dict[str, str], Counter[str]]:
    """Ours -> theirs, and how many were found in which way.

    A way is a part of a name, the strictest first: it pairs where it names one of ours and one of theirs
    only. None of theirs is that of two.
    """
    ours, theirs = dict.fromkeys(ours), dict.fromkeys(theirs)
    found: dict[str, str] = {}
    count: Counter[str] = Counter()
    for way, part in ways.items():
        # Of all of ours: what could mean one that is paired already means no other.
        mine, others, taken = _unique(ours, part), _unique(theirs, part), set(found.values())
        pairs = [(name, others[key]) for key, name in mine.items() if key in others]
        hits = {name: other for name, other in pairs if name not in found and other not in taken}
        found |= hits
        count[way] += len(hits)
    return found, +count


def _unique(names: Iterable[str], part: Callable[[str], str]) -> dict[str, str]:
    """The names by a part of theirs; those that become the same are left out."""
    parts = {name: part(name) for name in names}
    counts = Counter(parts.values())
    return {key: name for name, key in parts.items() if counts[key] == 1}


def _shorter(path: str) -> Iterator[str]:
    """What a path becomes without its outer folders."""
    parts = path.split("/")
    return ("/".join(parts[place:]) for place in range(1, len(parts)))


def stem(path: str) -> str:
    """The name without folders and suffix, in lower case.

    >>> stem("photographs/1.jpg")
    '1'
    """
    return os.path.splitext(base_name(path))[0].lower()


def _hidden(path: str) -> bool:
    return any(part.startswith(".") or part == "__MACOSX" for part in path.split("/"))


def folders_of(names: Iterable[str]) -> set[str]:
    """All folders that contain the names."""
    return {"/".join(n.split("/")[:i]) for n in names for i in range(1, n.count("/") + 1)}


def _empty(folder: pathlib.Path) -> Iterator[str]:
    for parent, folders, names in os.walk(folder, followlinks=True):
        if not folders and not names:
            yield parent
        folders[:] = _inner(parent, folders)


def _walk(folder: pathlib.Path) -> Iterable[tuple[str, str]]:
    for parent, folders, names in os.walk(folder, onerror=_unreadable, followlinks=True):
        folders[:] = _inner(parent, folders)
        for name in names:
            place = os.path.join(parent, name)
            path = normal(as_text(os.path.relpath(place, folder)))
            if not _hidden(path):
                yield path, place


def _inner(parent: str, folders: Iterable[str]) -> list[str]:
    """The folders to go into; a link to a folder above it would lead round in circles."""
    here = os.path.realpath(parent)
    return [
        name
        for name in folders
        if not _hidden(name) and not _leads_up(os.path.join(parent, name), here)
    ]


def _leads_up(place: str, here: str) -> bool:
    return os.path.islink(place) and f"{here}{os.sep}".startswith(
        os.path.join(os.path.realpath(place), "")
    )


def _unreadable(error: OSError) -> None:
    raise errors.UserError(
        f"source: the folder {error.filename!r} cannot be read: {error.strerror}"
    )


def as_text(path: str) -> str:
    """A path with the bytes that are not UTF-8 as %FF, so that it can be written."""
    return re.sub("[\udc80-\udcff]", lambda byte: f"%{ord(byte[0]) - 0xDC00:02X}", path)


def _distinct(found: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Path -> place. Paths that differ in spaces or composition only are numbered."""
    places: dict[str, str] = {}
    for place, path in sorted({place: path for path, place in found}.items()):
        begin, suffix = os.path.splitext(path)
        number = 1
        while path in places:
            number += 1
            path = f"{begin} ({number}){suffix}"
        places[path] = place
    return places


def _entries(archive: zipfile.ZipFile) -> Iterable[tuple[str, str]]:
    for entry in archive.infolist():
        name = entry.filename
        if not name:  # of a damaged directory
            continue
        if not entry.flag_bits & _UTF8_NAME:
            # Many programs write UTF-8 without saying so.
            with contextlib.suppress(UnicodeError):
                name = name.encode("cp437").decode("utf-8")
        path = normal(name)
        if not entry.is_dir() and not _hidden(path):
            yield path, entry.filename
