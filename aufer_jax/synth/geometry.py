"""The face in three dimensions: iBUG-68 points, what each action unit does to them, projection.

Unit: the distance of the eye centres. x to the right of the image, y down, z towards the viewer;
origin midway between the eyes. "Left" is left in the image.
"""

from dataclasses import dataclass

import numpy as np

from aufer_jax.geometry.mean_face import NEUTRAL, mirrored
from aufer_jax.synth.identity import Identity

AUS = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 16, 17, 18, 20, 22, 23, 24, 25, 26, 27, 28, 43, 45)
AU_INDEX = {au: i for i, au in enumerate(AUS)}

# Displacements (out from the midline, down, forward) at intensity 5.
_ACTIONS: dict[int, dict[int, tuple[float, float, float]]] = {
    1: {21: (-0.02, -0.20, 0), 20: (0, -0.14, 0), 19: (0, -0.05, 0), 27: (0, -0.02, 0)},
    2: {17: (0.01, -0.09, 0), 18: (0.01, -0.18, 0), 19: (0, -0.18, 0), 20: (0, -0.09, 0)},
    4: {21: (-0.07, 0.13, 0.03), 20: (-0.06, 0.13, 0.03), 19: (-0.04, 0.10, 0.02),
        18: (-0.02, 0.06, 0), 17: (0, 0.02, 0)},
    6: {17: (0, 0.02, 0), 18: (0, 0.02, 0), 36: (-0.02, 0.005, 0)},
    9: {21: (-0.03, 0.07, 0.02), 20: (-0.01, 0.05, 0), 30: (0, -0.05, 0), 31: (0.03, -0.10, 0.02),
        32: (0.01, -0.08, 0), 33: (0, -0.06, 0), 48: (0, -0.03, 0), 49: (0.01, -0.09, 0.02),
        50: (0, -0.10, 0), 51: (0, -0.08, 0), 61: (0, -0.05, 0), 62: (0, -0.05, 0)},
    10: {31: (0.03, -0.05, 0), 32: (0, -0.03, 0), 33: (0, -0.02, 0), 48: (0.02, 0.0, 0),
         49: (0.03, -0.12, 0.02), 50: (0.01, -0.15, 0.02), 51: (0, -0.11, 0.02),
         61: (0, -0.12, 0), 62: (0, -0.10, 0)},
    12: {48: (0.15, -0.17, -0.06), 49: (0.10, -0.07, -0.03), 50: (0.04, 0.01, -0.02),
         51: (0, 0.03, -0.02), 57: (0, 0.02, -0.02), 58: (0.05, 0.01, -0.02),
         59: (0.11, -0.05, -0.04), 60: (0.14, -0.16, -0.05), 61: (0.05, 0.01, 0),
         62: (0, 0.03, 0), 66: (0, 0.02, 0), 67: (0.05, 0.01, 0), 31: (0.03, -0.01, 0)},
    14: {48: (0.07, -0.01, -0.09), 60: (0.06, -0.01, -0.08), 49: (0.04, 0.02, -0.03),
         59: (0.04, -0.02, -0.03), 51: (0, 0.01, 0), 57: (0, -0.01, 0)},
    15: {48: (0.01, 0.15, -0.02), 60: (0.01, 0.14, -0.02), 49: (0, 0.06, 0), 59: (0.02, 0.09, 0),
         58: (0.03, 0.04, 0), 57: (0, 0.01, 0), 50: (0, 0.01, 0)},
    16: {57: (0, 0.12, 0), 58: (0.02, 0.12, 0), 59: (0.03, 0.06, 0), 66: (0, 0.10, 0),
         67: (0.01, 0.10, 0), 8: (0, 0.02, 0), 7: (0, 0.02, 0)},
    17: {57: (0, -0.11, 0.05), 58: (0, -0.10, 0.05), 59: (0, -0.03, 0.03), 66: (0, -0.07, 0.03),
         67: (0, -0.06, 0.03), 62: (0, -0.06, 0), 61: (0, -0.05, 0), 51: (0, -0.05, 0),
         50: (0, -0.04, 0), 49: (0, -0.01, 0), 48: (0.01, 0.04, 0), 60: (0.01, 0.03, 0),
         8: (0, -0.06, 0.03), 7: (0, -0.05, 0.02), 6: (0, -0.02, 0)},
    18: {48: (-0.19, 0.0, 0.12), 60: (-0.17, 0.0, 0.11), 49: (-0.12, -0.02, 0.12),
         59: (-0.12, 0.03, 0.12), 50: (-0.03, -0.05, 0.12), 58: (-0.04, 0.05, 0.12),
         51: (0, -0.04, 0.12), 57: (0, 0.05, 0.12), 61: (-0.05, 0, 0.1), 67: (-0.05, 0, 0.1)},
    20: {48: (0.19, 0.05, -0.07), 60: (0.18, 0.05, -0.06), 49: (0.12, 0.05, -0.03),
         59: (0.14, 0.02, -0.04), 50: (0.05, 0.03, 0), 58: (0.06, -0.01, 0), 51: (0, 0.02, 0),
         57: (0, -0.01, 0), 61: (0.04, 0, 0), 67: (0.05, 0.02, 0)},
    22: {48: (-0.13, 0.0, 0.08), 60: (-0.11, 0.0, 0.08), 49: (-0.08, -0.05, 0.12),
         59: (-0.08, 0.06, 0.12), 50: (-0.02, -0.08, 0.14), 58: (-0.02, 0.09, 0.14),
         51: (0, -0.07, 0.14), 57: (0, 0.10, 0.14), 61: (-0.02, -0.04, 0.1),
         62: (0, -0.04, 0.1), 66: (0, 0.04, 0.1), 67: (-0.02, 0.04, 0.1)},
    23: {48: (-0.06, 0, 0), 60: (-0.05, 0, 0), 49: (-0.03, 0.03, 0), 50: (0, 0.06, 0),
         51: (0, 0.055, 0), 57: (0, -0.07, 0), 58: (0, -0.065, 0), 59: (-0.03, -0.03, 0)},
    24: {48: (-0.05, 0.01, 0), 60: (-0.04, 0.01, 0), 49: (-0.01, 0.045, 0), 50: (0, 0.085, 0),
         51: (0, 0.08, 0), 57: (0, -0.10, 0), 58: (0, -0.095, 0), 59: (-0.01, -0.055, 0)},
    25: {50: (0, -0.015, 0), 51: (0, -0.015, 0), 61: (0, -0.02, 0), 62: (0, -0.025, 0),
         66: (0, 0.11, 0), 67: (0, 0.10, 0), 57: (0, 0.09, 0), 58: (0, 0.085, 0),
         59: (0, 0.03, 0)},
    26: {66: (0, 0.22, -0.03), 67: (0, 0.21, -0.03), 57: (0, 0.21, -0.03), 58: (0, 0.205, -0.03),
         59: (0, 0.11, -0.02), 48: (-0.02, 0.05, 0), 60: (-0.02, 0.05, 0), 8: (0, 0.20, -0.04),
         7: (0, 0.19, -0.04), 6: (0, 0.16, -0.03), 5: (-0.01, 0.11, 0), 4: (-0.01, 0.06, 0),
         3: (0, 0.02, 0)},
    27: {66: (0, 0.38, -0.08), 67: (-0.01, 0.36, -0.08), 57: (0, 0.38, -0.08),
         58: (-0.01, 0.37, -0.08), 59: (-0.04, 0.25, -0.05), 48: (-0.08, 0.10, 0),
         60: (-0.06, 0.10, 0), 49: (-0.05, 0.0, 0), 50: (0, -0.03, 0), 51: (0, -0.03, 0),
         61: (0, -0.03, 0), 62: (0, -0.03, 0), 8: (0, 0.38, -0.08), 7: (0, 0.36, -0.08),
         6: (-0.01, 0.30, -0.06), 5: (-0.03, 0.20, -0.02), 4: (-0.03, 0.10, 0),
         3: (-0.01, 0.04, 0)},
    28: {49: (-0.01, 0.06, 0), 50: (0, 0.10, -0.05), 51: (0, 0.09, -0.05), 57: (0, -0.135, -0.05),
         58: (0, -0.125, -0.05), 59: (-0.01, -0.07, 0), 48: (-0.02, 0, 0)},
}  # fmt: skip

