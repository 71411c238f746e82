"""Drawing primitives: splines, smooth filled shapes, strokes, soft blending."""

from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np

SHIFT = 4  # fractional bits of OpenCV's drawing coordinates
Colour = Sequence[float] | np.ndarray


@lru_cache(maxsize=64)
def _spline_matrix(n: int, steps: int, closed: bool) -> np.ndarray:
    """Catmull-Rom basis [samples, n]; the curve passes through every control point."""
    spans = n if closed else n - 1
    t = np.arange(steps) / steps
    blend = np.stack([-t + 2 * t**2 - t**3, 2 - 5 * t**2 + 3 * t**3,
                      t + 4 * t**2 - 3 * t**3, -(t**2) + t**3]) / 2  # fmt: skip
    matrix = np.zeros((spans * steps + (not closed), n))
    for span in range(spans):
        rows = slice(span * steps, (span + 1) * steps)
        for k in range(4):
            i = span - 1 + k
            matrix[rows, i % n if closed else min(max(i, 0), n - 1)] += blend[k]
    if not closed:
        matrix[-1, -1] = 1
    return matrix


def spline(points: np.ndarray, steps: int = 6, *, closed: bool = True) -> np.ndarray:
    """Smooth curve through the points [N, D]: `steps` samples for each span."""
    return _spline_matrix(len(points), steps, closed) @ points


def _fixed(points: np.ndarray) -> np.ndarray:
    return np.round(points * (1 << SHIFT)).astype(np.int32)


class Canvas:
    """An RGB picture drawn `oversample` times larger than the image it becomes.

    All coordinates are pixels of the final image, integers at pixel centres.
    """

    def __init__(self, image: np.ndarray, oversample: int):
        self.image = image
        self.oversample = oversample

    def at(self, points: np.ndarray) -> np.ndarray:
        """Final-image pixels to canvas pixels."""
        return points * self.oversample + (self.oversample - 1) / 2

    def fill(self, points: np.ndarray, colour: Colour) -> None:
        """Fills a polygon [N, 2]."""
        cv2.fillPoly(self.image, [_fixed(self.at(points))], tuple(colour), cv2.LINE_AA, SHIFT)

    def stroke(self, points: np.ndarray, colour: Colour, width: float) -> None:
        """Draws an open line [N, 2] of a width in final pixels."""
        thick = max(1, round(width * self.oversample))
        cv2.polylines(
            self.image, [_fixed(self.at(points))], False, tuple(colour), thick, cv2.LINE_AA, SHIFT
        )

    def disc(self, centre: np.ndarray, radius: float, colour: Colour) -> None:
        """Fills a circle."""
        x, y = _fixed(self.at(centre))
        r = round(radius * self.oversample * (1 << SHIFT))
        cv2.circle(self.image, (int(x), int(y)), r, tuple(colour), -1, cv2.LINE_AA, SHIFT)

    def region(self, points: np.ndarray, margin: float) -> tuple[slice, slice] | None:
        """Rows and columns around the points, or None where they miss the picture."""
        height, width = self.image.shape[:2]
        low = np.floor(self.at(points.min(0) - margin)).astype(int)
        high = np.ceil(self.at(points.max(0) + margin)).astype(int) + 1
        x0, y0, x1, y1 = max(low[0], 0), max(low[1], 0), min(high[0], width), min(high[1], height)
        return (slice(y0, y1), slice(x0, x1)) if x0 < x1 and y0 < y1 else None

    def mask(self, points: np.ndarray, box: tuple[slice, slice], blur: float = 0) -> np.ndarray:
        """Coverage 0..255 of a polygon inside a box, its edge blurred by `blur` final pixels."""
        rows, columns = box
        mask = np.zeros((rows.stop - rows.start, columns.stop - columns.start), np.uint8)
        moved = self.at(points) - (columns.start, rows.start)
        cv2.fillPoly(mask, [_fixed(moved)], 255, cv2.LINE_AA, SHIFT)
        return soften(mask, blur * self.oversample)

    def soft(self, points: np.ndarray, colour: Colour, alpha: float, blur: float) -> None:
        """Fills a polygon with a soft edge."""
        box = self.region(points, 2.5 * blur + 1)
        if box:
            self.blend(box, np.asarray(colour, np.float32), self.mask(points, box, blur), alpha)

    def blend(
        self, box: tuple[slice, slice], paint: np.ndarray, mask: np.ndarray, alpha: float = 1.0
    ) -> None:
        """Mixes a colour or a patch [h, w, 3] into a box under a mask 0..255."""
        part = self.image[box]
        share = mask[..., None].astype(np.float32) * (alpha / 255)
        mixed = part + (paint.astype(np.float32) - part) * share
        self.image[box] = (mixed + 0.5).astype(np.uint8)


def cover(shapes: list[np.ndarray], size: int) -> np.ndarray:
    """Coverage [size, size] in 0..1 of polygons in pixels."""
    mask = np.zeros((size, size), np.uint8)
    for shape in shapes:
        cv2.fillPoly(mask, [_fixed(shape)], 255, cv2.LINE_AA, SHIFT)
    return mask.astype(np.float32) / 255


def soften(mask: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian blur that leaves sharp masks alone."""
    return cv2.GaussianBlur(mask, (0, 0), sigma) if sigma > 0.2 else mask


def tint(
    colour: Colour, *, light: float = 1.0, towards: Colour = (0, 0, 0), share: float = 0.0
) -> list[float]:
    """A colour scaled by `light` and moved by `share` towards another one."""
    keep = light * (1 - share)
    return [min(max(c * keep + t * share, 0.0), 255.0)
            for c, t in zip(colour, towards, strict=True)]  # fmt: skip
