"""Folders in an object store (`gs://`, `s3://`, any scheme of fsspec), kept on this machine while in use.

Whatever else in the library opens a file opens one of this machine: what is in a store is fetched before, and
what was written is sent after, or while a run is at work. A store has no rename, no lock and no appending, so
a list of the files is sent last; a reader sees the files of one list, whole, at whatever moment the writer
was killed.
"""

import contextlib
import functools
import json
import logging
import os
import pathlib
import re
import shutil
import sys
import tempfile
import threading
import time
import urllib.parse
import uuid
from collections.abc import Iterable, Iterator
from typing import Any

from aufer_jax.errors import UserError, brief

log = logging.getLogger(__name__)

VARIABLE = "AUFER_REMOTE"  # where the folders are kept on this machine
LISTED = ".aufer{}.json"  # in the store: which files belong together
SEEN = ".seen.json"  # on this machine: what was fetched and sent last
EVERY_S = 15.0  # from one look at what a run has written to the next
_TRIES_S = (1.0, 5.0, 15.0)  # between the last ones, when a run ends
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]+://")
_ENDED = ("ETag", "etag", "md5Hash", "mtime", "LastModified", "last_modified", "updated", "created")
_OURS = re.compile(r"\.lock|\.seen\.json|\.aufer.*\.json|.*\.tmp|.*\.orbax-checkpoint-tmp.*")

# By folder of this machine: what is half fetched is not sent.
_LOCKS: dict[str, threading.Lock] = {}

Files = dict[str, list[Any]]  # path -> its size, and what changes with its content


def is_remote(path: str | os.PathLike) -> bool:
    """Whether a path names a place in a store.

    >>> is_remote("gs://bucket/run"), is_remote("runs/auvit"), is_remote("C:/runs")
    (True, False, False)
    """
    return bool(_SCHEME.match(str(path)))


def is_kept(path: str | os.PathLike) -> bool:
    """Whether a folder of this machine stands for one in a store, so that other hosts have others."""
    return pathlib.Path(path).is_relative_to(_root())


def _root() -> pathlib.Path:
    return pathlib.Path(os.environ.get(VARIABLE, "~/.cache/aufer_jax/remote")).expanduser()


def _kept(url: str, use: str) -> pathlib.Path:
    """Where it is on this machine; the way back is `_url`."""
    parent, _, name = url.rstrip("/").rpartition("/")
    return _root() / use / urllib.parse.quote(parent, safe="") / name


def name(place: str | os.PathLike) -> str:
    """What a user calls a folder: of one that stands for a store's, that one."""
    return _url(pathlib.Path(place)) if is_kept(place) else str(place)


def _url(place: pathlib.Path) -> str:
    _, parent, *rest = place.relative_to(_root()).parts
    return "/".join((urllib.parse.unquote(parent), *rest))


def _store(url: str) -> tuple[Any, str]:
    """The store's file system, and the path in it."""
    import fsspec

    scheme = url.partition("://")[0]
    try:
        return fsspec.core.url_to_fs(url, **({"auto_mkdir": True} if scheme == "file" else {}))
    except ImportError as error:
        extra = {"gs": "gcs", "gcs": "gcs", "s3": "s3"}.get(scheme)
        more = f"; pip install 'aufer-jax[{extra}]'" if extra else ""
        raise UserError(f"{url}: {brief(error)}{more}") from None
    except ValueError as error:
        raise UserError(f"{url}: {brief(error)}") from None


@contextlib.contextmanager
def _explained(url: str) -> Iterator[None]:
    """One line in place of what a store's package says."""
    try:
        yield
    except (UserError, MemoryError):
        raise
    except Exception as error:
        raise UserError(f"{url}: {type(error).__name__}: {brief(error)}") from error


# --- A folder that is read and written ------------------------------------------------------------


