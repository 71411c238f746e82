"""Equal blocks as a loop (`jax.lax.scan`) or one after another: what compiling and running take on a CPU.

    python benchmarks/loop.py

The blocks of published networks in their sizes, forward and backward, one thread, by turns. Writes its
section of docs/benchmarks.md, which is why no network here has such a loop.
"""

import argparse
import os
import pathlib
import statistics
import time

os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"

import jax
import jax.numpy as jnp

from aufer_jax.models import mae_dfer, svfap, vit
from aufer_jax.report import results

ROOT = pathlib.Path(__file__).parents[1]
NOTE = """The blocks of a network, forward and backward in float32 with all values kept: one after another, as
they are here, and as a loop over their stacked parameters (`jax.lax.scan`). Seconds of a core; by turns,
medians; memory is what XLA plans beside parameters and input."""
# Network -> blocks, one of them, tokens of a step.
CASES = {
    "ViT-B, 2 images": (12, vit.Block(12), (2, 197, 768)),
    "MAE-DFER, 1 clip": (16, mae_dfer.LGIBlock(8, 8), (8, 101, 512)),
    "SVFAP's first stage, 1 clip": (10, svfap.Block(6), (1, 800, 384)),
}


def forms(block, count):
    """Loss of tokens and the blocks' parameters: form -> function."""

    def one(params, x):
        y = block.apply({"params": params}, x, True, rngs={"dropout": jax.random.key(1)})
        return y[0] if isinstance(y, tuple) else y

    def unrolled(params, x):
        for i in range(count):
            x = one(params[i], x)
        return jnp.square(x).sum()

    def loop(params, x):
        stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *params)
        x, _ = jax.lax.scan(lambda x, params: (one(params, x), None), x, stacked)
        return jnp.square(x).sum()

    return {"one after another": unrolled, "loop": loop}


def measure(name: str, rounds: int) -> list[dict]:
    """A row for each form."""
    count, block, shape = CASES[name]
    x = jax.random.normal(jax.random.key(0), shape)
    params = [block.init(jax.random.key(i), x, True)["params"] for i in range(count)]
    rows, programs = {}, {}
    for form, loss in forms(block, count).items():
        began = time.process_time()
        lowered = jax.jit(jax.value_and_grad(loss)).lower(params, x)
        traced = time.process_time()
        programs[form] = lowered.compile()
        rows[form] = {
            "blocks": f"{name}: {count}",
            "form": form,
            "to trace and lower, s": f"{traced - began:.1f}",
            "to compile, s": f"{time.process_time() - traced:.1f}",
            "memory, MB": f"{programs[form].memory_analysis().temp_size_in_bytes / 1e6:.0f}",
        }
    taken = {form: [] for form in programs}
    for _ in range(rounds):
        for form, program in programs.items():
            began = time.process_time()
            jax.block_until_ready(program(params, x))
            taken[form].append(time.process_time() - began)
    for form, row in rows.items():
        row["a step, s"] = f"{statistics.median(taken[form]):.2f}"
    return list(rows.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", default=str(ROOT / "docs" / "benchmarks.md"))
    args = parser.parse_args()
    rows = [row for name in CASES for row in measure(name, args.rounds)]
    print(*rows, sep="\n")
    command = "python benchmarks/loop.py"
    results.write_section(args.out, "Equal blocks as a loop", rows, command, NOTE)


if __name__ == "__main__":
    main()
