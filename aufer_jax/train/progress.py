"""How far a run is and when it will have ended: a bar on a terminal, elsewhere a line now and then."""

import datetime
import math
import sys
import time

from tqdm import tqdm

BAR_SECONDS, LINE_SECONDS = 1.0, 30.0
MEASURED_SECONDS = 2.0  # of steps, before the whole run's time is told from them
_BAR = "{percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt}{postfix}"


class Clock:
    """When the epoch and the run will have ended, by the time of the steps done since its start.

    Args:
      steps_per_epoch, total_steps: of the run.
      limit_s: it ends after so many seconds in any case; 0: it does not.
    """

    def __init__(self, *, steps_per_epoch: int, total_steps: int, limit_s: float = 0.0) -> None:
        self._per_epoch, self._total, self._limit = steps_per_epoch, total_steps, limit_s
        self._began = self._now = time.monotonic()
        self._first: int | None = None  # the number of steps done when the first was compiled
        self._done, self._seconds = 0, 0.0  # steps done now, and the time since
        self._evaluation = 0.0  # seconds of the last one

    def done(self, step: int) -> None:
        """So many steps of the run are done."""
        now = time.monotonic()
        if self._first is None:
            self._first = step
        else:
            self._seconds += now - self._now
        self._done, self._now = step, now

    def evaluated(self) -> None:
        """The time since the last step went into the end of an epoch."""
        now = time.monotonic()
        self._evaluation, self._now = now - self._now, now

    def is_over(self) -> bool:
        """Whether the limit has been reached."""
        return 0 < self._limit < time.monotonic() - self._began

    def left(self) -> tuple[float, float] | None:
        """Seconds to the end of the epoch and of the run; None before a few steps are done."""
        if self._first is None or self._done <= self._first:
            return None
        pace = self._seconds / (self._done - self._first)
        epoch = (self._per_epoch - self._done % self._per_epoch) * pace + self._evaluation
        steps = self._total - self._done
        run = steps * pace + math.ceil(steps / self._per_epoch) * self._evaluation
        if self._limit:
            run = min(run, max(0.0, self._limit - (time.monotonic() - self._began)))
        return min(epoch, run), run

    def text(self) -> str:
        """What is left, for a line; empty before it is known."""
        if (left := self.left()) is None:
            return ""
        epoch, run = (datetime.timedelta(seconds=round(seconds)) for seconds in left)
        return f", epoch ends in {epoch}, run in {run}"

    def expected(self) -> str:
        """How long the run will take, once steps were measured for a while; empty before, and at the end."""
        left = self.left()
        if left is None or min(self._seconds, left[1]) < MEASURED_SECONDS:
            return ""
        # Until the first epoch has ended, nothing is known of the time that its validation takes.
        rest = "" if self._evaluation else ", without validation"
        return f"about {_rounded(left[1])} left{rest}, measured on this machine"


def _rounded(seconds: float) -> str:
    """A time in one unit.

    >>> [_rounded(seconds) for seconds in (8, 250, 9000)]
    ['8 s', '4 min', '2.5 h']
    """
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class Display:
    """Shows the steps that are done, on the first process."""

    def __init__(self, step: int, total: int, *, active: bool) -> None:
        terminal = sys.stderr.isatty()
        self._active, self._told = active, time.monotonic()
        self._every = BAR_SECONDS if terminal else LINE_SECONDS
        self._total, self._expected = total, False
        self._bar = tqdm(
            total=total, initial=step, dynamic_ncols=True, bar_format=_BAR,
            disable=not (active and terminal),
        )  # fmt: skip

    def is_due(self) -> bool:
        """Whether it is time to say something again."""
        return self._active and time.monotonic() - self._told >= self._every

    def expect(self, step: int, text: str) -> None:
        """Says once how long the run will take, where no bar does."""
        if text and self._active and self._bar.disable and not self._expected:
            self._expected = True
            print(f"step {step} of {self._total}, {text}", flush=True)

    def show(self, step: int, text: str) -> None:
        """Shows the step and a text."""
        self._told = time.monotonic()
        if self._bar.disable:
            print(f"step {step} of {self._total}, {text}", flush=True)
        else:
            self._bar.n = step
            self._bar.set_postfix_str(text)

    def close(self) -> None:
        """Ends the line."""
        self._bar.close()
