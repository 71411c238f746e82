"""Files, configurations and command lines by chance, many of them: what reads them may only take or refuse them.

A case is a function of target, seed and number. A target takes it (returns), refuses it (a `UserError` of one
short line) or fails: with another exception, or by taking a damaged file for a whole one.
"""

import contextlib
import dataclasses
import io
import json
import pathlib
import pickle
import resource
import shutil
import signal
import sys
import traceback
import types
import zipfile
from collections.abc import Callable

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import optax
import safetensors.numpy
import torch_files
import toydata
from PIL import Image

import aufer_jax.papers  # noqa: F401  (registers the methods)
from aufer_jax import cli
from aufer_jax.cli import parse
from aufer_jax.data import views
from aufer_jax.datasets import store
from aufer_jax.errors import UserError
from aufer_jax.sources import files, images, landmark_files, tables, tracks, videos
from aufer_jax.train import checkpoints, logs, loop, workdir
from aufer_jax.train import config as config_lib
from aufer_jax.train.state import TrainState
from aufer_jax.weights import loading, unpickle

SECONDS = 5.0  # of the processor, for one case
GROWTH = 1 << 30  # bytes, by one case
LINE = 1500  # characters of a refusal

Rng = np.random.Generator


@dataclasses.dataclass(frozen=True)
class Target:
    make: Callable[[Rng], bytes]  # a case
    feed: Callable[[bytes, pathlib.Path], None]  # reads it, in a folder that it may fill
    share: float  # of all cases


class Slow(BaseException):
    """A case took too long; no `except Exception` of the code stops it."""


class Silent(Exception):
    """What is damaged was taken for whole."""


def mutated(data: bytes, rng: Rng, words: tuple[bytes, ...] = ()) -> bytes:
    """A file with some bytes changed, lost, added, doubled or replaced by extreme numbers or words."""
    held = bytearray(data)
    for _ in range(rng.integers(1, 7)):
        if not held:
            break
        at, kind = int(rng.integers(len(held))), int(rng.integers(8))
        if kind == 0:
            held[at] = rng.integers(256)
        elif kind == 1:
            held[at] ^= 1 << int(rng.integers(8))
        elif kind == 2:
            del held[at : at + int(rng.integers(1, 17))]
        elif kind == 3:
            begin = int(rng.integers(len(held)))
            held[at:at] = held[begin : begin + int(rng.integers(1, 33))]
        elif kind == 4:
            number = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**32 - 1)[rng.integers(9)]
            width = (1, 2, 4)[rng.integers(3)]
            order = ("little", "big")[rng.integers(2)]
            held[at : at + width] = (number % 256**width).to_bytes(width, order)
        elif kind == 5 and words:
            held[at:at] = words[rng.integers(len(words))]
        elif kind == 6:
            del held[at:]
        else:
            held[at : at + 8] = rng.bytes(8)
    return bytes(held)


def of(*whole: bytes, words: tuple[bytes, ...] = ()) -> Callable[[Rng], bytes]:
    return lambda rng: mutated(whole[rng.integers(len(whole))], rng, words)


# --- Images and videos ----------------------------------------------------------------------------


def pictures() -> list[bytes]:
    rng = np.random.default_rng(0)
    colour = cv2.GaussianBlur(rng.integers(0, 256, (48, 40, 3), np.uint8), (0, 0), 2)
    made = [
        cv2.imencode(end, colour)[1].tobytes() for end in (".jpg", ".png", ".bmp", ".webp", ".tiff")
    ]
    made.append(cv2.imencode(".png", colour[..., 0])[1].tobytes())
    made.append(cv2.imencode(".png", colour.astype(np.uint16) * 257)[1].tobytes())
    made.append(cv2.imencode(".tiff", colour[..., :1].astype(np.uint16) * 257)[1].tobytes())
    whole = Image.fromarray(colour)
    for kind, mode, options in (
        ("GIF", "P", {}), ("PNG", "P", {}), ("PNG", "RGBA", {}), ("PNG", "LA", {}), ("PNG", "1", {}),
        ("JPEG", "CMYK", {}), ("JPEG", "L", {"progressive": True}), ("TIFF", "RGB", {"compression": "tiff_lzw"}),
        ("WEBP", "RGBA", {"lossless": True}), ("PPM", "RGB", {}),
    ):  # fmt: skip
        stream = io.BytesIO()
        whole.convert(mode).save(stream, kind, **options)
        made.append(stream.getvalue())
    exif = Image.Exif()
    exif[0x0112] = 6
    stream = io.BytesIO()
    whole.save(stream, "JPEG", exif=exif)
    return [*made, stream.getvalue()]


