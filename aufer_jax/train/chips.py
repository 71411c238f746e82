"""What chips can compute at most, and how much memory they have: for the shares that a run tells."""

import dataclasses
import re
from collections.abc import Sequence
from typing import Any

# Dense TFLOP/s of one JAX device in 16-bit floats and in float32 as JAX computes it by default (TF32 where
# a GPU has it, bfloat16 passes on a TPU), and GB of memory. Of TPU v2 and v3 a device is a core, half a chip.
PEAKS: dict[str, tuple[float, float, float]] = {
    "A100": (312, 156, 40),  # 312 BF16, 156 TF32; 40 or 80 GB
    "H100 PCIe": (756, 378, 80),  # 756 BF16, 378 TF32
    "H100": (989, 494, 80),  # SXM: 989 BF16, 494 TF32
    "H200": (989, 494, 141),  # 989 BF16, 494 TF32
    "V100": (125, 15.7, 16),  # 125 FP16, 15.7 FP32; 16 or 32 GB
    "T4": (65, 8.1, 16),  # 65 FP16, 8.1 FP32
    "L4": (121, 60, 24),  # 121 BF16, 60 TF32
    "RTX 4090": (165, 82.6, 24),  # 165 BF16 summed in FP32, 82.6 TF32
    "TPU v2": (22.5, 22.5, 8),  # a chip: 45, 16 GB
    "TPU v3": (61.5, 61.5, 16),  # a chip: 123, 32 GB
    "TPU v4": (275, 275, 32),
    "TPU v5 lite": (197, 197, 16),
    "TPU v5e": (197, 197, 16),
    "TPU v5p": (459, 459, 95),
    "TPU v5": (459, 459, 95),  # what a v5p calls itself
    "TPU v6 lite": (918, 918, 32),
    "TPU v6e": (918, 918, 32),
}


@dataclasses.dataclass(frozen=True)
class Chip:
    """One device: its peak in FLOP/s, and the bytes it has; 0 where that is not known."""

    kind: str
    peak: float
    memory: int


def chip(kind: str, dtype: str) -> Chip:
    """What the table has of a kind of device as JAX names it.

    >>> chip("NVIDIA H100 80GB HBM3", "bfloat16").peak
    989000000000000.0
    >>> chip("NVIDIA L40S", "float32").peak
    0.0
    """
    found = [name for name in PEAKS if re.search(rf"\b{name}\b", kind)]
    if not found:
        return Chip(kind, 0.0, 0)
    half, single, gigabytes = PEAKS[max(found, key=len)]
    return Chip(kind, (half if dtype == "bfloat16" else single) * 1e12, int(gigabytes * 1e9))


def of(devices: Sequence[Any], dtype: str, peak_tflops: float = 0.0) -> Chip:
    """The first of JAX's devices: its own word about memory, and a peak that is given, come first."""
    device = devices[0]
    known = chip(device.device_kind, dtype)
    limit = (memory_stats(device) or {}).get("bytes_limit", known.memory)
    return Chip(known.kind, peak_tflops * 1e12 or known.peak, limit)


def memory_stats(device: Any) -> dict[str, int] | None:
    """What a device says of its memory; None of CPUs, and of chips that are not there."""
    try:
        return device.memory_stats()
    except Exception:  # a chip that is compiled for only; backends raise what they like
        return None


def peak_bytes(devices: Sequence[Any]) -> int:
    """Of the device that has used most; 0 on CPU, whose memory is the host's."""
    stats = [memory_stats(device) or {} for device in devices]
    return max((found.get("peak_bytes_in_use", 0) for found in stats), default=0)
