"""Skin relief: bulges, furrows and wrinkles as Gaussian spots that action units and age raise.

Each spot has three effects: height (lit with the light's direction), shadow, redness.
"""

import numpy as np

from aufer_jax.synth.draw import spline
from aufer_jax.synth.geometry import (
    AU_INDEX,
    AUS,
    NEUTRAL,
    follow_weights,
    side_gain,
    surface_depth,
)

# Lines: points of the left half (the right is mirrored; x = 0 stays single),
# spread, (height, shadow), share present at rest, share of age, AU: strength at intensity 5.
_LINES = (
    ([(-0.66, -0.60), (-0.44, -0.63), (-0.20, -0.61), (0, -0.60)], 0.020, (-1.0, 0.8), 0, 0.35,
     {1: 1.0, 2: 0.5}),
    ([(-0.66, -0.71), (-0.42, -0.75), (-0.18, -0.73), (0, -0.72)], 0.020, (-1.0, 0.8), 0, 0.4,
     {1: 0.9, 2: 0.7}),
    ([(-0.60, -0.82), (-0.38, -0.86), (0, -0.84)], 0.020, (-0.9, 0.6), 0, 0.35, {1: 0.6, 2: 0.7}),
    ([(-0.86, -0.48), (-0.68, -0.56), (-0.46, -0.56)], 0.020, (-0.8, 0.6), 0, 0.1, {2: 1.0}),
    ([(-0.085, -0.50), (-0.10, -0.33), (-0.085, -0.16)], 0.020, (-1.2, 1.2), 0, 0.25,
     {4: 1.1, 9: 0.3}),
    ([(-0.22, -0.46), (-0.17, -0.38), (-0.15, -0.30)], 0.022, (-0.6, 0.6), 0, 0.0, {4: 0.8}),
    ([(-0.11, -0.06), (0, -0.03)], 0.020, (-1.0, 1.0), 0, 0.1, {9: 1.1, 4: 0.35}),
    ([(-0.05, 0.09), (-0.13, 0.19), (-0.20, 0.32)], 0.018, (-1.0, 1.0), 0, 0.0, {9: 1.1}),
    ([(-0.04, 0.20), (-0.11, 0.30), (-0.17, 0.44)], 0.018, (-1.0, 0.9), 0, 0.0, {9: 1.0}),
    ([(-0.06, 0.01), (0, 0.06)], 0.018, (-1.0, 0.9), 0, 0.0, {9: 1.0}),
    ([(-0.80, -0.02), (-0.90, -0.07), (-0.99, -0.13)], 0.016, (-1.0, 0.9), 0, 0.3, {6: 0.9}),
    ([(-0.80, 0.03), (-0.91, 0.03), (-1.00, 0.02)], 0.016, (-1.0, 0.9), 0, 0.35, {6: 0.9}),
    ([(-0.79, 0.08), (-0.88, 0.13), (-0.96, 0.18)], 0.016, (-1.0, 0.9), 0, 0.25, {6: 0.9}),
    ([(-0.68, 0.15), (-0.50, 0.185), (-0.32, 0.14)], 0.020, (-0.7, 0.75), 0.15, 0.5,
     {6: 0.8, 7: 0.7, 9: 0.4}),
    ([(-0.74, 0.28), (-0.52, 0.34), (-0.33, 0.27)], 0.024, (-0.9, 0.7), 0, 0.25, {6: 1.0, 9: 0.4}),
    ([(-0.29, 0.60), (-0.39, 0.72), (-0.49, 0.90), (-0.54, 1.06)], 0.026, (-1.1, 0.85), 0.12, 0.55,
     {12: 0.95, 10: 0.8, 9: 0.8, 6: 0.25, 20: 0.25, 14: 0.2}),
    ([(-0.28, 0.58), (-0.37, 0.66)], 0.026, (-0.8, 0.6), 0.1, 0.2, {10: 0.8, 9: 0.7, 12: 0.2}),
    ([(-0.47, 1.03), (-0.50, 1.11), (-0.49, 1.19)], 0.022, (-1.0, 0.9), 0, 0.0,
     {12: 0.5, 14: 1.2}),
    ([(-0.545, 1.05), (-0.575, 1.13), (-0.55, 1.21)], 0.026, (-0.9, 0.65), 0, 0.0, {14: 1.2}),
    ([(-0.46, 1.21), (-0.50, 1.32), (-0.49, 1.45)], 0.028, (-0.9, 0.45), 0, 0.3,
     {15: 0.9, 17: 0.3}),
    ([(-0.24, 1.44), (-0.13, 1.40), (0, 1.385)], 0.026, (-1.0, 0.8), 0.25, 0.1,
     {17: 1.0, 15: 0.3}),
    ([(-0.16, 1.50), (-0.10, 1.53)], 0.022, (-1.0, 0.65), 0, 0.0, {17: 1.2}),
    ([(-0.06, 1.48), (0, 1.50)], 0.022, (-1.0, 0.65), 0, 0.0, {17: 1.2}),
    ([(-0.13, 1.58), (-0.05, 1.60)], 0.022, (-1.0, 0.65), 0, 0.0, {17: 1.2}),
    ([(-0.60, 0.98), (-0.64, 1.12), (-0.62, 1.28)], 0.030, (-0.9, 0.5), 0, 0.0, {20: 1.1}),
    ([(-0.70, 0.95), (-0.75, 1.10), (-0.72, 1.26)], 0.030, (-0.7, 0.4), 0, 0.0, {20: 0.9}),
    ([(-0.17, 0.87), (-0.18, 0.98)], 0.016, (-0.8, 0.55), 0, 0.1, {18: 1.1, 23: 0.6}),
    ([(-0.07, 0.86), (-0.075, 0.97)], 0.016, (-0.8, 0.55), 0, 0.1, {18: 1.1, 23: 0.6}),
    ([(-0.14, 1.30), (-0.15, 1.40)], 0.016, (-0.8, 0.55), 0, 0.0, {18: 1.1, 23: 0.6}),
    ([(-0.05, 1.32), (-0.05, 1.41)], 0.016, (-0.8, 0.55), 0, 0.0, {18: 1.1, 23: 0.6}),
    ([(-0.34, 1.00), (-0.18, 0.955), (0, 0.965)], 0.022, (-0.9, 0.8), 0, 0.0,
     {24: 0.9, 28: 0.8}),
    ([(-0.30, 1.25), (-0.15, 1.315), (0, 1.325)], 0.024, (-1.0, 1.0), 0.15, 0.0,
     {24: 1.0, 28: 0.8, 23: 0.4}),
    ([(-0.64, -0.125), (-0.50, -0.155), (-0.36, -0.12)], 0.016, (-0.5, 0.75), 0.75, 0.2,
     {43: -0.4, 45: -0.4}),
)  # fmt: skip

