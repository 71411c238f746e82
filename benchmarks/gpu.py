"""Training steps of the papers' networks on a GPU, beside PyTorch's, by turns; and the face chain.

    python benchmarks/gpu.py                    # a machine with an NVIDIA GPU, jax[cuda12] and torch
    python benchmarks/gpu.py --dry-run          # tiny networks on any machine: every line, no figures

For each network two processes on one GPU, ours and PyTorch's (gpu_torch.py), compile at the same time
and then step by turns. A network that is measured is in `--state` and is not measured again, so a run
cut off goes on; what `--budget` seconds do not suffice for is left to the next run. Writes
docs/benchmarks/gpu.md row by row.
"""

import argparse
import contextlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time
from typing import Any, NamedTuple

import numpy as np

from aufer_jax.report import results

HERE = pathlib.Path(__file__).parent
PAGE = HERE.parent / "docs" / "benchmarks" / "gpu.md"
ROUNDS = 5
TURN_S = 1.0  # of steps, as long as it takes
NOTE = """
Samples a second of a whole training step from uint8 pixels on the device to updated parameters: forward,
loss, backward, AdamW. Ours is the engine's own step; PyTorch's has bf16 autocast, channels_last,
torch.compile, fused AdamW, TF32 for what stays float32, cudnn.benchmark. The medians of {rounds} rounds in
which they took turns; `ratio` is the median of the rounds' ratios, above 1 ours is faster. MFU: the
multiply-adds of our step's definition, for both, over the chip's dense bf16 peak. Memory: the most that
each had allocated. First step: from the call to its end, with tracing and compiling, nothing cached, both
at the same time. MV-FER: three views, each with a cross-entropy, PyTorch is given all three as pixels; pre-
training: PyTorch's mask is drawn beforehand, ours in the step; networks of clips: ours have their AU head
too, of a few thousand parameters, whose loss is left out."""


class Case(NamedTuple):
    """A network to train: the recipe, its name, a small one of its kind, rows of a step, clips or not."""

    recipe: str
    network: str
    small: str
    rows: int
    changes: dict[str, Any]


_CLIP: dict[str, Any] = {"loss.au": "none", "loss.mix": 0.0}
_VIEWS = {"loss.consistency": "none", "loss.align_loss": "none", "loss.heatmap_role": "view"}
_DFEW = "configs/audfer.py:dfew,fold=1,host="
CASES = {
    "AU-ViT paper": Case("configs/auvit.py:rafdb", "auvit_paper", "auvit_small", 320, {}),
    "MV-FER ResNet-18": Case("configs/mvfer.py:rafdb", "resnet18", "resnet_small", 96, _VIEWS),
    "M3DFEL": Case(f"{_DFEW}m3dfel", "m3dfel", "m3dfel_small", 64, _CLIP),
    "Former-DFER": Case(f"{_DFEW}former_dfer", "former_dfer", "former_dfer_small", 64, _CLIP),
    "MAE-DFER": Case(f"{_DFEW}mae_dfer", "mae_dfer", "mae_dfer_small", 64, _CLIP),
    "MAE-DFER pre-training": Case(
        "configs/mae_pretrain.py:ferv39k", "mae_dfer_pretrain", "mae_dfer_pretrain_small", 128, {}
    ),
}
CHAIN = "face chain"


# --- Our process ------------------------------------------------------------------------------------


def experiment_of(case: Case, rows: int, dry: bool) -> Any:
    """The engine's experiment: the recipe on blank records, its network as it is registered, AdamW."""
    import aufer_jax.papers  # noqa: F401
    from aufer_jax import models
    from aufer_jax.datasets import catalog
    from aufer_jax.train import base, experiment
    from aufer_jax.train import config as config_lib

    name = case.small if dry else case.network
    size = models.architecture(name).preprocess
    with catalog.assuming():
        config = config_lib.load(str(HERE.parent / case.recipe))
        config.model = config_lib.model(name)
        values: dict[str, Any] = {
            "data.size": size.size, "data.batch_size": rows, "data.eval_batch_size": rows,
            "optimizer.name": "adamw", "optimizer.layer_decay": 1.0, "optimizer.layers": (),
            "train.compute_dtype": "bfloat16", **({"data.frames": size.frames} if size.frames else {}),
            **case.changes,
        }  # fmt: skip
        with config.unlocked():
            for key, value in values.items():
                config_lib.set_value(config, key, value)
        run = config_lib.check(config)
        import jax

        return experiment.assemble(run, base.build(run), jax.devices()[:1])


def drawn(example: dict[str, np.ndarray], rows: int, classes: int) -> dict[str, np.ndarray]:
    """A batch of random pixels and labels in place of blank ones."""
    rng = np.random.default_rng(0)
    batch = {}
    for key, value in example.items():
        shape = (rows, *np.shape(value)[1:])
        if value.dtype == np.uint8:
            batch[key] = rng.integers(0, 256, shape, np.uint8)
        elif key == "expression":
            batch[key] = rng.integers(0, classes, shape).astype(value.dtype)
        elif value.dtype == bool:
            batch[key] = np.ones(shape, bool)
        elif np.issubdtype(value.dtype, np.floating):
            batch[key] = rng.random(shape).round().astype(value.dtype)
        else:
            batch[key] = np.zeros(shape, value.dtype)
    return batch


