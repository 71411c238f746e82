"""Runs a study: rows x seeds as runs of their own, their means and deviations, verdicts on the claims."""

import copy
import dataclasses
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from ml_collections import ConfigDict
from scipy import stats

from aufer_jax.papers.study import Row, Study
from aufer_jax.report import results
from aufer_jax.train import config as config_lib
from aufer_jax.train import logs
from aufer_jax.train import workdir as workdir_lib

Summary = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Outcome:
    """A finished run: its summary, the seconds of a training epoch (median) and of all of it."""

    summary: Summary
    epoch_seconds: float
    seconds: float = 0.0


def run(
    study: Study,
    folder: str | os.PathLike,
    *,
    seeds: Sequence[int] = (0, 1, 2),
    jobs: int = 0,
    changes: Mapping[str, Any] | None = None,
    say: Callable[[str], None] = print,
) -> dict[str, list[Outcome]]:
    """Trains every row with every seed, each run in a process and a workdir of its own.

    Args:
      study: what is run.
      folder: the runs' workdirs; those that are finished are not repeated.
      seeds: of each row.
      jobs: runs at a time, each on its own share of the cores; 0: one per core on a CPU host, one
        where there are accelerators.
      changes: values set in every row's config.
      say: called with a line for every run that ends.

    Returns:
      The outcomes of each row, in the order of the seeds.
    """
    folder = pathlib.Path(folder) / study.name
    jobs = jobs or default_jobs()
    changes = dict(changes or {})
    starts = {row.start.name: row.start for row in study.rows if row.start}
    for name, start in starts.items():
        _begin(folder / _as_file(name), row_config(start, 0, changes))
    _run_all([folder / _as_file(name) for name in starts], 1, say)
    workdirs = {}
    for seed in seeds:  # whole tables first: a study that is cut short has some
        for row in study.rows:
            begin = {"init_from": str(folder / _as_file(row.start.name))} if row.start else {}
            config = row_config(row, seed, {**changes, **begin})
            workdirs[row.name, seed] = workdir = folder / f"{_as_file(row.name)}-seed{seed}"
            _begin(workdir, config)
    _run_all(list(workdirs.values()), jobs, say)
    return {row.name: [_outcome(workdirs[row.name, seed]) for seed in seeds] for row in study.rows}


def _as_file(name: str) -> str:
    return re.sub(r"[^\w.]+", "_", name)


def row_config(row: Row, seed: int, changes: Mapping[str, Any]) -> ConfigDict:
    """The checked configuration of a row."""
    config = copy.deepcopy(row.config)
    config.seed = seed
    for key, value in {**row.changes, **changes}.items():
        config_lib.set_value(config, key, value)
    config_lib.check(config)
    return config


def default_jobs() -> int:
    import jax

    return len(_cores()) if jax.default_backend() == "cpu" else 1


def _cores() -> list[int]:
    """The cores this process may use, where the system says; else all."""
    if hasattr(os, "sched_getaffinity"):  # Linux
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _begin(workdir: pathlib.Path, config: ConfigDict) -> None:
    settings = json.loads(config.to_json_best_effort())
    workdir_lib.refuse_another_run(workdir, settings)
    workdir.mkdir(parents=True, exist_ok=True)
    logs.write_json(workdir / "config.json", settings)


def _run_all(workdirs: Sequence[pathlib.Path], jobs: int, say: Callable[[str], None]) -> None:
    """Works through the runs that are not finished, `jobs` at a time, each on its own cores."""
    waiting = [path for path in workdirs if not (path / "summary.json").exists()]
    cores = _cores()
    places = [cores[i::jobs] or cores for i in range(jobs)]
    began, total, running = time.monotonic(), len(waiting), {}
    in_main = threading.current_thread() is threading.main_thread()
    # Ending the study ends its runs.
    before = signal.signal(signal.SIGTERM, lambda *_: sys.exit(1)) if in_main else None
    try:
        while waiting or running:
            while waiting and places:
                workdir, place = waiting.pop(0), places.pop()
                running[_start(workdir, place)] = (workdir, place)
            time.sleep(0.5)
            for process in [p for p in running if p.poll() is not None]:
                workdir, place = running.pop(process)
                places.append(place)
                if process.returncode:
                    text = (workdir / "log.txt").read_text()[-2000:]
                    raise RuntimeError(f"the run in {workdir} failed:\n{text}")
                done = total - len(waiting) - len(running)
                minutes = (time.monotonic() - began) / 60
                say(f"{done}/{total} runs, {minutes:.1f} min: {workdir.name}")
    finally:
        for process in running:  # they write a checkpoint and can go on
            process.terminate()
        for process in running:
            process.wait()
        if in_main:
            signal.signal(signal.SIGTERM, before)


