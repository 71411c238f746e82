"""Renders one face: geometry, paint, relief, light, camera."""

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from aufer_jax.errors import unknown
from aufer_jax.synth import features, hair
from aufer_jax.synth.camera import Camera, background, develop, shading
from aufer_jax.synth.draw import Canvas, cover, spline
from aufer_jax.synth.geometry import (
    AU_INDEX,
    AUS,
    HEAD_CENTRE,
    Projection,
    contour,
    identity_shape,
    pose_face,
    projection,
)
from aufer_jax.synth.identity import Identity
from aufer_jax.synth.occluders import paint_occluder
from aufer_jax.synth.relief import relief_spots, splat

HEIGHT = 0.28  # head units of a relief spot of height 1, by its spread
STUDIO = Camera()


@dataclass(frozen=True)
class Rendering:
    """A picture [size, size, 3] uint8 RGB; landmarks [68, 2] float32 in its pixels (integers at
    pixel centres); which of them can be seen [68]; box (x0, y0, x1, y1) of the face, clipped to
    the picture."""

    image: np.ndarray
    landmarks: np.ndarray
    visible: np.ndarray
    box: np.ndarray


@dataclass(frozen=True)
class Face:
    """A person with an expression in front of a camera: all that painting needs."""

    who: Identity
    au: np.ndarray  # [24]
    balance: np.ndarray  # [24]
    shape: np.ndarray  # [68, 3] landmarks in head units
    points: np.ndarray  # [68, 2] landmarks in pixels
    irises: np.ndarray  # [2, 2] pixels
    hairline: np.ndarray  # [11, 2] pixels
    outline: np.ndarray  # [N, 2] edge of the skin in pixels
    project: Projection


def au_vector(au: Mapping[int, float] | np.ndarray) -> np.ndarray:
    """Intensities [24] in the order of AUS from a mapping {AU number: intensity} or a vector.

    >>> au_vector({12: 4}).shape, float(au_vector({12: 4}).sum())
    ((24,), 4.0)
    """
    if not isinstance(au, Mapping):
        vector = np.asarray(au, float)
        if vector.shape != (len(AUS),):
            raise ValueError(f"au: expected {len(AUS)} intensities, got shape {vector.shape}")
        return np.clip(vector, 0, 5)
    vector = np.zeros(len(AUS))
    for number, intensity in au.items():
        if number not in AU_INDEX:
            raise unknown("au", number, AUS)
        vector[AU_INDEX[number]] = min(max(intensity, 0), 5)
    return vector


def render(
    who: Identity,
    au: Mapping[int, float] | np.ndarray,
    camera: Camera = STUDIO,
    *,
    size: int = 112,
    balance: np.ndarray | None = None,
    gaze: tuple[float, float] = (0.0, 0.0),
    occlusion: str = "none",
    seed: int = 0,
    frame: int = 0,
    oversample: int = 2,
) -> Rendering:
    """Renders a person with the given AU intensities (0..5).

    Args:
      who: the person.
      au: {AU number: intensity}, or intensities [24] in the order of AUS.
      camera: pose, framing, light and picture quality.
      size: pixels a side.
      balance: [24] in -1..1, positive weakens an AU on the right, negative on the left.
      gaze: shift of the irises, in tenths of the eye distance, right and down.
      occlusion: one of OCCLUSIONS.
      seed: of backdrop, strands of hair and occluder; the same for all frames of a clip.
      frame: changes only the sensor noise.
      oversample: how much finer than the picture the features are drawn.

    >>> from aufer_jax.synth.identity import sample_identity
    >>> person = sample_identity(np.random.default_rng(0))
    >>> render(person, {6: 4, 12: 4, 25: 3}, size=48).image.shape
    (48, 48, 3)
    """
    balance = np.zeros(len(AUS)) if balance is None else balance
    face = _place(who, au_vector(au), balance, gaze, projection(camera.view, size))
    rng = np.random.default_rng(seed)
    backdrop = background(camera.background, size * oversample, rng)
    canvas = Canvas(backdrop.copy(), oversample)
    locks = _paint(canvas, face, backdrop, rng)
    occluder = paint_occluder(canvas, occlusion, face.points, who, face.project.scale, rng)

    albedo = cv2.resize(canvas.image, (size, size), interpolation=cv2.INTER_AREA)
    empty = cv2.resize(_unchanged(canvas, backdrop), (size, size), interpolation=cv2.INTER_AREA)
    albedo, person = albedo.astype(np.float32), 1 - empty.astype(np.float32) / 255
    nose = cv2.convexHull(face.points[27:36].astype(np.float32))[:, 0]
    hidden = cover(occluder, size)
    skin = cover([face.outline, nose], size) * (1 - np.maximum(cover(locks, size), hidden))
    lit = _light(albedo, cv2.GaussianBlur(skin, (0, 0), 0.7), face, camera)
    image = albedo + (lit - albedo) * person[..., None]
    return Rendering(
        develop(image, camera, np.random.default_rng([seed, frame])),
        face.points.astype(np.float32),
        _visible(face.points, hidden),
        _box(face.outline, size),
    )


