"""Things in front of the face, and which landmarks they hide."""

import numpy as np

from aufer_jax.errors import unknown
from aufer_jax.synth.draw import Canvas, spline, tint
from aufer_jax.synth.features import EYES, lens_outline, paint_frame
from aufer_jax.synth.identity import SKINS, Identity

MASKS = ((222, 232, 240), (150, 196, 222), (40, 42, 46), (190, 160, 168), (90, 110, 90))


def _mask(canvas: Canvas, p: np.ndarray, unit: float, rng: np.random.Generator) -> list[np.ndarray]:
    """A surgical mask from the nose bridge to under the chin."""
    colour = MASKS[rng.integers(len(MASKS))]
    top = p[[2, 1]].mean(0), p[29] * 0.5 + p[41] * 0.5, p[28] * 0.3 + p[29] * 0.7
    other = p[29] * 0.5 + p[46] * 0.5, p[[14, 15]].mean(0)
    low = (p[3:14] - p[30]) * 1.04 + p[30]
    outline = np.concatenate([spline(np.stack([*top, *other]), 5, closed=False), low[::-1]])
    for ear, edge in ((p[0], outline[0]), (p[16], p[14])):
        canvas.stroke(np.stack([ear, edge]), tint(colour, light=0.9), 0.03 * unit)
    canvas.soft(outline, colour, 1.0, 0.01 * unit)
    for level in (0.25, 0.5, 0.75):
        ends = [p[2] * (1 - level) + p[5] * level, p[14] * (1 - level) + p[11] * level]
        middle = p[29] * (1 - level) + p[8] * level
        fold = np.stack([ends[0] * 0.85 + middle * 0.15, middle, ends[1] * 0.85 + middle * 0.15])
        fold = spline(fold, 6, closed=False)
        ribbon = np.concatenate([fold, fold[::-1] + (0, 0.05 * unit)])
        canvas.soft(ribbon, tint(colour, light=0.78), 0.6, 0.02 * unit)
    return [outline]


def _capsule(a: np.ndarray, b: np.ndarray, radius: float) -> np.ndarray:
    """A rounded bar from a to b."""
    along = (b - a) / (np.linalg.norm(b - a) + 1e-6)
    angle = np.arctan2(along[1], along[0])
    half = np.linspace(-np.pi / 2, np.pi / 2, 9)
    ring = np.concatenate([half + angle, half + angle + np.pi])
    ends = np.repeat(np.stack([b, a]), 9, axis=0)
    return ends + radius * np.stack([np.cos(ring), np.sin(ring)], 1)


def _hand(
    canvas: Canvas, p: np.ndarray, unit: float, rng: np.random.Generator, who: Identity
) -> list[np.ndarray]:
    """A hand, mostly the person's own, over the mouth, a cheek, an eye or the forehead."""
    targets = (p[48:60].mean(0), (p[4] + p[48]) / 2, (p[12] + p[54]) / 2, p[36:42].mean(0),
               p[42:48].mean(0), p[[19, 24]].mean(0))  # fmt: skip
    reach = targets[rng.integers(len(targets))] + rng.normal(0, 0.08 * unit, 2)
    side = 1.0 if reach[0] > p[27, 0] else -1.0
    lean = rng.uniform(0.1, 0.9) * side
    up = np.array((-np.sin(lean), -np.cos(lean)))
    across = np.array((-up[1], up[0]))
    skin = tint(who.skin, light=1.06) if rng.random() < 0.75 else SKINS[rng.integers(len(SKINS))]
    palm = reach - up * 0.62 * unit
    shapes = [_capsule(palm - up * 1.8 * unit, palm, 0.34 * unit)]
    shapes.append(_capsule(palm, palm + up * 0.30 * unit, 0.42 * unit))
    shapes.append(_capsule(palm - across * 0.40 * unit * side,
                           palm + (up * 0.42 - across * 0.68 * side) * unit, 0.125 * unit))  # fmt: skip
    for k, length in enumerate((0.80, 1.0, 1.05, 0.9)):
        root = palm + (up * 0.35 + across * (0.29 - 0.195 * k) * side * -1) * unit
        tip = root + (up + across * (k - 1.5) * -0.05) * (length * 0.72 * unit)
        shapes.append(_capsule(root, tip, 0.105 * unit))
    for shape in shapes:
        canvas.soft(shape, tint(skin, light=0.66), 0.8, 0.03 * unit)
    for shape in shapes:
        inner = shape.mean(0) + (shape - shape.mean(0)) * 0.93
        canvas.soft(inner, skin, 1.0, 0.02 * unit)
    return shapes


def _hair(
    canvas: Canvas, p: np.ndarray, unit: float, rng: np.random.Generator, who: Identity
) -> list[np.ndarray]:
    """Hair falling over one half of the face."""
    left = rng.random() < 0.5
    rim, brow, eye = (p[0], p[19], p[39]) if left else (p[16], p[24], p[42])
    chin, cheek = (p[4], p[31]) if left else (p[12], p[35])
    out = np.sign(rim[0] - p[27, 0]) * unit
    top = p[27] - (rng.uniform(-0.1, 0.3) * out, 1.15 * unit)
    low = rng.uniform(0.3, 1.0)
    outline = np.stack([
        top, (brow + eye) / 2 - (0.1 * out, 0.2 * unit), eye + (0.02 * out, 0.2 * unit),
        cheek * (1 - low) + chin * low + (0.25 * out, 0), chin + (0.3 * out, 0.4 * unit),
        rim + (0.25 * out, 0.4 * unit), rim + (0.15 * out, -0.6 * unit),
    ])  # fmt: skip
    smooth = spline(outline, 5)
    canvas.soft(smooth, tint(who.hair, light=0.92), 1.0, 0.02 * unit)
    for _ in range(16):
        t = rng.uniform(0, 1)
        strand = outline[:4] * (1 - t) + outline[[0, 6, 5, 4]] * t
        colour = tint(who.hair, light=rng.uniform(0.65, 1.45))
        canvas.stroke(spline(strand, 5, closed=False), colour, 0.025 * unit)
    return [smooth]


def _sunglasses(
    canvas: Canvas, p: np.ndarray, unit: float, rng: np.random.Generator
) -> list[np.ndarray]:
    """Opaque dark lenses."""
    square = rng.random() < 0.5
    rims = [lens_outline(p, eye, unit, square, grow=1.12) for eye in EYES]
    for rim in rims:
        canvas.soft(rim, (24, 22, 26), 0.97, 0.005 * unit)
        shine = rim.mean(0) + (rim - rim.mean(0)) * 0.55 - (0.05 * unit, 0.08 * unit)
        canvas.soft(shine, (96, 100, 110), 0.35, 0.06 * unit)
    paint_frame(canvas, p, rims, (18, 16, 18), unit)
    return rims


OCCLUSIONS = ("none", "mask", "hand", "hair", "sunglasses", "crop")


def paint_occluder(
    canvas: Canvas, kind: str, p: np.ndarray, who: Identity, unit: float, rng: np.random.Generator
) -> list[np.ndarray]:
    """Paints one occluder over landmarks [68, 2]; returns the outlines it covers.

    "crop" paints nothing: it is a matter of framing.
    """
    if kind == "mask":
        return _mask(canvas, p, unit, rng)
    if kind == "hand":
        return _hand(canvas, p, unit, rng, who)
    if kind == "hair":
        return _hair(canvas, p, unit, rng, who)
    if kind == "sunglasses":
        return _sunglasses(canvas, p, unit, rng)
    if kind in ("none", "crop"):
        return []
    raise unknown("occlusion", kind, OCCLUSIONS)
