"""Runs of several processes, of which one is killed or asked to stop: `python tests/faults/hosts.py`.

The processes are those of four hosts: each is started by itself, with nobody who ends the others for it.
Writes docs/results/hosts.md; `test_hosts.py` runs one of each kind.
"""

import argparse
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator

HERE = pathlib.Path(__file__).parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parent), str(HERE)]

import numpy as np  # noqa: E402
import places  # noqa: E402
import workdirs  # noqa: E402

from aufer_jax.report import results  # noqa: E402

sys.path.append(str(places.ROOT / "launch"))
import local  # noqa: E402

PAGE = places.ROOT / "docs" / "results" / "hosts.md"
TITLE = "Four processes"
HOSTS = {
    4: "four",
    2: "two",
    1: "one",
}  # a device each at first; then as many devices on half of them
CLEAN_S = 30.0  # from SIGTERM to the last exit
ENDED_S = 60.0  # from a kill to the end of the others
LONG_S = 400.0  # for a whole run
SAVED = 5  # the step of the first checkpoint: from there on something can go wrong
WORDS = (
    "A tiny ResNet on noise, a checkpoint every five steps. SIGTERM: all end with exit code 0 and a "
    f"checkpoint of one step within {CLEAN_S:g} s. SIGKILL of one: the others end within {ENDED_S:g} s, and "
    "the last line of each says who has died. Then all are started again, as four processes and as two with "
    "as many devices; `equal`: every number in metrics.jsonl and summary.json is that of the run left alone, "
    "bit for bit."
)


