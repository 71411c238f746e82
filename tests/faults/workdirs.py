"""Whole runs that are killed, stopped, damaged, doubled and starved; each must end as one left alone."""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import places

from aufer_jax.train import speed

SCRIPT = places.TESTS / "toy_run.py"
SETTINGS = ["train__epochs=5", "train__save_every=1", "train__log_every=2"]
LONG_S = 120.0  # after which a run that should end counts as hung
CLEAN_S = 10.0  # for a signal
BEFORE_PYTHON_S = 0.3

Row = dict[str, Any]
Rng = np.random.Generator


def start(
    workdir: str | pathlib.Path, *settings: str, limit: int = 0, **environment: str
) -> subprocess.Popen:
    command = [sys.executable, str(SCRIPT), str(workdir), *(settings or SETTINGS)]
    if limit:  # bytes of a file, as a quota would have it
        command = ["bash", "-c", f'ulimit -f {limit // 1024}; exec "$@"', "bash", *command]
    given = {**os.environ, "XLA_FLAGS": places.xla_flags(), **environment}
    return subprocess.Popen(
        command, env=given, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finish(process: subprocess.Popen, seconds: float = LONG_S) -> tuple[int | None, str]:
    """Exit code, None for one that hung; and the output."""
    try:
        output = process.communicate(timeout=seconds)[0]
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGABRT)
        return None, process.communicate()[0]
    return process.returncode, output


def record(workdir: pathlib.Path) -> Any:
    """Everything a run has written, but for the times."""
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        for name in speed.TIMES:
            line.pop(name, None)
    return lines, json.loads((workdir / "summary.json").read_text())


def row(case: str, ok: bool, found: str) -> Row:
    return {"case": case, "ok": ok, "found": " ".join(found.split())[:400]}


def line_of(output: str) -> str:
    """The last thing that a run says."""
    lines = [line for line in output.splitlines() if line.strip()]
    return lines[-1] if lines else ""