def _start(workdir: pathlib.Path, cores: Sequence[int]) -> subprocess.Popen:
    with (workdir / "log.txt").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "aufer_jax.reproduce.one", str(workdir)],
            stdout=log,
            stderr=subprocess.STDOUT,
            env=os.environ | {"OMP_NUM_THREADS": str(len(cores))},
        )
    if hasattr(os, "sched_setaffinity"):  # Linux; elsewhere the runs share all cores
        os.sched_setaffinity(process.pid, cores)  # inherited by the threads it is about to start
    return process


def _outcome(workdir: pathlib.Path) -> Outcome:
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    seconds = [line["seconds"] for line in lines if line["split"] == "train"]
    done = workdir / "summary.json"
    whole = done.stat().st_mtime - (workdir / "environment.json").stat().st_mtime
    # The first epoch compiles.
    epoch = float(np.median(seconds[1:] or seconds))
    return Outcome(json.loads(done.read_text()), epoch, whole)


# --- What came out --------------------------------------------------------------------------------


def lookup(summary: Summary, place: str) -> float:
    """The number at "test_last/accuracy" of a summary, NaN if there is none."""
    split, _, metric = place.partition("/")
    return float(summary.get(split, {}).get(metric, np.nan))


def table(study: Study, outcomes: Mapping[str, Sequence[Outcome]]) -> list[dict[str, str]]:
    """A row of the table for each of the study's: mean and deviation over seeds, and its cost."""
    first = _epoch(outcomes[study.rows[0].name])
    rows = []
    for row in study.rows:
        found = outcomes[row.name]
        cells = {"row": row.name}
        for head, place in study.metrics.items():
            values = np.array([lookup(outcome.summary, place) for outcome in found])
            cells[head] = mean_and_deviation(values)
        cells["s an epoch"] = f"{_epoch(found):.1f}"
        cells["cost"] = f"{_epoch(found) / first:.2f}"
        rows.append(cells)
    return rows


def mean_and_deviation(values: np.ndarray, sign: str = "") -> str:
    if np.isnan(values).any():
        return "-"
    spread = f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
    return f"{values.mean():{sign}.3f}{spread}"


def verdicts(study: Study, outcomes: Mapping[str, Sequence[Outcome]]) -> list[dict[str, str]]:
    """For each step of each claim: the paired difference over seeds, and the verdict."""
    rows = []
    for claim in study.claims:
        for worse, better in zip(claim.order, claim.order[1:], strict=False):
            a, b = (
                np.array([lookup(outcome.summary, claim.metric) for outcome in outcomes[name]])
                for name in (worse, better)
            )
            rows.append(
                {
                    "claim": claim.text,
                    "metric": claim.metric,
                    "step": f"{worse} < {better}",
                    "difference": mean_and_deviation(b - a, sign="+"),
                    "seeds for it": f"{int((b > a).sum())} of {len(a)}",
                    "verdict": verdict(b - a),
                }
            )
    return rows


def verdict(differences: np.ndarray) -> str:
    """Of paired differences that are claimed to be positive, by the 95 % interval of their mean."""
    if np.isnan(differences).any():
        return "not measured"
    if len(differences) < 2:
        return "undecided (one seed)"
    mean, error = differences.mean(), differences.std(ddof=1) / np.sqrt(len(differences))
    margin = stats.t.ppf(0.975, len(differences) - 1) * error
    if mean - margin > 0:
        return "held"
    return "not held" if mean + margin < 0 else "undecided"


def _epoch(outcomes: Sequence[Outcome]) -> float:
    return float(np.mean([outcome.epoch_seconds for outcome in outcomes]))


def write(
    study: Study,
    outcomes: Mapping[str, Sequence[Outcome]],
    path: str | os.PathLike,
    command: str,
    jobs: int,
) -> None:
    """The study's table and verdicts as sections of a Markdown file."""
    count = len(next(iter(outcomes.values())))
    minutes = sum(outcome.seconds for found in outcomes.values() for outcome in found) / 60
    note = (
        f"{study.note} Mean and standard deviation over {count} seeds; the runs took {minutes:.0f} "
        f"minutes, {jobs} of them at a time."
    ).strip()
    heading = f"Results: {re.split('[:,]', study.title)[0]}"
    results.write_section(path, study.title, table(study, outcomes), command, note, heading)
    if judged := verdicts(study, outcomes):
        explanation = (
            "Differences are paired by seed; undecided means that the 95 % interval of their mean (t "
            "distribution) holds zero."
        )
        title = f"{study.title}: claims"
        results.write_section(path, title, judged, command, explanation)