def feed_image(data: bytes, folder: pathlib.Path) -> None:
    found, new = images.check(data)
    kept = new or data
    if not found.problem and views.decode(kept) is None:
        raise Silent(f"an image that passes its check cannot be decoded: {found}")


def clips(folder: pathlib.Path) -> list[bytes]:
    made = []
    for name, codec in (("a.avi", "MJPG"), ("a.mp4", "mp4v")):
        writer = cv2.VideoWriter(str(folder / name), cv2.VideoWriter.fourcc(*codec), 25, (48, 48))
        for number in range(5):
            writer.write(toydata.picture(number, 48))
        writer.release()
        made.append((folder / name).read_bytes())
        (folder / name).unlink()
    return made


def feed_video(data: bytes, folder: pathlib.Path) -> None:
    (folder / "a.avi").write_bytes(data)
    found, _ = videos.check(files.Files(folder), "a.avi", (), videos.Rules(most=8))
    assert isinstance(found.problem, str)


# --- Tables, landmarks, arrays --------------------------------------------------------------------

CELLS = (b",", b";", b"\t", b'"', b"\r", b"\n", b"\r\n", b"\xff\xfe", b"\xef\xbb\xbf", b"\0", b"1e999", b"-1",
         b"nan", b"inf", b"0x10", b"1,5", b"9" * 40, "é".encode(), "é".encode("latin-1"))  # fmt: skip
LABELS = b"file,expression,subject\na.jpg,happiness,s1\nb.jpg,sadness,s2\nsub/c.png,3,s3\n"
TRACK = (
    b"frame, face_id, timestamp, confidence, success, AU01_r, AU06_r, AU12_r, AU12_c, AU28_c\n"
    b"1, 0, 0.0, 0.98, 1, 0.5, 1.2, 2.5, 1, 0\n2, 0, 0.04, 0.97, 1, 0.0, 4.2, 5, 1, 1\n3, 0, 0.08, 0.1, 0, 0, 0, 0, 0, 0\n"
)
PY_FEAT = b"frame,FaceRectX,FaceRectY,FaceRectWidth,FaceRectHeight,FaceScore,AU01,AU06,AU12\n0,1,2,30,30,0.9,0.5,1,0\n"


def feed_table(data: bytes, folder: pathlib.Path) -> None:
    (folder / "labels.csv").write_bytes(data)
    held = files.Files(folder)
    text = held.open_text("labels.csv")
    table = tables.Table("labels.csv", text)
    for role in ("file", "expression", "subject"):
        table.texts(role)
    tables.action_units(table)
    tables.table_landmarks(table)


def feed_track(data: bytes, folder: pathlib.Path) -> None:
    (folder / "a.csv").write_bytes(data)
    found, refused = tracks.folder(folder)
    if not found and not refused:
        raise Silent("a track is neither read nor refused")
    for track in found.values():
        tracks.aligned(track, 4)


def points() -> dict[str, bytes]:
    spots = np.random.default_rng(0).uniform(1, 90, (68, 2))
    lines = "\n".join(f"{x:.3f} {y:.3f}" for x, y in spots)
    several = {"files": ["a.jpg", "b.jpg"], "points": [spots.tolist(), spots.tolist()]}
    return {
        "a.pts": f"version: 1\nn_points: 68\n{{\n{lines}\n}}\n".encode(),
        "a.json": json.dumps(several).encode(),
        "b.json": json.dumps({"a.jpg": spots.tolist()}).encode(),
        "a.csv": b"file," + b",".join(b"x_%d,y_%d" % (i, i) for i in range(68)) + b"\na.jpg"
        + b"".join(b",%.2f,%.2f" % (x, y) for x, y in spots) + b"\n",
    }  # fmt: skip


