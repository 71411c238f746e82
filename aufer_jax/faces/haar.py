"""Faces and eyes by OpenCV's Haar cascades, which come with OpenCV: nothing to download.

Made for upright faces that look ahead. It finds no landmarks: alignment is based on the two eyes, or on
the box of the face if they were not found.
"""

import dataclasses
import functools
import itertools
import os

import cv2
import numpy as np

from aufer_jax.errors import UserError
from aufer_jax.faces.detect import Face, as_rgb
from aufer_jax.geometry import align
from aufer_jax.geometry.landmarks import from_five

_FACE = "haarcascade_frontalface_alt.xml"
# The first places eyes better, the second finds more of them.
_EYES = ("haarcascade_eye_tree_eyeglasses.xml", "haarcascade_eye.xml")
_STEP = 1.1  # between the sizes that are tried
_RIM = 0.25  # of the shorter side: the second try gives tight crops a margin

# Where the five points are in the box of the face cascade, as shares of its width.
_FIVE = np.array([[0.318, 0.4], [0.682, 0.4], [0.5, 0.637], [0.348, 0.795], [0.652, 0.795]])
_PATCH, _EYE_STEP = 192, 1.05  # pixels of the face in which eyes are sought, step of their sizes
_APART = 0.12  # of the box: how far an eye may be from where it is expected


@dataclasses.dataclass(frozen=True)
class Haar:
    """The detector `haar`. Not for several threads at once, as the cascades keep a state.

    Attributes:
      neighbours: how many overlapping finds make a face; more means fewer false faces.
      least: the smallest face to look for, as a share of the image's shorter side.
      longest: pixels; longer images are shrunk before the search.
      shortest: pixels; images with a shorter side are enlarged before the search.
    """

    neighbours: int = 3
    least: float = 0.2
    longest: int = 800
    shortest: int = 96

    def __post_init__(self):
        if (
            self.neighbours < 1
            or not 0 < self.least <= 1
            or not 32 <= self.shortest <= self.longest
        ):
            raise UserError(
                f"haar: got {self}; neighbours must be at least 1, least above 0 up to 1, "
                f"32 <= shortest <= longest"
            )

    def __call__(self, image: np.ndarray, name: str = "") -> list[Face]:
        del name
        grey = cv2.cvtColor(as_rgb(image), cv2.COLOR_RGB2GRAY)
        height, width = grey.shape
        scale = max(1.0, self.shortest / min(height, width))
        scale = min(scale, self.longest / max(height, width))
        size = max(1, round(width * scale)), max(1, round(height * scale))
        how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
        small = cv2.resize(grey, size, interpolation=how) if scale != 1 else grey
        found = self._boxes(small, 0) or self._boxes(small, round(_RIM * min(small.shape)))
        ratio = np.array([width / size[0], height / size[1]])
        return [_face(grey, corner * ratio, side * ratio.mean(), score)
                for corner, side, score in found]  # fmt: skip

    def _boxes(self, grey: np.ndarray, rim: int) -> list[tuple[np.ndarray, float, float]]:
        """Left top corner, side and score of the faces of an image."""
        least = max(24, round(self.least * min(grey.shape)))
        if rim:
            grey = cv2.copyMakeBorder(grey, rim, rim, rim, rim, cv2.BORDER_REPLICATE)
        boxes, _, scores = _cascade(_FACE).detectMultiScale3(
            grey, _STEP, self.neighbours, 0, (least, least), outputRejectLevels=True
        )
        return [
            (np.array([x - rim, y - rim], float), float(side), float(score))
            for (x, y, side, _), score in zip(boxes, np.ravel(scores), strict=True)
        ]


@functools.cache
def _cascade(file: str) -> cv2.CascadeClassifier:
    cascade = cv2.CascadeClassifier(os.path.join(cv2.data.haarcascades, file))  # pyright: ignore
    if cascade.empty():
        raise UserError(f"detector: OpenCV {cv2.__version__} lacks {file}, part of its wheels")
    return cascade


def _face(grey: np.ndarray, corner: np.ndarray, side: float, score: float) -> Face:
    """A face in the square box with that corner; corner and side count from the image's edge."""
    eyes = _eyes(grey, corner, side)
    expected = corner + _FIVE * side - 0.5
    if eyes is None:
        five, points = expected, "box"
    else:
        # The similarity that brings the two expected eyes to those found; two points fix it.
        five, points = align.transform(expected, align.similarity(expected[:2], eyes)), "eyes"
    box = np.concatenate([corner, corner + side - 1]).astype(np.float32)
    return Face(box, score, from_five(five), points)


def _eyes(grey: np.ndarray, corner: np.ndarray, side: float) -> np.ndarray | None:
    """The eye centres [2, 2] in a face's box, or None if not both are found where eyes can be."""
    scale = _PATCH / side
    shift = -(corner - 0.5) * scale - 0.5  # pixel indices of the image to those of the patch
    matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    patch = cv2.warpAffine(
        grey, matrix, (_PATCH, _PATCH // 2 + _PATCH // 8), borderMode=cv2.BORDER_REPLICATE
    )
    for file in _EYES:
        pair = _pair(patch, file)
        if pair is not None:
            return corner + pair * side - 0.5
    return None


def _pair(patch: np.ndarray, file: str) -> np.ndarray | None:
    """The two eyes [2, 2] that a cascade finds, as shares of the box."""
    least, most = round(0.15 * _PATCH), round(0.4 * _PATCH)
    found = _cascade(file).detectMultiScale(patch, _EYE_STEP, 2, 0, (least, least), (most, most))
    centres = np.array([(x + w / 2, y + h / 2) for x, y, w, h in found]).reshape(-1, 2) / _PATCH
    sides = [[c for c in centres if np.abs(c - eye).max() < _APART] for eye in _FIVE[:2]]
    pairs = [np.array(pair) for pair in itertools.product(*sides)]
    # Of several candidates the pair that is nearest to where eyes are expected.
    return min(pairs, key=lambda pair: float(np.square(pair - _FIVE[:2]).sum()), default=None)
