"""Transparent pictures to lay over an upload: where AUs act, or what the network looked at."""

from typing import Any

import cv2
import numpy as np
from matplotlib import colormaps

from aufer_jax import facs
from aufer_jax.data import heatmaps
from aufer_jax.errors import UserError
from aufer_jax.explain import samples
from aufer_jax.geometry import align
from aufer_jax.geometry.landmarks import five_points
from aufer_jax.runs import Predictor
from aufer_jax.runs.prediction import Face, Seen
from aufer_jax.runs.table import Columns

KINDS = ("aus", "scorecam")
SIDE = 1024  # pixels of the longer side of an overlay, at most

_MAP = 112  # pixels of the square in which AUs are drawn
_AROUND = 2.0  # side of this square, in longer sides of the face's box
_CHANNELS = 32  # that ScoreCAM tries
_OPAQUE = 0.75  # where the map is highest
_COLOURS = "turbo"


def overlay(network: Predictor, seen: Seen, columns: Columns, kind: str, face: int) -> bytes:
    """A PNG of the picture's shape, transparent where nothing is to be seen.

    Args:
      network: what predicted.
      seen: the picture, and its faces.
      columns: its rows.
      kind: "aus": where the AUs act, as strong as they are probable; "scorecam": the parts that speak for
        the expression predicted.
      face: which one, from 0.
    """
    if not seen.faces:
        raise UserError("face: none is found")
    if not 0 <= face < len(seen.faces):
        raise UserError(f"face: {face} is not one of those found, 0 to {len(seen.faces) - 1}")
    values, matrix = (
        _of_aus(network, seen.faces[face], {name: column[face] for name, column in columns.items()})
        if kind == "aus"
        else _score_cam(network, seen.faces[face])
    )
    width, height = seen.size
    scale = min(1.0, SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    enlarge = np.array([[scale, 0, (scale - 1) / 2], [0, scale, (scale - 1) / 2]])
    placed = align.compose(enlarge, cv2.invertAffineTransform(matrix))
    return _png(cv2.warpAffine(values.astype(np.float32), placed, size, flags=cv2.INTER_LINEAR))


def _of_aus(network: Predictor, face: Face, row: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """A map, and the picture's pixels to its own."""
    aus = tuple(au for au in network.aus if au in facs.HEATMAP_23)
    if not aus:
        raise UserError("kind: 'aus', but the network tells no AUs")
    box = face.reading.box
    side = _AROUND * max(box[2] - box[0], box[3] - box[1], 1.0)
    scale = _MAP / side
    corner = (box[:2] + box[2:] - side) / 2
    matrix = np.array([[scale, 0, -scale * corner[0]], [0, scale, -scale * corner[1]]])
    landmarks = align.transform(face.reading.landmarks.astype(np.float64), matrix)
    drawn, _ = heatmaps.draw(landmarks, heatmaps.HeatmapSpec(_MAP, per_au=True, aus=aus), _MAP)
    likely = np.array([row[facs.AUS[au].label] for au in aus], np.float32)
    return (drawn * likely).max(-1), matrix


def _score_cam(network: Predictor, face: Face) -> tuple[np.ndarray, np.ndarray]:
    """The same of ScoreCAM, which sees the face as the network does."""
    network.need_classes("kind")
    if network.kind != "image":
        raise UserError("kind: 'scorecam' is of networks that read pictures")
    told = face.reading.blendshapes[None], face.reading.mesh_features[None]
    batch = network.example(face.crop[None], face.landmarks[None], *told)
    values = samples.looked_at(network, batch, top=_CHANNELS)[0][0]
    five = five_points(face.reading.landmarks.astype(np.float64))
    matrix = align.similarity(five, align.template(network.size, network.margin))
    return values / max(float(values.max()), 1e-9), matrix


def _png(values: np.ndarray) -> bytes:
    """A map from 0 to 1 in colours, the lower the more transparent."""
    values = np.clip(values, 0, 1)
    colours = np.array(colormaps[_COLOURS](values))
    colours[..., 3] = _OPAQUE * values
    colours = (255 * colours).astype(np.uint8)
    good, data = cv2.imencode(".png", cv2.cvtColor(colours, cv2.COLOR_RGBA2BGRA))
    assert good
    return data.tobytes()