# Hairline, from the left sideburn to the middle of the forehead.
_HAIRLINE = np.array(
    [(-1.05, -0.22, -0.66), (-0.99, -0.50, -0.45), (-0.86, -0.75, -0.22), (-0.60, -0.94, 0.0),
     (-0.25, -1.02, 0.12), (0.0, -1.03, 0.14)]
)  # fmt: skip
HAIRLINE = np.concatenate([_HAIRLINE, _HAIRLINE[-2::-1] * (-1, 1, 1)])
CRANIUM_CENTRE = np.array((0.0, -0.18, -0.75))
CRANIUM_RADII = np.array((1.15, 1.25, 1.25))
HEAD_CENTRE = np.array((0.0, 0.25, -0.85))
HEAD_RADII = np.array((1.16, 1.75, 1.15))


_SIDE = np.sign(NEUTRAL[:, 0]).astype(int)  # -1 left, 0 midline, 1 right
BASIS = np.stack(
    [mirrored({i: (-o, d, f) for i, (o, d, f) in _ACTIONS.get(au, {}).items()}) / 5 for au in AUS]
)

LIDS = ((37, 36, 39, 41), (38, 36, 39, 40), (44, 45, 42, 46), (43, 45, 42, 47))
LIPS = ((61, 67), (62, 66), (63, 65))
_ANCHORS = np.array([*range(17), *range(17, 36), 36, 39, 42, 45, *range(48, 60)])


