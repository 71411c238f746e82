"""The detector `files`: faces whose landmarks another program wrote, see `sources.landmark_files`."""

import dataclasses

import numpy as np

from aufer_jax.errors import UserError
from aufer_jax.faces.detect import Face, box_of
from aufer_jax.geometry.landmarks import known
from aufer_jax.sources import landmark_files


@dataclasses.dataclass(frozen=True)
class PointFiles:
    """The detector `files`.

    Attributes:
      path: the file, or the folder or .zip of files.
      confidence: OpenFace's faces that are less confident, or failed, are left out.
    """

    path: str = ""
    confidence: float = 0.0

    def __post_init__(self):
        if not self.path:
            raise UserError("path: name the file or folder with landmarks")
        object.__setattr__(self, "_faces", landmark_files.Written(self.path, self.confidence))

    def __call__(self, image: np.ndarray, name: str = "") -> list[Face]:
        if not name:
            raise UserError("name: the detector 'files' needs the name of the image")
        written: landmark_files.Written = self._faces  # pyright: ignore
        return [_face(points, score, image.shape) for points, score in written.of(name)]


def _face(points: np.ndarray, score: float, shape: tuple[int, ...]) -> Face:
    if landmark_files.are_fractions(points):
        points = points * np.array([shape[1], shape[0]], np.float32) - np.float32(0.5)
    return Face(box_of(points), score, points, "landmarks" if known(points)[0] else "five")
