"""Every form of facial landmarks -> the 68 points of iBUG, the only form inside records.

Coordinates are (x, y) pixel indices: the first pixel's centre is (0, 0). What a detector gives as a
fraction f of the width is at pixel f * width - 0.5. Left and right are the viewer's.
"""

from typing import Any

import numpy as np

from aufer_jax.errors import UserError, unknown

IBUG = 68
MESH = (468, 478)  # vertices of MediaPipe's face mesh, without and with irises
MESH_FEATURES = (
    512  # of the last map of the network that finds the mesh, from which it reads all else
)

_NOSE, _MOUTH_LEFT, _MOUTH_RIGHT = 30, 48, 54
_EYE_LEFT, _EYE_RIGHT = slice(36, 42), slice(42, 48)
# Point i of a mirrored face is point FLIP[i] of the original (iBUG-68, 0-based).
FLIP: tuple[int, ...] = (
    *range(16, -1, -1),  # jaw
    *range(26, 16, -1),  # brows
    *(27, 28, 29, 30, 35, 34, 33, 32, 31),  # nose
    *(45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40),  # eyes
    *(54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55),  # outer lips
    *(64, 63, 62, 61, 60, 67, 66, 65),  # inner lips
)

# The points that five points give.
FIVE = (_NOSE, *range(36, 48), _MOUTH_LEFT, _MOUTH_RIGHT)

# Mesh vertices of every iBUG point; where there are two, it is midway between them.
_VERTICES = (
    # jaw
    *((127,), (234,), (93,), (132, 58), (58, 172), (136,), (150,), (176,), (152,)),
    *((400,), (379,), (365,), (288, 397), (361, 288), (323,), (454,), (356,)),
    # brows
    *((70, 156), (63, 53), (105, 52), (66, 65), (107, 55)),
    *((336, 285), (296, 295), (334, 282), (293, 283), (300, 383)),
    # nose
    *((168, 6), (197, 195), (5,), (1,), (98,), (97,), (2,), (326,), (327,)),
    # eyes
    *((33,), (160,), (158,), (133,), (153,), (144,)),
    *((362,), (385,), (387,), (263,), (373,), (380,)),
    # outer lips
    *((61,), (40, 39), (37,), (0,), (267,), (270, 269), (291,)),
    *((321, 405), (314,), (17,), (84,), (91, 181)),
    # inner lips
    *((78,), (82,), (13,), (312,), (308,), (317,), (14,), (87,)),
)
_FIRST = np.array([vertices[0] for vertices in _VERTICES])
_LAST = np.array([vertices[-1] for vertices in _VERTICES])


def from_mesh(points: Any) -> np.ndarray:
    """iBUG points [..., 68, 2] of mesh vertices [..., 468 or 478, 2 or 3]; depth is left out.

    >>> from_mesh(np.zeros((478, 3))).shape
    (68, 2)
    """
    points = _points(points, MESH)
    return (points[..., _FIRST, :] + points[..., _LAST, :]) / 2


def from_five(points: Any) -> np.ndarray:
    """iBUG points [..., 68, 2] of eye left, eye right, nose tip, mouth left, mouth right.

    All six points of an eye are put at its centre; points that five do not determine are NaN.

    >>> points = from_five([[38, 52], [74, 52], [56, 72], [42, 92], [71, 92]])
    >>> points[36].tolist(), bool(np.isnan(points[0, 0]))
    ([38.0, 52.0], True)
    """
    points = _points(points, (5,))
    landmarks = np.full((*points.shape[:-2], IBUG, 2), np.nan, np.float32)
    landmarks[..., _EYE_LEFT, :] = points[..., :1, :]
    landmarks[..., _EYE_RIGHT, :] = points[..., 1:2, :]
    landmarks[..., (_NOSE, _MOUTH_LEFT, _MOUTH_RIGHT), :] = points[..., 2:, :]
    return landmarks


def from_any(points: Any) -> np.ndarray:
    """iBUG points [..., 68, 2] of 5, 68, 468 or 478 points, recognised by their number.

    >>> from_any(np.zeros((3, 5, 2))).shape
    (3, 68, 2)
    """
    points = _points(points, (5, IBUG, *MESH))
    if points.shape[-2] == 5:
        return from_five(points)
    return points if points.shape[-2] == IBUG else from_mesh(points)


def _points(points: Any, counts: tuple[int, ...]) -> np.ndarray:
    points = np.asarray(points, np.float32)
    if points.ndim < 2 or points.shape[-1] not in (2, 3):
        raise UserError(f"landmarks: got shape {points.shape}, it must be [..., points, 2 or 3]")
    if points.shape[-2] not in counts:
        raise unknown("number of landmarks", points.shape[-2], counts)
    return points[..., :2]


def known(landmarks: Any, xp: Any = np) -> tuple[Any, Any]:
    """Whether all points [...] of landmarks [..., 68, 2] are known, and whether the five are.

    With `xp` jax.numpy it can be traced.

    >>> [bool(told) for told in known(from_five(np.zeros((5, 2))))]
    [False, True]
    """
    finite = xp.isfinite(landmarks).all(-1)
    return finite.all(-1), finite[..., np.array(FIVE)].all(-1)


def five_points(landmarks: Any, xp: Any = np) -> Any:
    """Eye centres, nose tip and mouth corners [..., 5, 2] of landmarks [..., 68, 2].

    >>> five_points(from_five([[38, 52], [74, 52], [56, 72], [42, 92], [71, 92]]))[0].tolist()
    [38.0, 52.0]
    """
    eyes = [landmarks[..., eye, :].mean(-2, keepdims=True) for eye in (_EYE_LEFT, _EYE_RIGHT)]
    rest = [landmarks[..., i : i + 1, :] for i in (_NOSE, _MOUTH_LEFT, _MOUTH_RIGHT)]
    return xp.concatenate([*eyes, *rest], -2)


def flip(points: Any, width: float) -> Any:
    """Landmarks [..., 68, 2] of the mirrored image, in pixel indices of an image that wide.

    >>> points = from_five([[38, 52], [74, 52], [56, 72], [42, 92], [71, 92]])
    >>> five_points(flip(points, width=112))[:2].tolist()
    [[37.0, 52.0], [73.0, 52.0]]
    """
    mirrored = points[..., np.array(FLIP), :]
    sign, shift = np.array([-1, 1], points.dtype), np.array([width - 1, 0], points.dtype)
    return mirrored * sign + shift