class Mirror:
    """A folder of a store and the one that stands for it here; of several processes each has its own.

    Attributes:
      url: of the store's.
      place: of this machine's.
    """

    def __init__(self, url: str, use: str, process: int = 0) -> None:
        self.url = url.rstrip("/")
        self.place = _kept(self.url, f"{use}.{process}" if process else use)
        self._store, self._base = _store(self.url)
        self._first, self._listed = not process, LISTED.format(f".{process}" if process else "")
        self._lock = _LOCKS.setdefault(str(self.place), threading.Lock())

    def pull(self, *, ahead: bool = False) -> None:
        """Makes this machine's folder what the store's is.

        Args:
          ahead: it stays as it is if nobody else has sent anything since: it may have more to send.
        """
        lost: set[str] = set()
        with self._lock, _explained(self.url):
            self._store.invalidate_cache()
            if self.place.is_file():
                self.place.unlink()
            if self._store.isfile(self._base):
                return self._pull_file()
            while not self._pull(ahead, lost):  # a file has gone meanwhile
                pass
        if lost:
            _warn(f"{self.url}: listed, but not there: {', '.join(sorted(lost))}")

    def _pull(self, ahead: bool, lost: set[str]) -> bool:
        """Whether it is done; `lost` are files that are listed and that the store denies having."""
        version, there = self._there()
        there = {name: what for name, what in there.items() if name not in lost}
        seen, here = self._seen(), self._here()
        # Without a version nothing was ever sent as a whole: what lies there tells whether another was at it.
        same = version == seen["version"] and (version or there == seen["there"])
        if (ahead and same) or not (there or here):
            return True
        wanted = [
            name for name, what in there.items()
            if name not in here or seen["there"].get(name) != what or seen["here"].get(name) != here[name]
        ]  # fmt: skip
        try:
            self._get(wanted)
        except FileNotFoundError:
            if self._there()[0] != version:
                lost.clear()
                return False
            denied = {name for name in wanted if not self._has(name)}
            if not denied:
                raise
            lost |= denied
            return False
        for name in here.keys() - there.keys():
            (self.place / name).unlink(missing_ok=True)
        self._see(version, there, self._here())
        return True

    def _pull_file(self) -> None:
        self.place.parent.mkdir(parents=True, exist_ok=True)
        self._store.get_file(self._base, str(self.place))
        self._was = _stat(self.place)

    def push(self) -> None:
        """Sends what was written here since, and then the list of all files; what is gone here goes there."""
        with self._lock, _explained(self.url):
            if self.place.is_file():
                if _stat(self.place) != getattr(self, "_was", None):
                    self._store.put_file(str(self.place), self._base)
                return
            while not self._push():  # a file has gone meanwhile
                pass

    def _push(self) -> bool:
        here, seen = self._here(), self._seen()
        if here == seen["here"]:
            return True
        changed = {name: what for name, what in here.items() if seen["here"].get(name) != what}
        if self._first and not seen["version"] and not self._lists():
            # Else half of a first sending is taken for the whole.
            self._list({"version": "", "files": seen["there"]})
        try:
            sent = [f"{self._base}/{name}" for name in changed]
            self._store.put([str(self.place / name) for name in changed], sent)
        except FileNotFoundError:
            if any(not (self.place / name).exists() for name in changed):
                return False
            raise
        lists = self._lists()  # as they are now: what another has sent since stays
        other = {"files": seen["there"] if self._first else {}}
        listed = lists.get(self._listed, other)["files"]
        gone = (seen["here"] if self._first else listed).keys() - here.keys()
        files = {name: what for name, what in listed.items() if name not in gone} | changed
        lists[self._listed] = {"version": uuid.uuid4().hex, "files": files}
        self._list(lists[self._listed])
        for name in gone:
            with contextlib.suppress(FileNotFoundError):
                self._store.rm_file(f"{self._base}/{name}")
        there = {name: seen["there"].get(name, what) for name, what in here.items()} | changed
        self._see(_version(lists), there, here)
        return True

    def _list(self, listed: dict[str, Any]) -> None:
        self._store.pipe_file(f"{self._base}/{self._listed}", json.dumps(listed).encode())

    def _lists(self) -> dict[str, dict[str, Any]]:
        """The store's lists by their names: one of each process."""
        self._store.invalidate_cache()
        found = {}
        for path in sorted(self._store.glob(f"{self._base}/{LISTED.format('*')}")):
            listed = json.loads(self._store.cat_file(path))
            files = {_inside(name): what for name, what in listed["files"].items()}
            found[path.rpartition("/")[2]] = {"version": listed["version"], "files": files}
        return found

    def _there(self) -> tuple[str, Files]:
        """The store's files by its lists, and the lists' version; without a list: all there are."""
        lists, files = self._lists(), {}
        for listed in lists.values():
            files |= listed["files"]
        if lists:
            return _version(lists), files
        found = self._store.find(self._base, detail=True)
        return "", {
            _inside(path.removeprefix(self._base).lstrip("/")): [info["size"], _token(info)]
            for path, info in found.items()
        }

    def _has(self, name: str) -> bool:
        """Whether the store has a file; not `exists`, which takes any error for a no."""
        try:
            self._store.info(f"{self._base}/{name}")
        except FileNotFoundError:
            return False
        return True

    def _here(self) -> Files:
        """This machine's files: the newest checkpoint before the best one, which is whole by then."""
        found: Files = {}
        for folder, folders, names in os.walk(self.place):
            folders[:] = sorted((f for f in folders if not _OURS.fullmatch(f)), reverse=True)
            for name in sorted(names):
                path = pathlib.Path(folder, name)
                with contextlib.suppress(FileNotFoundError):
                    if not _OURS.fullmatch(name):
                        found[path.relative_to(self.place).as_posix()] = _stat(path)
        return found

    def _get(self, names: list[str]) -> None:
        """All of them, or none: a half would be sent in place of the whole."""
        if not names:
            return
        self.place.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=self.place, suffix=".tmp") as folder:
            parts = [pathlib.Path(folder, name) for name in names]
            for part in parts:
                part.parent.mkdir(parents=True, exist_ok=True)
            self._store.get([f"{self._base}/{name}" for name in names], list(map(str, parts)))
            for part, name in zip(parts, names, strict=True):
                (self.place / name).parent.mkdir(parents=True, exist_ok=True)
                part.replace(self.place / name)

    def _seen(self) -> dict[str, Any]:
        try:
            return json.loads((self.place / SEEN).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {"version": "", "there": {}, "here": {}}

    def _see(self, version: str, there: Files, here: Files) -> None:
        self.place.mkdir(parents=True, exist_ok=True)
        part = self.place / f"{SEEN}.tmp"
        text = json.dumps({"version": version, "there": there, "here": here})
        part.write_text(text, encoding="utf-8")
        part.replace(self.place / SEEN)


def _version(lists: dict[str, dict[str, Any]]) -> str:
    return " ".join(lists[name]["version"] for name in sorted(lists))


@functools.cache
def _warn(text: str) -> None:
    """Once: who watches a run looks again and again."""
    log.warning("%s", text)


def _inside(name: str) -> str:
    """A name of a file of the folder; one that leads out of it is refused."""
    if pathlib.PurePath(name).is_absolute() or ".." in re.split(r"[/\\]", name):
        raise UserError(f"{name!r} in the store's list of files leads out of the folder")
    return name


def _stat(path: pathlib.Path) -> list[int]:
    found = path.stat()
    return [found.st_size, found.st_mtime_ns]


def _token(info: dict[str, Any]) -> str:
    return next((str(info[key]) for key in _ENDED if info.get(key)), "")


def copy(path: str | os.PathLike) -> pathlib.Path:
    """A folder or file to read: what is in a store is fetched, any other is where it is."""
    if not is_remote(path):
        return pathlib.Path(path)
    mirror = Mirror(str(path), "copies", _process())
    mirror.pull()
    return mirror.place


@contextlib.contextmanager
def written(path: str) -> Iterator[pathlib.Path]:
    """A folder or file that is read and written: fetched before, and what has changed is sent after."""
    if any(sign in path for sign in "*?["):
        raise UserError(f"{path}: name a folder; a pattern is not looked up in a store")
    mirror = Mirror(path, "copies", _process())
    mirror.pull()
    mirror.place.parent.mkdir(parents=True, exist_ok=True)
    yield mirror.place
    mirror.push()


@contextlib.contextmanager
def at_work(workdir: str | os.PathLike) -> Iterator[pathlib.Path]:
    """The folder of a run that trains: of a store's, what it writes is sent every few seconds and at its end.

    Of several processes each has a folder of its own; they begin with the same files.
    """
    if not is_remote(workdir):
        yield pathlib.Path(workdir)
        return
    mirror = Mirror(str(workdir), "runs", _process())
    alone = _processes() == 1
    mirror.pull(ahead=alone)
    mirror.place.mkdir(parents=True, exist_ok=True)
    if not _process():
        log.info(
            "%s: written in %s and sent from there; a store has no locks: let no second run use it",
            mirror.url, mirror.place,
        )  # fmt: skip
    done = threading.Event()
    sender = threading.Thread(target=_send, args=(mirror, done), name="remote", daemon=True)
    sender.start()
    try:
        yield mirror.place
    except BaseException:
        _finish(mirror, done, sender, alone=alone, raises=False)
        raise
    _finish(mirror, done, sender, alone=alone, raises=True)


def share(place: pathlib.Path) -> None:
    """What the first process has written into the folder of a run that trains, for the others too."""
    mirror = Mirror(_url(place), "runs", _process())
    if not _process():
        mirror.push()
    from jax.experimental import multihost_utils

    multihost_utils.sync_global_devices("remote")
    if _process():
        mirror.pull()


def _send(mirror: Mirror, done: threading.Event) -> None:
    failed = False
    while not done.wait(EVERY_S):
        try:
            mirror.push()
            failed = False
        except UserError as error:
            if not failed:
                log.warning("%s; it is tried again every %g s", error, EVERY_S)
            failed = True


def _finish(
    mirror: Mirror, done: threading.Event, sender: threading.Thread, *, alone: bool, raises: bool
) -> None:
    done.set()
    sender.join()
    for wait in (*_TRIES_S, 0.0):
        try:
            return mirror.push()
        except UserError as error:
            # Several begin with what is in the store, each anew.
            more = ", and the same command sends them" if alone else ""
            text = f"{error}; the run's files are in {mirror.place}{more}"
            if not wait and raises:
                raise UserError(f"workdir: {text}") from error
            if not wait:
                log.warning("%s", text)
        time.sleep(wait)
    return None


# --- Datasets, which do not change -----------------------------------------------------------------


@functools.cache
def catalogue(url: str, pattern: str) -> pathlib.Path:
    """Stands for a folder of datasets: what matches the pattern is there; looked up once a process."""
    place, (store, base) = _kept(url, "data"), _store(url.rstrip("/"))
    with _explained(url):
        found = {
            path.removeprefix(base).lstrip("/"): store.cat_file(path)
            for path in store.glob(f"{base}/{pattern}")
        }
    for old in place.glob(pattern):
        if old.relative_to(place).as_posix() not in found:
            old.unlink(missing_ok=True)
    for name, content in found.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=place, delete=False) as file:
            file.write(content)
        os.replace(file.name, place / name)
    return place


