"""What the two processes of models.py do whenever their standard input says so; nothing but Python."""

import ctypes
import json
import sys
import time

LARGE = 1 << 30  # bytes of a step


def peak():
    """The most memory, in MB, that this process has had in RAM since it began.

    Not `ru_maxrss`: that counts what the process it was forked from had.
    """
    return _said("/proc/self/status", "VmHWM") / 1e6


def free():
    """Bytes of memory that programs may still take."""
    return _said("/proc/meminfo", "MemAvailable")


def _said(path, head):
    with open(path) as file:
        found = next(line for line in file if line.startswith(head))
    return int(found.split()[1]) * 1024


def return_large(step):
    """Large arrays go back to the system from now on, if a step takes so many bytes.

    As `devices.return_large_memory`, which would bring JAX into a process without it.
    """
    if step > LARGE:
        libc = ctypes.CDLL(None)
        for parameter, value in ((-3, 32 << 20), (-4, 65536)):  # mmap from 32 MiB on
            libc.mallopt(parameter, value)


def serve(works):
    """Answers lines "KIND CALLS STEP": seconds a call, the peak so far, and bytes of a step if it is known.

    `works` has for each kind a function that prepares it, which is not timed: of STEP, the bytes that the
    other side needs (0: not known), it gives what to call and its own bytes. An answer may be an `error`, if
    the input is refused.
    """
    ready = {}
    for line in sys.stdin:
        kind, calls, step = line.split()
        try:
            if kind not in ready:
                ready[kind] = works[kind](int(step))
            call, own = ready[kind]
            start = time.perf_counter()
            for _ in range(int(calls)):
                call()
        except ValueError as error:
            found = {"error": str(error).partition("\n")[0]}
        else:
            seconds = (time.perf_counter() - start) / int(calls)
            found = {"seconds": seconds, "memory": peak(), "step": own}
        print(json.dumps(found), flush=True)
