"""Runs one training as several processes of this machine, as if they were hosts, on its CPU.

    python launch/local.py --processes=2 --config=configs/auvit.py --workdir=runs/two

All other arguments go to `python -m aufer_jax.main`. The processes find each other over loopback; each line
they print has the number of its process in front; SIGTERM and SIGINT are passed on to them. Where one fails
or is killed, a line says so and the others are ended.
"""

import argparse
import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence

POLL_SECONDS = 0.1
GRACE_SECONDS = 10.0  # from asking the others to stop, when one has failed, to killing them


def run(count: int, command: Sequence[str]) -> int:
    """Runs a command `count` times, each knowing of the others; exit code of the first that failed.

    A process ended by signal n counts as exit code 128 + n, as in a shell.
    """
    shared = {
        "JAX_PLATFORMS": "cpu",
        **os.environ,
        "AUFER_COORDINATOR": f"127.0.0.1:{free_port()}",
        "AUFER_PROCESSES": str(count),
    }
    children: list[subprocess.Popen] = []
    with _passing_on(children):
        for index in range(count):
            child = subprocess.Popen(
                command,
                env={**shared, "AUFER_PROCESS": str(index)},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a Ctrl-C reaches them once, through us
            )
            children.append(child)
        printers = [
            threading.Thread(target=_print_lines, args=numbered) for numbered in enumerate(children)
        ]
        for printer in printers:
            printer.start()
        failure = _first_failure(children)
        _stop(children)
        for printer in printers:
            printer.join()
    return failure


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def _passing_on(children: Sequence[subprocess.Popen]) -> Iterator[None]:
    """SIGTERM and SIGINT to this process go to the children while it waits for them."""

    def pass_on(number: int, _: object) -> None:
        for child in children:
            child.send_signal(number)  # does nothing to one that has ended

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _print_lines(index: int, child: subprocess.Popen) -> None:
    assert child.stdout is not None
    for line in child.stdout:
        sys.stdout.write(f"[{index}] {line.decode(errors='replace').rstrip()}\n")
        sys.stdout.flush()


def _first_failure(children: Sequence[subprocess.Popen]) -> int:
    """Waits until all have ended well, or one has not."""
    while True:
        codes = [child.poll() for child in children]
        failed = [index for index, code in enumerate(codes) if code]
        if failed:
            code = codes[failed[0]]
            how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
            print(f"process {failed[0]} {how}; the others are ended too", flush=True)
            return code if code > 0 else 128 - code
        if None not in codes:
            return 0
        time.sleep(POLL_SECONDS)


def _stop(children: Sequence[subprocess.Popen]) -> None:
    """Ends those still running: without the one that failed they would wait for ever."""
    for child in children:
        child.terminate()
    for child in children:
        try:
            child.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--processes", type=int, default=2, help="how many (default 2)")
    own, forwarded = parser.parse_known_args(arguments)
    if own.processes < 1:
        parser.error(f"--processes: {own.processes} must be at least 1")
    return run(own.processes, [sys.executable, "-m", "aufer_jax.main", *forwarded])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
