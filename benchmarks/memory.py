"""Peak memory and time of a training step on a CPU, with freed memory kept and with large arrays returned.

    python benchmarks/memory.py --cases resnet_small:64 resnet18:112 resnet18:224

MV-FER, 32 rows of three views, the same drawn batch again and again; every case is a process of its own.
Writes its section of docs/benchmarks.md; `devices.LARGE_STEP` is set from it.
"""

import argparse
import json
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

import jax

from aufer_jax.papers.mvfer import recipes
from aufer_jax.papers.mvfer.recipes import photographs
from aufer_jax.report import results
from aufer_jax.train import config as config_lib
from aufer_jax.train import devices, experiment

ROOT = pathlib.Path(__file__).parents[1]
ROWS, STEPS = 32, 3
MODES = ("kept", "large ones returned")


def measure(model: str, size: int, mode: str) -> dict:
    """A few steps, each waited for; in this process, which must not have used JAX before."""
    devices.keep_freed_memory()
    config = photographs.photographs(model)
    recipes.set_target(config, "synth_a")
    config.data.size, config.data.batch_size, config.data.eval_batch_size = size, ROWS, ROWS
    with config.unlocked():
        config.data.sizes = dict.fromkeys(("train", "validation", "test", "occluded"), ROWS)
    built = experiment.build(config_lib.check(config))
    state = built.initial_state()
    with built.stream(0) as stream:
        batch = next(stream)
    taken = devices.step_memory(built.train_step, state, batch)
    if mode == MODES[1]:
        devices.return_large_memory(devices.LARGE_STEP + 1)
    times = []
    for _ in range(STEPS):
        began = time.perf_counter(), time.process_time()
        state, logged = built.train_step(state, batch)
        jax.block_until_ready((state, logged))
        times.append((time.perf_counter() - began[0], time.process_time() - began[1]))
    seconds, cpu = min(times)
    return {
        "network, pixels": f"{model}, {size}",
        "a step takes, GB": f"{taken / 1e9:.2f}",
        "freed memory": mode,
        "peak, GB": f"{resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9:.2f}",
        "s a step (best)": f"{seconds:.2f}",
        "s of CPU": f"{cpu:.2f}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cases", nargs="+", default=["resnet18:112"], metavar="MODEL:PIXELS")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        model, size, mode = given.one
        print(json.dumps(measure(model, int(size), mode)))
        return
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for case in given.cases:
            for mode in MODES:
                command = [sys.executable, __file__, "--one", *case.split(":"), mode]
                environment = {"AUFER_DATA": folder, "PYTHONPATH": str(ROOT)}
                done = subprocess.run(
                    command, env={**os.environ, **environment}, text=True,
                    stdout=subprocess.PIPE, check=True,
                )  # fmt: skip
                rows.append(json.loads(done.stdout.splitlines()[-1]))
                print(rows[-1], flush=True)
                write(rows)


def write(rows: list[dict]) -> None:
    """The section so far: large networks take a while."""
    note = (
        f"MV-FER on a CPU, {ROWS} rows of three views, {STEPS} steps that are waited for; the peak is the "
        "process's resident memory, the step's own is what XLA says. *Kept*: glibc gives no memory back "
        "(`devices.keep_freed_memory`). *Large ones returned*: arrays of 32 MiB and more are given back "
        "(`devices.return_large_memory`), as for steps above `devices.LARGE_STEP`. Beside other work the "
        "seconds of CPU are to be compared, not the seconds."
    )
    out, command = ROOT / "docs" / "benchmarks.md", "python " + " ".join(sys.argv)
    results.write_section(out, "Memory of a step", rows, command, note)


if __name__ == "__main__":
    main()
