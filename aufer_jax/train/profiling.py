"""A trace of a few steps of a run, for tools that show what the devices and the host do in them."""

import contextlib
import logging
import pathlib
from typing import Any

import jax

from aufer_jax.errors import UserError, brief

log = logging.getLogger(__name__)

WARM_UP, STEPS = 3, 5  # steps before the trace, and in it
NAME = "train"  # of each traced step


class Profile:
    """Traces some steps of this process into a folder, after the first ones; without a folder none.

    >>> with Profile("").step(0):
    ...     pass
    """

    def __init__(self, folder: str, first: int = 0, *, speaks: bool = True) -> None:
        self._folder = pathlib.Path(folder) if folder else None
        self._steps = range(first + WARM_UP, first + WARM_UP + STEPS)
        self._state = "before"  # "running", "done"
        self._speaks = speaks
        if self._folder and self._folder.exists() and not self._folder.is_dir():
            raise UserError(f"--profile: {folder!r} is not a folder")

    def step(self, number: int) -> contextlib.AbstractContextManager[Any]:
        """What step `number` is called in."""
        if self._folder is None or number not in self._steps:
            return contextlib.nullcontext()
        if self._state == "before":
            jax.profiler.start_trace(str(self._folder), create_perfetto_trace=True)
            self._state = "running"
        return jax.profiler.StepTraceAnnotation(NAME, step_num=number)

    def after(self, number: int, result: Any) -> None:
        """Ends the trace after its last step, once `result` is there."""
        if self._state == "running" and number == self._steps.stop - 1:
            jax.block_until_ready(result)
            self.close()

    def close(self) -> None:
        """Ends a trace that has begun, whatever has ended the run, and says where it is."""
        if self._folder is None or self._state == "done":
            return
        began, self._state = self._state == "running", "done"
        try:
            if began:
                jax.profiler.stop_trace()
        except Exception as error:  # a full disk; a trace is not worth a run
            log.warning("--profile: %s", brief(error))
            return
        if self._speaks:
            print(self._said() if began else self._nothing(), flush=True)

    def _said(self) -> str:
        return (
            f"profile of steps {self._steps.start} to {self._steps.stop - 1} in {self._folder}: open "
            "perfetto_trace.json.gz of its newest folder at ui.perfetto.dev, or look at all of it with "
            f"pip install tensorboard xprof; tensorboard --logdir {self._folder}"
        )

    def _nothing(self) -> str:
        return f"--profile: the run has ended before step {self._steps.start}; nothing is traced"
