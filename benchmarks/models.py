"""Every registered network against PyTorch: time and peak memory, forward and forward + backward.

    python benchmarks/models.py --threads 1 --batch 1 16 --out docs/benchmarks/models.md

The same weights and inputs go through both, on the same cores, in turns, so that other load on the machine
meets both alike. Rows of the file that are not measured again stay. PyTorch may live in another environment,
named by --torch-python.
"""

import argparse
import contextlib
import functools
import json
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import turns

from aufer_jax.report import results

HERE = pathlib.Path(__file__).parent
SIDES = ("JAX", "PyTorch")
KINDS = {"forward": "forward", "backward": "forward + backward"}
FEW, TURN = 2, 0.1  # rounds at least; seconds of a turn at least, of as many calls as it takes
NONE, ENDED, NEEDED = "–", "ended with", "GB needed"
HEADS = [
    *("model", "M parameters", "batch"),
    *(f"{title}, {column}" for title in KINDS.values() for column in (*SIDES, "ratio")),
    *(f"{title}, MB, {side}" for title in KINDS.values() for side in SIDES),
    *("rounds", "difference", "commit", "remark"),
]
NOTE = """Milliseconds a sample and MB of memory. JAX and PyTorch {version} (eager, float32) took turns on the
same cores with the same weights and inputs, the first to go changing from round to round. Times are medians
over the rounds, `ratio` is the median of the rounds' ratios: below 1, JAX is faster. A row has as many
`rounds` (of forward, of forward + backward) as go into {seconds:g} s, {few} to {rounds}, after calls that
compile and warm up; where a call is short, a turn is {turn} s of calls. `forward` is in evaluation mode,
`forward + backward` in training mode, with the gradients of the mean squared output for all parameters.
`MB`: the most that the side's process, one for each row, ever had in RAM, with Python, libraries and, for
JAX, the compiler: at the end of the rounds of forward, and at the end of all. As `main` does on CPU hosts,
both keep freed memory, but for large arrays of a step of over 1 GiB. `difference`: largest difference of the
outputs over the largest output. What was not run says so under `remark`; a row is not, where by the time of
a smaller batch one forward + backward would take over {longest:g} s."""
# What `devices.keep_freed_memory` sets, for both sides; but see `turns.return_large`.
MALLOC = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**62), "MALLOC_ARENA_MAX": "1"}


def _rngs() -> dict:
    import jax

    key = jax.random.key(0, impl="rbg")  # its draws compile quickly
    return {"params": key, "dropout": key}


