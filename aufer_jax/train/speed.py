"""How fast a run's steps are, and how much of its chips they use."""

import time
from collections.abc import Callable

import jax

from aufer_jax.train import chips, devices
from aufer_jax.train.run import Train

# What of a line of metrics.jsonl differs between two runs of the same configuration.
TIMES = (
    "seconds", "waited", "steps_per_s", "samples_per_s_device", "tflops_per_s_device", "mfu",
    "peak_device_bytes",
)  # fmt: skip


class Speed:
    """Counts from `start` to `values`, which is a line of all; shares of a peak where that is known.

    Args:
      rows: of a step, over all devices.
      count: devices.
      flops: that a step asks of all devices, two for a multiply-add; 0: not counted.
      peak: FLOP/s of a device; 0: not known.
    """

    def __init__(self, rows: int, count: int, flops: float, peak: float) -> None:
        self._rows, self._count, self._flops, self._peak = rows, count, flops, peak
        self.start(0)

    def start(self, step: int) -> None:
        """The steps after this one are counted, from now on."""
        self._step, self._clock = step, time.monotonic()

    def values(self, step: int) -> dict[str, float]:
        """What has been since the start, all steps until this one being done; without any, nothing.

        >>> speed = Speed(rows=32, count=4, flops=1e12, peak=0.0)
        >>> sorted(speed.values(10))
        ['samples_per_s_device', 'steps_per_s', 'tflops_per_s_device']
        """
        if step <= self._step:
            return {}
        pace = (step - self._step) / max(time.monotonic() - self._clock, 1e-9)
        line = {"steps_per_s": pace, "samples_per_s_device": pace * self._rows / self._count}
        flops = pace * self._flops / self._count
        if flops:
            line["tflops_per_s_device"] = flops / 1e12
        if flops and self._peak:
            line["mfu"] = flops / self._peak
        if used := chips.peak_bytes(jax.local_devices()):
            line["peak_device_bytes"] = used
        return {name: float(f"{value:.5g}") for name, value in line.items()}


def of(train: Train, rows: int, on: devices.Devices, count: Callable[[], float]) -> Speed:
    """That of a run on these devices; `count` tells the FLOPs of a step, and takes a second or more.

    On a CPU that second is spent only where a peak was given.
    """
    chip = chips.of(jax.local_devices(), train.compute_dtype, train.peak_tflops)
    counted = chip.peak or on.lowered_for != "cpu"
    return Speed(rows, on.count, count() if counted else 0.0, chip.peak)


def brief(line: dict[str, float]) -> str:
    """What of it fits into a line.

    >>> brief({"samples_per_s_device": 812.3, "mfu": 0.384})
    ', 812 rows/s a device, 38 % MFU'
    """
    if "samples_per_s_device" not in line:
        return ""
    text = f", {line['samples_per_s_device']:.3g} rows/s a device"
    return text + (f", {100 * line['mfu']:.0f} % MFU" if "mfu" in line else "")
