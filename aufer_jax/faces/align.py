"""Five-point similarity alignment of a face to the usual square template."""

import cv2
import numpy as np

TEMPLATE_SIZE = 112
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

# The five points as weighted means of the iBUG-68 points.
_FIVE = np.zeros((5, 68))
_FIVE[0, 36:42] = _FIVE[1, 42:48] = 1 / 6
_FIVE[2, 30] = _FIVE[3, 48] = _FIVE[4, 54] = 1


def template(size: int) -> np.ndarray:
    """The five template points [5, 2] of a `size` x `size` face."""
    return TEMPLATE * (size / TEMPLATE_SIZE)


def five_points(landmarks: np.ndarray) -> np.ndarray:
    """Eye centres, nose tip and mouth corners [..., 5, 2] of iBUG-68 landmarks [..., 68, 2]."""
    return _FIVE @ landmarks


def similarity(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The least-squares rotation, scale and shift [2, 3] from points [n, 2] to points [n, 2].

    Equal to Umeyama's solution without reflection.
    """
    source, target = np.asarray(source, np.float64), np.asarray(target, np.float64)
    a, b = source - source.mean(0), target - target.mean(0)
    spread = (a * a).sum()
    if not spread > 0:
        raise ValueError(f"source: the points {source.tolist()} must be finite and not all equal")
    p = (a * b).sum() / spread
    q = (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).sum() / spread
    linear = np.array([[p, -q], [q, p]])
    shift = target.mean(0) - linear @ source.mean(0)
    return np.column_stack([linear, shift])


def face_matrix(landmarks: np.ndarray, size: int) -> np.ndarray:
    """The similarity [2, 3] that brings a face with iBUG-68 landmarks [68, 2] onto the template."""
    return similarity(five_points(landmarks), template(size))


def resize_matrix(height: int, width: int, size: int) -> np.ndarray:
    """The map [2, 3] of pixel indices when a whole image is resized to `size` x `size`."""
    x, y = size / width, size / height
    return np.array([[x, 0, 0.5 * x - 0.5], [0, y, 0.5 * y - 0.5]])


def compose(second: np.ndarray, first: np.ndarray) -> np.ndarray:
    """The map [2, 3] that applies `first`, then `second`."""
    linear = second[:, :2] @ first
    linear[:, 2] += second[:, 2]
    return linear


def transform(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Points [..., 2] mapped by `matrix` [2, 3]."""
    return points @ matrix[:, :2].T + matrix[:, 2]


def warp(
    image: np.ndarray, matrix: np.ndarray, size: int, out: np.ndarray | None = None
) -> np.ndarray:
    """An image [H, W, 3] mapped by `matrix`, bilinear, black outside: [size, size, 3].

    Where the map shrinks the image to less than half, whole blocks of pixels are averaged first,
    so that none is skipped.
    """
    shrink = int(1 / np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    if shrink > 1:
        height, width = image.shape[0] // shrink * shrink, image.shape[1] // shrink * shrink
        small = (width // shrink, height // shrink)
        image = cv2.resize(image[:height, :width], small, interpolation=cv2.INTER_AREA)
        centre = (shrink - 1) / 2
        grow = np.array([[shrink, 0, centre], [0, shrink, centre]], np.float64)
        matrix = compose(matrix, grow)
    return cv2.warpAffine(image, matrix, (size, size), dst=out, flags=cv2.INTER_LINEAR)
