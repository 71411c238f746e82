"""What the steps log, summed on the host, and the check that it is finite."""

import math
import time
from typing import Any

import jax
import numpy as np

AHEAD = 2  # steps that the devices may have before them


class Meter:
    """Sums of what the steps log, brought to the host a few steps at a time, in float64."""

    def __init__(self, sums: dict[str, list[float]], norms: dict[str, float], step: int) -> None:
        self.sums = {name: list(pair) for name, pair in sums.items()}
        self.norms = norms  # of the last step that was brought to the host
        self._pending: list[Any] = []
        self._step = step  # that one's number
        self._clock = time.monotonic()
        self._waited = 0.0

    def add(self, logged: Any) -> None:
        """Takes what a step logs, and waits until all but the last `AHEAD` steps are done.

        More of them on their way would hold memory, and a signal would have to wait for them.
        """
        self._pending.append(logged)
        jax.block_until_ready(self._pending[-AHEAD - 1 : -AHEAD])

    @property
    def done(self) -> int:
        """The number of steps that are known to be done."""
        return self._step + max(0, len(self._pending) - AHEAD)

    def flush(self, saved_step: int | None) -> None:
        """Waits for the steps so far; stops the run at the first one that is not finite."""
        for logged in jax.device_get(self._pending):
            self._step += 1
            self.norms = {name: float(value) for name, value in logged["norms"].items()}
            values = {k: (float(n), float(d)) for k, (n, d) in logged["sums"].items()}
            numbers = [*self.norms.values(), *(v for pair in values.values() for v in pair)]
            if not np.isfinite(numbers).all():
                back = f"the checkpoint of step {saved_step}" if saved_step else "the beginning"
                raise FloatingPointError(
                    f"not finite at step {self._step}: {self.norms} {values}; resume from {back} in "
                    "another --workdir, with --config.resume=<this one> and a smaller optimizer.lr or "
                    "optimizer.clip_norm set"
                )
            for name, (numerator, count) in values.items():
                total = self.sums.setdefault(name, [0.0, 0.0])
                total[0] += numerator
                total[1] += count
        self._pending.clear()

    def means(self) -> dict[str, float]:
        """Every sum divided by its count; without those that counted nothing."""
        return {name: n / d for name, (n, d) in self.sums.items() if d}

    def brief(self) -> str:
        """The loss so far, for the line that shows progress."""
        return f"loss {self.means().get('loss', math.nan):.4f}"

    def take(self, waited_s: float) -> dict[str, float]:
        """The epoch's means, last norms, seconds and the share of them spent waiting for input.

        Starts afresh; `waited_s` is what the stream has waited since it was opened.
        """
        seconds = time.monotonic() - self._clock
        line = {**self.means(), **{f"norm_{k}": v for k, v in self.norms.items()}}
        if recalls := [value for name, value in line.items() if name.startswith("recall/")]:
            line["uar"] = sum(recalls) / len(recalls)
        line["seconds"] = round(seconds, 3)
        line["waited"] = round((waited_s - self._waited) / max(seconds, 1e-9), 5)
        self.sums, self._waited = {}, waited_s
        return line

    def restart_clock(self) -> None:
        """The time since the last `take` is not training time."""
        self._clock = time.monotonic()