class Reference:
    """The run that was left alone, the time it takes, and one that was killed on its way."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        began = time.monotonic()
        code, output = finish(start(folder / "whole"))
        self.seconds = time.monotonic() - began
        assert code == 0, output
        self.record = record(folder / "whole")
        code, output = finish(start(folder / "killed", AUFER_DIE_AT="7"))
        assert code == -signal.SIGKILL, output

    def place(self, name: str, like: str = "") -> pathlib.Path:
        place = self.folder / name
        shutil.rmtree(place, ignore_errors=True)
        if like:
            shutil.copytree(self.folder / like, place)
        return place

    def goes_on(self, case: str, workdir: pathlib.Path, said: str = "") -> Row:
        """The row of a run that is started again: it must end as the one left alone, and say this."""
        code, output = finish(start(workdir))
        if code != 0:
            return row(case, False, f"exit code {code}: {output[-300:]}")
        if record(workdir) != self.record:
            return row(case, False, "ended with other numbers")
        if said not in output:
            return row(case, False, f"did not say {said!r}: {output[-300:]}")
        return row(case, True, f"ended equal{', said: ' + said if said else ''}")


# --- Kills and signals ----------------------------------------------------------------------------


def kills(ours: Reference, rng: Rng, count: int) -> Iterator[Row]:
    """Runs that are killed again and again, at any moment, until they are done."""
    done = 0
    while done < count:
        workdir, times = ours.place("kills"), 0
        while done < count and times < 6:
            process = start(workdir)
            time.sleep(float(rng.uniform(0, ours.seconds)))
            if process.poll() is not None:
                process.communicate()
                break
            process.kill()
            process.communicate()
            done, times = done + 1, times + 1
        yield ours.goes_on(f"{times} kills", workdir)


def signals(ours: Reference, rng: Rng, count: int) -> Iterator[Row]:
    """SIGTERM or SIGINT at any moment; then the run goes on."""
    for number in range(count):
        kind = (signal.SIGTERM, signal.SIGINT)[number % 2]
        workdir = ours.place("signals")
        process, wait = start(workdir), float(rng.uniform(BEFORE_PYTHON_S, ours.seconds))
        time.sleep(wait)
        process.send_signal(kind)
        began = time.monotonic()
        code, output = finish(process)
        took = time.monotonic() - began
        case = f"{kind.name} after {wait:.1f} s"
        if code != 0 or took > CLEAN_S:
            yield row(case, False, f"exit code {code} after {took:.1f} s: {output[-300:]}")
        else:
            again = ours.goes_on(case, workdir)
            yield row(case, again["ok"], f"{took:.1f} s to the end; {again['found']}")


# --- Damage ---------------------------------------------------------------------------------------


def newest(workdir: pathlib.Path, kind: str = "latest") -> pathlib.Path:
    folder = workdir / "checkpoints" / kind
    return max((p for p in folder.glob("*") if p.name.isdigit()), key=lambda path: int(path.name))


def _cut(path: pathlib.Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _zeros(path: pathlib.Path) -> None:
    for file in path.rglob("*") if path.is_dir() else [path]:
        if file.is_file():
            file.write_bytes(bytes(file.stat().st_size))


def _empty(path: pathlib.Path) -> None:
    shutil.rmtree(path)
    path.mkdir()


def _without_sums(path: pathlib.Path) -> None:
    for kind in ("latest", "best"):
        for file in path.glob(f"checkpoints/{kind}/*/progress/metadata"):
            held = json.loads(file.read_text())
            held.pop("checksums")
            file.write_text(json.dumps(held))


ASIDE = "is set aside"
Damage = tuple[Callable[[pathlib.Path], object], str]
DAMAGES: dict[str, Damage] = {  # done to a run that was killed, and what it says when it goes on
    "manifest cut": (lambda w: _cut(newest(w) / "state" / "manifest.ocdbt"), ASIDE),
    "manifest empty": (lambda w: (newest(w) / "state" / "manifest.ocdbt").write_bytes(b""), ASIDE),
    "manifest gone": (lambda w: (newest(w) / "state" / "manifest.ocdbt").unlink(), ASIDE),
    "data gone": (lambda w: [shutil.rmtree(p) for p in [*(newest(w) / "state").rglob("d")]], ASIDE),
    "data zeros": (lambda w: [_zeros(p) for p in (newest(w) / "state").rglob("d")], ASIDE),
    "all zeros": (lambda w: _zeros(newest(w)), ASIDE),
    "state gone": (lambda w: shutil.rmtree(newest(w) / "state"), ASIDE),
    "state empty": (lambda w: _empty(newest(w) / "state"), ASIDE),
    "structure gone": (lambda w: (newest(w) / "state" / "_METADATA").unlink(), ASIDE),
    "structure no JSON": (lambda w: (newest(w) / "state" / "_METADATA").write_text("{"), ASIDE),
    "progress gone": (lambda w: shutil.rmtree(newest(w) / "progress"), ASIDE),
    "progress empty": (lambda w: (newest(w) / "progress" / "metadata").write_text(""), ASIDE),
    "progress {}": (lambda w: (newest(w) / "progress" / "metadata").write_text("{}"), ASIDE),
    "progress a list": (lambda w: (newest(w) / "progress" / "metadata").write_text("[1]"), ASIDE),
    "progress no text": (lambda w: (newest(w) / "progress" / "metadata").write_bytes(b"\xff\xfe"), ASIDE),
    "checkpoint empty": (lambda w: _empty(newest(w)), ASIDE),
    "empty folder 999": (lambda w: (w / "checkpoints" / "latest" / "999").mkdir(), ASIDE),
    "file 12": (lambda w: (w / "checkpoints" / "latest" / "12").write_text("x"), ASIDE),
    "folder ²": (lambda w: (w / "checkpoints" / "latest" / "²").mkdir(), ASIDE),
    "no checksums": (_without_sums, ""),
    "metrics garbage": (lambda w: (w / "metrics.jsonl").open("ab").write(b"\xff\n[]\n{}\n"), "damaged lines"),
    "metrics cut": (lambda w: (w / "metrics.jsonl").open("ab").write(b'{"step": 6, "spl'), ""),
    "labels damaged": (lambda w: (w / "labels.json").write_text("{"), ""),
    "problems damaged": (lambda w: (w / "data_problems_0.json").write_text("[1"), ""),
}  # fmt: skip


def damages(ours: Reference, chosen: list[str] | None = None) -> Iterator[Row]:
    for name in chosen or DAMAGES:
        workdir = ours.place("damages", like="killed")
        spoil, said = DAMAGES[name]
        spoil(workdir)
        yield ours.goes_on(name, workdir, said)
    if not chosen:
        yield from _explained(ours)


def flips(ours: Reference, rng: Rng, count: int) -> Iterator[Row]:
    """One bit of a checkpoint, each time another: found by its sums, harmless, or said in one line."""
    for _ in range(count):
        workdir = ours.place("flips", like="killed")
        files = sorted(path for path in (workdir / "checkpoints").rglob("*") if path.is_file())
        sizes = np.array([path.stat().st_size for path in files])
        chosen = files[rng.choice(len(files), p=sizes / sizes.sum())]
        held, bit = bytearray(chosen.read_bytes()), int(rng.integers(8 * chosen.stat().st_size))
        held[bit // 8] ^= 1 << bit % 8
        chosen.write_bytes(held)
        case = f"bit {bit} of {chosen.relative_to(workdir / 'checkpoints')}"
        code, output = finish(start(workdir))
        last = line_of(output)
        if code == 2:
            yield row(case, last.startswith("aufer: ") and "damaged" in last, last)
        elif code != 0:
            yield row(case, False, f"exit code {code}: {output[-300:]}")
        else:
            lines, summary = record(workdir)
            lost = "best_lost" in summary and lines == ours.record[0]
            how = "the best state is lost, and that is said" if lost else "ended equal"
            how += ", " + ASIDE if ASIDE in output else ""
            yield row(case, lost or (lines, summary) == ours.record, how)


def _explained(ours: Reference) -> Iterator[Row]:
    """What cannot go on unnoticed: the run says it."""
    workdir = ours.place("damages", like="killed")
    for folder in (workdir / "checkpoints" / "latest").glob("[0-9]*"):
        _zeros(folder)
    code, output = finish(start(workdir))
    yield row(
        "all checkpoints damaged", code == 2 and "is damaged" in line_of(output), line_of(output)
    )
    workdir = ours.place("damages", like="killed")
    (workdir / "config.json").write_text("{")
    code, output = finish(start(workdir))
    ok = code == 2 and "config.json is damaged" in line_of(output)
    yield row("config damaged", ok, line_of(output))
    (workdir / "config.json").unlink()
    yield ours.goes_on("config gone", workdir)
    workdir = ours.place("damages", like="whole")
    (workdir / "summary.json").write_text('{"steps": 6, ')
    yield ours.goes_on("summary damaged", workdir, "the run is evaluated again")
    for name, spoil in (("gone", shutil.rmtree), ("damaged", _zeros)):
        workdir = ours.place("damages", like="whole")
        spoil(newest(workdir, "best"))
        (workdir / "summary.json").unlink()
        code, output = finish(start(workdir))
        held = json.loads((workdir / "summary.json").read_text()) if code == 0 else {}
        ok = "best_lost" in held and "test_best" not in held and "best state" in output
        yield row(f"best {name}", ok, held.get("best_lost", line_of(output)))


# --- Two writers, little disk ---------------------------------------------------------------------


def two_writers(ours: Reference, delays: tuple[float, ...] = (0.0, 0.3, 2.0)) -> Iterator[Row]:
    for delay in delays:
        workdir = ours.place("two")
        first = start(workdir)
        time.sleep(delay)
        second = start(workdir)
        ended = [finish(process) for process in (first, second)]
        refused = [output for code, output in ended if code == 2]
        ok = len(refused) < 2 and all(code in (0, 2) for code, _ in ended)
        ok &= all("is in use by process" in output for output in refused)
        ok &= record(workdir) == ours.record
        found = line_of(refused[0]) if refused else "the second one found a finished run"
        yield row(f"two processes, {delay:g} s apart", ok, found)


@contextlib.contextmanager
def disk(place: pathlib.Path, options: str) -> Iterator[Callable[[str], None]]:
    """A file system of its own, and a way to change its options."""
    place.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], check=True)
    try:
        yield (
            lambda new: (
                subprocess.run(["mount", "-o", f"remount,{new}", place], check=True) and None
            )
        )
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def can_mount(place: pathlib.Path) -> bool:
    try:
        with disk(place, "size=64k"):
            return True
    except (OSError, subprocess.CalledProcessError):
        return False


def disks(ours: Reference, kibibytes: tuple[int, ...]) -> Iterator[Row]:
    """Disks that are too small, on which the run goes on once there is room."""
    place = ours.place("disk")
    for size in kibibytes:
        with disk(place, f"size={size}k") as change:
            yield from _starved(
                ours, f"disk of {size} KiB", place / "run", lambda: change("size=64m")
            )
    for count in (20, 60):
        with disk(place, f"size=64m,nr_inodes={count}") as change:
            yield from _starved(
                ours, f"disk of {count} files", place / "run", lambda: change("nr_inodes=100000")
            )
    for size in (4, 64):
        workdir = ours.place("quota")
        yield from _starved(
            ours, f"files of at most {size} KiB", workdir, lambda: None, limit=size * 1024
        )
    with disk(place, "size=64m") as change:
        shutil.copytree(ours.folder / "killed", place / "run")
        change("ro")
        code, output = finish(start(place / "run"))
        last = line_of(output)
        ok = code == 2 and last.startswith("aufer: ")
        change("rw")
        again = ours.goes_on("read-only", place / "run")
        yield row("read-only", ok and again["ok"], f"{last}; then: {again['found']}")


def _starved(
    ours: Reference, case: str, workdir: pathlib.Path, widen: Callable[[], None], limit: int = 0
) -> Iterator[Row]:
    code, output = finish(start(workdir, limit=limit))
    said = line_of(output)
    clear = code == 0 or (code == 2 and said.startswith("aufer: ") and "Traceback" not in output)
    if not clear:
        yield row(case, False, f"exit code {code}: {output[-400:]}")
        return
    widen()
    again = ours.goes_on(case, workdir)
    yield row(case, again["ok"], f"{said if code else 'room enough'}; then: {again['found']}")


# --- Long -----------------------------------------------------------------------------------------


def soak(ours: Reference, steps: int) -> Iterator[Row]:
    """Many tiny steps with evaluation and checkpoints: memory, descriptors and threads stay as they are."""
    workdir, epochs = ours.place("soak"), steps // 200
    settings = [f"train__epochs={epochs}", "train__log_every=10"]
    process = start(workdir, *settings, AUFER_TOY_ROWS=str(16 * 200))
    seen: list[tuple[float, ...]] = []
    while process.poll() is None:
        time.sleep(1.0)
        with contextlib.suppress(OSError, IndexError, ValueError):
            held = pathlib.Path(f"/proc/{process.pid}")
            memory = int((held / "statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 1e6
            lines = (workdir / "metrics.jsonl").read_text().splitlines()
            step = json.loads(lines[-1])["step"]
            files, threads = (
                len(list((held / "fd").iterdir())),
                len(list((held / "task").iterdir())),
            )
            seen.append((step, memory, files, threads))
    code, output = finish(process)
    half = [
        each for each in seen if each[0] >= steps / 4 and each[1]
    ]  # one that has ended has no memory
    if code != 0 or len(half) < 5:
        yield row(f"{steps} steps", False, f"exit code {code}, {len(half)} looks: {output[-300:]}")
        return
    at = np.array(half)
    slope = 1000 * np.polyfit(at[:, 0], at[:, 1], 1)[0]
    early, late = (np.median(part, 0) for part in np.array_split(at, 2))
    files, threads = late[2:] - early[2:]  # a save opens some for a moment
    found = (
        f"{slope:+.2f} MB a thousand steps, {at[-1, 1]:.0f} MB at the end; descriptors {files:+.0f}, "
        f"threads {threads:+.0f}"
    )
    yield row(
        f"{steps} steps, {epochs} epochs", bool(slope < 1 and files <= 2 and threads <= 2), found
    )
