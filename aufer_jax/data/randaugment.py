"""RandAugment on uint8 RGB images, in the form MAE-DFER was trained with: the same draw for every frame.

Each of n draws takes one of fifteen operations and applies it with probability 1/2. A magnitude of 10 is
the strongest; "inc" means that more is always further from the image as it was.
"""

import dataclasses

import cv2
import numpy as np

from aufer_jax.data import colour

FILL = (128, 128, 128)
APPLIED = 0.5  # probability
STRONGEST = 10.0
OPERATIONS = (
    *("auto_contrast", "equalize", "invert", "rotate", "posterize", "solarize", "solarize_add"),
    *("color", "contrast", "brightness", "sharpness"),
    *("shear_x", "shear_y", "translate_x", "translate_y"),
)
GEOMETRIC = ("rotate", "shear_x", "shear_y", "translate_x", "translate_y")
_SIGNED = (*GEOMETRIC, "color", "contrast", "brightness", "sharpness")


@dataclasses.dataclass(frozen=True)
class Operation:
    """A drawn change of an image, by name and level."""

    name: str
    level: float = 0.0  # from 0 to 10, with the sign where there are two directions


def draw(
    count: int, magnitude: float, deviation: float, rng: np.random.Generator
) -> tuple[Operation, ...]:
    """The operations for one image or clip."""
    drawn = []
    for index in rng.integers(0, len(OPERATIONS), count):
        if rng.random() >= APPLIED:
            continue
        level = float(np.clip(rng.normal(magnitude, deviation), 0, STRONGEST))
        name = OPERATIONS[index]
        if name in _SIGNED and rng.random() < 0.5:
            level = -level
        drawn.append(Operation(name, level))
    return tuple(drawn)


def apply(image: np.ndarray, operation: Operation) -> None:
    """Changes an image [H, W, 3], in place."""
    level = operation.level
    if operation.name in GEOMETRIC:
        size = (image.shape[1], image.shape[0])
        forward = matrix(operation, image.shape[0], image.shape[1])
        cv2.warpAffine(
            image.copy(), forward, size, dst=image, flags=cv2.INTER_CUBIC, borderValue=FILL
        )
    elif operation.name in _PLAIN:
        _PLAIN[operation.name](image)
    elif operation.name == "posterize":
        kept = 4 - int(0.4 * level)
        colour.look_up(image, np.arange(256) & (256 - 2 ** (8 - kept)))
    elif operation.name == "solarize":
        values = np.arange(256)
        colour.look_up(image, np.where(values < 256 - int(25.6 * level), values, 255 - values))
    elif operation.name == "solarize_add":
        values = np.arange(256)
        colour.look_up(image, np.where(values < 128, values + int(11 * level), values))
    else:
        _ENHANCE[operation.name](image, 1 + 0.09 * level)


def matrix(operation: Operation, height: int, width: int) -> np.ndarray:
    """Where pixels go under an operation: a map [2, 3] of pixel indices."""
    level, shift = operation.level, np.eye(2, 3)
    if operation.name == "rotate":  # about the middle of the image
        centre = ((width - 1) / 2, (height - 1) / 2)
        return cv2.getRotationMatrix2D(centre, 3 * level, 1.0)
    # Shears are about the corner of the first pixel.
    if operation.name == "shear_x":
        shift[0, 1] = -0.03 * level
        shift[0, 2] = 0.5 * shift[0, 1]
    elif operation.name == "shear_y":
        shift[1, 0] = -0.03 * level
        shift[1, 2] = 0.5 * shift[1, 0]
    elif operation.name == "translate_x":
        shift[0, 2] = -0.045 * level * width
    elif operation.name == "translate_y":
        shift[1, 2] = -0.045 * level * height
    return shift


def auto_contrast(image: np.ndarray) -> None:
    """Stretches each channel to the whole range."""
    for c in range(3):
        low, high = int(image[..., c].min()), int(image[..., c].max())
        if high > low:
            values = np.floor((np.arange(256) - low) * (255 / (high - low)) + 1e-6)
            image[..., c] = np.clip(values, 0, 255).astype(np.uint8)[image[..., c]]


def equalize(image: np.ndarray) -> None:
    """Makes each channel's values equally frequent."""
    for c in range(3):
        counts = np.bincount(image[..., c].ravel(), minlength=256)
        used = counts[counts > 0]
        step = (used.sum() - used[-1]) // 255
        if len(used) > 1 and step:
            before = np.concatenate([[0], np.cumsum(counts)[:-1]])
            image[..., c] = np.minimum((step // 2 + before) // step, 255).astype(np.uint8)[
                image[..., c]
            ]


def invert(image: np.ndarray) -> None:
    """The negative, in place."""
    np.subtract(255, image, out=image)


def sharpness(image: np.ndarray, factor: float) -> None:
    """Away from the image smoothed by 1 1 1, 1 5 1, 1 1 1, whose border stays as it is."""
    kernel = np.array([[1, 1, 1], [1, 5, 1], [1, 1, 1]], np.float32) / 13
    smooth = image.copy()
    smooth[1:-1, 1:-1] = cv2.filter2D(image, cv2.CV_8U, kernel)[1:-1, 1:-1]
    cv2.addWeighted(image, factor, smooth, 1 - factor, 0, dst=image)


_PLAIN = {"auto_contrast": auto_contrast, "equalize": equalize, "invert": invert}
_ENHANCE = {
    "color": colour.saturation,
    "contrast": colour.contrast,
    "brightness": colour.brightness,
    "sharpness": sharpness,
}