def ours(title: str, rows: int, dry: bool) -> None:
    """The process that steps when it is told to; its first line says what the first step took."""
    import jax

    from aufer_jax.train import chips

    made = experiment_of(CASES[title], rows, dry)
    batch = drawn(made.task.example, rows, len(made.task.expressions) or 1)
    state, batch = jax.block_until_ready((made.initial_state(), made.devices.put_batch(batch)))
    began = time.perf_counter()
    state, logged = jax.block_until_ready(made.train_step(state, batch))
    first = time.perf_counter() - began
    assert all(np.isfinite(np.asarray(value)).all() for value in jax.tree.leaves(logged)), logged
    device = jax.devices()[0]
    say(
        first=first, flops=made.step_flops(), peak=chips.of([device], "bfloat16").peak,
        device=device.device_kind, version=f"JAX {jax.__version__}",
        parameters=sum(leaf.size for leaf in jax.tree.leaves(state.params)),
    )  # fmt: skip
    for line in sys.stdin:
        count = int(line)
        began = time.perf_counter()
        for _ in range(count):
            state, logged = made.train_step(state, batch)
        jax.block_until_ready((state, logged))
        say(seconds=time.perf_counter() - began, memory=chips.peak_bytes([device]) or resident())


def chain(dry: bool) -> None:
    """Frames a second of detector, mesh and blendshapes, pictures of 640 x 480 with one face each."""
    import jax

    from aufer_jax import synth
    from aufer_jax.data import views
    from aufer_jax.faces import chain as chain_lib

    encoded = synth.image_record("synth_a", "test", 0, size=224)["image"]
    face = views.decode(encoded)[..., ::-1]  # OpenCV decodes to BGR
    picture = np.full((480, 640, 3), 127, np.uint8)
    picture[128:352, 208:432] = face
    detector, count = chain_lib.MeshDetector(), 2 if dry else 64
    began = time.perf_counter()
    found = detector.read([picture] * count)
    first = time.perf_counter() - began
    assert all(len(faces) == 1 for faces in found), [len(faces) for faces in found]
    say(first=first, device=jax.devices()[0].device_kind, version=f"JAX {jax.__version__}")
    for line in sys.stdin:
        began = time.perf_counter()
        for _ in range(int(line)):
            detector.read([picture] * count)
        say(seconds=(time.perf_counter() - began) / count, memory=resident())


