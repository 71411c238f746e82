"""CTRL-C and SIGTERM ask a run for a checkpoint and a clean exit; they are heard from its first line on.

JAX is imported where it is used: the handlers stand before that.
"""

import logging
import multiprocessing
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

log = logging.getLogger(__name__)


class Stopped(Exception):
    """Something that is done again by the resumed run was left, as this one is to stop."""


class Stop:
    """A request to stop, which all processes of a run see at the same step.

    CTRL-C or SIGTERM makes it; CTRL-C after that is a `KeyboardInterrupt`. Of several processes JAX takes
    SIGTERM and brings it to all.

    Args:
      program: the run is all that the process does. A thread then hears signals even while JAX compiles or
        computes. It ends the process at once before the first step, when nothing can be lost, and at the
        second CTRL-C.
    """

    def __init__(self, *, program: bool = False) -> None:
        self.asked = False
        self._anything_to_save = not program
        self._before: dict[int, Any] = {}
        self._mouth: socket.socket | None = None
        if threading.current_thread() is not threading.main_thread():
            log.info("signals are left to the main thread")
            return
        if program:
            ears, self._mouth = socket.socketpair()
            self._mouth.setblocking(False)
            signal.set_wakeup_fd(self._mouth.fileno(), warn_on_full_buffer=False)
            threading.Thread(target=self._listen, args=(ears,), name="stop", daemon=True).start()
        handler = _nothing if program else self._interrupt
        numbers = (signal.SIGINT,) if _many() else (signal.SIGINT, signal.SIGTERM)
        self._before = {number: signal.signal(number, handler) for number in numbers}

    def _interrupt(self, number: int, _: Any) -> None:
        if number == signal.SIGINT and self.asked:
            raise KeyboardInterrupt
        self._ask(number)

    def _listen(self, ears: socket.socket) -> None:
        with ears:
            while heard := ears.recv(1):
                number = heard[0]
                if number not in (signal.SIGINT, signal.SIGTERM):
                    continue
                if number == signal.SIGINT and self.asked:
                    leave("interrupted", 130)
                if not self._anything_to_save:
                    leave("stopped before the first step, there is nothing to save", 0)
                self._ask(number)

    def _ask(self, number: int) -> None:
        self.asked = True
        if number == signal.SIGINT:
            text = "stopping with a checkpoint; CTRL-C again stops at once, without one"
            print(f"\n{text}", file=sys.stderr, flush=True)
            if _many():
                os.kill(os.getpid(), signal.SIGTERM)

    def first_step_taken(self) -> None:
        """From here on there is something to save."""
        self._anything_to_save = True

    def requested(self, step: int) -> bool:
        """Whether the run ends with a checkpoint of this step."""
        if not _many():
            return self.asked
        from jax.experimental import multihost_utils

        return multihost_utils.reached_preemption_sync_point(step)

    def leaves(self, step: Callable[P, T]) -> Callable[P, T]:
        """The step of an evaluation, which raises `Stopped` on request; several processes end it first."""

        def left(*given: P.args, **options: P.kwargs) -> T:
            if self.asked and not _many():
                raise Stopped
            return step(*given, **options)

        return left

    def __enter__(self) -> "Stop":
        return self

    def __exit__(self, *_: object) -> None:
        """Gives the signals back."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._mouth is not None:
            signal.set_wakeup_fd(-1)
            self._mouth.close()


def agreed(flag: bool) -> bool:
    """What the first process says, in all of them."""
    if not _many():
        return flag
    from jax.experimental import multihost_utils

    return bool(multihost_utils.broadcast_one_to_all(flag))


def _many() -> bool:
    """Whether the processes of a run have found each other; does not start JAX."""
    jax = sys.modules.get("jax")
    return jax is not None and jax.distributed.is_initialized() and jax.process_count() > 1


def _nothing(*_: Any) -> None:
    """A handler that lets the wakeup file descriptor do it."""


def leave(line: str, code: int) -> None:
    """Says a line and ends the process from any thread, whatever the others are doing."""
    print(f"aufer: {line}", file=sys.stderr, flush=True)
    for child in multiprocessing.active_children():  # the loader's
        child.kill()  # they take no other signal
    os._exit(code)
