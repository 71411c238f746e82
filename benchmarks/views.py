"""What MV-FER's views cost: milliseconds a training step, as a ratio to a step of the image alone.

    python benchmarks/views.py

Writes its section of docs/benchmarks.md. Synthetic faces are drawn on first use.
"""

import argparse
import pathlib
import sys
import time
from typing import Any

import jax
import numpy as np
from ml_collections import ConfigDict

from aufer_jax.data import loader
from aufer_jax.datasets import catalog
from aufer_jax.report import results
from aufer_jax.train import config as config_lib
from aufer_jax.train import devices, experiment

ROOT = pathlib.Path(__file__).parents[1]
TARGET = 2.2  # most that all three views may cost, as a ratio to one

# Row -> the ablation row of configs/mvfer.py and what differs from it.
ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "base (image)": ("base", {}),
    "aug (image, erased mirror)": ("aug", {}),
    "all: view+supervise": ("all", {}),
    "all: view+supervise, view 3 at half size": ("all", {"loss.heatmap_scale": 0.5}),
    "all: view": ("all", {"loss.heatmap_role": "view"}),
    "all: supervise": ("all", {"loss.heatmap_role": "supervise"}),
    "all: encoder": ("all", {"loss.heatmap_role": "encoder"}),
    "all: view+supervise, separate passes": ("all", {"loss.forward": "separate"}),
    "all: view+supervise, separate passes, view 3 at half size": (
        "all",
        {"loss.forward": "separate", "loss.heatmap_scale": 0.5},
    ),
}

NOTE = """Step: the same batch again and again, already on the device. With loader: batches as training
reads them. Both are medians over rounds of {steps} steps in which the rows take turns; ratios are to the
row base. The views of a step go through the network together unless a row says otherwise. Target: all three
views at most {target} times base; measured: {verdicts}."""
JUDGED = ("all: view+supervise", "view 3 at half size", "separate passes")


def build(row: str, arguments: argparse.Namespace) -> experiment.Experiment:
    ablate, changes = ROWS[row]
    config = config_lib.load(f"{ROOT}/configs/mvfer.py:{arguments.data},ablate={ablate}")
    config.model = config_lib.model(arguments.model)
    config.data.size = arguments.size
    config.data.batch_size = arguments.batch_size
    with config.unlocked():  # the other splits are not read
        sizes = dict.fromkeys(catalog.info(arguments.data).splits, 8)
        config.data.sizes = ConfigDict(sizes | {"train": arguments.faces})
    for key, value in changes.items():
        config_lib.set_value(config, key, value)
    return experiment.build(config_lib.check(config))


class Runner:
    """One row, compiled and ready to step."""

    def __init__(self, built: experiment.Experiment):
        self.built, self.state = built, built.initial_state()
        with built.stream(0) as stream:
            self.batch = next(stream)
        self.step(self.batch)

    def step(self, batch: Any) -> None:
        self.state, logged = self.built.train_step(self.state, batch)
        jax.block_until_ready(logged)

    def compute(self, steps: int) -> float:
        """Seconds a step without the loader."""
        began = time.perf_counter()
        for _ in range(steps):
            self.step(self.batch)
        return (time.perf_counter() - began) / steps

    def train(self, steps: int) -> float:
        """Seconds a step with the loader, its start and first batches left out."""
        with self.built.stream(0) as stream:
            for _ in range(3):
                self.step(next(stream))
            began = time.perf_counter()
            for _ in range(steps):
                self.step(next(stream))
            return (time.perf_counter() - began) / steps


def measure(arguments: argparse.Namespace) -> list[dict[str, object]]:
    runners = {row: Runner(build(row, arguments)) for row in ROWS}
    compute: dict[str, list[float]] = {row: [] for row in ROWS}
    train: dict[str, list[float]] = {row: [] for row in ROWS}
    for _ in range(arguments.rounds):
        for row, runner in runners.items():
            compute[row].append(runner.compute(arguments.steps))
            train[row].append(runner.train(arguments.steps))
    base = next(iter(ROWS))
    return [
        {
            "row": row,
            "read from the loader": ", ".join(
                loader.plan(runner.built.task.train).parts[0].spec.views
            ),
            "ms a step": f"{1000 * np.median(compute[row]):.1f}",
            "ratio": f"{np.median(compute[row]) / np.median(compute[base]):.2f}",
            "ms a step with loader": f"{1000 * np.median(train[row]):.1f}",
            "ratio with loader": f"{np.median(train[row]) / np.median(train[base]):.2f}",
        }
        for row, runner in runners.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", default="synth_a")
    parser.add_argument("--model", default="resnet_small")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--faces", type=int, default=512, help="training faces to draw")
    parser.add_argument("--steps", type=int, default=10, help="of a round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "docs" / "benchmarks.md")
    arguments = parser.parse_args()
    devices.use_compilation_cache()
    devices.keep_freed_memory()
    rows = measure(arguments)
    print(results.table(rows))
    verdicts = []
    for row in rows:
        if str(row["row"]).endswith(JUDGED):
            training = float(str(row["ratio with loader"]))
            verdict = "held" if training <= TARGET else "not held"
            name = str(row["row"]).removeprefix("all: ")
            verdicts.append(f"{name} {training} in training with its loader, {verdict}")
    title = (
        f"Views of MV-FER ({arguments.model}, {arguments.size} pixels, {arguments.batch_size} rows)"
    )
    note = NOTE.format(steps=arguments.steps, target=TARGET, verdicts="; ".join(verdicts))
    command = "python " + " ".join(sys.argv)
    results.write_section(arguments.out, title, rows, command, note)


if __name__ == "__main__":
    main()
