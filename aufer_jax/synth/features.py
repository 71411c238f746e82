"""Paints eyes, brows, nose, mouth, beard and spectacles onto a canvas from projected landmarks."""

import numpy as np

from aufer_jax.synth.draw import Canvas, Colour, spline, tint
from aufer_jax.synth.geometry import AU_INDEX
from aufer_jax.synth.identity import Identity

EYES = (np.arange(36, 42), np.arange(42, 48))
BROWS = (np.arange(17, 22), np.arange(26, 21, -1))  # tail to inner end
DARK = (24.0, 16.0, 16.0)


def lips_colour(who: Identity) -> list[float]:
    """Colour of the lips: the skin, redder; lipstick on top."""
    natural = tint(who.skin, light=0.84, towards=(168, 64, 66), share=0.38)
    return tint(natural, towards=(176, 36, 52), share=0.75 * max(0.0, who.lip_colour - 0.3))


def paint_eyes(
    canvas: Canvas,
    p: np.ndarray,
    eyeballs: np.ndarray,
    who: Identity,
    unit: float,
) -> None:
    """Eyeball, iris, lids and lashes. `eyeballs` [2, 2] are the iris centres."""
    for eye, iris in zip(EYES, eyeballs, strict=True):
        outer = p[eye]
        upper, lower = spline(outer[:4], closed=False), spline(outer[[3, 4, 5, 0]], closed=False)
        gap = (outer[4:6].mean(0) - outer[1:3].mean(0))[1]
        if gap > 0.03 * unit:
            _paint_eyeball(canvas, np.concatenate([upper, lower]), upper, iris, who, unit)
        line = tint(who.skin, light=0.22, towards=DARK, share=0.3)
        canvas.stroke(upper, line, (0.030 + 0.022 * who.lashes) * unit)
        if gap <= 0.03 * unit:
            canvas.stroke(lower, line, 0.03 * unit)
        pale = tint(who.skin, light=0.62)
        canvas.stroke(lower, pale, 0.018 * unit)
        if who.lashes > 0.35:
            side = 0 if abs(outer[0, 0] - p[27, 0]) > abs(outer[3, 0] - p[27, 0]) else 3
            tip = outer[side] + (outer[side] - outer[3 - side]) * 0.12 - (0, 0.04 * unit)
            canvas.stroke(np.stack([outer[side], tip]), line, 0.025 * unit)


def _paint_eyeball(
    canvas: Canvas,
    outline: np.ndarray,
    upper: np.ndarray,
    iris: np.ndarray,
    who: Identity,
    unit: float,
) -> None:
    box = canvas.region(outline, 1)
    if box is None:
        return
    ball = Canvas(canvas.image.copy(), canvas.oversample)
    ball.image[box] = (232, 227, 222)
    radius = 0.115 * unit
    ball.disc(iris, radius, tint(who.iris, light=0.55))
    ball.disc(iris, radius * 0.84, tint(who.iris, light=1.15))
    ball.disc(iris, radius * 0.45, (14, 12, 14))
    ball.stroke(upper + (0, 0.02 * unit), tint(who.skin, light=0.45), 0.045 * unit)
    ball.disc(iris + (-0.3 * radius, -0.35 * radius), radius * 0.24, (250, 250, 250))
    canvas.blend(box, ball.image[box], canvas.mask(outline, box, 0.004 * unit))


def paint_brows(canvas: Canvas, p: np.ndarray, who: Identity, unit: float) -> None:
    """Tapering brows centred on the landmarks."""
    colour = tint(who.hair, light=0.72, towards=who.skin, share=0.10)
    thick = (0.052 + 0.012 * who.brow_thickness) * unit
    t = np.linspace(0, 1, 25)[:, None]
    profile = thick * (0.28 + 0.9 * t**0.6 - 0.35 * t**4)
    for brow in BROWS:
        line = spline(p[brow], 6, closed=False)
        along = np.gradient(line, axis=0)
        normal = np.stack([-along[:, 1], along[:, 0]], 1)
        normal /= np.linalg.norm(normal, axis=1, keepdims=True) + 1e-6
        edge = np.concatenate([line + normal * profile, (line - normal * profile)[::-1]])
        canvas.soft(edge, colour, 0.92, 0.022 * unit)