class Hosts:
    """The processes of one run, each as if on a host of its own."""

    def __init__(
        self, workdir: str, count: int, devices: int, settings: list[str], **environment: str
    ) -> None:
        shared = {
            "AUFER_COORDINATOR": f"127.0.0.1:{local.free_port()}",
            "AUFER_PROCESSES": str(count),
            "XLA_FLAGS": places.xla_flags(devices // count),
            **environment,
        }
        self.processes = [
            workdirs.start(workdir, *settings, AUFER_PROCESS=str(index), **shared)
            for index in range(count)
        ]

    def finish(self, seconds: float) -> list[tuple[int | None, str]]:
        """Exit code and output of each; None for one that has not ended in time."""
        end, found = time.monotonic() + seconds, []
        for each in self.processes:
            try:
                output = each.communicate(timeout=max(end - time.monotonic(), 0.1))[0]
                found.append((each.returncode, output))
            except subprocess.TimeoutExpired:
                each.kill()
                found.append((None, each.communicate()[0]))
        return found


class Campaign:
    """The run that was left alone, and what must come of those that were not.

    Args:
      folder: for workdirs.
      epochs: of the run, of ten steps each.
      count: hosts of the run, of `HOSTS`.
    """

    def __init__(self, folder: pathlib.Path, epochs: int, count: int = 4) -> None:
        self.folder, self.count = folder, count
        self.settings = [f"train__epochs={epochs}", f"train__save_every={SAVED}"]
        shutil.rmtree(folder, ignore_errors=True)
        self.whole = self.record(folder / "whole", count)

    def hosts(self, workdir: object, count: int, **environment: str) -> Hosts:
        place = {"AUFER_TOY_ROWS": "160", "AUFER_REMOTE": str(self.folder / "kept")}
        return Hosts(str(workdir), count, self.count, self.settings, **place, **environment)

    def record(self, workdir: object, count: int):
        """What a run that is started there ends with; None, after its output, if it does not end well."""
        ended = self.hosts(workdir, count).finish(LONG_S)
        if any(code != 0 for code, _ in ended):
            print(*(output[-2000:] for _, output in ended), sep="\n", file=sys.stderr)
            return None
        return workdirs.record(pathlib.Path(str(workdir).removeprefix("file://")))

    def case(
        self, name: str, hurt: Callable[[Hosts], int], *, remote: bool = False
    ) -> workdirs.Row:
        """One row: `hurt` does something to a run and tells the process that it has killed, or -1."""
        place = self.folder / "hurt"
        for old in (place, self.folder / "kept", self.folder / "again"):
            shutil.rmtree(old, ignore_errors=True)
        workdir = f"file://{place}" if remote else place
        hosts = self.hosts(workdir, self.count)
        self._wait(hosts, self._saved(place, remote))
        killed, began = hurt(hosts), time.monotonic()
        ended = hosts.finish(ENDED_S + 30)
        took = time.monotonic() - began
        wrong = _wrong(ended, killed, took)
        found = f"{took:.1f} s" + (f"; {wrong}" if wrong else f"; {_said(ended, killed)}")
        shutil.copytree(place, self.folder / "again")
        every, half = self.count, self.count // 2
        as_before = self.record(workdir, every) == self.whole
        shutil.rmtree(self.folder / "kept", ignore_errors=True)  # as on other machines
        other = f"file://{self.folder / 'again'}" if remote else self.folder / "again"
        on_half = self.record(other, half) == self.whole
        found += f"; then on {HOSTS[every]} {_equal(as_before)}, on {HOSTS[half]} {_equal(on_half)}"
        return workdirs.row(name, not wrong and as_before and on_half, found)

    def _saved(self, place: pathlib.Path, remote: bool) -> pathlib.Path:
        return place / ".aufer.json" if remote else place / "checkpoints" / "latest" / str(SAVED)

    def _wait(self, hosts: Hosts, path: pathlib.Path) -> None:
        while not path.exists():
            assert all(each.poll() is None for each in hosts.processes), hosts.finish(1.0)
            time.sleep(0.05)


def _equal(same: bool) -> str:
    return "equal" if same else "NOT EQUAL"


def _wrong(ended: list[tuple[int | None, str]], killed: int, took: float) -> str:
    """What is not as it should be; "" if nothing is."""
    if killed < 0:
        steps = {line.partition("step ")[2].partition(";")[0] for line in map(_stopped, ended)}
        if any(code != 0 for code, _ in ended) or took > CLEAN_S or len(steps) != 1 or "" in steps:
            return f"exit codes {[code for code, _ in ended]}, steps {sorted(steps)}"
        return ""
    others = [each for index, each in enumerate(ended) if index != killed]
    if took > ENDED_S or any(code is None for code, _ in others):
        return "not all have ended"
    unclear = [
        workdirs.line_of(out)
        for _, out in others
        if f"process {killed} of" not in workdirs.line_of(out)
    ]
    return f"unclear: {unclear[0]!r}" if unclear else ""


def _stopped(one: tuple[int | None, str]) -> str:
    return next((line for line in one[1].splitlines() if line.startswith("stopped at step")), "")


def _said(ended: list[tuple[int | None, str]], killed: int) -> str:
    if killed < 0:
        return _stopped(ended[0]).partition(";")[0]
    code, output = ended[0 if killed else 1]
    return f"exit code {code}: {workdirs.line_of(output)}"


def stop_all(hosts: Hosts) -> int:
    for each in hosts.processes:
        each.send_signal(signal.SIGTERM)
    return -1


def stop(index: int) -> Callable[[Hosts], int]:
    """Only one of them hears: a node is drained, and JAX brings it to the others."""

    def hurt(hosts: Hosts) -> int:
        hosts.processes[index].send_signal(signal.SIGTERM)
        return -1

    return hurt


def kill(index: int) -> Callable[[Hosts], int]:
    def hurt(hosts: Hosts) -> int:
        hosts.processes[index].kill()
        return index

    return hurt


def later(hurt: Callable[[Hosts], int], seconds: float) -> Callable[[Hosts], int]:
    def waited(hosts: Hosts) -> int:
        time.sleep(seconds)
        return hurt(hosts)

    return waited


def cases(ours: Campaign, rounds: int, seed: int) -> Iterator[workdirs.Row]:
    rng = np.random.default_rng(seed)
    kinds = {
        "SIGTERM to all four": stop_all,
        "SIGTERM to process 2": stop(2),
        "SIGKILL of process 0": kill(0),
        "SIGKILL of process 3": kill(3),
    }
    for _ in range(rounds):
        for name, hurt in kinds.items():
            seconds = float(rng.uniform(0, 1))
            yield ours.case(f"{name}, {seconds:.1f} s after a checkpoint", later(hurt, seconds))
    for name, hurt in list(kinds.items())[1:]:
        yield ours.case(f"{name}, the workdir in a store", hurt, remote=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--page", type=pathlib.Path, default=PAGE)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="aufer_hosts") as folder:
        ours = Campaign(pathlib.Path(folder) / "runs", given.epochs)
        sections: dict[str, list[dict[str, str]]] = {}
        for row in cases(ours, given.rounds, given.seed):
            how = "as it should be" if row["ok"] else "FAILED"
            title = f"{TITLE}, the workdir in a store" if row["case"].endswith("store") else TITLE
            rows = sections.setdefault(title, [])
            rows.append(
                {"case": row["case"], "": how, "found": row["found"].replace(folder, "TMP")}
            )
            print(rows[-1], flush=True)
            command = f"python tests/faults/hosts.py --rounds {given.rounds} --seed {given.seed}"
            results.write_section(given.page, title, rows, command, WORDS, "Hosts")


if __name__ == "__main__":
    main()
