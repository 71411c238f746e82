"""Every registered network against PyTorch: milliseconds a sample, forward and forward + backward.

    python benchmarks/models.py --threads 1 --out docs/benchmarks/models.md

The same weights and inputs go through both, on the same cores, in turns, and the best of the rounds
counts, so that other load on the machine meets both alike. Forward is in evaluation mode, backward in
training mode with the gradient of the mean squared output for all parameters. PyTorch may live in
another environment, named by --torch-python.
"""

import argparse
import contextlib
import functools
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from typing import Any

import numpy as np

from aufer_jax.report import results

HERE = pathlib.Path(__file__).parent
BATCH = {"image": 8, "clip": 2}
NOTE = """Milliseconds a sample, the best of several rounds in which JAX and PyTorch {} (eager, float32) took
turns on the same cores with the same weights. `forward + backward` is in training mode, with the
gradients of all parameters. `difference`: largest difference of the outputs over the largest output.
Below 1, `ratio` says that JAX is faster. Both keep freed memory, as `main` does on CPU hosts."""
# What `devices.keep_freed_memory` sets, for both sides.
MALLOC = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**62), "MALLOC_ARENA_MAX": "1"}

# No PyTorch of theirs is here.
WITHOUT = (
    *("dpcnet", "mobilefacenet", "nr_dfernet", "s2d", "stt", "svfap", "fru_adapter"),
    *("clip", "dinov2", "dinov3", "videomae", "vjepa2"),
)


def _input(name: str, batch: int | None) -> np.ndarray:
    """Standard normal noise of the network's own size, channels last."""
    from aufer_jax import models

    entry = models.architecture(name)
    size = entry.preprocess
    frames = (size.frames,) if size.frames else ()
    shape = (batch or BATCH[entry.input], *frames, size.size, size.size, 3)
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def jax_side(name: str, path: str, batch: int | None) -> None:
    """The process for our network: writes inputs and weights to `path`, then times on request."""
    import jax
    import jax.numpy as jnp

    from aufer_jax import models
    from aufer_jax.models.mae_dfer_pretrain import part_window_mask
    from aufer_jax.weights import keymap

    model: Any = models.create(name)
    x = _input(name, batch)
    key = jax.random.key(0, impl="rbg")  # its draws compile quickly
    rngs: dict = {"params": key, "dropout": key}
    mask: dict[str, Any] = {}
    if "mask_ratio" in models.options(name):
        grid = (x.shape[1] // model.tubelet, *(n // model.patch for n in x.shape[2:4]))
        visible = part_window_mask(key, len(x), grid, model.mask_ratio, model.region[1:])
        mask = {"visible": np.asarray(visible, np.int64)}
    variables = jax.jit(model.init)(rngs, x, **mask)
    entry = models.architecture(name)
    arrays = keymap.to_torch(variables, entry.torch_keys)
    options = json.dumps(dict(entry.options))
    arrays |= {"x": np.moveaxis(x, -1, 1), "options": np.array(options), **mask}
    np.savez(path, allow_pickle=False, **arrays)

    def output(outputs):
        found = [outputs[key] for key in ("expression", "au") if key in outputs]
        found = found or [outputs[key] for key in ("embedding", "reconstruction") if key in outputs]
        return jnp.concatenate([y.reshape(len(y), -1) for y in found], -1)

    @jax.jit
    def forward(variables, x):
        return output(model.apply(variables, x, **mask))

    @jax.jit
    def backward(variables, x):
        def loss(params):
            outputs, state = model.apply(
                variables | {"params": params},
                x,
                train=True,
                rngs={"dropout": rngs["dropout"]},
                mutable=["batch_stats"],
                **mask,
            )
            return jnp.square(output(outputs)).mean(), state

        return jax.value_and_grad(loss, has_aux=True)(variables["params"])

    def seconds(work):
        start = time.perf_counter()
        jax.block_until_ready(work(variables, x))
        return time.perf_counter() - start

    x = jax.device_put(x)
    parameters = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    first = {"parameters": parameters, "output": forward(variables, x).tolist()}
    print(json.dumps(first | {"version": jax.__version__}), flush=True)
    seconds(backward)
    for _ in sys.stdin:
        print(json.dumps({"forward": seconds(forward), "backward": seconds(backward)}), flush=True)


class Worker:
    """A process on the first `threads` cores that answers each line with one of JSON."""

    def __init__(self, command: list[str], threads: int):
        cores = sorted(os.sched_getaffinity(0))[:threads]
        environment = os.environ | MALLOC
        environment |= {"OMP_NUM_THREADS": str(threads), "JAX_PLATFORMS": "cpu"}
        self.command = " ".join(command)
        self.process: Any = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            preexec_fn=functools.partial(os.sched_setaffinity, 0, cores),
        )

    def answer(self) -> dict:
        line = self.process.stdout.readline()
        if not line:
            raise RuntimeError(f"{self.command} ended with {self.process.wait()}")
        return json.loads(line)

    def measure(self) -> dict:
        self.process.stdin.write("go\n")
        self.process.stdin.flush()
        return self.answer()

    def close(self) -> None:
        self.process.stdin.close()
        self.process.wait()


