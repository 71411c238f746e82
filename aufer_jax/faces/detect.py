"""Faces in a photograph: one interface for all detectors, and which face is meant."""

import dataclasses
import importlib
import inspect
from collections.abc import Sequence
from typing import Any, Protocol

import cv2
import numpy as np

from aufer_jax.errors import UserError, unknown

# Name -> the class that finds faces; imported when it is asked for.
_DETECTORS = {
    "mesh": "aufer_jax.faces.chain:MeshDetector",
    "files": "aufer_jax.faces.point_files:PointFiles",
}
CHOICES = ("largest", "score", "centre")

# How a face's points were found, best first.
POINTS = ("landmarks", "five", "eyes", "box")
MEASURED = ("landmarks", "five")


@dataclasses.dataclass(frozen=True)
class Face:
    """One face of an image; coordinates are (x, y) pixel indices of it.

    Attributes:
      box: left, top, right, bottom.
      score: higher is more certain; its scale is the detector's own.
      landmarks: iBUG-68 points [68, 2], NaN where unknown; always enough to align the face.
      points: one of `POINTS`: all 68 were found; five were (`geometry.landmarks.from_five`); only the
        eyes were, and nose and mouth are placed where an upright face has them; or all are placed
        where a face in that box has them.
      blendshapes: [52] as in `facs.BLENDSHAPES`, where the detector tells them.
      mesh_features: [512] of the mesh network, likewise.
    """

    box: np.ndarray
    score: float
    landmarks: np.ndarray
    points: str
    blendshapes: np.ndarray | None = None
    mesh_features: np.ndarray | None = None

    @property
    def measured(self) -> np.ndarray:
        """The landmarks that were found rather than assumed, the others NaN."""
        return self.landmarks if self.points in MEASURED else np.full_like(self.landmarks, np.nan)


class Detector(Protocol):
    """Finds the faces of an RGB image [H, W, 3] uint8; `name` is that of its file."""

    def __call__(self, image: np.ndarray, name: str = "") -> list[Face]: ...


def names() -> tuple[str, ...]:
    """The detectors that can be named.

    >>> names()
    ('mesh', 'files')
    """
    return tuple(_DETECTORS)


def create(name: str, **options: Any) -> Detector:
    """A detector by its name, one of `names()`; the options are the fields of its class."""
    if name not in _DETECTORS:
        raise unknown("detector", name, _DETECTORS)
    module, attribute = _DETECTORS[name].split(":")
    made = getattr(importlib.import_module(module), attribute)
    permitted = inspect.signature(made).parameters
    for option in options:
        if option not in permitted:
            raise unknown(f"option of {name}", option, permitted)
    return made(**options)


def choose(faces: Sequence[Face], shape: tuple[int, ...], by: str = "largest") -> Face | None:
    """The face that is meant: the largest, the one with the highest score, or the one nearest to the centre.

    Args:
      faces: those of one image.
      shape: the image's height and width.
      by: one of `CHOICES`; of equal faces the first is chosen.
    """
    if by not in CHOICES:
        raise unknown("choose", by, CHOICES)
    centre = (np.array([shape[1], shape[0]]) - 1) / 2
    worth = {
        "largest": lambda face: np.prod(face.box[2:] - face.box[:2]),
        "score": lambda face: face.score,
        "centre": lambda face: -np.linalg.norm((face.box[:2] + face.box[2:]) / 2 - centre),
    }[by]
    return max(faces, key=worth, default=None)


def as_rgb(image: np.ndarray) -> np.ndarray:
    """An image as detectors want it: uint8 RGB [H, W, 3], from that, grey [H, W] or [H, W, 1].

    >>> as_rgb(np.zeros((4, 5), np.uint8)).shape
    (4, 5, 3)
    """
    image = np.asarray(image)
    grey = image.ndim == 2 or image.shape[2:] == (1,)
    if image.dtype != np.uint8 or not (grey or image.shape[2:] == (3,)) or 0 in image.shape:
        raise UserError(
            f"image: got {image.dtype} of shape {image.shape}, it must be uint8 [H, W, 3] in "
            f"RGB order or grey [H, W]"
        )
    return cv2.cvtColor(image, cv2.COLOR_GRAY2RGB) if grey else image


def box_of(landmarks: np.ndarray) -> np.ndarray:
    """The box around the known landmarks.

    >>> box_of(np.array([[1.0, 2.0], [5.0, 4.0]])).tolist()
    [1.0, 2.0, 5.0, 4.0]
    """
    return np.concatenate([np.nanmin(landmarks, 0), np.nanmax(landmarks, 0)]).astype(np.float32)
