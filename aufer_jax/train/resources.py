"""What a run has used: time, memory, and energy where the chips tell."""

import ctypes
import ctypes.util
import json
import pathlib
import sys
import time
from typing import Any

import jax

from aufer_jax.train import chips, logs

FILE = "resources.json"


class Meter:
    """Measures from now on; of the first process and its devices."""

    def __init__(self) -> None:
        self._began, self._joules = time.monotonic(), _joules()

    def write(self, workdir: pathlib.Path) -> None:
        """`resources.json`: with what the run had used before it was resumed."""
        path = workdir / FILE
        try:
            before = json.loads(path.read_text())
        except (OSError, ValueError):  # a first start, or damaged: counted from here
            before = {}
        now, device = _joules(), chips.peak_bytes(jax.local_devices())
        used: dict[str, Any] = {
            "seconds": before.get("seconds", 0.0) + time.monotonic() - self._began,
            "peak_host_bytes": max(before.get("peak_host_bytes", 0), _peak_host_bytes()),
            "peak_device_bytes": max(before.get("peak_device_bytes", 0), device),
            "joules": None,  # the chips do not tell
        }
        if now is not None and self._joules is not None:
            used["joules"] = (before.get("joules") or 0.0) + max(now - self._joules, 0.0)
        logs.write_json(path, used)


def _peak_host_bytes() -> int:
    """Of this process so far; 0 where the system does not say."""
    try:
        import resource
    except ImportError:  # Windows
        return 0
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _joules() -> float | None:
    """What the chips have used since some moment in the past; None where none of them tells."""
    gpus = _gpu_joules() if jax.default_backend() in ("gpu", "cuda") else None
    packages = []
    for path in pathlib.Path("/sys/class/powercap").glob("intel-rapl:?"):
        try:
            packages.append(int((path / "energy_uj").read_text()) / 1e6)
        except (OSError, ValueError):  # for the system's owner only
            continue
    known = [*packages, *([gpus] if gpus is not None else [])]
    return sum(known) if known else None


def _gpu_joules() -> float | None:
    """Of all NVIDIA GPUs, by the driver's own library."""
    try:
        driver = ctypes.CDLL(ctypes.util.find_library("nvidia-ml") or "libnvidia-ml.so.1")
    except OSError:
        return None
    if driver.nvmlInit_v2():
        return None
    count, total = ctypes.c_uint(), 0.0
    driver.nvmlDeviceGetCount_v2(ctypes.byref(count))
    for index in range(count.value):
        handle, used = ctypes.c_void_p(), ctypes.c_ulonglong()
        driver.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(handle))
        if driver.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(used)):
            return None
        total += used.value / 1000
    return total