def compare(name: str, options: argparse.Namespace) -> tuple[dict, str]:
    """One row of the table, and the version of PyTorch."""
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        path = str(pathlib.Path(folder) / "weights.npz")
        batch = ["--batch", str(options.batch)] if options.batch else []
        ours = Worker([sys.executable, __file__, "--worker", name, path, *batch], options.threads)
        stack.callback(ours.close)
        ours_first = ours.answer()
        theirs_command = [options.torch_python, str(HERE / "torch_models.py"), name, path]
        theirs = Worker(theirs_command, options.threads)
        stack.callback(theirs.close)
        theirs_first = theirs.answer()
        rounds = [(ours.measure(), theirs.measure()) for _ in range(options.rounds)]
    ours_output, theirs_output = np.array(ours_first["output"]), np.array(theirs_first["output"])
    difference = np.abs(ours_output - theirs_output).max() / np.abs(theirs_output).max()
    row = {"model": name, "M parameters": round(ours_first["parameters"] / 1e6, 2)}
    row["batch"] = samples = len(ours_output)
    for kind, title in (("forward", "forward"), ("backward", "forward + backward")):
        ours_s, theirs_s = (min(pair[i][kind] for pair in rounds) for i in (0, 1))
        row[f"{title}, JAX"] = round(1e3 * ours_s / samples, 1)
        row[f"{title}, PyTorch"] = round(1e3 * theirs_s / samples, 1)
        row[f"{title}, ratio"] = round(ours_s / theirs_s, 2)
    return row | {"difference": f"{difference:.0e}"}, theirs_first["version"]


def main() -> None:
    from aufer_jax import models

    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    known = [name for name in models.names() if not name.startswith(WITHOUT)]
    parser.add_argument("--models", nargs="*", default=known, choices=known)
    parser.add_argument("--torch-python", default=sys.executable)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--batch", type=int, help="default: 8 images, 2 clips")
    parser.add_argument("--out", help="Markdown file that gets the table")
    options = parser.parse_args()
    rows = []
    for name in options.models:
        row, version = compare(name, options)
        rows.append(row)
        print(row, flush=True)
        if options.out:  # after every network: a run takes an hour
            title = f"Networks against PyTorch, threads: {options.threads}"
            command = f"python benchmarks/models.py --threads {options.threads} --out {options.out}"
            results.write_section(options.out, title, rows, command, NOTE.format(version))


if __name__ == "__main__":
    if "--worker" in sys.argv:
        worker = argparse.ArgumentParser()
        worker.add_argument("--worker", nargs=2, metavar=("name", "path"))
        worker.add_argument("--batch", type=int)
        chosen = worker.parse_args()
        jax_side(chosen.worker[0], chosen.worker[1], chosen.batch)
    else:
        main()