def fetch(place: pathlib.Path) -> pathlib.Path:
    """A folder that stands for one in a store is fetched as a whole, unless it is here; others stay."""
    if not is_kept(place) or place.exists():
        return place
    url = _url(place)
    store, base = _store(url)
    with _explained(url):
        files = store.find(base)
        if files:
            log.info("fetching %s, %d files", url, len(files))
            place.parent.mkdir(parents=True, exist_ok=True)
            part = pathlib.Path(tempfile.mkdtemp(dir=place.parent))
            try:
                store.get(
                    files, [str(part / _inside(f.removeprefix(base).lstrip("/"))) for f in files]
                )
                with contextlib.suppress(OSError):  # another process was faster
                    part.rename(place)
            finally:
                shutil.rmtree(part, ignore_errors=True)
    return place


def send(folder: pathlib.Path, last: str) -> None:
    """Sends a dataset's folder that stands for one in a store, in place of what is there.

    The file that makes it a dataset, `last`, is sent after the others.
    """
    if not is_kept(folder):
        return
    url = _url(folder)
    store, base = _store(url)
    with _explained(url):
        before = set(store.find(base))
        files = [path for path in folder.rglob("*") if path.is_file() and path.name != ".lock"]
        for path in sorted(files, key=lambda path: path.name == last):
            target = f"{base}/{path.relative_to(folder).as_posix()}"
            store.put_file(str(path), target)
            before.discard(target)
        for path in before:
            store.rm_file(path)
    catalogue.cache_clear()


def remove(places: Iterable[pathlib.Path]) -> None:
    """Removes in the store what the places stand for, in this order."""
    for place in places:
        if is_kept(place):
            store, base = _store(_url(place))
            with _explained(_url(place)), contextlib.suppress(FileNotFoundError):
                store.rm(base, recursive=True)
    catalogue.cache_clear()


# --- Processes --------------------------------------------------------------------------------------


def _process() -> int:
    return _jax().process_index() if _processes() > 1 else 0


def _processes() -> int:
    """How many train together; does not start JAX."""
    jax = sys.modules.get("jax")
    return jax.process_count() if jax is not None and jax.distributed.is_initialized() else 1


def _jax() -> Any:
    return sys.modules["jax"]


def exists(path: str) -> bool:
    """Whether a file is there, in a store or here; `python -m aufer_jax.remote PATH` for scripts."""
    store, base = _store(path)
    with _explained(path):
        return store.exists(base)


if __name__ == "__main__":
    sys.exit(not exists(sys.argv[1]))
