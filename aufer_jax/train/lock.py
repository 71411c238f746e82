"""One run a workdir: a lock that names its holder, and that nobody holds once its process is gone.

The operating system's lock on the file `.lock` says so exactly on one machine, and on shared file systems
that have locks. Where each machine has its own idea of them, signs of life count: the holder renews the
file's time every few seconds.
"""

import contextlib
import json
import logging
import os
import pathlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import jax

from aufer_jax.datasets import store
from aufer_jax.errors import UserError
from aufer_jax.train import preemption

log = logging.getLogger(__name__)

NAME = ".lock"
ALIVE_S = 10.0  # from one sign of life to the next
PATIENCE_S = 35.0  # without one the holder counts as dead
_FAR = 1 << 30  # the byte that is locked, so that Windows lets others read the first ones


@contextlib.contextmanager
def of_run(workdir: str | pathlib.Path) -> Iterator[None]:
    """Holds the lock for all processes of a run: the first one takes it, the others hear if it could not."""
    with contextlib.ExitStack() as holding:
        refused: Exception | None = None
        if jax.process_index() == 0:
            try:
                holding.enter_context(held(workdir))
            except (UserError, OSError) as error:
                refused = error
        if preemption.agreed(refused is not None):
            raise refused or UserError(f"workdir: {str(workdir)!r} is refused by the first process")
        yield


@contextlib.contextmanager
def held(workdir: str | pathlib.Path) -> Iterator[None]:
    """Holds the workdir's lock; a UserError that names the holder if another run has it."""
    folder = pathlib.Path(workdir)
    folder.mkdir(parents=True, exist_ok=True)
    file = os.open(folder / NAME, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        _take(file, folder)
        done, place = threading.Event(), folder / NAME
        signs = threading.Thread(target=_live, args=(place, done), name="lock", daemon=True)
        signs.start()
        try:
            yield
        finally:
            done.set()
            signs.join()
            with contextlib.suppress(OSError):  # a disk that is gone
                os.ftruncate(file, 0)
    finally:
        os.close(file)  # gives the lock back


def _take(file: int, folder: pathlib.Path) -> None:
    try:
        os.lseek(file, _FAR, os.SEEK_SET)
        free = store.lock(file, wait=False)
    except OSError as error:
        log.warning(
            "%s: this file system has no locks (%s); see to it that no second run uses the folder",
            folder, error.strerror,
        )  # fmt: skip
        free = True
    holder = _holder(file)
    if not free:
        raise _refusal(folder, holder)
    if holder.get("host", socket.gethostname()) != socket.gethostname():
        _wait_for_silence(file, folder, holder)
    _write(file)


def _wait_for_silence(file: int, folder: pathlib.Path, holder: dict[str, Any]) -> None:
    """Returns once the holder on another machine has given no sign of life for long enough."""
    log.info("%s: %s held it; waiting for a sign of life", folder, _name(holder))
    seen, end = _sign(folder), time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        time.sleep(min(1.0, PATIENCE_S / 10))
        if not _holder(file):
            return
        if _sign(folder) != seen:
            raise _refusal(folder, holder)


def _sign(folder: pathlib.Path) -> int:
    """The file's time, by a new look at it: network file systems keep old answers."""
    number = os.open(folder / NAME, os.O_RDONLY)
    try:
        return os.fstat(number).st_mtime_ns
    finally:
        os.close(number)


def _live(place: pathlib.Path, done: threading.Event) -> None:
    while not done.wait(ALIVE_S):
        with contextlib.suppress(OSError):  # a disk that is gone
            os.utime(place)


def _holder(file: int) -> dict[str, Any]:
    os.lseek(file, 0, os.SEEK_SET)
    try:
        found = json.loads(os.read(file, 4096))
    except (ValueError, OSError):
        return {}
    return found if isinstance(found, dict) else {}


def _write(file: int) -> None:
    since = time.strftime("%Y-%m-%d %H:%M:%S %Z")
    text = json.dumps({"host": socket.gethostname(), "process": os.getpid(), "since": since})
    os.ftruncate(file, 0)
    os.lseek(file, 0, os.SEEK_SET)
    os.write(file, text.encode())


def _name(holder: dict[str, Any]) -> str:
    if not holder:
        return "another process"
    return f"process {holder.get('process')} on {holder.get('host')}"


def _refusal(folder: pathlib.Path, holder: dict[str, Any]) -> UserError:
    since = f", since {holder['since']}" if "since" in holder else ""
    return UserError(
        f"workdir: {str(folder)!r} is in use by {_name(holder)}{since}; wait for it, or choose another "
        "--workdir"
    )
