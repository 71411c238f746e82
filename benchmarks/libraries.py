"""What libraries would do in place of our own code, or do by now: decoding, RandAugment, schedules, t-SNE.

python benchmarks/libraries.py
"""

import argparse
import functools
import io
import pathlib
import sys
import time
from collections.abc import Callable
from typing import Any

import cv2
import jax.numpy as jnp
import numpy as np
import optax
import skimage.data
from PIL import Image, ImageEnhance, ImageOps
from sklearn.manifold import TSNE

from aufer_jax.data import randaugment
from aufer_jax.report import results
from aufer_jax.train import schedules
from aufer_jax.train.schedules import Schedule

OUT = pathlib.Path(__file__).parents[1] / "docs" / "benchmarks.md"
PORTRAIT = skimage.data.astronaut()
GREY, LEVEL = (128, 128, 128), 7.0


def cpu_ms(call: Callable[[], Any], times: int = 1, rounds: int = 4) -> float:
    """The least CPU time of a call, in milliseconds."""
    found = []
    for _ in range(rounds):
        began = time.process_time()
        for _ in range(times):
            call()
        found.append((time.process_time() - began) / times)
    return 1000 * min(found)


def decoding() -> list[dict[str, object]]:
    rows = []
    for size in (112, 224, 512, 1000):
        for kind in ("JPEG", "PNG"):
            file = io.BytesIO()
            Image.fromarray(cv2.resize(PORTRAIT, (size, size))).save(file, kind)
            data = file.getvalue()
            ours = functools.partial(
                cv2.imdecode, np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB
            )
            pillow = lambda data=data: np.asarray(Image.open(io.BytesIO(data)))  # noqa: E731
            rows.append(
                {
                    "file": f"{kind}, {size} x {size}",
                    "OpenCV, ms": f"{cpu_ms(ours, 10):.2f}",
                    "Pillow, ms": f"{cpu_ms(pillow, 10):.2f}",
                    "equal pixels": "yes" if (ours() == pillow()).all() else "no",
                }
            )
    return rows


def _affine(image: Image.Image, *coefficients: float) -> Image.Image:
    how = (Image.Transform.AFFINE, coefficients, Image.Resampling.BICUBIC)
    return image.transform(image.size, *how, fillcolor=GREY)


PILLOW: dict[str, Callable[[Image.Image], Image.Image]] = {
    "auto_contrast": ImageOps.autocontrast,
    "equalize": ImageOps.equalize,
    "invert": ImageOps.invert,
    "rotate": lambda p: p.rotate(3 * LEVEL, Image.Resampling.BICUBIC, fillcolor=GREY),
    "posterize": lambda p: ImageOps.posterize(p, 4 - int(0.4 * LEVEL)),
    "solarize": lambda p: ImageOps.solarize(p, 256 - int(25.6 * LEVEL)),
    "solarize_add": lambda p: p.point(
        [min(255, i + int(11 * LEVEL)) if i < 128 else i for i in range(256)] * 3
    ),
    "color": lambda p: ImageEnhance.Color(p).enhance(1 + 0.09 * LEVEL),
    "contrast": lambda p: ImageEnhance.Contrast(p).enhance(1 + 0.09 * LEVEL),
    "brightness": lambda p: ImageEnhance.Brightness(p).enhance(1 + 0.09 * LEVEL),
    "sharpness": lambda p: ImageEnhance.Sharpness(p).enhance(1 + 0.09 * LEVEL),
    "shear_x": lambda p: _affine(p, 1, 0.03 * LEVEL, 0, 0, 1, 0),
    "shear_y": lambda p: _affine(p, 1, 0, 0, 0.03 * LEVEL, 1, 0),
    "translate_x": lambda p: _affine(p, 1, 0, 0.045 * LEVEL * p.size[0], 0, 1, 0),
    "translate_y": lambda p: _affine(p, 1, 0, 0, 0, 1, 0.045 * LEVEL * p.size[1]),
}


