"""What a compiled step sends between devices: how often, and how many bytes."""

import math
import re
from collections.abc import Iterator

_BYTES = {"f64": 8, "f32": 4, "bf16": 2, "f16": 2, "s64": 8, "s32": 4, "u32": 4, "u8": 1, "pred": 1}
_KINDS = "all-reduce|all-gather|reduce-scatter|all-to-all|collective-permute"
_CALL = re.compile(rf" = (.*?) ({_KINDS})(-start)?\(")
_ARRAY = re.compile(r"(\w+)\[([\d,]*)\]")


def of(text: str) -> dict[str, list[int]]:
    """Kind -> bytes of the arrays that each of a program's collectives gives, the largest first.

    Args:
      text: `step.lower(...).compile().as_text()`.

    >>> of("%x = (f32[2,3]{1,0}, bf16[4]{0}) all-reduce(%a, %b), channel_id=1")
    {'all-reduce': [32]}
    """
    found: dict[str, list[int]] = {}
    for arrays, kind, started in _CALL.findall(text):
        sizes = list(_sizes(arrays))
        # What is only started names what it is given, then what it gives; an all-reduce that alone.
        if started and kind != "all-reduce":
            sizes = sizes[len(sizes) // 2 :]
        found.setdefault(kind, []).append(sum(sizes))
    return {kind: sorted(sizes, reverse=True) for kind, sizes in found.items()}


def _sizes(arrays: str) -> Iterator[int]:
    for kind, lengths in _ARRAY.findall(arrays):
        if kind in _BYTES:
            yield _BYTES[kind] * math.prod(int(n) for n in lengths.split(",") if n)
