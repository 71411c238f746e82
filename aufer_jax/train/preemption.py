"""SIGTERM asks for a checkpoint and a clean exit."""

import logging
import signal
from typing import Any

import jax
from jax.experimental import multihost_utils

log = logging.getLogger(__name__)


class Stop:
    """A request to stop, which all processes of a run see at the same step."""

    def __init__(self) -> None:
        self._asked = False
        self._many = jax.process_count() > 1
        self._before = None
        if not self._many:
            try:
                self._before = signal.signal(signal.SIGTERM, self._ask)
            except ValueError:  # not in the main thread: whoever runs us there handles signals
                log.info("SIGTERM is not handled outside the main thread")

    def _ask(self, *_: Any) -> None:
        self._asked = True

    def requested(self, step: int) -> bool:
        if self._many:
            return multihost_utils.reached_preemption_sync_point(step)
        return self._asked

    def restore(self) -> None:
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)