def augmentation() -> list[dict[str, object]]:
    rows = []
    for name, pillow in PILLOW.items():
        row: dict[str, object] = {"operation": name}
        operation = randaugment.Operation(name, LEVEL)
        for size in (112, 224):
            clip = np.stack([cv2.resize(PORTRAIT, (size, size))] * 16)

            def ours(clip: np.ndarray = clip) -> np.ndarray:
                drawn = clip.copy()
                for frame in drawn:
                    randaugment.apply(frame, operation)  # noqa: B023
                return drawn

            def theirs(clip: np.ndarray = clip) -> np.ndarray:
                return np.stack([np.asarray(pillow(Image.fromarray(frame))) for frame in clip])  # noqa: B023

            row[f"ours at {size}, ms"] = f"{cpu_ms(ours):.1f}"
            row[f"Pillow at {size}, ms"] = f"{cpu_ms(theirs):.1f}"
            row["values equal"] = f"{100 * (ours()[0] == theirs()[0]).mean():.1f} %"
        rows.append(row)
    return rows


def curves() -> list[dict[str, object]]:
    epochs, steps, lr = 20, 97, 1e-3
    cases = {
        "cosine": (Schedule("cosine", min_lr=5e-6),
            optax.cosine_decay_schedule(lr, epochs * steps, 5e-6 / lr)),
        "warm-up and cosine": (Schedule("cosine", warmup_epochs=5, min_lr=5e-6),
            optax.warmup_cosine_decay_schedule(0.0, lr, 5 * steps, epochs * steps, 5e-6)),
        "exponential, by epoch": (Schedule("exponential", unit="epoch", gamma=0.9),
            optax.exponential_decay(lr, steps, 0.9, staircase=True)),
        "steps at epochs 8 and 16": (
            Schedule("step", unit="epoch", gamma=0.1, milestones=(8.0, 16.0)),
            optax.piecewise_constant_schedule(lr, {8 * steps: 0.1, 16 * steps: 0.1})),
        "linear": (Schedule("linear", min_lr=1e-5),
            optax.linear_schedule(lr, 1e-5, epochs * steps)),
        "cosine by epoch that rises again": (
            Schedule("cosine", unit="epoch", decay_epochs=16, min_lr=5e-6),
            optax.cosine_decay_schedule(lr, 16 * steps, 5e-6 / lr)),
    }  # fmt: skip
    rows = []
    for name, (schedule, theirs) in cases.items():
        ours = schedules.create(schedule, lr=lr, epochs=epochs, steps_per_epoch=steps)
        a, b = (
            np.array([curve(jnp.int32(step)) for step in range(epochs * steps)], np.float32)
            for curve in (ours, theirs)
        )
        rows.append(
            {
                "schedule": name,
                "steps that differ": f"{(a != b).sum()} of {len(a)}",
                "largest relative difference": f"{(np.abs(a - b) / np.maximum(a, 1e-9)).max():.1e}",
            }
        )
    return rows


def maps() -> list[dict[str, object]]:
    rows = []
    for count, width in ((1000, 64), (5000, 128)):
        rng = np.random.default_rng(0)
        x = rng.normal(size=(7, width))[np.arange(count) % 7] + rng.normal(size=(count, width))
        for method in ("exact", "barnes_hut") if count <= 1000 else ("barnes_hut",):
            fitted = TSNE(init="pca", random_state=0, method=method)
            began = time.process_time()
            fitted.fit(x.astype(np.float32))
            rows.append(
                {
                    "points": f"{count} x {width}",
                    "scikit-learn's": method,
                    "CPU seconds": f"{time.process_time() - began:.1f}",
                    "divergence": f"{fitted.kl_divergence_:.3f}",
                }
            )
    return rows


NOTES = {
    decoding: "Least CPU time of ten calls, one thread. OpenCV decodes, Pillow reads headers and EXIF.",
    augmentation: "A clip of 16 frames, least CPU time, strength 7; ours is kept.",
    curves: "Step by step against optax's schedules. Ours are kept: all runs so far had their rates.",
    maps: "Seven classes of random points, perplexity 30; `aufer run tsne` uses barnes_hut.",
}
TITLES = {
    decoding: "Libraries: decoding", augmentation: "Libraries: RandAugment by Pillow",
    curves: "Libraries: schedules of optax", maps: "Libraries: t-SNE of scikit-learn",
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=pathlib.Path, default=OUT)
    out = parser.parse_args().out
    cv2.setNumThreads(1)
    for measure, title in TITLES.items():
        results.write_section(out, title, measure(), "python " + " ".join(sys.argv), NOTES[measure])


if __name__ == "__main__":
    main()