def _place(
    who: Identity,
    au: np.ndarray,
    balance: np.ndarray,
    gaze: tuple[float, float],
    project: Projection,
) -> Face:
    """Moves the person's landmarks and projects them."""
    neutral = identity_shape(who)
    shape = pose_face(neutral, au, balance)
    points = project(shape)
    points[:17] = contour(shape[:17], project, HEAD_CENTRE)
    line = hair.hairline(who, project, HEAD_CENTRE)
    eyes = np.stack([neutral[36:42].mean(0), neutral[42:48].mean(0)])
    irises = project(eyes + (gaze[0] * 0.1, gaze[1] * 0.1 - 0.008, 0.04))
    outline = spline(np.concatenate([points[:17], line[::-1]]), 3)
    return Face(who, au, balance, shape, points, irises, line, outline, project)


def _paint(
    canvas: Canvas, face: Face, backdrop: np.ndarray, rng: np.random.Generator
) -> list[np.ndarray]:
    """Paints the person from back to front; returns the outlines of hair before the face."""
    who, project, p, unit = face.who, face.project, face.points, face.project.scale
    hair.paint_back_hair(canvas, project, who)
    hair.paint_body(canvas, project, who, p[:17])
    hair.paint_cap(canvas, project, who, face.hairline, rng)
    hair.paint_ears(canvas, project, who)
    canvas.fill(face.outline, who.skin)
    canvas.soft(cv2.convexHull(p[27:36].astype(np.float32))[:, 0], who.skin, 1, 0.03 * unit)
    around = _unchanged(canvas, backdrop)
    features.paint_beard(canvas, p, who, unit)
    features.paint_nose(canvas, p, who, unit)
    features.paint_mouth(canvas, p, face.au, who, unit)
    features.paint_eyes(canvas, p, face.irises, who, unit)
    features.paint_brows(canvas, p, who, unit)
    cv2.copyTo(backdrop, around, canvas.image)  # soft edges must not bleed past the skin
    locks = hair.paint_front_hair(canvas, project, who, face.hairline, rng)
    features.paint_glasses(canvas, p, who, unit)
    return locks


def _light(albedo: np.ndarray, skin: np.ndarray, face: Face, camera: Camera) -> np.ndarray:
    """Applies relief, redness and light to the picture [size, size, 3]; `skin` is where relief
    shows."""
    spots, spread, effect = relief_spots(face.shape, face.au, face.balance, face.who.age)
    effect[:, 0] *= HEIGHT * spread
    spread = np.maximum(spread * face.project.scale, 0.6)
    height, shadow, red = splat(face.project(spots), spread, effect, len(albedo))
    shade = shading(camera, face.project, height * skin)
    shade *= 1 - np.clip(0.30 * shadow, -0.3, 0.6) * skin
    flush = (0.16 * np.clip(red, 0, 1.5) * skin)[..., None]
    return albedo * (1 - flush * np.array((0.1, 0.75, 0.65), np.float32)) * shade[..., None]


def _unchanged(canvas: Canvas, backdrop: np.ndarray) -> np.ndarray:
    """Mask 0 or 255 of the canvas pixels that still show the backdrop."""
    return cv2.inRange(cv2.absdiff(canvas.image, backdrop), (0, 0, 0), (0, 0, 0))


def _visible(points: np.ndarray, hidden: np.ndarray) -> np.ndarray:
    """Landmarks inside the picture and not under an occluder."""
    size = len(hidden)
    inside = ((points >= -0.5) & (points < size - 0.5)).all(1)
    x, y = np.clip(np.round(points).astype(int), 0, size - 1).T
    return inside & (hidden[y, x] < 0.5)


def _box(outline: np.ndarray, size: int) -> np.ndarray:
    box = np.concatenate([outline.min(0), outline.max(0)])
    return np.clip(box, 0, size - 1).astype(np.float32)
