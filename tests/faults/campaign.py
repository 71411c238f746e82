"""The long campaign: cases in processes that are watched, and what was found, kept on disk as it goes."""

import collections
import dataclasses
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
from typing import Any

HERE = pathlib.Path(__file__).parent
WORKER = HERE / "worker.py"
QUIET_S = 60.0  # on one case: the process hangs where Python cannot interrupt it
START_S = 400.0  # until the first case, on a busy machine
BATCH = 20_000


@dataclasses.dataclass
class Tally:
    """What became of the cases of one target."""

    cases: int = 0
    counts: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    seconds: float = 0.0
    grown: int = 0  # bytes, the most that one process grew over its cases
    failures: list[dict[str, Any]] = dataclasses.field(default_factory=list)


def supervise(
    name: str, seed: int, first: int, count: int, folder: pathlib.Path, tally: Tally
) -> int:
    """Runs cases in a process and watches it; returns the number of the next case."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    began = time.monotonic()
    command = [sys.executable, WORKER, name, str(seed), str(first), str(count), str(folder)]
    environment = {**os.environ, "OPENCV_LOG_LEVEL": "SILENT", "OPENCV_FFMPEG_LOGLEVEL": "-8"}
    with (folder / "output").open("wb") as output:
        process = subprocess.Popen(
            map(str, command), stdout=output, stderr=output, env=environment, start_new_session=True
        )
        hung = _watch(process, folder / "now")
    number = _now(folder / "now")
    tally.seconds += time.monotonic() - began
    found = [json.loads(line) for line in _lines(folder / "failures")]
    tally.failures += found
    if (folder / "counts").exists():
        counts = json.loads((folder / "counts").read_text())
        done = counts.pop("done")
        tally.grown = max(tally.grown, counts.pop("grown"))
        tally.cases += done
        tally.counts.update(counts)
        return first + done
    done = max(0, (first if number is None else number) - first)
    tally.cases += done + 1
    tally.counts.update(failure["kind"] for failure in found)
    kind = "hang" if hung else "crash"
    code = process.returncode
    ended = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    last = (folder / "output").read_bytes()[-400:].decode(errors="replace")
    said = f"no sign of life for {QUIET_S:g} s" if hung else f"{ended}: {last}"
    tally.counts[kind] += 1
    tally.counts["taken or refused"] += done - len(found)
    tally.failures.append(
        {"target": name, "seed": seed, "number": number, "kind": kind, "said": said}
    )
    return first + done + 1


def _watch(process: subprocess.Popen, now: pathlib.Path) -> bool:
    """Waits for the process; kills it, and says so, if it stays with one case for too long."""
    last, since = None, time.monotonic()
    while process.poll() is None:
        time.sleep(0.1)
        number = _now(now)
        if number != last:
            last, since = number, time.monotonic()
        elif time.monotonic() - since > (START_S if number is None else QUIET_S):
            process.kill()
            process.wait()
            return True
    return False


def _now(path: pathlib.Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):
        return None


def _lines(path: pathlib.Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []
