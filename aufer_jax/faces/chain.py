"""From photographs to faces: where they are, 478 points, 52 blendshapes and the turn of the head.

BlazeFace finds faces in the whole picture, shrunk; FaceMesh reads each, cut out upright; the mixer tells
blendshapes from the mesh. All coordinates are (x, y) pixel indices: the first pixel's centre is (0, 0),
and what a network counts from the edge of its picture lies half a pixel before.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import cv2
import jax
import jax.numpy as jnp
import numpy as np

from aufer_jax.errors import UserError
from aufer_jax.faces import boxes, networks
from aufer_jax.faces.detect import Face, as_rgb, box_of
from aufer_jax.faces.networks import blazeface, blendshapes, facemesh
from aufer_jax.geometry import align, pose
from aufer_jax.geometry.landmarks import from_mesh

BATCHES = (1, 4, 16)  # pictures or faces at once: one program each
_CPU_BATCHES = BATCHES[:2]  # more of them are slower there: a layer's maps leave the cache
_RIM = 0.25  # of the picture on each side, where nothing was found without: it helps tight crops
_AROUND = 1.5  # side of the crop for the mesh, in longer sides of the box


@dataclasses.dataclass(frozen=True)
class Found:
    """Where a face is: corners of the box, eyes, nose tip, mouth, ears [8, 2] as in `boxes.decode`."""

    points: np.ndarray
    score: float


@dataclasses.dataclass(frozen=True)
class Reading:
    """What the networks tell of one face; coordinates are pixel indices of the picture.

    Attributes:
      box: left, top, right, bottom, as found.
      score: of the detector, 0 to 1.
      mesh: [478, 3] points, depth growing away from the viewer.
      presence: probability that there is a face where the mesh was sought.
      blendshapes: [52] from 0 to 1, named by `facs.BLENDSHAPES`.
      mesh_features: [512], the last map of the mesh network.
      pose: pitch, roll and yaw in degrees, see `geometry.pose`.
    """

    box: np.ndarray
    score: float
    mesh: np.ndarray
    presence: float
    blendshapes: np.ndarray
    mesh_features: np.ndarray
    pose: np.ndarray

    @property
    def landmarks(self) -> np.ndarray:
        """The iBUG points [68, 2]."""
        return from_mesh(self.mesh)


@dataclasses.dataclass(frozen=True)
class MeshDetector:
    """The detector `mesh`.

    Attributes:
      least: the lowest score of a face, 0 to 1.
      presence: what the mesh network must give a face, 0 to 1. Low, as it doubts small dark faces;
        0.5 is for when a face that is none is worse than one not found.
    """

    least: float = 0.5
    presence: float = 0.01

    def __post_init__(self):
        if not (0 < self.least <= 1 and 0 <= self.presence <= 1):
            raise UserError(f"mesh: got {self}; permitted are least above 0 up to 1, presence 0..1")

    def __call__(self, image: np.ndarray, name: str = "") -> list[Face]:
        del name
        return [
            Face(
                box_of(found.landmarks),
                found.score,
                found.landmarks,
                "landmarks",
                found.blendshapes,
                found.mesh_features,
            )
            for found in self.read([image])[0]
        ]

    def read(self, images: Sequence[np.ndarray]) -> list[list[Reading]]:
        """The faces of each RGB image [H, W, 3], of any sizes, the surest first."""
        pictures = [as_rgb(image) for image in images]
        found = find(pictures, self.least)
        return [
            [face for face in faces if face.presence >= self.presence]
            for faces in read(pictures, found)
        ]


def find(images: Sequence[np.ndarray], least: float = 0.5) -> list[list[Found]]:
    """The faces of each RGB image, sought in the whole and, where there is none, with a rim around it."""
    found = _find(images, least, 0.0)
    empty = [i for i, faces in enumerate(found) if not faces]
    for i, faces in zip(empty, _find([images[i] for i in empty], least, _RIM), strict=True):
        found[i] = faces
    return found


def read(images: Sequence[np.ndarray], found: Sequence[Sequence[Found]]) -> list[list[Reading]]:
    """The meshes, blendshapes and poses of the faces found in each image."""
    places = [(i, face) for i, faces in enumerate(found) for face in faces]
    matrices = [upright(face.points) for _, face in places]
    crops = (
        align.warp(images[i], matrix, facemesh.SIZE)
        for (i, _), matrix in zip(places, matrices, strict=True)
    )
    mesh, presence, shapes, features = _batched(_mesh(), crops, len(places), facemesh.SIZE)
    meshes = np.array([_back(m, matrix) for m, matrix in zip(mesh, matrices, strict=True)])
    turns = pose.angles(meshes.reshape(-1, facemesh.POINTS, 3))
    readings: list[list[Reading]] = [[] for _ in images]
    told = zip(meshes, presence.tolist(), shapes, features, turns, strict=True)
    for (i, face), rest in zip(places, told, strict=True):
        readings[i].append(Reading(face.points[:2].ravel(), face.score, *rest))
    return readings


def letterbox(shape: Sequence[int], rim: float = 0.0) -> np.ndarray:
    """The map [2, 3] that fits a whole image of that height and width into the detector's picture.

    `rim` is left free around it on each side, as a share of the image.

    >>> letterbox((128, 128)).tolist()  # a square fills the detector's picture
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    """
    height, width = shape[:2]
    scale = blazeface.SIZE / (max(height, width) * (1 + 2 * rim))
    shift = (blazeface.SIZE - 1 - scale * np.array([width - 1, height - 1])) / 2
    return np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])


def upright(points: np.ndarray) -> np.ndarray:
    """The map [2, 3] to the mesh network's picture of a face whose points are [8, 2].

    The middle of the box comes to the middle, 1.5 of its longer side fill the picture, the eyes are level.
    """
    low, high, left, right = points[:4].astype(np.float64)
    side = max(*(high - low), 1e-3) * _AROUND
    across = (right - left) / max(np.hypot(*(right - left)), 1e-9)
    along = across * facemesh.SIZE / side
    turn = np.array([[along[0], along[1]], [-along[1], along[0]]])
    shift = (facemesh.SIZE - 1) / 2 - turn @ ((low + high) / 2)
    return np.concatenate([turn, shift[:, None]], 1)


def _back(mesh: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """A mesh [478, 3] of the crop, counted from its edge, in the pixels of the image."""
    flat = align.transform(mesh[:, :2] - 0.5, cv2.invertAffineTransform(matrix))
    depth = mesh[:, 2:] / np.hypot(*matrix[:, 0])
    return np.concatenate([flat, depth], 1).astype(np.float32)


def _find(images: Sequence[np.ndarray], least: float, rim: float) -> list[list[Found]]:
    matrices = [letterbox(image.shape, rim) for image in images]
    pictures = (
        align.warp(image, matrix, blazeface.SIZE)
        for image, matrix in zip(images, matrices, strict=True)
    )
    points, scores = _batched(_detector(), pictures, len(images), blazeface.SIZE)
    found = []
    for matrix, places, sure in zip(matrices, points, scores, strict=True):
        kept = sure >= least
        faces, best = boxes.merge(places[kept], sure[kept])
        faces = align.transform(faces, cv2.invertAffineTransform(matrix))
        pairs = zip(faces, best.tolist(), strict=True)
        found.append([Found(face, score) for face, score in pairs])
    return found


@functools.cache
def _detector() -> Callable[..., Any]:
    network, variables = networks.load("face_detector")

    @jax.jit
    def run(pictures: jax.Array) -> tuple[jax.Array, jax.Array]:
        out = network.apply(variables, pictures / jnp.float32(127.5) - 1)
        return boxes.decode(out["boxes"], out["scores"])

    return run


@functools.cache
def _mesh() -> Callable[..., Any]:
    network, variables = networks.load("face_landmarks_detector")
    mixer, mixed = networks.load("face_blendshapes")

    @jax.jit
    def run(crops: jax.Array) -> tuple[jax.Array, ...]:
        out = network.apply(variables, crops / jnp.float32(255))
        points = out["mesh"][:, np.array(blendshapes.POINTS), :2]
        shapes = jax.nn.sigmoid(mixer.apply(mixed, points))
        return out["mesh"], jax.nn.sigmoid(out["face"]), shapes, out["features"]

    return run


def _batched(run: Callable[..., Any], pictures: Any, count: int, size: int) -> list[np.ndarray]:
    """What a network gives for `count` pictures, which may come one by one.

    The last batch is filled up to one of `BATCHES`. A batch is computed while the next one is made.
    """
    found, pictures = [], iter(pictures)
    rooms = _CPU_BATCHES if jax.default_backend() == "cpu" else BATCHES
    for start in range(0, count, rooms[-1]):
        here = min(rooms[-1], count - start)
        held = next(room for room in rooms if room >= here)
        batch = np.zeros((held, size, size, 3), np.uint8)
        for place in range(here):
            batch[place] = next(pictures)
        found.append((here, run(batch)))
    if not found:
        shapes = jax.eval_shape(run, jax.ShapeDtypeStruct((1, size, size, 3), jnp.uint8))
        return [np.zeros((0, *shape.shape[1:]), shape.dtype) for shape in shapes]
    parts = [[np.asarray(out)[:here] for out in outs] for here, outs in found]
    return [np.concatenate(part) for part in zip(*parts, strict=True)]