# Spots: (x, y), depth in front of the surface, spread, (height, shadow, redness),
# share at rest, share of age, AU: strength.
_SPOTS = (
    ((0, 0.10), 0.06, 0.065, (0.9, 0, 0), 1, 0, {}),
    ((0, 0.28), 0.14, 0.065, (1.3, 0, 0), 1, 0, {}),
    ((0, 0.44), 0.22, 0.075, (1.7, 0, 0.1), 1, 0, {}),
    ((0, 0.57), 0.28, 0.085, (2.3, 0, 0.35), 1, 0, {}),
    ((-0.18, 0.62), 0.02, 0.065, (1.0, 0, 0.15), 1, 0, {9: 0.4, 10: 0.2}),
    ((0, 0.76), 0.04, 0.055, (0, 0.30, 0), 1, 0, {}),
    ((-0.13, 0.75), 0.02, 0.06, (0, 0.28, 0), 1, 0, {}),
    ((-0.13, 0.12), 0.02, 0.06, (-0.5, 0.22, 0), 1, 0, {}),
    ((-0.16, 0.30), 0.02, 0.06, (-0.5, 0.24, 0), 1, 0, {}),
    ((-0.18, 0.46), 0.02, 0.06, (-0.5, 0.20, 0), 1, 0, {}),
    ((-0.27, 0.68), 0, 0.035, (-0.5, 0.55, 0), 1, 0, {9: 0.3, 10: 0.2}),
    ((-0.28, 0.02), 0, 0.10, (-0.9, 0.18, 0), 1, 0.3, {9: 0.2}),
    ((-0.50, -0.16), 0, 0.13, (-0.9, 0.12, 0), 1, 0.1, {4: 0.5, 5: -0.3}),
    ((-0.50, 0.16), 0, 0.12, (-0.3, 0.12, 0.1), 1, 0.6, {}),
    ((-0.34, -0.36), 0, 0.10, (0.5, 0, 0), 1, 0, {4: 0.9}),
    ((-0.66, -0.36), 0, 0.12, (0.6, 0, 0), 1, 0, {}),
    ((0, -0.30), 0.02, 0.06, (0.0, 0.0, 0), 1, 0, {}),
    ((-0.17, -0.25), 0.02, 0.05, (0.9, 0, 0), 0, 0, {4: 1.0}),
    ((-0.27, -0.19), 0.0, 0.08, (-0.4, 0.5, 0), 0, 0, {4: 1.0}),
    ((-0.62, 0.50), 0, 0.20, (1.4, 0, 0.5), 1, -0.3, {6: 0.3, 12: 0.3}),
    ((-0.60, 0.42), 0, 0.12, (1.5, -0.22, 0.5), 0, 0, {6: 1.0, 12: 0.4}),
    ((-0.56, 0.60), 0, 0.13, (0.7, -0.1, 0.2), 0, 0, {6: 0.5, 12: 0.9}),
    ((-0.68, 0.88), 0, 0.16, (-0.8, 0.16, 0), 0.3, 0.7, {18: 0.9, 27: 0.8, 22: 0.5, 28: 0.6}),
    ((-0.50, 0.16), 0, 0.06, (0.8, 0, 0.1), 0, 0.4, {6: 0.8, 7: 0.9}),
    ((-0.30, 0.48), 0, 0.08, (0.9, 0, 0.2), 0, 0, {9: 1.0, 10: 0.7}),
    ((0, 0.84), 0.02, 0.045, (-0.6, 0.10, 0), 1, 0, {12: -0.3, 24: -0.5}),
    ((-0.16, 0.90), 0.03, 0.09, (0.6, 0, 0), 1, 0, {24: 0.6, 18: 0.6, 28: 0.5}),
    ((0, 1.36), 0.02, 0.10, (-0.7, 0.30, 0), 1, 0, {17: -0.2}),
    ((0, 1.54), 0.02, 0.15, (1.5, 0, 0.15), 1, 0, {17: 0.6}),
    ((-0.16, 1.50), 0, 0.06, (0.7, 0, 0), 0, 0, {17: 1.0}),
    ((-0.48, 1.13), 0, 0.045, (-0.6, 0.45, 0), 0.35, 0.2, {14: 1.2, 12: 0.4, 20: 0.3}),
    ((-0.60, 1.14), 0, 0.08, (0.8, 0, 0), 0, 0.4, {14: 0.9, 12: 0.4}),
    ((-0.90, 0.75), -0.1, 0.20, (0, 0.10, 0), 1, 0.2, {}),
    ((-0.85, -0.45), -0.1, 0.18, (0, 0.07, 0), 1, 0, {}),
)  # fmt: skip