def make_points() -> Callable[[Rng], bytes]:
    whole = points()
    names = list(whole)

    def make(rng: Rng) -> bytes:
        name = names[rng.integers(len(names))]
        return name.encode() + b":" + mutated(whole[name], rng, CELLS)

    return make


def feed_points(data: bytes, folder: pathlib.Path) -> None:
    name, _, held = data.partition(b":")
    (folder / name.decode()).write_bytes(held)
    for _, found, _ in landmark_files.read(str(folder / name.decode())):
        assert found.ndim == 2


def arrays() -> list[bytes]:
    spots = np.random.default_rng(0).uniform(1, 90, (3, 68, 2)).astype(np.float32)
    made = []
    for array in (spots, spots.astype(">f8"), np.asfortranarray(spots), spots[0]):
        stream = io.BytesIO()
        np.save(stream, array)
        made.append(stream.getvalue())
    for save in (np.savez, np.savez_compressed):
        stream = io.BytesIO()
        save(stream, points=spots, files=np.array(["a.jpg", "b.jpg", "c.jpg"]))
        made.append(stream.getvalue())
    return made


HEADERS = (
    b"'descr': '|O'",
    b"(999999999, 68, 2)",
    b"'<c16'",
    b"'<M8[s]'",
    b"True",
    b"(-1,)",
    b"('x', '<f4')",
)


def feed_array(data: bytes, folder: pathlib.Path) -> None:
    found = tables.read_landmarks("a.npz", data)
    assert found.points.dtype == np.float32


# --- Checkpoints of others ------------------------------------------------------------------------


def pickles(folder: pathlib.Path) -> list[bytes]:
    before = {name: sys.modules.get(name) for name in ("torch", "torch._utils")}
    torch_files.install(
        types.SimpleNamespace(setitem=lambda held, key, value: held.update({key: value}))
    )
    held = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.arange(4)}
    made = []
    for save in (torch_files.save_zip, torch_files.save_legacy):
        save(folder / "seed", torch_files.state_dict(held))
        made.append((folder / "seed").read_bytes())
    whole = {"x": held, "l": [1, 2.5, "t", (None, True)], "s": {1, 2}, "n": 2**70, "b": b"123"}
    made += [pickle.dumps(whole, protocol) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)]
    for name, module in before.items():
        sys.modules.pop(name)
        if module is not None:
            sys.modules[name] = module
    return made


OPCODES = (b"cos\nsystem\n", b"c__builtin__\neval\n", b"R", b"b", b"(", b"t", b"}", b"u", b"\x85", b"q\0", b"h\0",
           b"r\xff\xff\xff\x7f", b"j\xff\xff\xff\x7f", b"\x8c\x05torch", b"\x93", b"\x81", b"B\xff\xff\xff\x7f",
           b"\x8d\xff\xff\xff\xff\xff\xff\xff\x7f", b"2" * 40, b"ctorch\nBFloat16Storage\n")  # fmt: skip


def _total(value: object) -> int:
    if isinstance(value, np.ndarray):
        return value.nbytes
    if isinstance(value, dict):
        return sum(map(_total, value.values()))
    return 0


def feed_pickle(data: bytes, folder: pathlib.Path) -> None:
    (folder / "a.pth").write_bytes(data)
    if _total(unpickle.read(folder / "a.pth")) > 2**26:
        raise Silent("more than 64 MiB of arrays from a small file")


def feed_safetensors(data: bytes, folder: pathlib.Path) -> None:
    (folder / "a.safetensors").write_bytes(data)
    loading.read(folder / "a.safetensors")


def tensors() -> bytes:
    held = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.arange(4)}
    return safetensors.numpy.save(held, {"format": "pt"})


# --- Zip files ------------------------------------------------------------------------------------


def archives() -> list[bytes]:
    made = []
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        stream = io.BytesIO()
        with zipfile.ZipFile(stream, "w", method) as archive:
            archive.writestr("labels.csv", LABELS)
            archive.writestr("sub/c.png", pictures()[1])
            archive.writestr("../up.txt", b"x" * 50)
            archive.writestr("zeros.bin", bytes(50_000))
        made.append(stream.getvalue())
    return made


