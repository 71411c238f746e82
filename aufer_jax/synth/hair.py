"""Paints the body, hair and ears around the face."""

import numpy as np

from aufer_jax.synth.draw import Canvas, spline, tint
from aufer_jax.synth.geometry import (
    CRANIUM_CENTRE,
    CRANIUM_RADII,
    HAIRLINE,
    Projection,
    contour,
    ellipse,
)
from aufer_jax.synth.identity import Identity

_NECK = np.array([(-0.62, 1.0, -0.6), (-0.60, 1.7, -0.5), (-0.66, 2.3, -0.5), (-1.1, 2.62, -0.5)])
_EAR = np.array([(-1.07, 0.02, -0.80), (-1.19, -0.06, -0.9), (-1.24, 0.14, -0.95),
                 (-1.18, 0.42, -0.92), (-1.08, 0.60, -0.82)])  # fmt: skip
_LOCK = np.array([(-0.80, -0.95, -0.2), (-1.12, -0.35, -0.5), (-1.24, 0.5, -0.62),
                  (-1.26, 1.3, -0.7), (-1.20, 2.2, -0.7), (-0.72, 2.2, -0.6), (-0.84, 1.35, -0.6),
                  (-1.00, 0.7, -0.62), (-0.99, 0.0, -0.5), (-0.90, -0.55, -0.3)])  # fmt: skip
MIRROR = np.array((-1, 1, 1))


def paint_body(canvas: Canvas, project: Projection, who: Identity, outline: np.ndarray) -> None:
    """Shoulders and neck."""
    size = canvas.image.shape[0] / canvas.oversample
    neck = project(np.concatenate([_NECK, _NECK[::-1] * MIRROR]))
    wide, unit = neck[3, 0] - 1.2 * project.scale, project.scale
    right = neck[4, 0] + 1.2 * unit
    base = np.array([(wide, size + 0.6 * unit), (right, size + 0.6 * unit)])
    shoulders = np.concatenate([neck[2:6], [(right, neck[5, 1] + 0.35 * unit)], base[::-1],
                                [(wide, neck[2, 1] + 0.35 * unit)]])  # fmt: skip
    canvas.fill(neck, tint(who.skin, light=0.80))
    box = canvas.region(neck, 1)
    if box:
        under = canvas.mask(outline + (0, 0.16 * unit), box, 0.07 * unit)
        shadow = np.minimum(under, canvas.mask(neck, box))
        canvas.blend(box, np.array(tint(who.skin, light=0.52)), shadow, 0.6)
    canvas.fill(shoulders, who.shirt)


def paint_back_hair(canvas: Canvas, project: Projection, who: Identity) -> None:
    """Hair that hangs behind the face."""
    if not who.hair_style.startswith("long"):
        return
    cap = ellipse(CRANIUM_CENTRE, CRANIUM_RADII * 1.10, project)
    hang = project(np.array([(-1.32, 0.2, -0.9), (-1.38, 2.3, -0.9), (1.38, 2.3, -0.9),
                             (1.32, 0.2, -0.9)]))  # fmt: skip
    dark = tint(who.hair, light=0.66)
    canvas.fill(hang, dark)
    canvas.fill(cap, dark)


def paint_ears(canvas: Canvas, project: Projection, who: Identity) -> None:
    """Ears; the face is painted over the hidden one."""
    colour = tint(who.skin, light=0.92, towards=(200, 80, 70), share=0.08)
    for side in (1, -1):
        ear = spline(project(_EAR * (side, 1, 1)), 4)
        canvas.fill(ear, colour)
        inner = ear.mean(0) + (ear - ear.mean(0)) * 0.55
        canvas.soft(inner, tint(colour, light=0.76), 0.7, 0.015 * project.scale)


def hairline(who: Identity, project: Projection, centre: np.ndarray) -> np.ndarray:
    """Upper edge of the skin, left to right; of a bald head the skull itself."""
    rim = HAIRLINE.copy()
    if who.hair_style == "bald":
        rim = rim * (1.0, 1.42, 1.0) + (0, 0.10, -0.15)
    rim[:, 0] *= 1 + 0.035 * who.face_width
    rim[:, 1] += 0.03 * np.sin(7 * who.brow_arch) - 0.10 * max(0.0, who.age - 0.5)
    return contour(rim, project, centre)