def _mirror(points: np.ndarray) -> tuple[np.ndarray, ...]:
    return (points,) if np.all(points[:, 0] == 0) else (points, points * (-1, 1))


def _table() -> tuple[np.ndarray, ...]:
    """Flattens both lists to spots: points [K, 3], spread, effects [K, 3], rest, age, AUs, side."""
    rows: list[tuple] = []
    for path, spread, (height, shadow), rest, age, drivers in _LINES:
        single = path[-1][0] == 0  # runs into the midline: the mirrored half repeats one point
        curve = spline(np.array(path, float), 8, closed=False)
        walked = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(curve, axis=0), axis=1))])
        n = max(4, int(np.ceil(walked[-1] / (1.2 * spread))))
        at = np.linspace(0, walked[-1], n)
        picks = np.stack([np.interp(at, walked, curve[:, i]) for i in range(2)], 1)
        t = np.linspace(0, 0.5 if single else 1, n)
        taper = np.sin(np.pi * (0.08 + 0.84 * t)) ** 0.7
        for half in _mirror(picks):
            for point, fade in zip(half, taper, strict=True):
                weight = (0.5 if single and point[0] == 0 else 1) * fade
                effect = (height * weight, shadow * weight, 0.25 * shadow * weight)
                rows.append((point, 0.0, spread, effect, rest, age, drivers))
    for point, lift, spread, effect, rest, age, drivers in _SPOTS:
        for half in _mirror(np.array([point], float)):
            rows.append((half[0], lift, spread, effect, rest, age, drivers))
    xy = np.array([r[0] for r in rows])
    depth = surface_depth(xy[:, 0], xy[:, 1]) + [r[1] for r in rows]
    drive = np.zeros((len(rows), len(AUS)))
    for k, row in enumerate(rows):
        for au, strength in row[6].items():
            drive[k, AU_INDEX[au]] = strength / 5
    columns = [np.array([r[i] for r in rows], float) for i in (2, 3, 4, 5)]
    return np.column_stack([xy, depth]), *columns, drive, np.sign(xy[:, 0]).astype(int)


