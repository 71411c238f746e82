"""How long a step of the published models would take on many chips: computed from its FLOPs and bytes.

    python benchmarks/step_model.py

Nothing is run: the steps are traced on blank records. Beside what one H200 asks for it puts what a core
reads, from the tables of the benchmarks of the loader. Writes its sections of docs/results/scaling.md;
docs/scaling.md says what the numbers mean.
"""

import argparse
import dataclasses
import math
import pathlib
from typing import Any

import jax

import aufer_jax.papers  # noqa: F401
from aufer_jax.datasets import catalog
from aufer_jax.models import table
from aufer_jax.report import results
from aufer_jax.train import base, chips, devices, experiment
from aufer_jax.train import config as config_lib

ROOT = pathlib.Path(__file__).parents[1]
COMMAND = "python benchmarks/step_model.py"
# Configuration and rows a device; AU-ViT's in its pattern of five.
MODELS = {
    "AU-ViT": ("configs/auvit.py:rafdb", 40),
    "MV-FER, ResNet-18": ("configs/mvfer.py:rafdb", 32),
    "M3DFEL": ("configs/audfer.py:dfew,host=m3dfel,fold=1", 8),
    "Former-DFER": ("configs/audfer.py:dfew,host=former_dfer,fold=1", 8),
    "MAE-DFER": ("configs/audfer.py:dfew,host=mae_dfer,fold=1", 8),
    "MAE-DFER, pre-training": ("configs/mae_pretrain.py:ferv39k", 8),
}
REACHED = 0.5  # of a chip's peak, by products that do not wait for memory
DTYPE, WIDTH = "bfloat16", 2  # bytes of an activation, and of a gradient that is sent
RECORDS = 1_000_000
CORES = 16  # of a host with one H200
# The tables with what all cores read, by the kind of a row: page, section, column, shape of a row.
MEASURED = {
    "image": ("docs/benchmarks/loader.md", "Data loader", "images/s", (112, 112)),
    "clip": ("docs/benchmarks.md", "Clips", "clips/s", (16, 112, 112)),
}
MEASURED_CORES = 2  # of those tables, each with a worker of its own


@dataclasses.dataclass(frozen=True)
class System:
    """Chips and how they are joined: tiers of (chips, bytes/s of each chip, seconds of a small sum)."""

    name: str
    kind: str  # as `chips.PEAKS` has it
    memory: float  # bytes/s of a chip
    tiers: tuple[tuple[int, float, float], ...]
    hosts: int

    @property
    def count(self) -> int:
        """All chips."""
        return math.prod(tier[0] for tier in self.tiers)

    def summed(self, size: float) -> float:
        """Seconds to sum arrays of so many bytes: in each tier scattered, then gathered."""
        seconds = 0.0
        for chips_, speed, latency in self.tiers:
            seconds += 2 * size * (chips_ - 1) / chips_ / speed + latency
            size /= chips_
        return seconds


NVLINK, ICI = (8, 360e9, 15e-6), (64, 90e9, 30e-6)
SYSTEMS = (
    System("8 x H100, one host", "H100", 3.35e12, (NVLINK,), 1),
    System("TPU v5e-64", "TPU v5e", 819e9, (ICI,), 8),
)
LARGE = (
    System("1,024 x H100", "H100", 3.35e12, (NVLINK, (128, 40e9, 60e-6)), 128),
    System("TPU v5e, 4 x 256", "TPU v5e", 819e9, ((256, 90e9, 60e-6), (4, 2.5e9, 200e-6)), 128),
)
ONE = System("H200", "H200", 4.8e12, (), 1)
NOTE = f"""A model, not a measurement: {DTYPE}, whole rows on each chip, nothing overlapped. `compute`:
the step's products (as `aufer check` counts them) at {REACHED:.0%} of the chip's peak. `memory`: what
products and reductions read and write, {WIDTH} bytes each, at the speed of the chip's memory; the longer
of the two counts. `optimizer`: the state read and written, the gradients read. `gradients`: their sum
over the chips, {WIDTH} bytes each. `statistics`: four small sums for each layer with batch statistics, at
the latency of one. `sums hidden`: the step if the gradients were summed while the backward pass goes on.
Chips: H100 3.35 TB/s, NVLink 360 GB/s of 450; v5e 0.82 TB/s, two links of 45 GB/s, those that a corner of
its 8 x 8 mesh has; a small sum takes 15 and 30 us."""
NOTE_LARGE = f"""The same model with {RECORDS:,} records. 1,024 x H100: 128 hosts, 40 GB/s to other hosts
for each GPU; a small sum takes 75 us in all. TPU v5e: four slices of 256 chips, 2.5 GB/s to other slices
for each chip; a small sum takes 260 us. `rows/s of a host` is what its cores must read, decode and
augment. `state`: what a checkpoint holds; every process adds up the checksums of all of it."""

NOTE_FED = f"""Whether the {CORES} cores of a host feed one H200 (4.8 TB/s). `rows/s asked`: rows of a step
over the step's time by the same model. `rows/s a core`: measured, aufer_jax with {MEASURED_CORES} workers
over {MEASURED_CORES} cores, from [the loader](../benchmarks/loader.md) and
[clips](../benchmarks.md#clips): images of 112 pixels, clips of 16 frames of 112 pixels. `asked of the
cores`: the first over {CORES} times the second; up to 100% the cores keep up. Larger rows take a core
longer, which was not measured: their second number is what it would be if its whole time grew as their
pixels do."""


@dataclasses.dataclass(frozen=True)
class Work:
    """What a step asks of one chip."""

    kind: str  # "image" or "clip"
    shape: tuple[int, ...]  # of a row
    rows: int
    flops: float
    moved: float  # bytes through its memory
    parameters: int
    state: int  # bytes
    layers: int  # with batch statistics