def paint_cap(
    canvas: Canvas, project: Projection, who: Identity, line: np.ndarray, rng: np.random.Generator
) -> None:
    """Hair on the skull, strands included; the face is painted over it."""
    unit = project.scale
    if who.hair_style == "bald":
        canvas.fill(ellipse(CRANIUM_CENTRE, CRANIUM_RADII * 0.98, project), who.skin)
        return
    grow = {"short": 1.04, "side": 1.08, "curly": 1.12, "bun": 1.03}.get(who.hair_style, 1.09)
    cap = ellipse(CRANIUM_CENTRE, CRANIUM_RADII * grow, project, 48)
    if who.hair_style == "bun":
        knot = project(CRANIUM_CENTRE + (0.0, -1.35, -0.1))
        canvas.disc(knot, 0.42 * unit, tint(who.hair, light=0.9))
    canvas.fill(cap, who.hair)
    if who.hair_style == "curly":
        _paint_curls(canvas, cap, who, unit, rng)
        return
    centre = project(CRANIUM_CENTRE)
    crown = project(CRANIUM_CENTRE + (0.25 * who.brow_arch, -1.12, -0.3))
    n = 32
    root = line[rng.integers(len(line), size=n)] + rng.normal(0, 0.05 * unit, (n, 2))
    out = (root - centre) * rng.uniform(0.06, 0.22, (n, 1))
    strands = np.stack([root, root * 0.55 + crown * 0.45 + out, crown + out * 0.6], 1)
    for strand, light in zip(strands, rng.uniform(0.8, 1.22, n), strict=True):
        canvas.stroke(spline(strand, 5, closed=False), tint(who.hair, light=light), 0.02 * unit)


def _paint_curls(
    canvas: Canvas, cap: np.ndarray, who: Identity, unit: float, rng: np.random.Generator
) -> None:
    centre = cap.mean(0)
    for ring, count in ((1.0, 22), (0.86, 16), (0.7, 12)):
        for i in rng.permutation(len(cap))[:count]:
            at = centre + (cap[i] - centre) * ring + rng.normal(0, 0.04 * unit, 2)
            canvas.disc(at, rng.uniform(0.12, 0.2) * unit,
                        tint(who.hair, light=rng.uniform(0.75, 1.3)))  # fmt: skip


def paint_front_hair(
    canvas: Canvas, project: Projection, who: Identity, line: np.ndarray, rng: np.random.Generator
) -> list[np.ndarray]:
    """Fringe, side parting and locks in front of the face; returns their outlines."""
    covers = []
    roots = line - project.rotation[:2, 1] * 0.05 * project.scale
    if who.hair_style == "side":
        tips = np.array([(-0.98, -0.30, -0.3), (-0.70, -0.66, 0.0), (-0.1, -0.86, 0.16),
                         (0.45, -1.0, 0.1)])  # fmt: skip
        covers.append(np.concatenate([roots[:8], project(tips)[::-1]]))
        _paint_locks(canvas, project, who, covers[-1], rng)
    if who.hair_style.endswith("fringe"):
        x = np.linspace(-0.96, 0.96, 7)
        y = -0.52 - 0.08 * np.cos(3 * x + 2 * who.brow_arch) + 0.16 * np.abs(x) ** 3
        tips = np.stack([x, y, 0.26 - 0.55 * x**2], 1)
        covers.append(np.concatenate([roots, project(tips)[::-1]]))
        _paint_locks(canvas, project, who, covers[-1], rng)
    if who.hair_style.startswith("long"):
        for side in (1, -1):
            # The far lock comes forward with the cheek, so that it does not cross the face.
            far = max(0.0, side * project.rotation[2, 0])
            lock = spline(project(_LOCK * (side, 1, 1) + (0, 0, 0.55 * far)), 4)
            covers.append(lock)
            canvas.fill(lock, tint(who.hair, light=0.92))
            strands = lock[: len(lock) // 2]
            for _ in range(6):
                inward = (lock.mean(0) - strands) * (rng.uniform(0.05, 0.5), 0.02)
                colour = tint(who.hair, light=rng.uniform(0.78, 1.25))
                canvas.stroke(strands + inward, colour, 0.02 * project.scale)
    return covers


def _paint_locks(
    canvas: Canvas, project: Projection, who: Identity, outline: np.ndarray,
    rng: np.random.Generator,
) -> None:  # fmt: skip
    unit = project.scale
    canvas.soft(outline, tint(who.hair, light=0.95), 1.0, 0.02 * unit)
    half = len(outline) // 2
    roots, tips = outline[:half], outline[::-1][:half]
    for _ in range(14):
        t = rng.uniform(0.05, 0.95) * (half - 1)
        i, f = int(t), t - int(t)
        root = roots[i] * (1 - f) + roots[i + 1] * f
        tip = tips[i] * (1 - f) + tips[i + 1] * f
        ends = np.stack([root, (root + tip) / 2 + rng.normal(0, 0.02 * unit, 2), tip])
        colour = tint(who.hair, light=rng.uniform(0.78, 1.25))
        canvas.stroke(spline(ends, 4, closed=False), colour, 0.02 * unit)
