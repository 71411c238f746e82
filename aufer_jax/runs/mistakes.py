"""The worst mistakes of a run as a picture: what it was surest of and wrong about, as it saw the faces."""

import pathlib

import cv2
import numpy as np

from aufer_jax.datasets import contact_sheet
from aufer_jax.runs.predictions import Predictions
from aufer_jax.runs.predictor import Predictor

ROWS = 8  # classes at most


def save(predictor: Predictor, split: str, found: Predictions, path: pathlib.Path) -> int:
    """Writes a PNG with a row for each class, the surest mistakes first; returns how many there are."""
    places = {
        name: worst(found, label)[: contact_sheet.COLUMNS]
        for label, name in enumerate(found.expressions)
    }
    places = {name: rows for name, rows in places.items() if len(rows)}
    if not places:
        path.unlink(missing_ok=True)
        return 0
    most = sorted(places, key=lambda name: -len(worst(found, found.expressions.index(name))))
    rows, captions = {}, {}
    for name in [name for name in places if name in most[:ROWS]]:
        label, mine = found.expressions.index(name), places[name]
        wrong, total = len(worst(found, label)), int((found.labels == label).sum())
        heading = f"{name}\n{wrong} of {total} wrong"
        rows[heading] = [(face, None) for face in _faces(predictor, split, found.rows[mine])]
        captions[heading] = [
            f"{found.expressions[found.predicted[i]]} {found.expression[i].max():.2f}" for i in mine
        ]
    title = f"{predictor.name}, {split}: what was wrong and surest; below each what was said"
    contact_sheet.save(rows, path, title, captions)
    return int(((found.labels >= 0) & (found.predicted != found.labels)).sum())


def worst(found: Predictions, label: int) -> np.ndarray:
    """The records of a class that were taken for another, those with the most probability for it first."""
    wrong = np.flatnonzero((found.labels == label) & (found.predicted != label))
    return wrong[np.argsort(-found.expression[wrong].max(1), kind="stable")]


def _faces(predictor: Predictor, split: str, rows: np.ndarray) -> list[bytes]:
    """PNGs of the faces as the network saw them; of a clip its middle frame."""
    out = []
    for batch in predictor.read(split, rows):
        for pixels in batch[predictor.kind]:
            frame = pixels if pixels.ndim == 3 else pixels[len(pixels) // 2]
            out.append(cv2.imencode(".png", frame[..., ::-1])[1].tobytes())
    return out[: len(rows)]