def paint_nose(canvas: Canvas, p: np.ndarray, who: Identity, unit: float) -> None:
    """Nostrils and the lines of the wings; the rest of the nose is relief."""
    dark = tint(who.skin, light=0.34)
    for wing, inner in ((31, 32), (35, 34)):
        out = np.sign(p[wing, 0] - p[inner, 0]) or 1.0
        centre = 0.42 * p[wing] + 0.58 * p[inner] + (0, 0.012 * unit)
        half = max(abs(p[wing, 0] - p[inner, 0]) * 0.42, 0.02 * unit)
        angle = np.linspace(0, 2 * np.pi, 12, endpoint=False)
        hole = centre + np.stack([half * np.cos(angle), 0.026 * unit * np.sin(angle)], 1)
        canvas.soft(hole, dark, 0.85, 0.014 * unit)
        edge = p[wing] + np.array([(0.010 * out, -0.13), (0.05 * out, -0.06), (0.035 * out, 0.0),
                                   (-0.01 * out, 0.03)]) * unit  # fmt: skip
        curve = spline(edge, 4, closed=False)
        ribbon = np.concatenate([curve, curve[::-1] - (0.02 * out * unit, 0)])
        canvas.soft(ribbon, tint(who.skin, light=0.62), 0.55, 0.018 * unit)


def paint_mouth(canvas: Canvas, p: np.ndarray, au: np.ndarray, who: Identity, unit: float) -> None:
    """Lips, and behind parted lips the cavity, teeth and tongue."""
    upper = spline(p[48:55], 5, closed=False)
    lower = spline(p[[54, 55, 56, 57, 58, 59, 48]], 5, closed=False)
    above = spline(p[60:65], 5, closed=False)
    below = spline(p[[64, 65, 66, 67, 60]], 5, closed=False)
    tucked = au[AU_INDEX[28]] / 5
    colour = tint(lips_colour(who), towards=who.skin, share=0.6 * tucked)
    solid = 0.9 - 0.3 * tucked
    canvas.soft(np.concatenate([upper, above[::-1]]), tint(colour, light=0.88), solid, 0.014 * unit)
    canvas.soft(np.concatenate([lower, below[::-1]]), colour, solid, 0.014 * unit)
    shine = (p[[56, 57, 58]] + p[[65, 66, 67]]) / 2
    shine = np.concatenate([shine - (0, 0.012 * unit), shine[::-1] + (0, 0.012 * unit)])
    canvas.soft(shine, tint(colour, light=1.16), 0.55 * (1 - tucked), 0.022 * unit)
    gap = p[66, 1] - p[62, 1]
    if gap > 0.02 * unit:
        _paint_cavity(canvas, p, np.concatenate([above, below]), au, unit)
    line = tint(colour, light=0.30)
    pressed = max(au[AU_INDEX[24]], au[AU_INDEX[23]]) / 5
    inner = spline(np.concatenate([p[48:49], p[61:64], p[54:55]]), 6, closed=False)
    canvas.stroke(inner, line, (0.014 + 0.014 * pressed) * unit)
    corners = np.stack([p[48], p[54]])
    for corner, inward in zip(corners, corners[::-1] - corners, strict=True):
        tip = corner + inward * 0.04
        canvas.stroke(np.stack([corner, tip]), tint(line, light=1.2), 0.022 * unit)


def _paint_cavity(
    canvas: Canvas, p: np.ndarray, outline: np.ndarray, au: np.ndarray, unit: float
) -> None:
    box = canvas.region(outline, 1)
    if box is None:
        return
    inside = Canvas(canvas.image.copy(), canvas.oversample)
    inside.image[box] = (62, 20, 22)
    gap = p[66, 1] - p[62, 1]
    middle, half = (p[60] + p[64]) / 2, (p[64] - p[60]) / 2
    if gap > 0.16 * unit:
        angle = np.linspace(0, 2 * np.pi, 20, endpoint=False)[:, None]
        centre = p[66] + (0, 0.02 * unit)
        ring = centre + half * 0.62 * np.cos(angle) + np.array([(0, 0.42 * gap)]) * np.sin(angle)
        inside.soft(ring, (158, 70, 72), 0.9, 0.03 * unit)
    arch = spline(p[[60, 61, 62, 63, 64]], 5, closed=False)
    bare = max(au[AU_INDEX[a]] for a in (10, 12, 20, 9)) / 5
    teeth = min((0.05 + 0.09 * bare) * unit, (0.35 + 0.6 * bare) * gap)
    drop = teeth * (1 - (((arch - middle) @ half) / (half @ half)) ** 2 * 0.55)
    edge = arch + np.stack([np.zeros(len(arch)), drop], 1)
    inside.fill(np.concatenate([arch - (0, 0.05 * unit), edge[::-1]]), (236, 230, 218))
    low = max(au[AU_INDEX[16]], 0.7 * au[AU_INDEX[20]], 0.5 * au[AU_INDEX[22]]) / 5
    if low > 0.1:
        floor = spline(p[[60, 67, 66, 65, 64]], 5, closed=False)
        rise = 0.09 * unit * low
        inside.fill(
            np.concatenate([floor + (0, 0.04 * unit), floor[::-1] - (0, rise)]), (224, 216, 202)
        )
    canvas.blend(box, inside.image[box], canvas.mask(outline, box, 0.006 * unit))


