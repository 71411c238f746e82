"""What the checksums of checkpoints cost: seconds to save and to restore with them and without.

python benchmarks/restore.py --out docs/benchmarks/restore.md
"""

import argparse
import functools
import pathlib
import tempfile
import time
from collections.abc import Callable
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import optax

from aufer_jax.report import results
from aufer_jax.train import checkpoints
from aufer_jax.train.state import TrainState

MILLIONS = (1, 11, 44)  # of parameters; ResNet-18 has 11, IR-50 44
TITLE = "Checkpoints with and without checksums"
NOTE = """\
A state of parameters, Adam's two moments and the step, random numbers in arrays of a million, on the CPU.
Save: until all is on the disk; restore: until all is on the device, from the page cache. *Sums* is the time
of the checksums of the parameters alone (CRC-32, in threads). Medians of {rounds} rounds, by turns."""


def state_of(millions: int) -> TrainState:
    rng = np.random.default_rng(0)
    params = {
        f"layer{i}": jnp.asarray(rng.normal(size=10**6), jnp.float32) for i in range(millions)
    }
    return TrainState(jnp.int32(1), params, {}, optax.adam(1e-3).init(params), {})


def seconds(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    jax.block_until_ready(call())
    return time.perf_counter() - began


def measure(millions: int, rounds: int) -> dict:
    state = state_of(millions)
    target = jax.eval_shape(lambda: state)
    on = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    times: dict[str, list[float]] = {}

    def save(folder: str) -> None:
        saver = checkpoints.Checkpoints(folder)
        saver.save(1, state, {"best": None})
        saver.close()

    def restore(folder: str) -> object:
        return checkpoints.Reader(folder).restore(target, on)[0]

    for _ in range(rounds):
        for kind, sums in (("with", checkpoints.tree_sums), ("without", lambda tree: {})):
            with (
                tempfile.TemporaryDirectory() as folder,
                mock.patch.object(checkpoints, "tree_sums", sums),
            ):
                for name, call in (("save", save), ("restore", restore)):
                    took = seconds(functools.partial(call, folder))
                    times.setdefault(f"{name} {kind}", []).append(took)
        times.setdefault("sums", []).append(seconds(lambda: checkpoints.tree_sums(state.params)))
    row = {"parameters": f"{millions} million", "state": f"{12 * millions} MB"}
    return row | {f"{name}, s": f"{np.median(each):.2f}" for name, each in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    rows = [measure(millions, given.rounds) for millions in MILLIONS]
    command = f"python benchmarks/restore.py --out {given.out} --rounds {given.rounds}"
    note = NOTE.format(rounds=given.rounds)
    results.write_section(given.out, TITLE, rows, command, note, "Checkpoints")


if __name__ == "__main__":
    main()
