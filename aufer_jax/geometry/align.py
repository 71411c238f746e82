"""Five-point similarity alignment of a face to the usual square template."""

import math

import cv2
import numpy as np

from aufer_jax.errors import UserError
from aufer_jax.geometry.landmarks import five_points

TEMPLATE_SIZE = 112
FILLS = ("black", "edge")  # what is seen where an image has ended
_BLACK = 12  # the mean brightness up to which a line of pixels at an image's edge is a bar
# Eye left, eye right, nose tip, mouth left, mouth right, as seen in the image; (x, y) pixels.
TEMPLATE = np.array(
    [
        [38.2946, 51.6963],
        [73.5318, 51.5014],
        [56.0252, 71.7366],
        [41.5493, 92.3655],
        [70.7299, 92.2041],
    ]
)


def template(size: int, margin: float = 0.0) -> np.ndarray:
    """The five template points [5, 2] of a `size` x `size` face.

    `margin` shows more (or, below 0, less) on each side, as a share of the usual square.

    >>> template(112)[:2].round(1).tolist()  # the eyes
    [[38.3, 51.7], [73.5, 51.5]]
    """
    if size < 1 or not -0.4 <= margin <= 4:
        raise UserError(f"size, margin: got {size}, {margin}; they must be at least 1, and -0.4..4")
    middle = TEMPLATE_SIZE / 2
    points = TEMPLATE if not margin else (TEMPLATE - middle) / (1 + 2 * margin) + middle
    return points * (size / TEMPLATE_SIZE)


def similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The least-squares rotation, scale and shift from points [..., n, 2] to points [n, 2].

    Equal to Umeyama's solution without reflection. The result [..., 2, 3] is not finite where
    points are unknown or all coincide.

    >>> source, target = np.array([[0, 0], [2, 0]]), np.array([[0, 0], [0, 2]])
    >>> similarity(source, target).round(3).tolist()  # a quarter turn
    [[0.0, -1.0, 0.0], [1.0, 0.0, 0.0]]
    """
    source, target = np.asarray(source, np.float64), np.asarray(target, np.float64)
    middle, aim = source.mean(-2), target.mean(0)
    a, b = source - middle[..., None, :], target - aim
    with np.errstate(divide="ignore", invalid="ignore"):
        scaled = a / (a * a).sum((-2, -1), keepdims=True)
    p = (scaled * b).sum((-2, -1))
    q = (scaled[..., 0] * b[:, 1] - scaled[..., 1] * b[:, 0]).sum(-1)
    x = aim[0] - p * middle[..., 0] + q * middle[..., 1]
    y = aim[1] - q * middle[..., 0] - p * middle[..., 1]
    return np.stack([np.stack([p, -q, x], -1), np.stack([q, p, y], -1)], -2)


def face_matrix(landmarks: np.ndarray, size: int) -> np.ndarray:
    """The similarities [..., 2, 3] that bring iBUG-68 landmarks [..., 68, 2] onto the template.

    Only eyes, nose tip and mouth corners need be known.

    >>> from aufer_jax.geometry.landmarks import from_five
    >>> matrix = face_matrix(from_five(2 * template(112)), size=112)  # to half the size
    >>> bool(np.allclose(matrix, [[0.5, 0, 0], [0, 0.5, 0]], atol=1e-5))
    True
    """
    return similarity(five_points(np.asarray(landmarks, np.float64)), template(size))


def resize_matrix(height: int, width: int, size: int) -> np.ndarray:
    """The map [2, 3] of pixel indices when a whole image is resized to `size` x `size`.

    >>> resize_matrix(height=50, width=100, size=200).tolist()
    [[2.0, 0.0, 0.5], [0.0, 4.0, 1.5]]
    """
    x, y = size / width, size / height
    return np.array([[x, 0, 0.5 * x - 0.5], [0, y, 0.5 * y - 0.5]])


def compose(second: np.ndarray, first: np.ndarray) -> np.ndarray:
    """The map [2, 3] that applies `first`, then `second`.

    >>> twice, moved = np.array([[2.0, 0, 0], [0, 2, 0]]), np.array([[1.0, 0, 5], [0, 1, 0]])
    >>> compose(twice, moved).tolist()
    [[2.0, 0.0, 10.0], [0.0, 2.0, 0.0]]
    """
    both = second[:, :2] @ first
    both[:, 2] += second[:, 2]
    return both


def transform(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Points [..., n, 2] mapped by `matrix` [..., 2, 3].

    >>> transform(np.array([[1.0, 1.0]]), np.array([[2.0, 0, 0], [0, 2, 1]])).tolist()
    [[2.0, 3.0]]
    """
    return points @ np.swapaxes(matrix[..., :2], -1, -2) + matrix[..., None, :, 2]


