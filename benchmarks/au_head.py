"""What AU-DFER's AU head costs at inference, where it is dropped: parameters, multiply-adds, milliseconds.

    python benchmarks/au_head.py

Writes its section of docs/benchmarks.md.
"""

import argparse
import functools
import pathlib
import sys
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from aufer_jax import models
from aufer_jax.models import table
from aufer_jax.report import results
from aufer_jax.train import devices
from aufer_jax.weights import loading

ROOT = pathlib.Path(__file__).parents[1]
AUS = 18
NOTE = """Inference on clips of the network's own size, float32. `dropped`: the weights of the network
that was trained with the head, without it. Milliseconds a clip: the best of {rounds} rounds of {steps} steps
in which the rows take turns; `difference`: largest difference of the expression logits from those of the
network with its head. The head adds {aus} (d + 1) parameters to a network of d features; both counts are
exact."""


class Row:
    """A network, compiled and ready to run."""

    def __init__(self, name: str, head: str, variables: Any, x: jax.Array):
        self.name, self.head = name, head
        self.model = models.create(name, num_aus=AUS if head == "kept" else None)
        self.variables, self.x = variables, x
        self.run = compiled(self.model)
        self.logits = np.asarray(self.run(variables, x)["expression"])
        self.best = np.inf

    def measure(self, steps: int) -> None:
        began = time.perf_counter()
        for _ in range(steps):
            jax.block_until_ready(self.run(self.variables, self.x))
        self.best = min(self.best, (time.perf_counter() - began) / steps / len(self.x))


@functools.cache
def compiled(model: Any) -> Any:
    def predict(variables: Any, x: jax.Array) -> dict[str, jax.Array]:
        out = model.apply(variables, x, train=False)
        return {name: out[name] for name in ("expression", "au") if name in out}

    return jax.jit(predict)


def noise(shapes: Any, seed: int) -> Any:
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda leaf: jnp.asarray(0.1 * np.abs(rng.standard_normal(leaf.shape, np.float32))), shapes
    )


def rows(name: str, batch: int) -> list[Row]:
    """With its head, with the head dropped, and the network that never had one."""
    shape = (batch, *table.example(name).shape[1:])
    x = jnp.asarray(np.random.default_rng(0).standard_normal(shape, np.float32))
    with_head, without = (models.create(name, num_aus=count) for count in (AUS, None))
    variables = noise(loading.shapes(name, with_head), 0)
    params = {key: value for key, value in variables["params"].items() if key != "fc_au"}
    values = {
        "kept": variables,
        "dropped": {**variables, "params": params},
        "never had one": noise(loading.shapes(name, without), 1),
    }
    return [Row(name, head, held, x) for head, held in values.items()]


def line(row: Row, first: Row) -> dict[str, object]:
    features = first.variables["params"]["fc_au"]["kernel"].shape[0]
    count = sum(leaf.size for leaf in jax.tree.leaves(row.variables["params"]))
    shapes = loading.shapes(row.name, row.model)["params"]
    assert count == sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(shapes))
    difference = np.abs(row.logits - first.logits).max()
    return {
        "network": row.name,
        "AU head": row.head,
        "features": features,
        "parameters": f"{count:,}",
        "multiply-adds a clip": f"{table.macs(row.name, row.model):,}",
        "ms a clip": f"{1000 * row.best:.2f}",
        "ratio": f"{row.best / first.best:.3f}",
        "difference": "" if row.head == "never had one" else f"{difference:.0e}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="+", default=["r3d_small", "m3dfel_small"])
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--steps", type=int, default=5, help="of a round")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "docs" / "benchmarks.md")
    arguments = parser.parse_args()
    devices.use_compilation_cache()
    devices.keep_freed_memory()
    lines = []
    for name in arguments.models:
        found = rows(name, arguments.batch_size)
        for _ in range(arguments.rounds):
            for row in found:
                row.measure(arguments.steps)
        lines += [line(row, found[0]) for row in found]
    print(results.table(lines))
    note = NOTE.format(rounds=arguments.rounds, steps=arguments.steps, aus=AUS)
    command = "python " + " ".join(sys.argv)
    results.write_section(arguments.out, "AU head of AU-DFER at inference", lines, command, note)


if __name__ == "__main__":
    main()
