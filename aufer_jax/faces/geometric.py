"""AUs estimated from 68 landmarks alone: distances in the face, turned to the front and scaled.

A rough proxy. Landmarks show where brows, lids, lips and chin are, not what the skin does, and where a
person's brows are at rest is unknown unless a neutral face of the same person is given. How far it agrees
with OpenFace, AU by AU: docs/results/geometric_aus.md. AUs that landmarks show worse than those are left
out (14, 20, 23 among OpenFace's), and AU12 is the only one to rely on for a single face.

The unit of length is the distance of the eye centres. The head is turned to the front by fitting the
camera to nine points that expressions move little; the fit is damped, as nine points fix it only roughly.
"""

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from aufer_jax.errors import UserError, unknown
from aufer_jax.faces import au_files
from aufer_jax.geometry.landmarks import known
from aufer_jax.geometry.mean_face import NEUTRAL

MOST = 5.0  # the highest intensity

_STILL = np.array([27, 28, 29, 30, 33, 36, 39, 42, 45])  # bridge and base of the nose, eye corners
_DAMPING = 0.3  # of the camera fit
_EYES = (slice(36, 42), slice(42, 48))

# AU -> measures and their weights; the value at rest, which is the median over photographs labelled
# neutral (benchmarks/geometric_aus.py writes it beside these); how much more is intensity 5.
_AUS: dict[int, tuple[Mapping[str, float], float, float]] = {
    1: ({"brow_inner": 1}, 0.265, 0.2),
    2: ({"brow_middle": 0.5, "brow_outer": 0.5}, 0.304, 0.18),
    4: ({"brow_inner": -0.5, "brow_middle": -0.5, "brow_gap": -0.5}, -0.511, 0.2),
    5: ({"eye_opening": 1}, 0.112, 0.07),
    6: ({"lower_lid": 1}, -0.037, 0.07),
    7: ({"lower_lid": 1, "upper_lid": -0.5}, -0.074, 0.08),
    9: ({"lower_lid": 1, "brow_inner": -0.5, "brow_gap": -0.5}, -0.385, 0.2),
    10: ({"upper_lip": 1, "lip_gap": 0.5}, -0.217, 0.3),
    12: ({"mouth_width": 1, "corner_to_nose": 0.5, "corner_to_gap": 0.5}, 0.58, 0.5),
    15: ({"corner_to_lips": -1}, -0.019, 0.15),
    17: ({"lip_gap": -1, "lower_lip_height": -1, "corner_to_gap": -0.5}, -0.181, 0.2),
    25: ({"lip_gap": 1}, 0.036, 0.3),
    26: ({"lip_gap": 1, "chin": 0.25}, 0.286, 0.45),
    45: ({"eye_opening": -0.5, "upper_lid": -0.5}, -0.093, 0.1),
}
AUS = tuple(_AUS)


def measures(landmarks: Any) -> dict[str, np.ndarray]:
    """Named lengths [...] of faces [..., 68, 2]; heights count upwards, NaN where unknown."""
    points = frontal(landmarks)

    def x(*which: int) -> np.ndarray:
        return points[..., list(which), 0].mean(-1)

    def up(*which: int) -> np.ndarray:
        return -points[..., list(which), 1].mean(-1)

    eyes, nose = up(36, 39, 42, 45), up(33)
    corners, gap = up(48, 54), up(61, 62, 63) - up(65, 66, 67)
    upper, lower = up(37, 38, 43, 44), up(40, 41, 46, 47)
    return {
        "brow_inner": up(21, 22) - eyes,
        "brow_middle": up(19, 24) - eyes,
        "brow_outer": up(18, 25) - eyes,
        "brow_gap": x(22) - x(21),
        "eye_opening": upper - lower,
        "upper_lid": upper - eyes,
        "lower_lid": lower - eyes,
        "mouth_width": x(54) - x(48),
        "corner_to_nose": corners - nose,
        "corner_to_gap": corners - up(62, 66),
        "corner_to_lips": corners - (up(51) + up(57)) / 2,
        "upper_lip": up(50, 51, 52) - nose,
        "lower_lip_height": up(66) - up(57),
        "lip_gap": gap,
        "chin": nose - up(8),
    }


