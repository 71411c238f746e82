"""Fabricated sources of faces: folders, tables, archives and broken files."""

import csv
import functools
import io
import pathlib

import cv2
import numpy as np
from PIL import Image

from aufer_jax import synth

EXPRESSIONS = synth.DIALECTS["synth_a"].expressions
AUS = synth.AUS


@functools.cache
def face(index, size=40):
    """A record of the renderer; a dict that must not be changed."""
    return synth.image_record("synth_a", "train", index, size=size)


def word(index):
    return EXPRESSIONS[face(index)["expression"]]


def pixels(index=0, size=40):
    return cv2.imdecode(np.frombuffer(face(index, size)["image"], np.uint8), cv2.IMREAD_COLOR)


def write_csv(path, rows):
    with pathlib.Path(path).open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, list(rows[0]))
        table.writeheader()
        table.writerows(rows)


def write_images(folder, count, name="face{}.jpg"):
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        (folder / name.format(index)).write_bytes(face(index)["image"])


def class_folders(folder, count, label=word):
    for index in range(count):
        place = folder / label(index) / f"gesicht_ä{index}.jpg"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(face(index)["image"])


def points(index):
    """The columns x_0 .. y_67 of a face, as text with 4 decimals."""
    return {
        f"{axis}_{i}": f"{face(index)['landmarks'][i, k]:.4f}"
        for k, axis in enumerate("xy")
        for i in range(68)
    }


def encoded(image, kind, *options):
    return cv2.imencode(kind, image, list(options))[1].tobytes()


def saved(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def broken():
    """File name -> bytes and the reason why it cannot be used."""
    whole, png = face(0)["image"], encoded(pixels(), ".png")
    damaged = bytearray(png)
    damaged[len(png) // 2] ^= 255
    tiny = encoded(np.zeros((1, 1, 3), np.uint8), ".png")
    return {
        "cut.jpg": (whole[: len(whole) // 2], "truncated: JPEG ends too early"),
        "header.jpg": (whole[:20], "truncated: JPEG ends too early"),
        "cut.png": (png[:-30], "truncated or damaged PNG"),
        "damaged.png": (bytes(damaged), "truncated or damaged PNG"),
        "cut.webp": (encoded(pixels(), ".webp")[:-20], "truncated: WebP ends too early"),
        "empty.jpg": (b"", "empty file"),
        "text.jpg": (b"this is no picture\n" * 20, "not an image file"),
        "nonsense.bmp": (b"BM" + bytes(200), "cannot be decoded"),
        "tiny.png": (tiny, "too small: 1x1 pixels"),
    }


def unusual():
    """File name -> bytes and what is done with it; each shows `pixels(1)`, more or less."""
    image, rgb = pixels(1), Image.fromarray(np.ascontiguousarray(pixels(1)[..., ::-1]))
    alpha = np.dstack([image, np.full(image.shape[:2], 255, np.uint8)])
    alpha[:10] = (255, 255, 255, 0)
    wide = np.zeros((40, 20_000, 3), np.uint8)
    wide[:, 10_000:] = 200
    return {
        "cmyk.jpg": (saved(rgb.convert("CMYK"), "JPEG", quality=95), "CMYK to RGB"),
        "deep.png": (encoded(image.astype(np.uint16) * 257, ".png"), "16 bits to 8"),
        "alpha.png": (encoded(alpha, ".png"), "transparency on black"),
        "palette.png": (saved(rgb.quantize(256), "PNG"), "palette to RGB"),
        "picture.gif": (saved(rgb.quantize(256), "GIF"), "GIF to JPEG"),
        "picture.bmp": (encoded(image, ".bmp"), "BMP to JPEG"),
        "picture.webp": (encoded(image, ".webp"), "WebP to JPEG"),
        "picture.tif": (encoded(image, ".tiff"), "TIFF to JPEG"),
        "wide.jpg": (
            encoded(np.vstack([wide] * 25), ".jpg"),
            "shrunk from 20000 px",
        ),
    }


def turned(image, orientation):
    """A JPEG of `image` as a camera stores it that was held that way; `image` is BGR, upright."""
    turns = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.transpose(1, 0, 2),
        6: lambda a: np.rot90(a),
        7: lambda a: a[::-1, ::-1].transpose(1, 0, 2),
        8: lambda a: np.rot90(a, 3),
    }
    exif = Image.Exif()
    exif[0x0112] = orientation
    raw = Image.fromarray(np.ascontiguousarray(turns[orientation](image)[..., ::-1]))
    return saved(raw, "JPEG", exif=exif, quality=95, subsampling=0)
