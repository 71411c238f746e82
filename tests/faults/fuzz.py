"""Cases by chance: what reads them may only take or refuse them.

A case is a function of target, seed and number. A target takes it (returns), refuses it (a `UserError` of one
short line) or fails: with another exception, or by taking a damaged file for a whole one.
"""

import dataclasses
import pathlib
import resource
import shutil
import signal
import sys
import traceback
from collections.abc import Callable

import numpy as np

from aufer_jax.errors import UserError

SECONDS = 5.0  # of the processor, for one case
GROWTH = 1 << 30  # bytes, by one case
LINE = 1500  # characters of a refusal

Rng = np.random.Generator


@dataclasses.dataclass(frozen=True)
class Target:
    make: Callable[[Rng], bytes]  # a case
    feed: Callable[[bytes, pathlib.Path], None]  # reads it, in a folder that it may fill


class Slow(BaseException):
    """A case took too long; no `except Exception` of the code stops it."""


class Silent(Exception):
    """What is damaged was taken for whole."""


def mutated(data: bytes, rng: Rng, words: tuple[bytes, ...] = ()) -> bytes:
    """A file with some bytes changed, lost, added, doubled or replaced by extreme numbers or words."""
    held = bytearray(data)
    for _ in range(rng.integers(1, 7)):
        if not held:
            break
        at, kind = int(rng.integers(len(held))), int(rng.integers(8))
        if kind == 0:
            held[at] = rng.integers(256)
        elif kind == 1:
            held[at] ^= 1 << int(rng.integers(8))
        elif kind == 2:
            del held[at : at + int(rng.integers(1, 17))]
        elif kind == 3:
            begin = int(rng.integers(len(held)))
            held[at:at] = held[begin : begin + int(rng.integers(1, 33))]
        elif kind == 4:
            number = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**32 - 1)[rng.integers(9)]
            width = (1, 2, 4)[rng.integers(3)]
            order = ("little", "big")[rng.integers(2)]
            held[at : at + width] = (number % 256**width).to_bytes(width, order)
        elif kind == 5 and words:
            held[at:at] = words[rng.integers(len(words))]
        elif kind == 6:
            del held[at:]
        else:
            held[at : at + 8] = rng.bytes(8)
    return bytes(held)


def of(*whole: bytes, words: tuple[bytes, ...] = ()) -> Callable[[Rng], bytes]:
    return lambda rng: mutated(whole[rng.integers(len(whole))], rng, words)


def case(of_target: Target, name: str, seed: int, number: int) -> bytes:
    salt = int.from_bytes(name.encode()[:8], "little")
    return of_target.make(np.random.default_rng([seed, salt, number]))


def outcome(of_target: Target, data: bytes, folder: pathlib.Path) -> tuple[str, str]:
    """("taken" or "refused" or a kind of failure, what was said)."""

    def stop(*_: object) -> None:
        raise Slow

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    before, peak = resident(), peak_memory()
    old = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        of_target.feed(data, folder)
        found = ("taken", "")
    except UserError as error:
        text = str(error)
        clear = text and "\n" not in text and len(text) <= LINE
        found = (
            ("refused", text) if clear else ("unclear", f"{len(text)} characters: {text[:300]!r}")
        )
    except Slow:
        found = ("slow", f"over {SECONDS:g} s at {_place(sys.exc_info()[2])}")
    except MemoryError:
        found = ("memory", f"MemoryError at {_place(sys.exc_info()[2])}")
    except Exception as error:
        found = (
            "unclear",
            f"{type(error).__name__} at {_place(error.__traceback__)}: {str(error)[:300]}",
        )
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, old)
    after = peak_memory()
    if after > peak and after - before > GROWTH:
        found = ("memory", f"{(after - before) / 1e9:.1f} GB more; {found[0]}: {found[1][:200]}")
    return found


def _place(trace: object) -> str:
    """The last line of ours that was running."""
    frames = traceback.extract_tb(trace)
    ours = [frame for frame in frames if "aufer_jax" in frame.filename] or frames
    last = ours[-1]
    return f"{pathlib.Path(last.filename).name}:{last.lineno} ({last.name})"


def resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def peak_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
