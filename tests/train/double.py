"""MV-FER's small network trained in float64, without rounding: `python double.py OUT jit|pmap DEVICES`.

Every float32 of the code is read as float64 before anything imports it. Writes parameters and statistics
after each step; of several processes (see `devices.start_processes`) the first one.
"""

import os
import pathlib
import sys

TESTS = pathlib.Path(__file__).parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "papers")]
os.environ["JAX_ENABLE_X64"] = "true"
os.environ["JAX_COMPILATION_CACHE_DIR"] = ""

import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

jnp.float32 = jnp.float64
_dtype = jnp.dtype
jnp.dtype = lambda name: _dtype("float64" if name == "float32" else name)

import jax  # noqa: E402
import test_mvfer_steps as mvfer  # noqa: E402

from aufer_jax.data import loader  # noqa: E402
from aufer_jax.train import devices  # noqa: E402

STEPS = 3


def main(out: str, mode: str, count: int) -> None:
    devices.start_processes()
    ready = mvfer.built(mvfer.run_of(train={"parallel": mode}), devices=count)
    stream = loader.train_batches(
        ready.task.train, batch_size=8, seed=0, threads=0,
        process_index=jax.process_index(), process_count=jax.process_count(),
    )  # fmt: skip
    state, seen = ready.initial_state(), {}
    for step in range(STEPS):
        state, _ = ready.train_step(state, ready.devices.put_batch(next(stream)))
        kept = {"params": state.params, "model_state": state.model_state}
        for path, leaf in jax.tree_util.tree_leaves_with_path(kept):
            value = np.asarray(leaf.addressable_data(0))
            assert value.dtype == np.float64
            seen[f"{step}{jax.tree_util.keystr(path)}"] = value
    if devices.is_first():
        np.savez(out, **seen)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