def surface_depth(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Depth of the smooth face front, without nose and lips."""
    return 0.68 * np.sqrt(np.maximum(0.0, 1 - (x / 1.14) ** 2 - ((y - 0.25) / 1.8) ** 2)) - 0.40


def follow_weights(points: np.ndarray) -> np.ndarray:
    """[K, 68] weights with which skin points [K, 2] follow the displacements of the landmarks."""
    apart = points[:, None, :2] - NEUTRAL[None, _ANCHORS, :2]
    near = np.exp(-(apart**2).sum(-1) / (2 * 0.17**2))
    weights = np.zeros((len(points), 68))
    weights[:, _ANCHORS] = near / (near.sum(1, keepdims=True) + 0.15)
    return weights


def identity_shape(who: Identity) -> np.ndarray:
    """[68, 3] neutral landmarks of one person."""
    p = NEUTRAL.copy()
    out = np.sign(p[:, 0])
    jaw, brows, nose = slice(0, 17), slice(17, 27), slice(27, 36)
    low = np.clip((p[jaw, 1] - 0.3) / 1.4, 0, 1)
    p[jaw, 0] *= 1 + 0.035 * who.face_width + 0.05 * who.jaw_width * np.sin(np.pi * low**0.8)
    p[jaw, 1] += 0.05 * who.chin_length * low**1.5
    for eye in (slice(36, 42), slice(42, 48)):
        centre = p[eye].mean(0)
        p[eye, :2] = centre[:2] + (p[eye, :2] - centre[:2]) * (1 + 0.07 * who.eye_size)
        p[eye, 1] -= (
            0.05
            * who.eye_tilt
            * np.abs(p[eye, 0] - centre[0])
            * np.sign((p[eye, 0] - centre[0]) * centre[0])
        )
        p[eye, 0] += 0.02 * who.eye_spacing * np.sign(centre[0])
    along = (np.abs(p[brows, 0]) - 0.23) / 0.67
    p[brows, 1] -= 0.022 * who.brow_height + 0.03 * who.brow_tilt * (along - 0.5)
    p[brows, 1] -= 0.02 * who.brow_arch * np.sin(np.pi * np.clip(along, 0, 1))
    p[nose, 0] *= 1 + 0.09 * who.nose_width
    p[nose, 1] *= 1 + 0.05 * who.nose_length
    lips = slice(48, 68)
    p[lips, 0] *= 1 + 0.06 * who.mouth_width
    p[lips, 1] += 0.02 * who.mouth_height + 0.025 * who.nose_length + 0.015 * who.chin_length
    for outer in (49, 50, 51, 52, 53):
        p[outer, 1] -= 0.014 * who.lip_thickness
    for outer in (55, 56, 57, 58, 59):
        p[outer, 1] += 0.018 * who.lip_thickness
    p[[48, 54, 60, 64], 1] -= 0.012 * who.mouth_curve
    p[brows, 0] += out[brows] * 0.012 * who.eye_spacing
    return p


def _set_lids(p: np.ndarray, neutral: np.ndarray, level: dict[int, np.ndarray]) -> None:
    """Opens and closes the eyes; `level[au]` is a pair (left, right) in 0..1."""
    closed = np.clip(np.maximum(level[43], level[45]), 0, 1)
    squint = 0.30 * level[6] + 0.40 * level[7] + 0.15 * level[9] + 0.08 * level[12]
    for upper, outer, inner, lower in LIDS:
        side = int(p[upper, 0] > 0)
        t = (neutral[upper, 0] - neutral[outer, 0]) / (neutral[inner, 0] - neutral[outer, 0])
        axis = neutral[outer] + t * (neutral[inner] - neutral[outer])
        above = neutral[upper, 1] - axis[1]
        below = neutral[lower, 1] - axis[1]
        wide = 1 + 0.95 * level[5][side] - 0.35 * level[7][side] - 0.15 * level[6][side]
        above *= max(wide, 0.25)
        below *= max(1 - squint[side] * 1.3 + 0.15 * level[5][side], 0.05)
        shut = closed[side]
        p[lower, 1] = axis[1] + below * (1 - 0.25 * shut)
        p[upper, 1] = (axis[1] + above) * (1 - shut) + p[lower, 1] * shut


def _seal_lips(p: np.ndarray, au: np.ndarray) -> None:
    """Keeps closed lips closed, pressed lips together, and the lower lip below the upper."""
    parting = au[[AU_INDEX[a] for a in (25, 26, 27)]].sum() + 0.7 * au[AU_INDEX[22]]
    pressed = max(au[AU_INDEX[24]], au[AU_INDEX[28]], 0.6 * au[AU_INDEX[23]]) / 5
    seal = 1 - np.clip(parting, 0, 1) * (1 - 0.7 * pressed)
    for upper, lower in LIPS:
        middle = (p[upper] + p[lower]) / 2
        p[upper] += seal * (middle - p[upper])
        p[lower] += seal * (middle - p[lower])
        p[lower, 1] = max(p[lower, 1], p[upper, 1] + 0.004)
    for outer, inner in ((50, 61), (51, 62), (52, 63)):
        p[outer, 1] = min(p[outer, 1], p[inner, 1] - 0.03)
    for outer, inner in ((58, 67), (57, 66), (56, 65)):
        p[outer, 1] = max(p[outer, 1], p[inner, 1] + 0.035)
    p[[60, 64], 1] = np.where(
        p[[60, 64], 0] < 0, p[48, 1] * 0.9 + p[61, 1] * 0.1, p[54, 1] * 0.9 + p[63, 1] * 0.1
    )


def side_gain(balance: np.ndarray) -> np.ndarray:
    """Gain [3, 24] of each unit on the left, the midline and the right; see `pose_face`."""
    left, right = np.clip(1 + balance, 0, 1), np.clip(1 - balance, 0, 1)
    return np.stack([left, (left + right) / 2, right])


def pose_face(neutral: np.ndarray, au: np.ndarray, balance: np.ndarray) -> np.ndarray:
    """Moves neutral landmarks [68, 3] by the intensities `au` [24].

    `balance` [24] in -1..1 weakens the right side (positive) or the left side (negative) of an AU.
    """
    gain = side_gain(balance)
    strength = gain[_SIDE + 1] * au  # [68, 24]
    p = neutral + np.einsum("pa,apc->pc", strength, BASIS)
    level = {a: gain[[0, 2], AU_INDEX[a]] * au[AU_INDEX[a]] / 5 for a in (5, 6, 7, 9, 12, 43, 45)}
    _set_lids(p, neutral, level)
    _seal_lips(p, au)
    return p


@dataclass(frozen=True)
class View:
    """Head pose and framing. Angles in degrees: yaw turns the nose right, pitch down, roll
    clockwise in the image. `centre` is the image position of the point between the eyes as a
    share of the image, `scale` the eye distance of a frontal face as a share of the image."""

    yaw: float = 0.0
    pitch: float = 0.0
    roll: float = 0.0
    centre: tuple[float, float] = (0.5, 0.40)
    scale: float = 0.27


@dataclass(frozen=True)
class Projection:
    """Head coordinates to pixels: `pixels = (rotation @ point)[:2] * scale + origin`."""

    rotation: np.ndarray
    scale: float
    origin: np.ndarray

    def __call__(self, points: np.ndarray) -> np.ndarray:
        return points @ (self.rotation[:2] * self.scale).T + self.origin


def projection(view: View, size: int) -> Projection:
    """Builds the map from head coordinates to pixels of a square image."""
    yaw, pitch, roll = np.deg2rad((view.yaw, view.pitch, view.roll))
    cy, sy, cp, sp, cr, sr = (f(a) for a in (yaw, pitch, roll) for f in (np.cos, np.sin))
    turn = np.array(((cy, 0, sy), (0, 1, 0), (-sy, 0, cy)))
    nod = np.array(((1, 0, 0), (0, cp, sp), (0, -sp, cp)))
    tilt = np.array(((cr, -sr, 0), (sr, cr, 0), (0, 0, 1)))
    rotation = tilt @ nod @ turn
    scale = view.scale * size
    pivot = rotation @ np.array((0.0, 0.35, -0.25))  # keeps the face in place when it turns
    rest = tilt @ np.array((0.0, 0.35, -0.25))
    origin = np.array(view.centre) * size - 0.5 + (rest - pivot)[:2] * scale
    return Projection(rotation, scale, origin)


def contour(rim: np.ndarray, project: Projection, centre: np.ndarray) -> np.ndarray:
    """Visible outline [N, 2]: at each rim point [N, 3] the farthest of rim, cheek and front."""
    cheek, front = rim.copy(), rim.copy()
    for points, share in ((cheek, 0.88), (front, 0.66)):
        points[:, 0] *= share
        points[:, 2] = np.maximum(surface_depth(points[:, 0], points[:, 1]), rim[:, 2])
    candidates = project(np.stack([rim, cheek, front]))  # [3, N, 2]
    away = candidates[0] - project(centre)
    away /= np.linalg.norm(away, axis=1, keepdims=True) + 1e-9
    reach = ((candidates - project(centre)) * away).sum(-1) / project.scale
    weight = np.exp(30 * (reach - reach.max(0)))
    return (candidates * (weight / weight.sum(0))[..., None]).sum(0)


def ellipse(centre: np.ndarray, radii: np.ndarray, project: Projection, n: int = 40) -> np.ndarray:
    """Outline [n, 2] of an ellipsoid seen through the projection."""
    spread = (project.rotation * radii**2) @ project.rotation.T
    values, vectors = np.linalg.eigh(spread[:2, :2])
    angle = np.linspace(0, 2 * np.pi, n, endpoint=False)
    ring = np.stack([np.cos(angle), np.sin(angle)]) * np.sqrt(values)[:, None]
    return project(centre) + project.scale * (vectors @ ring).T
