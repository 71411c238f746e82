"""How far a run is ahead of its devices: what its bar shows against the clock, its memory, and a CTRL-C.

    python benchmarks/stopping.py --beside CHECKOUT

MV-FER with ResNet-18 on three views of drawn faces, two epochs on a terminal of its own. One run goes to its
end: in the second epoch, when nothing is compiled any more, the steps shown are held against the time. The
other is interrupted in that epoch after 40 % of its time. With `--beside` so does another version of the
library. Writes its section of docs/benchmarks.md.
"""

import argparse
import collections
import contextlib
import dataclasses
import json
import os
import pathlib
import pty
import re
import select
import signal
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator

from aufer_jax.report import results

ROOT = pathlib.Path(__file__).parents[1]
STEPS, ROWS, INTERRUPTED_AT = 24, 32, 0.4
CONFIG = (
    "--config=configs/mvfer.py:synth_a,model=resnet18,quick", "--config.data.size=112",
    f"--config.data.batch_size={ROWS}", f"--config.data.eval_batch_size={ROWS}",
    f"--config.data.sizes.train={ROWS * STEPS}",
    *(f"--config.data.sizes.{split}={ROWS}" for split in ("validation", "test", "occluded")),
)  # fmt: skip


@dataclasses.dataclass
class Run:
    """What a run has said on its terminal, each piece with its time, and how it ended."""

    said: list[tuple[float, str]]
    process: subprocess.Popen
    peak_gb: float = 0.0

    @property
    def text(self) -> str:
        return "".join(text for _, text in self.said)


@contextlib.contextmanager
def started(root: pathlib.Path, workdir: pathlib.Path) -> Iterator[tuple[Run, Iterator[float]]]:
    """A run on a terminal of its own, and the time, ten times a second and more, until it ended."""
    ours, its = pty.openpty()
    termios.tcsetwinsize(its, (40, 120))
    environment = {**os.environ, "PYTHONPATH": str(root)}
    command = [sys.executable, "-m", "aufer_jax.main", *CONFIG, f"--workdir={workdir}"]
    if "time_limit" in (root / "aufer_jax" / "train" / "run.py").read_text():
        command.append("--config.train.time_limit=0")
    process = subprocess.Popen(
        command,
        cwd=root,
        env=environment,
        stdin=its,
        stdout=its,
        stderr=its,
        start_new_session=True,
    )
    os.close(its)
    run = Run([], process)

    def times() -> Iterator[float]:
        while True:
            if select.select([ours], [], [], 0.1)[0]:
                try:
                    piece = os.read(ours, 65536)
                except OSError:  # the terminal's other end is closed
                    break
                run.said.append((time.monotonic(), piece.decode(errors="replace")))
            yield time.monotonic()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        run.peak_gb = usage.ru_maxrss / 2**20

    try:
        yield run, times()
    finally:
        os.close(ours)
        if process.returncode is None:
            process.kill()
            process.wait()


def astray(said: list[tuple[float, str]], began: float, pace: float) -> float:
    """By how many steps the bar was at most away from the clock, in the second epoch."""
    most, before = 0.0, 0
    for when, text in said:
        for found in re.findall(rf"\b(\d+)/{2 * STEPS}\b", text):
            shown, due = int(found) - STEPS, min(STEPS, (when - began) / pace)
            if when > began and shown >= 0:
                most, before = max(most, abs(shown - due), abs(before - due)), shown
    return most


def measure(version: str, root: pathlib.Path, folder: pathlib.Path) -> dict[str, str]:
    with started(root, folder / "whole") as (whole, times):
        epoch = first_epoch_over(whole, times)
        collections.deque(times, 0)
    if whole.process.returncode:
        raise SystemExit(whole.text)
    lines = [json.loads(line) for line in (folder / "whole" / "metrics.jsonl").open()]
    seconds = next(x["seconds"] for x in lines if (x["split"], x.get("epoch")) == ("train", 2))
    with started(root, folder / "interrupted") as (run, times):
        began = first_epoch_over(run, times)
        due = began + INTERRUPTED_AT * seconds
        sent = next((when for when in times if when >= due), None)
        if sent is None:
            raise SystemExit(run.text)
        run.process.send_signal(signal.SIGINT)
        collections.deque(times, 0)
        ended = time.monotonic()
    stopped = re.search(r"stopped at step (\d+)", run.text)
    return {
        "version": version,
        "s a step": f"{seconds / STEPS:.2f}",
        "bar and clock apart, steps": f"{astray(whole.said, epoch, seconds / STEPS):.1f}",
        "peak, GB": f"{whole.peak_gb:.2f}",
        "s from CTRL-C to the end": f"{ended - sent:.1f}",
        "steps done at CTRL-C": f"{STEPS + (sent - began) / seconds * STEPS:.1f}",
        "checkpoint of step": stopped[1] if stopped else "-",
        "exit status": str(run.process.returncode),
    }


def first_epoch_over(run: Run, times: Iterator[float]) -> float:
    for when in times:
        if "epoch 1/2" in "".join(text for _, text in run.said[-2:]):
            return when
    raise SystemExit(run.text)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--beside", type=pathlib.Path, help="a checkout of another version")
    given = parser.parse_args()
    versions = {"before": given.beside.resolve()} if given.beside else {}
    rows = []
    for version, root in {**versions, "now": ROOT}.items():
        with tempfile.TemporaryDirectory() as folder:
            place = pathlib.Path(folder)
            os.environ |= {
                "AUFER_DATA": str(place / "data"),
                "JAX_COMPILATION_CACHE_DIR": str(place / "compiled"),
            }
            rows.append(measure(version, root, place))
            print(rows[-1], flush=True)
    note = (
        f"MV-FER, ResNet-18, 112 pixels, {ROWS} rows of three views, {STEPS} steps an epoch, on a CPU: how "
        "far what the bar shows in the second epoch is at most from an even pace over that epoch; the run "
        f"beside it gets a CTRL-C after {100 * INTERRUPTED_AT:.0f} % of the same time. Memory is the peak of "
        "the run that went to its end."
    )
    command = "python benchmarks/stopping.py" + (" --beside CHECKOUT" if given.beside else "")
    results.write_section(
        ROOT / "docs" / "benchmarks.md", "Steps ahead of the device", rows, command, note
    )


if __name__ == "__main__":
    main()
