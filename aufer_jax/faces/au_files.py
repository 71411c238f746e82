"""A CSV file of AUs, one row an image, as OpenFace writes it."""

import csv
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

PRESENT = 1.0  # the intensity from which an AU counts as present


def write(
    path: str | os.PathLike,
    files: Sequence[str],
    aus: Sequence[int],
    intensities: Any,
    confidence: Any = 1.0,
) -> int:
    """Writes intensities [n, AUs] for `aufer data prepare --au`: `file`, `confidence`, `success`, AUxx_r
    (0..5) and AUxx_c (0 or 1).

    Faces with one that is not finite get success 0 and zeros, as with OpenFace. Returns how many these are.
    """
    found = np.asarray(intensities, float).reshape(len(files), len(aus))
    sure = np.broadcast_to(np.asarray(confidence, float), (len(files),))
    valid = np.asarray(np.isfinite(found).all(-1))
    labels = [f"AU{au:02d}" for au in aus]
    with pathlib.Path(path).open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        kinds = [f"{label}_{kind}" for kind in "rc" for label in labels]
        table.writerow(["file", "confidence", "success", *kinds])
        for name, row, score, good in zip(files, found, sure, valid, strict=True):
            row = np.where(good, row, 0)
            present = (row >= PRESENT).astype(int)
            cells = [f"{score if good else 0:.4g}", int(good), *(f"{x:.3f}" for x in row)]
            table.writerow([name, *cells, *present])
    return int((~valid).sum())
