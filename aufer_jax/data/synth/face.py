"""Renders one face: geometry, paint, relief, light, camera."""

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from aufer_jax.data.synth import features, hair
from aufer_jax.data.synth.camera import Camera, develop, new_canvas, shading
from aufer_jax.data.synth.draw import Canvas, spline
from aufer_jax.data.synth.geometry import (
    AU_INDEX,
    AUS,
    HEAD_CENTRE,
    contour,
    identity_shape,
    pose_face,
    projection,
)
from aufer_jax.data.synth.identity import Identity
from aufer_jax.data.synth.occluders import paint_occluder
from aufer_jax.data.synth.relief import relief_spots, splat
from aufer_jax.suggest import unknown

HEIGHT = 0.028  # head units of a relief spot of height 1 and spread 0.1


@dataclass(frozen=True)
class Rendering:
    """A picture [size, size, 3] uint8 RGB; landmarks [68, 2] float32 in its pixels (integers at
    pixel centres); which of them can be seen [68]; box (x0, y0, x1, y1) of the face, clipped to
    the picture."""

    image: np.ndarray
    landmarks: np.ndarray
    visible: np.ndarray
    box: np.ndarray


def au_vector(au: Mapping[int, float] | np.ndarray) -> np.ndarray:
    """Intensities [24] in the order of AUS from a mapping {AU number: intensity} or a vector."""
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
    camera: Camera = Camera(),
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
      balance: [24] in -1..1, positive weakens an AU on the right, negative on the left.
      gaze: shift of the irises, in tenths of the eye distance, right and down.
      occlusion: one of OCCLUSIONS.
      seed: of backdrop, strands, freckles and occluder; the same for all frames of a clip.
      frame: changes only the sensor noise.
    """
    au = au_vector(au)
    balance = np.zeros(len(AUS)) if balance is None else balance
    neutral = identity_shape(who)
    shape = pose_face(neutral, au, balance)
    project = projection(camera.view, size)
    unit = project.scale
    centre = HEAD_CENTRE + (0, 0.05, 0)
    points = project(shape)
    points[:17] = contour(shape[:17], project, centre)
    line = hair.hairline(who, project, centre)
    outline = np.concatenate([points[:17], line[::-1]])
    outline = spline(outline, 3)

    rng = np.random.default_rng(seed)
    canvas = new_canvas(camera, size, oversample, rng)
    backdrop = canvas.image.copy()
    hair.paint_back_hair(canvas, project, who)
    hair.paint_body(canvas, project, who, points[:17])
    hair.paint_cap(canvas, project, who, line, rng)
    hair.paint_ears(canvas, project, who)
    canvas.fill(outline, who.skin)
    canvas.soft(cv2.convexHull(points[27:36].astype(np.float32))[:, 0], who.skin, 1, 0.03 * unit)
    around = _unchanged(canvas, backdrop)
    features.paint_beard(canvas, points, who, unit)
    features.paint_nose(canvas, points, who, unit)
    features.paint_mouth(canvas, points, au, who, unit)
    features.paint_eyes(canvas, points, _irises(neutral, gaze, project), who, unit)
    features.paint_brows(canvas, points, who, unit)
    cv2.copyTo(backdrop, around, canvas.image)  # soft edges must not bleed past the skin
    covers = hair.paint_front_hair(canvas, project, who, line, rng)
    features.paint_glasses(canvas, points, who, unit)
    occluder = paint_occluder(canvas, occlusion, points, who, unit, rng)

    albedo, person = _reduce(canvas, backdrop)
    skin = features.face_outline_mask(outline, points, size)
    skin *= 1 - _cover_mask(covers + occluder, size)
    lit = _light(albedo, skin, shape, au, balance, who, camera, project)
    image = albedo + (lit - albedo) * person[..., None]
    picture = develop(image, camera, np.random.default_rng([seed, frame]))
    return Rendering(
        picture,
        points.astype(np.float32),
        _visible(points, _cover_mask(occluder, size), size),
        _box(outline, size),
    )


def _irises(neutral: np.ndarray, gaze: tuple[float, float], project) -> np.ndarray:
    """Iris centres [2, 2] in pixels."""
    centres = np.stack([neutral[36:42].mean(0), neutral[42:48].mean(0)])
    return project(centres + (gaze[0] * 0.1, gaze[1] * 0.1 - 0.008, 0.04))


def _light(albedo, skin, shape, au, balance, who, camera, project) -> np.ndarray:
    """Applies relief, redness, freckles and light; float RGB."""
    size = albedo.shape[0]
    spots, spread, effect = relief_spots(shape, au, balance, who.age)
    effect = np.column_stack([effect[:, 0] * HEIGHT * (spread / 0.1), effect[:, 1:]])
    height, shadow, red = splat(
        project(spots), np.maximum(spread * project.scale, 0.6), effect, size
    )
    shade = shading(camera, project, height * skin)
    shade = shade * (1 - np.clip(0.30 * shadow, -0.3, 0.6) * skin)
    flush = (0.16 * np.clip(red, 0, 1.5) * skin)[..., None]
    colour = albedo * (1 - flush * np.array((0.1, 0.75, 0.65), np.float32))
    return colour * shade[..., None]


def _unchanged(canvas: Canvas, backdrop: np.ndarray) -> np.ndarray:
    """Mask 0 or 255 of the canvas pixels that still show the backdrop."""
    return cv2.inRange(cv2.absdiff(canvas.image, backdrop), (0, 0, 0), (0, 0, 0))


def _reduce(canvas: Canvas, backdrop: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The painted picture at its final size, float RGB, and the person's coverage in 0..1."""
    size = canvas.image.shape[0] // canvas.oversample
    albedo = cv2.resize(canvas.image, (size, size), interpolation=cv2.INTER_AREA)
    empty = cv2.resize(_unchanged(canvas, backdrop), (size, size), interpolation=cv2.INTER_AREA)
    return albedo.astype(np.float32), 1 - empty.astype(np.float32) / 255


def _cover_mask(shapes: list[np.ndarray], size: int) -> np.ndarray:
    """Coverage [size, size] in 0..1 of polygons."""
    mask = np.zeros((size, size), np.uint8)
    for shape in shapes:
        cv2.fillPoly(mask, [np.round(shape * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    return mask.astype(np.float32) / 255


def _visible(points: np.ndarray, hidden: np.ndarray, size: int) -> np.ndarray:
    """Landmarks inside the picture and not under an occluder."""
    inside = ((points >= -0.5) & (points < size - 0.5)).all(1)
    x, y = np.clip(np.round(points).astype(int), 0, size - 1).T
    return inside & (hidden[y, x] < 0.5)


def _box(outline: np.ndarray, size: int) -> np.ndarray:
    low, high = outline.min(0), outline.max(0)
    return np.clip(np.concatenate([low, high]), 0, size - 1).astype(np.float32)
