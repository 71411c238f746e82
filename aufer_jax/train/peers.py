"""The processes of a run see that the others live; where one has died, the rest end with one line.

A process that is killed, or whose machine is gone, leaves the others waiting for its share of a sum: on some
backends for ever, on others until an error that names a socket. So each gives a sign of life every two
seconds through JAX's coordination service, which is in the first process; that one looks for those of the
others, and they look whether it is there.
"""

import atexit
import contextlib
import ctypes
import re
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import jax

from aufer_jax.train import preemption

EVERY_S = 2.0  # from one sign of life to the next
PATIENCE_S = 30.0  # without one a process counts as dead
FAILED_S = 5.0  # after a process has failed, in which the others may end by themselves
EXIT_CODE = 75  # "try again" of sysexits.h
_ALIVE, _LOST = "aufer/alive", "aufer/lost"
_DONE, _FAILED = "done", "failed"
# What the libraries say of a peer that is gone: an error with one of these words may be its echo.
_ECHO = re.compile(r"gloo|nccl|connection|socket|coordination|barrier|heartbeat|unavailable", re.I)

_watch: "_Watch | None" = None


def watch() -> None:
    """From now on the death of another process ends this one with a line and exit code 75."""
    global _watch
    if jax.process_count() > 1 and _watch is None:
        _watch = _Watch()
        atexit.register(_watch.close, _DONE)


@contextlib.contextmanager
def told() -> Iterator[None]:
    """What goes wrong in this process while it lasts is told to the others; an echo of theirs is not.

    Where the error comes from another process's death, the watch says so and ends this one.
    """
    try:
        yield
    except BaseException as error:
        if _watch is not None:
            if isinstance(error, Exception) and _ECHO.search(str(error)):
                time.sleep(PATIENCE_S + 8 * EVERY_S)
            _watch.close(_FAILED)
        raise


class _Watch:
    def __init__(self) -> None:
        from jax._src import distributed  # there is no public way to its store of keys and values

        state = distributed.global_state
        self._client: Any = state.client
        self._first = str(state.coordinator_address).rpartition(":")
        self._me, self._count = jax.process_index(), jax.process_count()
        self._over, self._asked = threading.Event(), 0.0
        threads = (self._live, self._look_for_first) if self._me else (self._live,)
        if self._me:
            _delay_aborts()
        for each in threads:
            threading.Thread(target=each, name="peers", daemon=True).start()

    def close(self, last: str) -> None:
        """Says, once, how this process has come to its end."""
        if not self._over.is_set():
            self._over.set()
            with contextlib.suppress(Exception):
                self._tell(last)

    def _tell(self, word: str) -> None:
        self._client.key_value_set(f"{_ALIVE}/{self._me}", word, allow_overwrite=True)

    def _live(self) -> None:
        """Gives signs of life and hears of those who gave none, until this process has come to its end."""
        seen: dict[str, tuple[str, float]] = {}
        beat = 0
        while not self._over.wait(EVERY_S):
            beat, self._asked = beat + 1, time.monotonic()
            with contextlib.suppress(Exception):  # the first process has died, or nobody is lost
                self._tell(str(beat))
                found = self._lost(seen) if self._me == 0 else self._client.key_value_try_get(_LOST)
                if found:
                    if self._me == 0:
                        self._client.key_value_set(_LOST, found)
                        time.sleep(3 * EVERY_S)  # the others hear it from here
                    self._end(found)
            self._asked = 0.0

    def _lost(self, seen: dict[str, tuple[str, float]]) -> str:
        """Who is lost and why; "" if nobody is. Updates when which word was `seen` first."""
        now = time.monotonic()
        for key, word in self._client.key_value_dir_get(_ALIVE):
            if seen.get(key, ("", 0.0))[0] != word:
                seen[key] = word, now
        for other in range(self._count):
            word, since = seen.setdefault(f"{_ALIVE}/{other}", ("", now))
            if word == _FAILED and now - since > FAILED_S:
                return (
                    f"process {other} of {self._count} has ended with an error, which it has told"
                )
            if word not in (_DONE, _FAILED) and now - since > PATIENCE_S:
                return f"process {other} of {self._count} has given no sign of life for {PATIENCE_S:g} s"
        return ""

    def _look_for_first(self) -> None:
        """Whether nobody listens any more where the first process did, when it leaves a question open."""
        refused = 0
        while not self._over.wait(0.5):
            waits = time.monotonic() - self._asked if self._asked else 0.0
            if waits < 1.0:
                refused = 0
                continue
            try:
                host, _, port = self._first
                socket.create_connection((host.strip("[]"), int(port)), timeout=PATIENCE_S).close()
                refused = 0
            except OSError:
                refused += 1
            if refused > 1 or waits > PATIENCE_S:
                self._end(f"process 0 of {self._count} has died")

    def _end(self, why: str) -> None:
        if not self._over.is_set():
            preemption.leave(
                f"{why}; this one, {self._me}, ends too. Start all of them again: they go on from the last "
                "checkpoint",
                EXIT_CODE,
            )


def _delay_aborts() -> None:
    """Where the first process dies JAX aborts the others at once: that thread waits for our line."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        libc.signal.argtypes = (ctypes.c_int, ctypes.c_void_p)
        # The C function `sleep`; the signal's number, 6, is its seconds. Nothing of Python runs there. Not
        # once only: several threads abort.
        libc.signal(int(signal.SIGABRT), ctypes.cast(libc.sleep, ctypes.c_void_p))