def noise(name: str, model: Any, batch: int) -> dict[str, np.ndarray]:
    """Standard normal noise `x` of the network's own size, channels last, and what else it reads."""
    from aufer_jax import facs, models
    from aufer_jax.models.mae_dfer_pretrain import part_window_mask

    size, rng = models.architecture(name).preprocess, np.random.default_rng(0)
    frames = (size.frames,) if size.frames else ()
    x = rng.standard_normal((batch, *frames, size.size, size.size, 3), np.float32)
    if "mask_ratio" in models.options(name):
        grid = (x.shape[1] // model.tubelet, *(n // model.patch for n in x.shape[2:4]))
        window = grid[1:] if model.masking == "tube" else model.region[1:]
        mask = part_window_mask(_rngs()["params"], batch, grid, model.mask_ratio, window)
        return {"x": x, "visible": np.asarray(mask, np.int64)}
    if getattr(model, "landmarks", None) == "given":
        side = size.size // model.patch
        shape = (batch * x.shape[1], side, side, model.landmark_channels)
        return {"x": x, "landmark_features": rng.standard_normal(shape, np.float32)}
    if getattr(model, "geometry", False):
        points = rng.standard_normal((batch, 68, 2), np.float32)
        return {
            "x": x,
            "landmarks": points,
            "blendshapes": rng.random((batch, len(facs.BLENDSHAPES)), np.float32),
        }
    return {"x": x}


def channels_first(given: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Inputs in PyTorch's layout."""
    return {k: np.moveaxis(v, -1, 1) if v.ndim > 3 else v for k, v in given.items()}


def make(name: str, folder: str, batches: Sequence[int]) -> None:
    """Writes the weights of a network and for each batch size its inputs, in PyTorch's layout.

    No scale is one, no bias zero and no matrix next to it, so that the outputs show whether all are read.
    """
    import jax

    from aufer_jax import models
    from aufer_jax.weights import keymap

    model, entry, given = models.create(name), models.architecture(name), {}
    for batch in sorted(batches, reverse=True):
        given = noise(name, model, batch)
        path = pathlib.Path(folder) / f"inputs_{batch}.npz"
        np.savez(path, allow_pickle=False, **channels_first(given))
    variables = jax.jit(model.init)(_rngs(), **given)
    weights, rng = keymap.to_torch(variables, entry.torch_keys), np.random.default_rng(1)
    for key, value in weights.items():
        if value.ndim == 1:
            weights[key] = value + 0.1 * np.abs(rng.standard_normal(value.shape, np.float32))
        elif 0 < value.std() < 1e-3:
            weights[key] = value * (0.02 / value.std())
    options = np.array(json.dumps(dict(entry.options)))
    path = pathlib.Path(folder) / "weights.npz"
    np.savez(path, allow_pickle=False, options=options, **weights)


def _read(name: str, model: Any, weights: str, inputs: str) -> tuple[dict, dict]:
    """Variables and inputs of the files, on the device."""
    import jax

    from aufer_jax import models
    from aufer_jax.weights import keymap

    with np.load(inputs) as file:
        first = {key: file[key] for key in file.files}
    given = {k: np.moveaxis(v, 1, -1) if v.ndim > 3 else v for k, v in first.items()}
    with np.load(weights) as file:
        state = {key: file[key] for key in file.files if key != "options"}
    template = jax.eval_shape(functools.partial(model.init, _rngs()), **given)
    filled, *wrong = keymap.from_torch(state, template, models.architecture(name).torch_keys)
    if any(wrong):
        raise KeyError(f"{name}: keys missing and left {wrong}")
    return jax.device_put(filled), jax.device_put(given)


def joined(outputs: Mapping) -> Any:
    """What the networks of both sides give, in a row for each sample."""
    import jax.numpy as jnp

    found = [outputs[key] for key in ("expression", "au") if key in outputs]
    others = ("embedding", "reconstruction", "landmarks")
    found = found or [outputs[key] for key in others if key in outputs]
    return jnp.concatenate([y.reshape(len(y), -1) for y in found], -1)


def jax_side(name: str, weights: str, inputs: str, output: str) -> None:
    """The process for our network: writes what it gives to `output`, then times on request."""
    import jax
    import jax.numpy as jnp

    from aufer_jax import models

    model: Any = models.create(name)
    variables, given = _read(name, model, weights, inputs)
    rngs = {"dropout": _rngs()["dropout"]}

    def forward(variables, given):
        return joined(model.apply(variables, **given))

    def backward(variables, given):
        def loss(params):
            changed = variables | {"params": params}
            outputs, state = model.apply(
                changed, train=True, rngs=rngs, mutable=["batch_stats"], **given
            )
            return jnp.square(joined(outputs)).mean(), state

        return jax.value_and_grad(loss, has_aux=True)(variables["params"])

    @functools.cache
    def prepared(function):
        compiled = jax.jit(function).lower(variables, given).compile()
        needs = compiled.memory_analysis()
        step = needs.argument_size_in_bytes + needs.output_size_in_bytes + needs.temp_size_in_bytes
        if step > turns.free():
            raise ValueError(f"{step / 1e9:.1f} {NEEDED}, {turns.free() / 1e9:.1f} GB free")
        turns.return_large(step)
        return lambda: jax.block_until_ready(compiled(variables, given)), step

    np.save(output, np.asarray(prepared(forward)[0]()))
    parameters = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    print(json.dumps({"parameters": parameters}), flush=True)
    turns.serve({"forward": lambda _: prepared(forward), "backward": lambda _: prepared(backward)})


class Refused(Exception):
    """A side that does not take this input, or a process that ended."""


class Worker:
    """A process on the first `threads` cores that answers each line with one of JSON."""

    def __init__(self, side: str, command: list[str], threads: int):
        cores = sorted(os.sched_getaffinity(0))[:threads]
        environment = os.environ | MALLOC
        environment |= {"OMP_NUM_THREADS": str(threads), "JAX_PLATFORMS": "cpu"}
        environment["JAX_ENABLE_COMPILATION_CACHE"] = "false"  # the compiler's memory counts
        self.side = side

        def begin() -> None:
            os.sched_setaffinity(0, cores)
            # If memory runs out after all, it is this process that ends.
            pathlib.Path("/proc/self/oom_score_adj").write_text("1000")

        self.process: Any = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            preexec_fn=begin,
        )

    def answer(self) -> dict:
        line = self.process.stdout.readline()
        if not line:
            raise Refused(f"{self.side}: {ENDED} {self.process.wait()}")
        found = json.loads(line)
        if "error" in found:
            raise Refused(f"{self.side}: {found['error']}")
        return found

    def ask(self, kind: str, calls: int = 1, step: int = 0) -> dict:
        with contextlib.suppress(BrokenPipeError):  # `answer` says how it ended
            self.process.stdin.write(f"{kind} {calls} {step}\n")
            self.process.stdin.flush()
        return self.answer()

    def close(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.process.wait()


def take_turns(workers: Sequence[Any], kind: str, seconds: float, most: int) -> list[dict]:
    """The answers of every round by side, as many rounds as go into the seconds."""
    slowest, step = 0.0, 0
    for _ in range(2):  # the first call finds nothing ready
        times = []
        for worker in workers:
            answer = worker.ask(kind, 1, step)
            times.append(answer["seconds"])
            step = max(step, answer["step"])
        slowest = max(times)
        if slowest > 1:
            break
    calls = max(1, round(TURN / slowest))
    found: list[dict] = []
    start = time.monotonic()
    while len(found) < most:
        spent = time.monotonic() - start
        if len(found) >= FEW and spent * (1 + 1 / len(found)) > seconds:
            break
        order = workers if len(found) % 2 == 0 else workers[::-1]
        found.append({worker.side: worker.ask(kind, calls) for worker in order})
    return found


def columns(title: str, rounds: Sequence[Mapping], samples: int) -> dict[str, object]:
    """The columns of one kind: medians over the rounds, and the peaks of memory at their end."""
    row: dict[str, object] = {}
    for side in SIDES:
        row[f"{title}, {side}"] = (
            1e3 * statistics.median(r[side]["seconds"] for r in rounds) / samples
        )
        row[f"{title}, MB, {side}"] = float(rounds[-1][side]["memory"])
    ratios = [r["JAX"]["seconds"] / r["PyTorch"]["seconds"] for r in rounds]
    return row | {f"{title}, ratio": statistics.median(ratios)}


def empty(name: str, batch: int, remark: str) -> dict[str, object]:
    """A row of which so far only a remark is known."""
    return dict.fromkeys(HEADS, NONE) | {
        "model": name, "batch": batch, "commit": results.commit(),
        "remark": remark.replace("|", "/"),
    }  # fmt: skip


def compare(
    name: str, batch: int, folder: str, options: argparse.Namespace
) -> tuple[dict[str, object], str]:
    """One row of the table, and the version of PyTorch if it began."""
    row, version, counts = empty(name, batch, ""), "", []
    files = [f"{folder}/weights.npz", f"{folder}/inputs_{batch}.npz"]
    outputs = [f"{folder}/{side}.npy" for side in SIDES]
    commands = (
        [sys.executable, __file__, "--worker", name, *files, outputs[0]],
        [options.torch_python, str(HERE / "torch_models.py"), name, *files, outputs[1]],
    )
    with contextlib.ExitStack() as stack:
        try:
            workers, began = [], {}
            for side, command in zip(SIDES, commands, strict=True):
                workers.append(Worker(side, command, options.threads))
                stack.callback(workers[-1].close)
                began |= workers[-1].answer()  # before the next begins, which needs the cores
            version = began["version"]
            ours, theirs = (np.load(path) for path in outputs)
            difference = np.abs(ours - theirs).max() / np.abs(theirs).max()
            row["M parameters"] = round(began["parameters"] / 1e6, 2)
            row["difference"] = f"{difference:.0e}"
            for kind, share in (("forward", 0.25), ("backward", 0.75)):
                rounds = take_turns(workers, kind, share * options.seconds, options.rounds)
                row |= columns(KINDS[kind], rounds, batch)
                counts.append(str(len(rounds)))
        except Refused as refused:
            row["remark"] = str(refused).replace("|", "/")
    return row | {"rounds": ", ".join(counts) or NONE}, version


def forbidding(rows: Mapping, name: str, batch: int, longest: float) -> str:
    """Why, by the rows of smaller batches, a row is not run; "" if it is."""
    times = [0.0]
    for (model, size), row in rows.items():
        if model != name or size >= batch:
            continue
        if any(words in str(row["remark"]) for words in (ENDED, NEEDED)):
            return f"not run, as at batch {size} {row['remark']}"
        step = [row[f"{KINDS['backward']}, {side}"] for side in SIDES]
        times += [batch * float(value) / 1e3 for value in step if value != NONE]
    return f"not run: a step would take {max(times):.0f} s" if max(times) > longest else ""


def kept(path: str | None, title: str) -> dict[tuple[str, int], dict[str, object]]:
    """The rows of the section as an earlier run left it, if its columns were these."""
    if not path or not pathlib.Path(path).exists():
        return {}
    text = pathlib.Path(path).read_text().partition(f"## {title}\n")[2].partition("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    if not cells or cells[0] != HEADS:
        return {}
    rows = (dict(zip(HEADS, row, strict=True)) for row in cells[2:])
    return {(row["model"], int(row["batch"])): dict(row) for row in rows}


def write(rows: Mapping, title: str, version: str, options: argparse.Namespace) -> None:
    batches = " ".join(map(str, sorted(options.batch)))
    command = f"python benchmarks/models.py --threads {options.threads} --batch {batches}"
    values = {"seconds": options.seconds, "rounds": options.rounds, "longest": options.longest}
    command += "".join(f" --{key} {value:g}" for key, value in values.items())
    note = NOTE.format(version=version, few=FEW, turn=TURN, **values)
    ordered = [rows[key] for key in sorted(rows)]
    results.write_section(options.out, title, ordered, f"{command} --out {options.out}", note)


def main(options: argparse.Namespace) -> None:
    title, version = f"Networks against PyTorch, threads: {options.threads}", ""
    rows = kept(options.out, title)
    for name in options.models:
        with tempfile.TemporaryDirectory() as folder:
            made = False
            for batch in sorted(options.batch):
                why, found = forbidding(rows, name, batch, options.longest), ""
                if why:
                    row = empty(name, batch, why)
                else:
                    if not made:
                        make_here = ["--make", name, folder, *map(str, options.batch)]
                        subprocess.run([sys.executable, __file__, *make_here], check=True)
                        made = True
                    row, found = compare(name, batch, folder, options)
                version = found or version
                rows[name, batch] = row
                print({key: value for key, value in row.items() if value != ""}, flush=True)
                if options.out:  # after every row: a run takes an hour
                    write(rows, title, version, options)


def parsed() -> argparse.Namespace:
    from aufer_jax import models

    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--models", nargs="*", default=models.names(), choices=models.names())
    parser.add_argument("--torch-python", default=sys.executable)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 16])
    parser.add_argument("--rounds", type=int, default=15, help="at most")
    parser.add_argument("--seconds", type=float, default=10, help="of a row's rounds")
    parser.add_argument("--longest", type=float, default=20, help="seconds of a step that is run")
    parser.add_argument("--out", help="Markdown file that gets the table")
    return parser.parse_args()


if __name__ == "__main__":
    if "--make" in sys.argv:
        make(sys.argv[2], sys.argv[3], [int(batch) for batch in sys.argv[4:]])
    elif "--worker" in sys.argv:
        jax_side(*sys.argv[2:])
    else:
        main(parsed())
