"""The neutral mean face in three dimensions: the 68 iBUG points, symmetric.

Unit: the distance of the eye centres. x to the right of the image, y down, z towards the viewer;
origin midway between the eyes. "Left" is left in the image.
"""

import numpy as np

from aufer_jax.geometry.landmarks import FLIP

# Neutral positions of the left half and the midline.
_HALF = {
    0: (-1.07, 0.02, -0.80), 1: (-1.06, 0.28, -0.78), 2: (-1.03, 0.55, -0.74),
    3: (-0.97, 0.83, -0.64), 4: (-0.87, 1.10, -0.46), 5: (-0.71, 1.34, -0.26),
    6: (-0.50, 1.53, -0.10), 7: (-0.26, 1.66, 0.02), 8: (0.0, 1.71, 0.06),
    17: (-0.90, -0.20, -0.10), 18: (-0.77, -0.30, 0.05), 19: (-0.60, -0.335, 0.15),
    20: (-0.42, -0.32, 0.22), 21: (-0.23, -0.27, 0.25),
    27: (0.0, 0.00, 0.27), 28: (0.0, 0.20, 0.38), 29: (0.0, 0.39, 0.49), 30: (0.0, 0.57, 0.56),
    31: (-0.225, 0.665, 0.22), 32: (-0.115, 0.695, 0.31), 33: (0.0, 0.71, 0.34),
    36: (-0.715, 0.02, -0.06), 37: (-0.60, -0.07, 0.04), 38: (-0.42, -0.075, 0.06),
    39: (-0.275, 0.035, 0.0), 40: (-0.41, 0.06, 0.04), 41: (-0.58, 0.065, 0.02),
    48: (-0.39, 1.12, 0.05), 49: (-0.26, 1.045, 0.19), 50: (-0.10, 1.00, 0.27),
    51: (0.0, 1.02, 0.28), 57: (0.0, 1.275, 0.24), 58: (-0.12, 1.265, 0.22),
    59: (-0.27, 1.205, 0.14), 60: (-0.345, 1.12, 0.06), 61: (-0.12, 1.112, 0.20),
    62: (0.0, 1.118, 0.22), 66: (0.0, 1.13, 0.21), 67: (-0.12, 1.128, 0.19),
}  # fmt: skip


def mirrored(half: dict[int, tuple[float, float, float]]) -> np.ndarray:
    """[68, 3] points from those of the left half; absent pairs are zero.

    >>> points = mirrored({36: (-0.7, 0.0, 0.0)})
    >>> points[45].tolist()  # the other eye's outer corner
    [0.7, 0.0, 0.0]
    """
    points = np.zeros((68, 3))
    for i, p in half.items():
        points[i] = p
        points[FLIP[i]] = np.array(p) * (-1, 1, 1) if FLIP[i] != i else p
    return points


NEUTRAL = mirrored(_HALF)
