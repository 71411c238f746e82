"""Files as others write them: whole ones, and what reads each kind."""

import contextlib
import io
import json
import pathlib
import pickle
import sys
import types
import zipfile
from collections.abc import Callable

import cv2
import fuzz
import numpy as np
import safetensors.numpy
import torch_files
import toydata
from PIL import Image

from aufer_jax.data import views
from aufer_jax.errors import UserError
from aufer_jax.sources import files, images, landmark_files, tables, tracks, videos
from aufer_jax.weights import loading, unpickle

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
        ("GIF", "P", {}),
        ("PNG", "P", {}),
        ("PNG", "RGBA", {}),
        ("PNG", "LA", {}),
        ("PNG", "1", {}),
        ("JPEG", "CMYK", {}),
        ("JPEG", "L", {"progressive": True}),
        ("TIFF", "RGB", {"compression": "tiff_lzw"}),
        ("WEBP", "RGBA", {"lossless": True}),
        ("PPM", "RGB", {}),
    ):
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
        raise fuzz.Silent(f"an image that passes its check cannot be decoded: {found}")


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

CELLS = (
    b",",
    b";",
    b"\t",
    b'"',
    b"\r",
    b"\n",
    b"\r\n",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\0",
    b"1e999",
    b"-1",
    b"nan",
    b"inf",
    b"0x10",
    b"1,5",
    b"9" * 40,
    "é".encode(),
    "é".encode("latin-1"),
)
LABELS = b"file,expression,subject\na.jpg,happiness,s1\nb.jpg,sadness,s2\nsub/c.png,3,s3\n"
TRACK = (
    b"frame, face_id, timestamp, confidence, success, AU01_r, AU06_r, AU12_r, AU12_c, AU28_c\n"
    b"1, 0, 0.0, 0.98, 1, 0.5, 1.2, 2.5, 1, 0\n2, 0, 0.04, 0.97, 1, 0.0, 4.2, 5, 1, 1\n"
    b"3, 0, 0.08, 0.1, 0, 0, 0, 0, 0, 0\n"
)
PY_FEAT = (
    b"frame,FaceRectX,FaceRectY,FaceRectWidth,FaceRectHeight,FaceScore,AU01,AU06,AU12\n"
    b"0,1,2,30,30,0.9,0.5,1,0\n"
)


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
        raise fuzz.Silent("a track is neither read nor refused")
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


def make_points() -> Callable[[fuzz.Rng], bytes]:
    whole = points()
    names = list(whole)

    def make(rng: fuzz.Rng) -> bytes:
        name = names[rng.integers(len(names))]
        return name.encode() + b":" + fuzz.mutated(whole[name], rng, CELLS)

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


OPCODES = (
    b"cos\nsystem\n",
    b"c__builtin__\neval\n",
    b"R",
    b"b",
    b"(",
    b"t",
    b"}",
    b"u",
    b"\x85",
    b"q\0",
    b"h\0",
    b"r\xff\xff\xff\x7f",
    b"j\xff\xff\xff\x7f",
    b"\x8c\x05torch",
    b"\x93",
    b"\x81",
    b"B\xff\xff\xff\x7f",
    b"\x8d\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"2" * 40,
    b"ctorch\nBFloat16Storage\n",
)


def _total(value: object) -> int:
    if isinstance(value, np.ndarray):
        return value.nbytes
    if isinstance(value, dict):
        return sum(map(_total, value.values()))
    return 0


def feed_pickle(data: bytes, folder: pathlib.Path) -> None:
    (folder / "a.pth").write_bytes(data)
    if _total(unpickle.read(folder / "a.pth")) > 2**26:
        raise fuzz.Silent("more than 64 MiB of arrays from a small file")


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
