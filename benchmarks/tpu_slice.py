"""The papers' training steps compiled for a TPU slice that is not there: memory and all-reduces.

    python benchmarks/tpu_slice.py --slice v5e:2x4

Needs libtpu (the extra `tpu`), no TPU. Writes its section of docs/benchmarks.md.
"""

import argparse
import pathlib
import sys
import time

import jax

import aufer_jax.papers  # noqa: F401
from aufer_jax.datasets import catalog
from aufer_jax.report import results
from aufer_jax.train import base, collectives, devices, experiment
from aufer_jax.train import config as config_lib

ROOT = pathlib.Path(__file__).parents[1]
CONFIGS = (
    "configs/mvfer.py:rafdb",
    "configs/audfer.py:dfew,host=former_dfer,fold=1",
    "configs/audfer.py:dfew,host=m3dfel,fold=1",
    "configs/auvit.py:rafdb",
)


def measure(text: str, topology: str, dtype: str, rows: int) -> dict:
    """One row: a recipe on blank records, compiled for the slice."""
    with catalog.assuming():
        config = config_lib.load(text)
        config.train.compute_dtype = dtype
        config.data.batch_size = config.data.eval_batch_size = rows
        run = config_lib.check(config)
        made = experiment.assemble(run, base.build(run), devices.tpu_slice(topology))
    began = time.perf_counter()
    batch = base.shapes(made.task.example)
    compiled = made.train_step.lower(made.target, batch).compile()
    seconds = time.perf_counter() - began
    stats = compiled.memory_analysis()
    sums = collectives.of(compiled.as_text())["all-reduce"]
    parameters = sum(leaf.size for leaf in jax.tree.leaves(made.target.params))
    return {
        "configuration": text,
        "rows a device": rows // made.devices.count,
        "parameters, M": f"{parameters / 1e6:.1f}",
        "state, GB": f"{stats.alias_size_in_bytes / 1e9:.2f}",
        "beside it, GB": f"{stats.temp_size_in_bytes / 1e9:.2f}",
        "all-reduces": len(sums),
        "largest, MB": f"{sums[0] / 1e6:.1f}",
        "the others, MB": f"{sum(sums[1:]) / 1e6:.2f}",
        "compiled in, s": f"{seconds:.0f}",
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--configs", nargs="+", default=CONFIGS)
    parser.add_argument("--slice", default="v5e:2x4")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--rows", type=int, default=80, help="of a step, over all devices")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "docs" / "benchmarks.md")
    given = parser.parse_args()
    note = (
        f"TPU {given.slice}, {given.dtype}, by libtpu's own compiler on a machine without a TPU: nothing is "
        "run. The largest all-reduce is that of the gradients, in the type that is computed in; the others "
        "are those of batch statistics and of what is logged. Of the state all buffers are reused."
    )
    rows = []
    for text in given.configs:
        rows.append(measure(text, given.slice, given.dtype, given.rows))
        print(rows[-1], flush=True)
        title, command = "Compiled for a TPU slice", "python " + " ".join(sys.argv)
        results.write_section(given.out, title, rows, command, note)


if __name__ == "__main__":
    main()
