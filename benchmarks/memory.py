"""Peak memory and time of a training step on a CPU, with freed memory kept and with large arrays returned.

    python benchmarks/memory.py --cases resnet_small:64 resnet18:112 resnet18:224

MV-FER, 32 rows of three views, the same drawn batch again and again; every case is a process of its own.
Writes its section of docs/benchmarks.md; `devices.LARGE_STEP` is set from it.

    python benchmarks/memory.py --remat

writes another one: what the steps of published networks hold by `train.remat`, estimated from the traced step
as `aufer check` does; nothing is compiled or run.
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

import aufer_jax.papers  # noqa: F401  (registers the methods)
from aufer_jax.datasets import catalog
from aufer_jax.models import remat, table
from aufer_jax.papers.mvfer import recipes
from aufer_jax.papers.mvfer.recipes import photographs
from aufer_jax.report import results
from aufer_jax.train import base, devices, experiment
from aufer_jax.train import config as config_lib

ROOT = pathlib.Path(__file__).parents[1]
ROWS, STEPS = 32, 3
MODES = ("kept", "large ones returned")
PUBLISHED = {
    "AU-ViT, paper": "configs/auvit.py:rafdb",
    "MAE-DFER, pre-training": "configs/mae_pretrain.py:ferv39k",
    "SVFAP": "configs/audfer.py:dfew,host=svfap,fold=1",
}


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


def held(text: str, kind: str) -> dict:
    """What a published step holds on one device, and how much it computes, with this `train.remat`."""
    with catalog.assuming():
        config = config_lib.load(text)
        config.train.remat = kind
        run = config_lib.check(config)
        made = experiment.assemble(run, base.build(run), jax.devices()[:1])
    traced = made.traced_step(made.pure_step)
    return {
        "rows a step": run.data.batch_size,
        "in": run.train.compute_dtype,
        "train.remat": kind or '""',
        "bytes": table.live_bytes(traced),
        "products": sum(table.products(traced)),
    }


_REMAT_NOTE = (
    "Published networks with their recipes' rows, all on one device, by `train.remat`: what the traced step "
    "holds at most beside its state and its batch (the estimate of `aufer check`, gradients included), that "
    "as a share of what it holds by default, and the multiply-adds of its products as a multiple of the "
    "default's. Nothing is compiled or run."
)


def rematerialised() -> None:
    """The section by `train.remat`, written after every row."""
    rows = []
    for name, text in PUBLISHED.items():
        found = []
        for kind in remat.KINDS:
            found.append(held(text, kind))
            row = {"network": name, **found[-1]}
            size, products = row.pop("bytes"), row.pop("products")
            row["held, GB"] = f"{size / 1e9:.2f}"
            row["share"] = f"{size / found[0]['bytes']:.2f}"
            row["multiply-adds"] = f"{products / found[0]['products']:.2f}"
            rows.append(row)
            print(row, flush=True)
            out, command = ROOT / "docs" / "benchmarks.md", "python " + " ".join(sys.argv)
            results.write_section(
                out, "Memory of a step by train.remat", rows, command, _REMAT_NOTE
            )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cases", nargs="+", default=["resnet18:112"], metavar="MODEL:PIXELS")
    parser.add_argument("--remat", action="store_true", help="published networks by train.remat")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.remat:
        rematerialised()
        return
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
