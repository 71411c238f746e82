"""Weak and strong scaling on virtual devices and on processes of this machine's CPU.

    python benchmarks/scaling.py

A step of one configuration on made-up rows: the loss after some steps against that of one device, what the
compiled program sends between devices, and what the host does for a step. Virtual devices share the cores of
this machine, so nothing here gets faster with more of them. Writes its sections of docs/results/scaling.md.
"""

import argparse
import functools
import json
import os
import pathlib
import sys
import tempfile
import time
from typing import Any

import numpy as np

from aufer_jax.report import results

ROOT = pathlib.Path(__file__).parents[1]
OUT = ROOT / "docs" / "results" / "scaling.md"
CONFIG, SIZE, ROWS, STEPS, TIMED = "configs/mvfer.py", 32, 16, 4, 12
NOTE = """{what} `{config}`, {size} pixels, float32, SGD, on rows of noise. `loss`: after {steps} steps;
`difference`: from that of one device with the same rows and steps, relative. `sent`: the collectives of
the compiled step, and the bytes of what they give each device; one of them sums the gradients, the small
ones are those of batch statistics and of what is logged. `host`: from the call of a step that finds its
devices idle until the call returns, and CPU time of the calling thread in it; `step`: until it is done;
medians of {timed}. **The devices are virtual and share {cores} cores: `step` shows what splitting costs,
not what it wins.**"""


# --- One measurement, in a process of its own ---------------------------------------------------


def rows_of(example: dict[str, np.ndarray], step: int, classes: int) -> dict[str, np.ndarray]:
    """A batch like the example, of noise, the same in all processes."""
    rng = np.random.default_rng(step)
    made: dict[str, np.ndarray] = {}
    for name, like in sorted(example.items()):
        if name == "expression":
            values = rng.integers(0, classes, like.shape)
        elif like.dtype == bool:
            values = np.ones(like.shape)
        elif like.dtype == np.uint8:
            values = rng.integers(0, 256, like.shape)
        else:
            values = rng.random(like.shape)
        made[name] = values.astype(like.dtype)
    return made


def all_ready(place: pathlib.Path, index: int, count: int) -> None:
    """Waits until all processes have compiled: Gloo gives up on those that are half a minute late."""
    place.with_suffix(f".{index}").touch()
    while len(list(place.parent.glob(f"{place.stem}.[0-9]"))) < count:
        time.sleep(0.05)


def worker(place: str, wish: dict[str, Any]) -> None:
    """Trains as wished on all devices of all processes; the first writes what was found."""
    import jax

    import aufer_jax.papers  # noqa: F401
    from aufer_jax.datasets import catalog
    from aufer_jax.train import base, collectives, devices, experiment
    from aufer_jax.train import config as config_lib

    devices.use_compilation_cache()
    devices.start_processes()
    with catalog.assuming():
        config = config_lib.load(str(ROOT / CONFIG))
        config.data.size = SIZE
        config.data.batch_size = config.data.eval_batch_size = wish["rows"]
        config.train.fsdp = wish["fsdp"]
        config.optimizer.name, config.optimizer.lr = "sgd", 0.01  # Adam divides by rounding
        run = config_lib.check(config)
        made = experiment.assemble(run, base.build(run))
    share = wish["rows"] // jax.process_count()
    mine = slice(jax.process_index() * share, (jax.process_index() + 1) * share)

    def batch(step: int) -> dict[str, jax.Array]:
        rows = rows_of(made.task.example, step, len(made.task.expressions))
        return made.devices.put_batch({name: value[mine] for name, value in rows.items()})

    shapes = base.shapes(made.task.example)
    compiled = made.train_step.lower(made.target, shapes).compile()
    sent = collectives.of(compiled.as_text())
    all_ready(pathlib.Path(place), jax.process_index(), jax.process_count())
    state, loss, times = made.initial_state(), 0.0, []
    for step in range(STEPS + TIMED):
        rows = batch(step)
        jax.block_until_ready((rows, state))
        began, busy = time.perf_counter(), time.thread_time()
        state, logged = made.train_step(state, rows)
        called, busy = time.perf_counter(), time.thread_time() - busy
        jax.block_until_ready((state, logged))
        times.append((called - began, busy, time.perf_counter() - began))
        if step == STEPS - 1:
            total, count = jax.device_get(logged["sums"]["loss"])
            loss = float(total / count)
    stats = compiled.memory_analysis()
    if devices.is_first():
        found = {
            "loss": loss,
            "sent": sent,
            "state": stats.argument_size_in_bytes,
            "beside": stats.temp_size_in_bytes,
            "times": np.median(times[STEPS:], axis=0).tolist(),
            "parameters": sum(4 * leaf.size for leaf in jax.tree.leaves(made.target.params)),
        }
        pathlib.Path(place).write_text(json.dumps(found))