def paint_beard(canvas: Canvas, p: np.ndarray, who: Identity, unit: float) -> None:
    """Stubble or a beard below the cheeks, moustache included."""
    if who.beard == 0:
        return
    moustache = p[[49, 51, 53]] - (0, 0.16 * unit)
    side = [p[3] * 0.62 + p[48] * 0.38, p[48] - (0.12 * unit, 0.16 * unit)]
    far = [p[54] + (0.12 * unit, -0.16 * unit), p[13] * 0.62 + p[54] * 0.38]
    top = np.concatenate([[p[2]], side, moustache, far, [p[14]]])
    outline = np.concatenate([spline(p[2:15], 3, closed=False), spline(top, 3, closed=False)[::-1]])
    alpha = 0.10 + 0.25 * who.beard if who.beard < 0.5 else 0.35 + 0.5 * (who.beard - 0.5)
    canvas.soft(outline, tint(who.hair, light=0.8), alpha, 0.05 * unit)


def lens_outline(
    p: np.ndarray, eye: np.ndarray, unit: float, square: bool, grow: float = 1.0
) -> np.ndarray:
    """Outline of a spectacle lens around one eye."""
    centre = p[eye].mean(0) * (1, 0.4) + (0, 0.6 * p[eye[[0, 3]], 1].mean() + 0.04 * unit)
    across = p[eye[3]] - p[eye[0]]
    half = np.linalg.norm(across) * 0.86 * grow
    along = across / (np.linalg.norm(across) + 1e-6)
    down = np.array([-along[1], along[0]])
    angle = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    c, s = np.cos(angle), np.sin(angle)
    if square:
        c, s = np.sign(c) * np.abs(c) ** 0.45, np.sign(s) * np.abs(s) ** 0.45 * 0.82
    return centre + (c * half)[:, None] * along + (s * 0.30 * unit * grow)[:, None] * down


def paint_glasses(canvas: Canvas, p: np.ndarray, who: Identity, unit: float) -> None:
    """Clear spectacles."""
    if who.glasses == "none":
        return
    colour = tint(who.hair, light=0.5, towards=(40, 30, 30), share=0.5)
    rims = [lens_outline(p, eye, unit, who.glasses == "square") for eye in EYES]
    for rim in rims:
        canvas.soft(rim, (232, 240, 246), 0.10, 0)
        canvas.stroke(np.concatenate([rim, rim[:1]]), colour, 0.032 * unit)
    paint_frame(canvas, p, rims, colour, unit)


def paint_frame(
    canvas: Canvas, p: np.ndarray, rims: list[np.ndarray], colour: Colour, unit: float
) -> None:
    """Bridge and temples of spectacles whose lenses are `rims`."""
    left, right = rims[0][np.argmax(rims[0][:, 0])], rims[1][np.argmin(rims[1][:, 0])]
    bridge = np.stack([left, (left + right) / 2 - (0, 0.05 * unit), right])
    canvas.stroke(spline(bridge, 5, closed=False), colour, 0.035 * unit)
    for rim, ear, pick in ((rims[0], p[0], np.argmin), (rims[1], p[16], np.argmax)):
        hinge = rim[pick(rim[:, 0])]
        if abs(ear[0] - p[27, 0]) > abs(hinge[0] - p[27, 0]):
            canvas.stroke(np.stack([hinge, ear - (0, 0.05 * unit)]), colour, 0.03 * unit)
