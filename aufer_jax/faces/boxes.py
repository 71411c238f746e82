"""From what BlazeFace says of its anchors to boxes: decoding, and one box for each face.

Coordinates are (x, y) pixel indices of the network's picture of 128 x 128: what it counts from the
picture's edge lies half a pixel before.
"""

import jax
import jax.numpy as jnp
import numpy as np

from aufer_jax.faces.networks.blazeface import SIZE

_CELLS = ((16, 2), (8, 6))  # cells in a row, anchors of a cell
OVERLAP = 0.3  # intersection over union from which two boxes are of one face


def _anchors() -> np.ndarray:
    """The centres [896, 2] of the anchors as fractions of the picture."""
    found = []
    for cells, each in _CELLS:
        middles = (np.arange(cells) + 0.5) / cells
        y, x = np.meshgrid(middles, middles, indexing="ij")
        found.append(np.repeat(np.stack([x, y], -1).reshape(-1, 2), each, 0))
    return np.concatenate(found).astype(np.float32)


ANCHORS = _anchors()


def decode(boxes: jax.Array, scores: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The network's outputs [..., 896, 16] and [..., 896] as points and probabilities.

    Returns:
      Points [..., 896, 8, 2]: left top and right bottom corner, left eye, right eye, nose tip, mouth,
      left ear, right ear, left and right in the picture; and probabilities [..., 896].
    """
    pairs = boxes.reshape(*boxes.shape[:-1], 8, 2)
    origin = ANCHORS * SIZE - 0.5
    centre, half = pairs[..., 0, :] + origin, pairs[..., 1, :] / 2
    corners = jnp.stack([centre - half, centre + half], -2)
    points = jnp.concatenate([corners, pairs[..., 2:, :] + origin[:, None]], -2)
    return points, jax.nn.sigmoid(jnp.clip(scores, -100, 100))


def merge(points: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One face for each cluster of overlapping finds, the surest first.

    Finds that overlap the surest one left are averaged with it, weighted by their scores.

    Args:
      points: [n, 8, 2] finds as `decode` gives them.
      scores: [n].

    Returns:
      Points [faces, 8, 2] and the highest scores [faces].
    """
    order = np.argsort(-scores, kind="stable")
    points, scores = points[order], scores[order]
    faces, best = [], []
    while len(scores):
        same = overlap(points[0, :2], points[:, :2]) > OVERLAP
        same[0] = True
        weights = scores[same] / scores[same].sum()
        faces.append(np.einsum("n,nij->ij", weights, points[same]))
        best.append(scores[0])
        points, scores = points[~same], scores[~same]
    return np.array(faces, np.float32).reshape(-1, 8, 2), np.array(best, np.float32)


def overlap(box: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Intersection over union of a box [2, 2] with others [n, 2, 2]."""
    low, high = np.maximum(box[0], others[:, 0]), np.minimum(box[1], others[:, 1])
    common = np.maximum(high - low, 0).prod(-1)
    areas = np.maximum(others[:, 1] - others[:, 0], 0).prod(-1)
    return common / np.maximum((box[1] - box[0]).prod() + areas - common, 1e-9)
