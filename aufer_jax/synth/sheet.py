"""Contact sheets: rows of labelled faces, for documents and for a look at a dataset."""

from collections.abc import Sequence

import cv2
import numpy as np

from aufer_jax.synth.camera import Camera
from aufer_jax.synth.expressions import COMMON, EXPRESSIONS
from aufer_jax.synth.face import render
from aufer_jax.synth.identity import sample_identity

INK = (40, 40, 44)


def contact_sheet(
    images: Sequence[Sequence[np.ndarray]],
    *,
    columns: Sequence[str] = (),
    rows: Sequence[str] = (),
    gap: int = 4,
) -> np.ndarray:
    """Lays out a table of equally large RGB images; returns RGB uint8.

    Args:
      images: one list of [H, W, 3] uint8 images for each row; rows may differ in length.
      columns: headings above the columns, or none.
      rows: headings left of the rows, or none.
      gap: white pixels between images.
    """
    height, width = images[0][0].shape[:2]
    top, left = (18 if columns else 0), (74 if rows else 0)
    count = max(len(r) for r in images)
    sheet = np.full(
        (top + len(images) * (height + gap) - gap, left + count * (width + gap) - gap, 3),
        255,
        np.uint8,
    )
    for r, row in enumerate(images):
        y = top + r * (height + gap)
        for c, image in enumerate(row):
            x = left + c * (width + gap)
            sheet[y : y + height, x : x + width] = image
    for c, text in enumerate(columns):
        _write(sheet, text, left + c * (width + gap) + 2, 12)
    for r, text in enumerate(rows):
        _write(sheet, text, 2, top + r * (height + gap) + height // 2)
    return sheet


def _write(sheet: np.ndarray, text: str, x: int, y: int) -> None:
    cv2.putText(sheet, text, (x, y), cv2.FONT_HERSHEY_SIMPLEX, 0.4, INK, 1, cv2.LINE_AA)


def expression_sheet(people: int = 8, size: int = 112, seed: int = 0) -> np.ndarray:
    """Seven expressions (columns) of several people (rows) at usual intensities."""
    names = EXPRESSIONS[:7]
    rows = []
    for n in range(people):
        who = sample_identity(np.random.default_rng([seed, n]))
        rows.append(
            [
                render(who, COMMON[e][0][1], Camera(background="plain"), size=size, seed=n).image
                for e in names
            ]
        )
    return contact_sheet(rows, columns=names)
