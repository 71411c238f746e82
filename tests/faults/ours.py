"""What users and we ourselves write: configurations, command lines, checkpoints, prepared data."""

import contextlib
import dataclasses
import io
import json
import pathlib
import shutil
import types
from collections.abc import Callable

import foreign
import fuzz
import jax
import jax.numpy as jnp
import numpy as np
import optax
import toydata

import aufer_jax.papers  # noqa: F401  (registers the methods)
from aufer_jax import cli
from aufer_jax.cli import parse
from aufer_jax.datasets import store
from aufer_jax.errors import UserError
from aufer_jax.train import checkpoints, loop, trackers, workdir
from aufer_jax.train import config as config_lib
from aufer_jax.train.state import TrainState

# --- Configurations and command lines -------------------------------------------------------------

WORDS = (
    "",
    "0",
    "-1",
    "1e999",
    "nan",
    "inf",
    "-inf",
    "true",
    "None",
    "[]",
    "(1,",
    "a,b",
    "synth_a",
    "synth_aa",
    "adam",
    "9" * 30,
    "1e-400",
    "0.5",
    "1",
    "16",
    "pmap",
    "é",
    "a" * 500,
    "1+2",
    "{}",
    "'x'",
    "\x00",
    "../x",
)


def _flat(values: dict, prefix: str = "") -> list[str]:
    found = []
    for key, value in values.items():
        found += _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else [prefix + key]
    return found


def make_configuration() -> Callable[[fuzz.Rng], bytes]:
    whole = {}
    for method in ("auvit", "mvfer", "audfer", "mae_pretrain"):
        whole[method] = _flat(config_lib.load(f"configs/{method}.py").to_dict())

    def make(rng: fuzz.Rng) -> bytes:
        method = list(whole)[rng.integers(len(whole))]
        keys = [whole[method][rng.integers(len(whole[method]))] for _ in range(rng.integers(1, 4))]
        if rng.random() < 0.1:
            keys.append(fuzz.mutated(keys[0].encode(), rng).decode("latin-1"))
        changes = {key: _word(rng) for key in keys}
        arguments = (
            ",".join(_word(rng) for _ in range(rng.integers(1, 3))) if rng.random() < 0.15 else ""
        )
        return json.dumps([method, arguments, changes]).encode()

    return make


def _word(rng: fuzz.Rng) -> str:
    word = WORDS[rng.integers(len(WORDS))]
    if rng.random() < 0.2:
        word = fuzz.mutated(word.encode() or b"x", rng).decode("latin-1")
    if rng.random() < 0.2:
        word = repr(float(rng.normal() * 10.0 ** rng.integers(-320, 308)))
    return word


_LOADED: dict[tuple[str, str], object] = {}


def feed_configuration(data: bytes, folder: pathlib.Path) -> None:
    method, arguments, changes = json.loads(data)
    text = f"configs/{method}.py" + (f":{arguments}" if arguments else "")
    if arguments:
        config = config_lib.load(text)
    else:
        if (method, "") not in _LOADED:
            _LOADED[method, ""] = config_lib.load(text)
        config = _LOADED[method, ""].copy_and_resolve_references()
    for key, value in changes.items():
        config_lib.set_value(config, key, value)
    run = config_lib.check(config)
    _finite(dataclasses.asdict(run))


def _finite(values: object) -> None:
    if isinstance(values, dict):
        for part in values.values():
            _finite(part)
    elif isinstance(values, (list, tuple)):
        for part in values:
            _finite(part)
    elif isinstance(values, float) and not np.isfinite(values):
        raise fuzz.Silent("a number that is not finite is accepted")


