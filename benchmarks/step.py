"""Milliseconds a training step and the share of it spent waiting for input, of any config.

    python benchmarks/step.py --configs configs/auvit.py configs/mvfer.py configs/audfer.py

Writes its section of docs/benchmarks.md.
"""

import argparse
import pathlib
import sys
import time

import jax
import numpy as np

from aufer_jax.report import results
from aufer_jax.train import config as config_lib
from aufer_jax.train import devices, experiment

ROOT = pathlib.Path(__file__).parents[1]


def measure(text: str, steps: int, parallel: str) -> dict:
    """Runs the config's own loader and step; steps are counted once everything is compiled."""
    config = config_lib.load(str(ROOT / text))
    config.train.parallel = parallel
    built = experiment.build(config_lib.check(config))
    state = built.initial_state()
    began = time.perf_counter()
    with built.stream(0) as stream:
        state, logged = built.train_step(state, next(stream))
        jax.block_until_ready(logged)
        compiled = time.perf_counter() - began
        for _ in range(3):
            state, logged = built.train_step(state, next(stream))
        jax.block_until_ready(logged)
        waited, began, times = stream.waited_s, time.perf_counter(), []
        for _ in range(steps):
            start = time.perf_counter()
            state, logged = built.train_step(state, next(stream))
            jax.block_until_ready(logged)
            times.append(time.perf_counter() - start)
        total, waited = time.perf_counter() - began, stream.waited_s - waited
    rows = built.run.data.batch_size
    return {
        "config": text,
        "model": built.run.model["name"],
        "compiled by": parallel,
        "rows a step": rows,
        "first step, s": f"{compiled:.1f}",
        "ms a step (median)": f"{1000 * np.median(times):.1f}",
        "rows/s": f"{steps * rows / total:.0f}",
        "waiting for input": f"{100 * waited / total:.2f} %",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--configs", nargs="+", default=["configs/auvit.py"])
    parser.add_argument("--parallel", nargs="+", default=["jit"], choices=devices.MODES)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "docs" / "benchmarks.md")
    arguments = parser.parse_args()
    devices.use_compilation_cache()
    devices.keep_freed_memory()
    rows = [
        measure(text, arguments.steps, mode)
        for text in arguments.configs
        for mode in arguments.parallel
    ]
    results.write_section(arguments.out, "Training step", rows, "python " + " ".join(sys.argv))


if __name__ == "__main__":
    main()