@functools.cache
def measured(rows: int, devices: int = 1, processes: int = 1, fsdp: int = 1) -> dict[str, Any]:
    """What was found on so many devices of each of so many processes."""
    import local  # of launch/  # pyright: ignore

    os.environ["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={devices}"
    wish = json.dumps({"rows": rows, "fsdp": fsdp})
    with tempfile.TemporaryDirectory() as folder:
        found = pathlib.Path(folder) / "found.json"
        command = [sys.executable, __file__, "--worker", str(found), wish]
        if local.run(processes, command):
            raise RuntimeError(f"{devices} devices x {processes} processes, {wish}: failed")
        values = json.loads(found.read_text())
    print(devices, "devices x", processes, "processes,", wish, values["loss"], flush=True)
    return values


# --- Tables -------------------------------------------------------------------------------------


def row(found: dict[str, Any], alone: dict[str, Any], rows: int, count: int) -> dict[str, Any]:
    """A line of a table, beside what one device found with the same rows."""
    sent, (host, busy, step) = found["sent"], found["times"]
    sizes = [size for kind in sent.values() for size in kind]
    difference = abs(found["loss"] - alone["loss"]) / abs(alone["loss"])
    return {
        "rows a step": rows,
        "rows a device": rows // count,
        "loss": f"{found['loss']:.5f}",
        "difference": f"{difference:.0e}" if difference else "0",
        "sent": ", ".join(f"{len(sizes)} {kind}" for kind, sizes in sent.items()) or "nothing",
        "MB sent a step": f"{sum(sizes) / 1e6:.2f}",
        "host, ms": f"{1e3 * host:.1f}",
        "its CPU, ms": f"{1e3 * busy:.1f}",
        "step, ms": f"{1e3 * step:.0f}",
    }


def tables(counts: list[int], processes: list[int]) -> dict[str, tuple[str, list[dict[str, Any]]]]:
    """Title -> what it shows, and its rows."""
    strong_rows = ROWS * max(counts) // 2

    def line(name: str, rows: int, devices: int = 1, many: int = 1, fsdp: int = 1) -> dict:
        found = measured(rows, devices, many, fsdp)
        told = row(found, measured(rows, 1, 1, 1), rows, devices * many)
        if name == "devices that share":
            told |= {
                "state and batch, MB a device": f"{found['state'] / 1e6:.1f}",
                "beside it, MB a device": f"{found['beside'] / 1e6:.1f}",
            }
        return {name: {"devices that share": fsdp, "processes": many}.get(name, devices), **told}

    most = max(counts)
    return {
        "Weak scaling, virtual devices": (
            "One process, the same rows on each device.",
            [line("devices", ROWS * n, n) for n in counts],
        ),
        "Strong scaling, virtual devices": (
            "One process, the same rows over all devices.",
            [line("devices", strong_rows, n) for n in counts],
        ),
        "Weak scaling, processes": (
            "Processes with one device each, over loopback (Gloo), the same rows in each.",
            [line("processes", ROWS * n, many=n) for n in processes],
        ),
        "Strong scaling, processes": (
            "Processes with one device each, over loopback (Gloo), the same rows over all.",
            [line("processes", strong_rows, many=n) for n in processes],
        ),
        f"A shared state, {most} virtual devices": (
            "`train.fsdp`: so many devices share one copy of parameters and optimizer state.",
            [line("devices that share", strong_rows, most, fsdp=n) for n in counts],
        ),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--out", type=pathlib.Path, default=OUT)
    given = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    for title, (what, rows) in tables(given.devices, given.processes).items():
        note = NOTE.format(
            what=what, config=CONFIG, size=SIZE, steps=STEPS, timed=TIMED, cores=cores
        )
        results.write_section(given.out, title, rows, "python benchmarks/scaling.py", note)


if __name__ == "__main__":
    if "--worker" in sys.argv:
        worker(sys.argv[-2], json.loads(sys.argv[-1]))
    else:
        sys.path.insert(0, str(ROOT / "launch"))
        main()
