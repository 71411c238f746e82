"""How a head is turned, from the points of its mesh: pitch, roll and yaw in degrees.

The axes are the picture's: x to the right, y down, z away from the viewer. Pitch is positive where the
face looks down, yaw where it looks to the left of the picture, roll where the head is tilted clockwise.
The rotation is that about x after that about y after that about z, as OpenFace has it.
"""

from typing import Any

import numpy as np

from aufer_jax.geometry.landmarks import from_mesh
from aufer_jax.geometry.mean_face import NEUTRAL

# Points that expressions move little: temples, bridge and base of the nose, eye corners.
_STILL = np.array([0, 1, 15, 16, 27, 28, 29, 30, 33, 36, 39, 42, 45])
_REST = (NEUTRAL * (1, 1, -1))[_STILL]


def rotation(mesh: Any) -> np.ndarray:
    """The rotations [..., 3, 3] that turn an upright face that looks ahead as meshes [..., 478, 3] are."""
    points = in_space(mesh)[..., _STILL, :].astype(np.float64)
    points = points - points.mean(-2, keepdims=True)
    rest = _REST - _REST.mean(0)
    left, _, right = np.linalg.svd(np.swapaxes(points, -1, -2) @ rest)
    upright = np.ones((*left.shape[:-2], 3))
    upright[..., 2] = np.linalg.det(left) * np.linalg.det(right)  # a turn, never a mirror image
    return (left * upright[..., None, :]) @ right


def angles(mesh: Any) -> np.ndarray:
    """Pitch, roll and yaw [..., 3] in degrees of meshes [..., 478, 3] in pixels."""
    turn = rotation(mesh)
    pitch = np.arctan2(-turn[..., 1, 2], turn[..., 2, 2])
    roll = np.arctan2(-turn[..., 0, 1], turn[..., 0, 0])
    yaw = np.arcsin(np.clip(turn[..., 0, 2], -1, 1))
    return np.degrees(np.stack([pitch, roll, yaw], -1)).astype(np.float32)


def in_space(mesh: Any) -> np.ndarray:
    """The 68 points [..., 68, 3] of meshes [..., 478, 3], with their depth.

    >>> in_space(np.zeros((478, 3))).shape
    (68, 3)
    """
    mesh = np.asarray(mesh)
    return np.concatenate([from_mesh(mesh), from_mesh(mesh[..., 1:])[..., 1:]], -1)