def feed_zip(data: bytes, folder: pathlib.Path) -> None:
    (folder / "a.zip").write_bytes(data)
    held = files.Files(folder / "a.zip")
    for name in ("labels.csv", "sub/c.png", *held.images()):
        if name in held:
            with contextlib.suppress(UserError):
                held.read(name)


# --- Configurations and command lines -------------------------------------------------------------

WORDS = ("", "0", "-1", "1e999", "nan", "inf", "-inf", "true", "None", "[]", "(1,", "a,b", "synth_a", "synth_aa",
         "adam", "9" * 30, "1e-400", "0.5", "1", "16", "pmap", "é", "a" * 500, "1+2", "{}", "'x'", "\x00", "../x")  # fmt: skip


def _flat(values: dict, prefix: str = "") -> list[str]:
    found = []
    for key, value in values.items():
        found += _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else [prefix + key]
    return found


def make_configuration() -> Callable[[Rng], bytes]:
    whole = {}
    for method in ("auvit", "mvfer", "audfer", "mae_pretrain"):
        whole[method] = _flat(config_lib.load(f"configs/{method}.py").to_dict())

    def make(rng: Rng) -> bytes:
        method = list(whole)[rng.integers(len(whole))]
        keys = [whole[method][rng.integers(len(whole[method]))] for _ in range(rng.integers(1, 4))]
        if rng.random() < 0.1:
            keys.append(mutated(keys[0].encode(), rng).decode("latin-1"))
        changes = {key: _word(rng) for key in keys}
        arguments = (
            ",".join(_word(rng) for _ in range(rng.integers(1, 3))) if rng.random() < 0.15 else ""
        )
        return json.dumps([method, arguments, changes]).encode()

    return make


def _word(rng: Rng) -> str:
    word = WORDS[rng.integers(len(WORDS))]
    if rng.random() < 0.2:
        word = mutated(word.encode() or b"x", rng).decode("latin-1")
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
        raise Silent("a number that is not finite is accepted")