def work(text: str, rows: int) -> Work:
    """That of a configuration, traced for one chip."""
    with catalog.assuming():
        config = config_lib.load(str(ROOT / text))
        config.train.compute_dtype = DTYPE
        config.train.accumulate = 1
        config.data.batch_size = config.data.eval_batch_size = rows
        run = config_lib.check(config)
        made = experiment.assemble(run, base.build(run), devices.abstract("tpu", 1))
    traced, target, kind = made.traced_step(), made.target, made.task.labels.kind
    return Work(
        kind=kind,
        shape=made.task.example[kind].shape[1:-1],
        rows=rows,
        flops=made.step_flops(traced),
        moved=float(WIDTH * table.moved(traced)),
        parameters=sum(leaf.size for leaf in jax.tree.leaves(target.params)),
        state=sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(target)),
        layers=len(jax.tree.leaves(target.model_state)) // 2,
    )


@dataclasses.dataclass(frozen=True)
class Times:
    """Seconds of the parts of a step."""

    compute: float
    memory: float
    optimizer: float
    gradients: float
    statistics: float

    @property
    def step(self) -> float:
        """All parts one after the other."""
        work_ = max(self.compute, self.memory)
        return work_ + self.optimizer + self.gradients + self.statistics

    @property
    def hidden(self) -> float:
        """Gradients summed during the backward pass, two thirds of the work."""
        behind = 2 / 3 * max(self.compute, self.memory)
        return self.step - min(self.gradients, behind)


def times(asked: Work, on: System) -> Times:
    """Of one step on each of a system's chips."""
    peak = chips.chip(on.kind, DTYPE).peak
    gradients = 4 * asked.parameters
    return Times(
        compute=asked.flops / peak / REACHED,
        memory=asked.moved / on.memory,
        optimizer=(2 * asked.state + gradients) / on.memory,
        gradients=on.summed(WIDTH * asked.parameters),
        statistics=4 * asked.layers * on.summed(0),
    )


def row(name: str, asked: Work, on: System) -> dict[str, Any]:
    """A line of the table of step times."""
    found = times(asked, on)
    peak = chips.chip(on.kind, DTYPE).peak
    parts = {
        part.name: f"{1e3 * getattr(found, part.name):.2f}" for part in dataclasses.fields(found)
    }
    return {
        "model": name,
        "chips": on.name,
        "rows a chip": asked.rows,
        "M parameters": f"{asked.parameters / 1e6:.1f}",
        "TFLOP a chip": f"{asked.flops / 1e12:.2f}",
        **{f"{part}, ms": text for part, text in parts.items()},
        "step, ms": f"{1e3 * found.step:.1f}",
        "sums hidden, ms": f"{1e3 * found.hidden:.1f}",
        "MFU": f"{asked.flops / peak / found.hidden:.0%}",
        "bound by": _bound(found),
        "rows/s of a host": f"{asked.rows * on.count / on.hosts / found.hidden:,.0f}",
    }


def _bound(found: Times) -> str:
    parts = dataclasses.asdict(found)
    return max(parts, key=parts.__getitem__)


def large_row(name: str, asked: Work, on: System) -> dict[str, Any]:
    """A line of the table of a thousand chips."""
    found = times(asked, on)
    rows, less = asked.rows * on.count, times(asked, dataclasses.replace(on, tiers=on.tiers[:1]))
    return {
        "model": name,
        "chips": on.name,
        "rows a step": f"{rows:,}",
        "steps an epoch": RECORDS // rows,
        "step, ms": f"{1e3 * found.step:.1f}",
        "sums hidden, ms": f"{1e3 * found.hidden:.1f}",
        "of one tier's speed": f"{less.hidden / found.hidden:.0%}",
        "s an epoch": f"{RECORDS / rows * found.hidden:.1f}",
        "bound by": _bound(found),
        "rows/s of a host": f"{rows / on.hosts / found.hidden:,.0f}",
        "state, GB": f"{asked.state / 1e9:.2f}",
    }


def fed_row(name: str, asked: Work) -> dict[str, Any]:
    """A line of the table of one H200 and the cores of its host."""
    page, title, column, shape = MEASURED[asked.kind]
    (measured,) = (
        line
        for line in results.read_table(ROOT / page, title)
        if (line["loader"], line["workers"]) == ("aufer_jax", str(MEASURED_CORES))
    )
    core, rows = float(measured[column]) / MEASURED_CORES, asked.rows / times(asked, ONE).step
    larger, share = math.prod(asked.shape) / math.prod(shape), rows / core / CORES
    return {
        "model": name,
        "a row": " x ".join(map(str, asked.shape)),
        "rows/s asked": f"{rows:,.0f}",
        "rows/s a core": f"{core:,.0f}",
        "asked of the cores": f"{share:.0%}" + (f" to {share * larger:.0%}" if larger > 1 else ""),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=MODELS)
    parser.add_argument(
        "--out", type=pathlib.Path, default=ROOT / "docs" / "results" / "scaling.md"
    )
    given = parser.parse_args()
    asked = {}
    for name in given.models:
        asked[name] = work(*MODELS[name])
        print(name, asked[name], flush=True)
    small = [row(name, asked[name], on) for name in asked for on in SYSTEMS]
    results.write_section(given.out, "Step times, modelled", small, COMMAND, NOTE)
    large = [large_row(name, asked[name], on) for name in asked for on in LARGE]
    results.write_section(given.out, "A thousand chips, modelled", large, COMMAND, NOTE_LARGE)
    fed = [fed_row(name, asked[name]) for name in asked]
    results.write_section(given.out, "One H200 and the cores of its host", fed, COMMAND, NOTE_FED)


if __name__ == "__main__":
    main()
