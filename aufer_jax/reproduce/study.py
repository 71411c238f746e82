"""Runs a study: each run in a process and a folder of its own, several at a time."""

import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from aufer_jax.papers.study import Study
from aufer_jax.reproduce import outcomes
from aufer_jax.reproduce import plan as plan_lib
from aufer_jax.train import devices, logs
from aufer_jax.train import workdir as workdir_lib


def run(
    study: Study,
    folder: str | os.PathLike,
    *,
    seeds: Sequence[int] = range(5),
    jobs: int = 0,
    changes: Mapping[str, Any] | None = None,
    say: Callable[[str], None] = print,
) -> dict[str, list[outcomes.Outcome]]:
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
      The outcomes of each row, in the order of the seeds; folds are pooled.
    """
    jobs = jobs or default_jobs()
    planned = plan_lib.plan(study, folder, seeds=seeds, changes=changes)
    starts = planned.awaited
    _begin(starts)
    _run_all([run.workdir for run in starts], jobs, say)
    for table in planned.tables:
        if table.by in starts and not table.path.exists():
            _label(table)
    _begin(planned.runs)
    _run_all([run.workdir for run in planned.runs], jobs, say)
    found = {
        row.name: [
            outcomes.pooled([outcomes.read(run.workdir) for run in planned.of(row.name, seed)])
            for seed in seeds
        ]
        for row in study.rows
    }
    return outcomes.with_au_means(found)


def default_jobs() -> int:
    """Runs at a time: one a core on CPU, else one."""
    import jax

    return len(devices.cores()) if jax.default_backend() == "cpu" else 1


def _begin(runs: Sequence[plan_lib.Planned]) -> None:
    for run in runs:
        settings = plan_lib.settings(run.config)
        workdir_lib.refuse_another_run(run.workdir, settings)
        run.workdir.mkdir(parents=True, exist_ok=True)
        logs.write_json(run.workdir / "config.json", settings)


def _run_all(workdirs: Sequence[pathlib.Path], jobs: int, say: Callable[[str], None]) -> None:
    """Works through the runs that are not finished, `jobs` at a time, each on its own cores."""
    waiting = [path for path in workdirs if not (path / "summary.json").exists()]
    cores = devices.cores()
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


def _label(table: plan_lib.Table) -> None:
    """Makes a table of labels, in a process of its own."""
    arguments = [str(table.by.workdir), table.dataset, str(table.path)]
    command = [sys.executable, "-m", "aufer_jax.reproduce.label", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{table.dataset} could not be labelled:\n{done.stderr[-2000:]}")


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