def _verbs(node: parse.Group, before: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    found = []
    for name, verb in node.verbs().items():
        if isinstance(verb, parse.Group):
            found += _verbs(verb, (*before, name))
        else:
            found.append((*before, name))
    return found


FLAGS = ("--help", "--out", "--source", "--name", "--data-dir", "--config", "--workdir", "--config.train.epochs", "--mode",
         "--seed", "--split", "--workers", "--dry-run", "--", "-x", "--seeds", "--overwrite", "--limit", "--size")  # fmt: skip


WORK = (("paper", "reproduce"), ("weights", "models"))  # they need nothing to begin with hours of work


def make_command() -> Callable[[Rng], bytes]:
    verbs = [verb for verb in _verbs(cli.ROOT) if verb not in WORK]

    def make(rng: Rng) -> bytes:
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
        raise Silent(f"exit code {code}: {said[-300:]!r}")
    if code == 2 and not said.strip():
        raise Silent("refused without a word")


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

    def make(self, rng: Rng) -> bytes:
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


def states(folder: pathlib.Path) -> Target:
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
            raise Silent("a damaged checkpoint is restored")

    return Target(flips.make, feed, 0.01)


def prepared(folder: pathlib.Path) -> Target:
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
                raise Silent("a damaged record is read")

    return Target(flips.make, feed, 0.01)


def _equal(a: object, b: object) -> bool:
    if isinstance(a, np.ndarray):
        return np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
    return a == b


SMALL = {
    "config.json": config_lib.default("auvit").to_json_best_effort().encode(),
    "summary.json": b'{"steps": 6, "test_last": {"accuracy": 0.5}}',
    "labels.json": b'{"kind": "image", "expressions": ["a", "b"], "aus": [1, 2]}',
    "metrics.jsonl": b'{"step": 2, "split": "train", "loss": 1.5}\n{"step": 2, "split": "validation", "uar": 0.5}\n',
    "data_problems_0.json": b'{"broken image": ["k3", "k7"]}',
}


def make_small(rng: Rng) -> bytes:
    name = list(SMALL)[rng.integers(len(SMALL))]
    return name.encode() + b":" + mutated(SMALL[name], rng, CELLS)


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
        logs.Writer(folder, step=3).close()
    else:
        workdir.note_problems(folder, types.SimpleNamespace(problems={"broken image": {"k9"}}))


# --- All of them ----------------------------------------------------------------------------------


def target(name: str, folder: pathlib.Path) -> Target:
    """One of `SHARES`; it makes its whole files in a folder of its own."""
    folder.mkdir(parents=True, exist_ok=True)
    make = {
        "images": lambda: Target(of(*pictures()), feed_image, 0),
        "videos": lambda: Target(of(*clips(folder)), feed_video, 0),
        "tables": lambda: Target(of(LABELS, TRACK, PY_FEAT, words=CELLS), feed_table, 0),
        "AU tracks": lambda: Target(of(TRACK, PY_FEAT, words=CELLS), feed_track, 0),
        "landmark files": lambda: Target(make_points(), feed_points, 0),
        "arrays": lambda: Target(of(*arrays(), words=HEADERS), feed_array, 0),
        "checkpoints": lambda: Target(of(*pickles(folder), words=OPCODES), feed_pickle, 0),
        "safetensors": lambda: Target(of(tensors(), words=(b"F64", b"99999999", b"{", b'"')), feed_safetensors, 0),
        "zips": lambda: Target(of(*archives()), feed_zip, 0),
        "configuration": lambda: Target(make_configuration(), feed_configuration, 0),
        "command lines": lambda: Target(make_command(), feed_command, 0),
        "own checkpoints": lambda: states(folder),
        "prepared data": lambda: prepared(folder),
        "small files": lambda: Target(make_small, feed_small, 0),
    }  # fmt: skip
    return make[name]()


SHARES = {  # of all cases
    "images": 0.30, "videos": 0.02, "tables": 0.10, "AU tracks": 0.04, "landmark files": 0.06, "arrays": 0.08,
    "checkpoints": 0.16, "safetensors": 0.06, "zips": 0.06, "configuration": 0.08, "command lines": 0.02,
    "own checkpoints": 0.003, "prepared data": 0.003, "small files": 0.014,
}  # fmt: skip


def case(of_target: Target, name: str, seed: int, number: int) -> bytes:
    salt = int.from_bytes(name.encode()[:8], "little")
    return of_target.make(np.random.default_rng([seed, salt, number]))


def outcome(of_target: Target, data: bytes, folder: pathlib.Path) -> tuple[str, str]:
    """("taken" or "refused" or a kind of failure, what was said)."""

    def stop(*_: object) -> None:
        raise Slow

    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    before, peak = resident(), peak_memory()
    old = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, SECONDS)
    try:
        of_target.feed(data, folder)
        found = ("taken", "")
    except UserError as error:
        text = str(error)
        clear = text and "\n" not in text and len(text) <= LINE
        found = (
            ("refused", text) if clear else ("unclear", f"{len(text)} characters: {text[:300]!r}")
        )
    except Slow:
        found = ("slow", f"over {SECONDS:g} s at {_place(sys.exc_info()[2])}")
    except MemoryError:
        found = ("memory", f"MemoryError at {_place(sys.exc_info()[2])}")
    except Exception as error:
        found = (
            "unclear",
            f"{type(error).__name__} at {_place(error.__traceback__)}: {str(error)[:300]}",
        )
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, old)
    after = peak_memory()
    if after > peak and after - before > GROWTH:
        found = ("memory", f"{(after - before) / 1e9:.1f} GB more; {found[0]}: {found[1][:200]}")
    return found


def _place(trace: object) -> str:
    """The last line of ours that was running."""
    frames = traceback.extract_tb(trace)
    ours = [frame for frame in frames if "aufer_jax" in frame.filename] or frames
    last = ours[-1]
    return f"{pathlib.Path(last.filename).name}:{last.lineno} ({last.name})"


def resident() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()


def peak_memory() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def without_training() -> None:
    """`aufer train` of a command line stops before it trains."""

    def stop(*_: object, **__: object) -> None:
        raise UserError("this would train")

    loop.train_and_evaluate = stop