def _verbs(node: parse.Group, before: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = []
    for name, verb in node.verbs().items():
        if isinstance(verb, parse.Group):
            found += _verbs(verb, (*before, name))
        else:
            found.append((*before, name))
    return found


FLAGS = (
    "--help",
    "--out",
    "--source",
    "--name",
    "--data-dir",
    "--config",
    "--workdir",
    "--config.train.epochs",
    "--mode",
    "--seed",
    "--split",
    "--workers",
    "--dry-run",
    "--",
    "-x",
    "--seeds",
    "--overwrite",
    "--limit",
    "--size",
)


WORK = (
    ("paper", "reproduce"),
    ("weights", "models"),
)  # they need nothing to begin with hours of work


def make_command() -> Callable[[fuzz.Rng], bytes]:
    verbs = [verb for verb in _verbs(cli.ROOT) if verb not in WORK]

    def make(rng: fuzz.Rng) -> bytes:
        words = list(verbs[rng.integers(len(verbs))]) if rng.random() < 0.9 else [_word(rng)]
        for _ in range(rng.integers(0, 5)):
            kind = rng.random()
            if kind < 0.4:
                flag = FLAGS[rng.integers(len(FLAGS))]
                words.append(flag if rng.random() < 0.6 else f"{flag}={_word(rng)}")
            elif kind < 0.8:
                words.append(_word(rng))
            else:
                words.append(
                    ("nothing-here", "file.txt", ".", "configs/auvit.py", "a.zip")[rng.integers(5)]
                )
        return json.dumps(words).encode()

    return make


def feed_command(data: bytes, folder: pathlib.Path) -> None:
    words = [word.replace("\0", "") for word in json.loads(data)]
    (folder / "file.txt").write_text("some text\n")
    (folder / "a.zip").write_bytes(b"PK no zip")
    out, err = io.StringIO(), io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = cli.main(words)
        except SystemExit as leaving:
            code = leaving.code
    said = err.getvalue()
    if code not in (0, 2, None) or "Traceback" in said:
        raise fuzz.Silent(f"exit code {code}: {said[-300:]!r}")
    if code == 2 and not said.strip():
        raise fuzz.Silent("refused without a word")


# --- Our own files: checkpoints, prepared data, small files ---------------------------------------


def toy_state() -> TrainState:
    rng = np.random.default_rng(0)
    params = {
        f"layer{i}": {"kernel": jnp.asarray(rng.normal(size=(3, 4)), jnp.float32)} for i in range(3)
    }
    opt_state = optax.adam(1e-3).init(params)
    mean = {"batch_stats": {"mean": jnp.arange(4.0)}}
    return TrainState(jnp.int32(3), params, mean, opt_state, {})


PROGRESS = {
    "sums": {"loss": [1.5, 2.0]},
    "best": {"value": 0.25, "epoch": 1, "step": 3, "metric": "accuracy"},
}


class Flips:
    """Single bits of the files of a folder."""

    def __init__(self, folder: pathlib.Path) -> None:
        self.folder = folder
        paths = sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size)
        self.sizes = {str(path.relative_to(folder)): path.stat().st_size for path in paths}

    def make(self, rng: fuzz.Rng) -> bytes:
        names = list(self.sizes)
        name = names[rng.integers(len(names))]
        return json.dumps(
            [name, int(rng.integers(self.sizes[name])), int(rng.integers(8))]
        ).encode()

    def flipped(self, data: bytes, into: pathlib.Path) -> pathlib.Path:
        name, at, bit = json.loads(data)
        shutil.copytree(self.folder, into)
        held = bytearray((into / name).read_bytes())
        held[at] ^= 1 << bit
        (into / name).write_bytes(held)
        return into


def states(folder: pathlib.Path) -> fuzz.Target:
    state = toy_state()
    saver = checkpoints.Checkpoints(folder / "whole")
    saver.save(3, state, PROGRESS)
    saver.close()
    flips = Flips(folder / "whole")
    target = jax.eval_shape(lambda: state)
    on = jax.sharding.SingleDeviceSharding(jax.devices()[0])

    def feed(data: bytes, into: pathlib.Path) -> None:
        reader = checkpoints.Reader(flips.flipped(data, into / "run"))
        if reader.latest_step() is None:
            raise UserError("no checkpoint is left")
        found, progress = reader.restore(target, on)
        same = jax.tree.map(lambda a, b: np.array_equal(a, b), found, state)
        if not all(jax.tree.leaves(same)) or progress != PROGRESS:
            raise fuzz.Silent("a damaged checkpoint is restored")

    return fuzz.Target(flips.make, feed)


def prepared(folder: pathlib.Path) -> fuzz.Target:
    info = toydata.info(splits={"train": 6})
    rows = {
        "train": [
            toydata.image_record(i, image=toydata.encode(toydata.picture(i, 24))) for i in range(6)
        ]
    }
    place = store.folder(folder / "set")
    store.write_records(info, place, rows)
    flips = Flips(place)
    whole = [store.ArrayRecordSource(info, place, "train")[i] for i in range(6)]

    def feed(data: bytes, into: pathlib.Path) -> None:
        at = flips.flipped(data, store.folder(into / "set"))
        source = store.ArrayRecordSource(info, at, "train")
        for number, record in enumerate(whole):
            found = source[number]
            if any(not _equal(found[key], record[key]) for key in record):
                raise fuzz.Silent("a damaged record is read")

    return fuzz.Target(flips.make, feed)


def _equal(a: object, b: object) -> bool:
    if isinstance(a, np.ndarray):
        return np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
    return a == b


SMALL = {
    "config.json": config_lib.default("auvit").to_json_best_effort().encode(),
    "summary.json": b'{"steps": 6, "test_last": {"accuracy": 0.5}}',
    "labels.json": b'{"kind": "image", "expressions": ["a", "b"], "aus": [1, 2]}',
    "metrics.jsonl": b'{"step": 2, "split": "train", "loss": 1.5}\n'
    b'{"step": 2, "split": "validation", "uar": 0.5}\n',
    "data_problems_0.json": b'{"broken image": ["k3", "k7"]}',
}


def make_small(rng: fuzz.Rng) -> bytes:
    name = list(SMALL)[rng.integers(len(SMALL))]
    return name.encode() + b":" + fuzz.mutated(SMALL[name], rng, foreign.CELLS)


def feed_small(data: bytes, folder: pathlib.Path) -> None:
    name, _, held = data.partition(b":")
    (folder / name.decode()).write_bytes(held)
    if name == b"config.json":
        workdir.saved_config(folder)
    elif name == b"labels.json":
        workdir.saved_labels(folder)
    elif name == b"summary.json":
        workdir.saved_summary(folder)
    elif name == b"metrics.jsonl":
        trackers.JsonLines(folder / "metrics.jsonl", 3).close()
    else:
        workdir.note_problems(folder, types.SimpleNamespace(problems={"broken image": {"k9"}}))


def without_training() -> None:
    """`aufer train` of a command line stops before it trains."""

    def stop(*_: object, **__: object) -> None:
        raise UserError("this would train")

    loop.train_and_evaluate = stop