_POINTS, _SPREAD, _EFFECT, _REST, _AGE, _DRIVE, _SIDE = _table()
_FOLLOW = follow_weights(_POINTS)


def relief_spots(
    shape: np.ndarray, au: np.ndarray, balance: np.ndarray, age: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Visible spots of a posed face: points [K, 3] (head), spreads [K], effects [K, 3]."""
    strength = side_gain(balance)[_SIDE + 1] * au  # [K, 24]
    raised = np.minimum((_DRIVE * strength).sum(1), 1.4)
    amount = np.maximum(_REST + _AGE * max(age - 0.2, 0) * 0.8 + raised * (0.75 + 0.5 * age), 0)
    seen = amount * np.abs(_EFFECT).max(1) > 0.04
    points = _POINTS[seen] + _FOLLOW[seen] @ (shape - NEUTRAL)
    return points, _SPREAD[seen], _EFFECT[seen] * amount[seen, None]


def splat(points: np.ndarray, spread: np.ndarray, weights: np.ndarray, size: int) -> np.ndarray:
    """Sums isotropic Gaussians at pixels [K, 2] with weights [K, C] into maps [C, size, size]."""
    grid = np.arange(size, dtype=np.float32)
    inverse = (1 / spread).astype(np.float32)[:, None]
    p = points.astype(np.float32)
    gx = np.exp(-0.5 * ((grid - p[:, :1]) * inverse) ** 2)
    gy = np.exp(-0.5 * ((grid - p[:, 1:]) * inverse) ** 2)
    maps = np.zeros((weights.shape[1], size, size), np.float32)
    # Products this small stay on one thread in OpenBLAS; its threads would cost more than they save.
    step = max(1, 200_000 // size**2)
    for channel, weight in zip(maps, weights.T.astype(np.float32), strict=True):
        raised = gy * weight[:, None]
        for k in range(0, len(p), step):
            channel += raised[k : k + step].T @ gx[k : k + step]
    return maps