def shrinkage(matrix: np.ndarray) -> int:
    """How many times smaller a map [2, 3] makes an image, rounded down; at least 1.

    >>> shrinkage(np.array([[0.25, 0, 0], [0, 0.25, 0]]))
    4
    """
    (a, b, _), (c, d, _) = matrix.tolist()
    area = abs(a * d - b * c)
    return int(1 / math.sqrt(area)) if 0 < area < 1 else 1


def shrunk(matrix: np.ndarray, times: int) -> np.ndarray:
    """The map [2, 3] to use when blocks of `times` x `times` pixels have become one."""
    between = (times - 1) / 2
    return compose(matrix, np.array([[times, 0, between], [0, times, between]], np.float64))


def warp(
    image: np.ndarray,
    matrix: np.ndarray,
    size: int,
    out: np.ndarray | None = None,
    fill: str = "black",
) -> np.ndarray:
    """An image [H, W, 3] mapped by `matrix`, bilinear: [size, size, 3].

    Where the map makes the image two or more times smaller, blocks of pixels are averaged first,
    so that none is skipped. Outside it is black, or goes on as its "edge"; black bars of the image itself
    are then outside, too.

    >>> image = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    >>> warp(image, np.array([[1.0, 0, 1], [0, 1, 0]]), size=2)[0].tolist()  # one to the right
    [[0, 0, 0], [0, 1, 2]]
    """
    border = cv2.BORDER_CONSTANT
    if fill == "edge":
        top, bottom, left, right = shown(image)
        image, border = image[top:bottom, left:right], cv2.BORDER_REPLICATE
        matrix = compose(matrix, np.array([[1.0, 0.0, left], [0.0, 1.0, top]]))
    times = min(shrinkage(matrix), *image.shape[:2])
    if times > 1:
        height, width = image.shape[0] // times, image.shape[1] // times
        whole = image[: height * times, : width * times]
        image = cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA)
        matrix = shrunk(matrix, times)
    return cv2.warpAffine(
        image, matrix, (size, size), dst=out, flags=cv2.INTER_LINEAR, borderMode=border
    )


def shown(image: np.ndarray) -> tuple[int, int, int, int]:
    """Top, bottom, left and right (the second and fourth one too many) of an image without its black bars."""
    height, width = image.shape[:2]
    green, found = cv2.extractChannel(image, 1), []
    for along, count in ((1, height), (0, width)):
        means = cv2.reduce(green, along, cv2.REDUCE_AVG, dtype=cv2.CV_32F).ravel()
        lit = np.flatnonzero(means > _BLACK)
        if len(lit) < 3:
            return 0, height, 0, width
        first, last = int(lit[0]), int(lit[-1]) + 1
        # The line beside a bar is half black, by JPEG or by resizing.
        found += [first + (first > 0), last - (last < count)]
    top, bottom, left, right = found
    return top, bottom, left, right


def outside(image: np.ndarray, matrix: np.ndarray, size: int) -> float:
    """The share of `size` x `size` pixels, mapped from an image, that the image does not show."""
    top, bottom, left, right = shown(image)
    grid = np.stack(np.meshgrid(np.arange(size), np.arange(size)), -1).reshape(-1, 2)
    x, y = transform(grid.astype(np.float64), cv2.invertAffineTransform(matrix)).T
    inside = (x > left - 1) & (x < right) & (y > top - 1) & (y < bottom)
    return 1 - float(inside.mean())