def resident() -> int:
    """Bytes of this process at their most, where the device has no memory of its own."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def say(**values: Any) -> None:
    print(json.dumps(values), flush=True)


# --- The process that measures ------------------------------------------------------------------------


class Worker:
    """A process that answers with lines of JSON; it is ended where the time is over."""

    def __init__(self, *words: str, seconds: float) -> None:
        folder = tempfile.mkdtemp(prefix="aufer_gpu")  # nothing that was compiled before
        environment = {
            **os.environ, "XLA_PYTHON_CLIENT_PREALLOCATE": "false", "JAX_COMPILATION_CACHE_DIR": folder,
            "TORCHINDUCTOR_CACHE_DIR": folder,
            "PYTHONPATH": os.pathsep.join([str(HERE.parent), os.environ.get("PYTHONPATH", "")]),
        }  # fmt: skip
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  (as long as the process)
        self.process: Any = subprocess.Popen(
            [sys.executable, *words], env=environment, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log,
        )  # fmt: skip
        self._timer = threading.Timer(seconds, self.process.kill)
        self._timer.start()

    def answer(self) -> dict[str, Any]:
        """Its next line; `error` in place of one that does not come."""
        line = self.process.stdout.readline()
        if line:
            return json.loads(line)
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").split("\n")
        last = next((text for text in reversed(lines) if text.strip()), "")
        return {"error": "out of time" if self.process.wait() == -9 else last.strip()[:200]}

    def step(self, count: int) -> dict[str, Any]:
        with contextlib.suppress(OSError):  # it has ended: the answer says why
            print(count, file=self.process.stdin, flush=True)
        return self.answer()

    def close(self) -> None:
        self._timer.cancel()
        self.process.kill()
        self.process.communicate()


def measure(title: str, given: argparse.Namespace, seconds: float) -> dict[str, Any]:
    """One row; a step that does not fit is tried again with half of its rows."""
    rows = CASES[title].rows if title in CASES else 1
    rows = min(rows, 10) if given.dry_run else rows
    end = time.monotonic() + seconds
    while True:
        dry = ["--dry-run"] * given.dry_run
        words = {"ours": [__file__, "--one", title, "--rows", str(rows), *dry]}
        if title in CASES:
            case = CASES[title]
            network = case.small if given.dry_run else case.network
            words["torch"] = [str(HERE / "gpu_torch.py"), network, str(rows), *dry]
        left = end - time.monotonic()
        workers = {side: Worker(*each, seconds=left) for side, each in words.items()}
        try:
            found = _turns(
                workers, 1 if given.dry_run else ROUNDS, 0.0 if given.dry_run else TURN_S
            )
        finally:
            for worker in workers.values():
                worker.close()
        full = any("memory" in side.get("error", "").lower() for side in found.values())
        if not full or rows < 8 or title not in CASES:
            return _row(title, rows, found)
        rows = rows // 2 // 5 * 5 or 5


def _turns(workers: dict[str, Worker], rounds: int, seconds: float) -> dict[str, dict[str, Any]]:
    """What each side said, with the seconds of a step in every round."""
    found = {side: worker.answer() for side, worker in workers.items()}
    alive = {side: worker for side, worker in workers.items() if "error" not in found[side]}
    counts = {}
    for side, worker in alive.items():
        once = worker.step(2)
        counts[side] = max(1, round(2 * seconds / once.get("seconds", 1.0)))
        found[side]["rounds"] = []
    for _ in range(rounds):
        for side, worker in alive.items():
            said = worker.step(counts[side])
            if "error" in said:
                found[side]["error"] = said["error"]
                continue
            found[side]["rounds"].append(said["seconds"] / counts[side])
            found[side]["memory"] = said["memory"]
    return found


def _row(title: str, rows: int, found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    mine, theirs = found["ours"], found.get("torch", {})
    row: dict[str, Any] = {"network": title, "rows": rows}
    for side, name in ((mine, "ours"), (theirs, "PyTorch")):
        seconds = float(np.median(side["rounds"])) if side.get("rounds") else 0.0
        share = (
            mine.get("flops", 0) / (seconds * mine["peak"]) if seconds and mine.get("peak") else 0
        )
        row |= {
            f"{name}, samples/s": f"{rows / seconds:.1f}" if seconds else side.get("error", "-"),
            f"{name}, MFU": f"{100 * share:.1f} %" if share else "-",
            f"{name}, GB": f"{side['memory'] / 1e9:.2f}" if seconds else "-",
            f"{name}, first step, s": f"{side['first']:.1f}" if "first" in side else "-",
        }
    pairs = list(zip(theirs.get("rounds", ()), mine.get("rounds", ()), strict=False))
    row["ratio"] = f"{np.median([b / a for b, a in pairs]):.2f}" if pairs else "-"
    same = mine.get("parameters") == theirs.get("parameters")
    row["parameters"] = (
        "the same" if same else f"{mine.get('parameters')}, {theirs.get('parameters')}"
    )
    row["parameters"] = row["parameters"] if theirs.get("parameters") else "-"
    row["on"] = ", ".join(
        filter(None, (mine.get("device"), mine.get("version"), theirs.get("version")))
    )
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    titles = [*CASES, CHAIN]
    parser.add_argument("--models", nargs="+", default=titles, choices=titles, metavar="NETWORK")
    parser.add_argument("--budget", type=float, default=460, help="seconds in all")
    parser.add_argument("--limit", type=float, default=110, help="seconds for one network")
    parser.add_argument("--dry-run", action="store_true", help="tiny networks, no page")
    parser.add_argument("--out", type=pathlib.Path, default=PAGE)
    parser.add_argument("--state", type=pathlib.Path, help="default: beside the page, .json")
    parser.add_argument("--one", choices=titles, help=argparse.SUPPRESS)
    parser.add_argument("--rows", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        chain(given.dry_run) if given.one == CHAIN else ours(given.one, given.rows, given.dry_run)
        return
    state = given.state or given.out.with_suffix(".dry.json" if given.dry_run else ".json")
    state.parent.mkdir(parents=True, exist_ok=True)
    done: dict[str, Any] = json.loads(state.read_text()) if state.exists() else {}
    began = time.monotonic()
    for title in given.models:
        if title in done:
            continue
        left = began + given.budget - time.monotonic()
        if left < given.limit / 2:
            print(f"{title}: the time is over; the same command goes on", flush=True)
            continue
        done[title] = measure(title, given, min(given.limit, left))
        print(done[title], flush=True)
        state.write_text(json.dumps(done, indent=1))
        write(done, given)


def write(done: dict[str, Any], given: argparse.Namespace) -> None:
    """The sections so far; of a dry run none, as its figures say nothing."""
    if given.dry_run:
        return
    command, note = (
        "python benchmarks/gpu.py",
        NOTE.format(rounds=ROUNDS).strip().replace("\n", " "),
    )
    steps = [done[title] for title in CASES if title in done]
    if steps:
        results.write_section(given.out, "Training steps", steps, command, note, "GPU")
    if CHAIN in done:
        found = done[CHAIN]
        row = {
            "frames/s": found["ours, samples/s"], "first batch, s": found["ours, first step, s"],
            "on": found["on"],
        }  # fmt: skip
        text = "Detector, mesh and blendshapes of pictures of 640 x 480 with one face, cropping on the host."
        results.write_section(given.out, "Face chain", [row], command, text, "GPU")


if __name__ == "__main__":
    main()