def frontal(landmarks: Any) -> np.ndarray:
    """Landmarks [..., 68, 2] upright, seen from the front, the eyes about 1 apart.

    NaN where not all 68 are known or the eyes are in one place.
    """
    points = np.asarray(landmarks, np.float64)
    if points.shape[-2:] != (68, 2):
        raise UserError(f"landmarks: got shape {points.shape}, it must be [..., 68, 2]")
    points = np.where(known(points)[0][..., None, None], points, np.nan)
    level = _level(points)
    model = _model()
    seen = np.c_[model[_STILL], np.ones(len(_STILL))]
    damped = seen.T @ seen + np.diag([_DAMPING, _DAMPING, _DAMPING, 0])
    off = level[..., _STILL, :] - model[_STILL, :2]
    turn = np.linalg.solve(damped, seen.T) @ off  # [..., 4, 2]
    return level - np.c_[model, np.ones(len(model))] @ turn


def _level(points: np.ndarray) -> np.ndarray:
    """Points rotated and scaled so that the eye centres are at (-0.5, 0) and (0.5, 0)."""
    left, right = (points[..., eye, :].mean(-2) for eye in _EYES)
    across = right - left
    with np.errstate(divide="ignore", invalid="ignore"):
        along = across / np.square(across).sum(-1, keepdims=True)
    along = np.where(np.isfinite(along), along, np.nan)
    moved = points - ((left + right) / 2)[..., None, :]
    x = (moved * along[..., None, :]).sum(-1)
    y = (moved * np.stack([-along[..., 1], along[..., 0]], -1)[..., None, :]).sum(-1)
    return np.stack([x, y], -1)


def _model() -> np.ndarray:
    """A mean face in three dimensions [68, 3], in the same units: that of the drawn faces."""
    left, right = (NEUTRAL[eye].mean(0) for eye in _EYES)
    return (NEUTRAL - (left + right) / 2) / np.linalg.norm(right - left)


def values(landmarks: Any) -> np.ndarray:
    """What each AU is estimated from [..., AUs], in the order of `AUS`, before it is scaled."""
    found = measures(landmarks)
    return np.stack(
        [sum(w * found[name] for name, w in parts.items()) for parts, _, _ in _AUS.values()], -1
    )


def rest() -> np.ndarray:
    """The values [AUs] of a face at rest when nothing is known of the person."""
    return np.array([at_rest for _, at_rest, _ in _AUS.values()])


def intensities(landmarks: Any, neutral: Any = None) -> np.ndarray:
    """AU intensities.

    Args:
      landmarks: iBUG-68 points [..., 68, 2].
      neutral: points [68, 2] of the same person at rest, or several such faces [n, 68, 2], whose
        median is used; by default the median of many people.

    Returns:
      float32 [..., AUs] from 0 to 5, in the order of `AUS`; NaN where not all 68 points are known.
    """
    start = rest()
    if neutral is not None:
        own = values(neutral).reshape(-1, len(AUS))
        if not np.isfinite(own).all(-1).any():
            raise UserError("neutral: all 68 points of a neutral face must be known")
        start = np.nanmedian(own[np.isfinite(own).all(-1)], 0)
    full = np.array([span for _, _, span in _AUS.values()])
    return np.clip(MOST * (values(landmarks) - start) / full, 0, MOST).astype(np.float32)


def from_files(
    landmarks: str | os.PathLike, out: str | os.PathLike, neutral: Sequence[str] = ()
) -> tuple[int, int]:
    """Writes the AUs of landmarks in files, one row per image; see `sources.landmark_files`.

    Args:
      landmarks: a file, folder or .zip of landmarks in pixels.
      out: the CSV file.
      neutral: names of images that show this one person at rest; all faces are then measured
        against these.

    Returns:
      The number of images, and of those in which not all 68 points are known.
    """
    from aufer_jax.sources import landmark_files

    largest: dict[str, tuple[np.ndarray, float]] = {}
    for name, face, score in landmark_files.read(str(landmarks)):
        if known(face)[1] and landmark_files.are_fractions(face):
            raise UserError(
                f"landmarks: those of {name} are fractions of an image whose shape is not known "
                f"here; use aufer faces align --aus"
            )
        if name not in largest or _extent(face) > _extent(largest[name][0]):
            largest[name] = face, score
    if not largest:
        raise UserError(f"landmarks: {landmarks} contains no face")
    for name in neutral:
        if name not in largest:
            raise unknown("neutral", name, largest)
    faces = np.stack([face for face, _ in largest.values()])
    scores = np.clip([score for _, score in largest.values()], 0, 1)
    start = np.stack([largest[name][0] for name in neutral]) if neutral else None
    found = intensities(faces, start)
    return len(faces), au_files.write(out, list(largest), AUS, found, scores)


def _extent(face: np.ndarray) -> float:
    seen = face[np.isfinite(face).all(-1)]
    return float(np.prod(seen.max(0) - seen.min(0))) if len(seen) else 0.0
