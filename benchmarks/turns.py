"""What the two processes of models.py do whenever their standard input says so; nothing but Python."""

import json
import sys
import time


def peak():
    """The most memory, in MB, that this process has had in RAM since it began.

    Not `ru_maxrss`: that counts what the process it was forked from had.
    """
    with open("/proc/self/status") as file:
        found = next(line for line in file if line.startswith("VmHWM"))
    return int(found.split()[1]) * 1024 / 1e6


def serve(works):
    """Answers lines "KIND CALLS": seconds a call, and the peak so far.

    `works` has for each kind a function that prepares it, which is not timed, and returns what to call. An
    answer may be an `error`, if the call refuses its input.
    """
    ready = {}
    for line in sys.stdin:
        kind, calls = line.split()
        ready[kind] = ready.get(kind) or works[kind]()
        start = time.perf_counter()
        try:
            for _ in range(int(calls)):
                ready[kind]()
        except ValueError as error:
            found = {"error": str(error).partition("\n")[0]}
        else:
            found = {"seconds": (time.perf_counter() - start) / int(calls), "memory": peak()}
        print(json.dumps(found), flush=True)
