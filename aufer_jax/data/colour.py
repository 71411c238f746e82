"""Brightness, contrast, saturation and hue of an RGB image, in place, as Pillow changes them."""

import cv2
import numpy as np

_LUMA = (0.299, 0.587, 0.114)


def gray_mean(image: np.ndarray) -> float:
    """The mean brightness [0, 255] of an image."""
    return float(np.dot(cv2.mean(image)[:3], _LUMA))


def brightness(image: np.ndarray, factor: float) -> None:
    """Towards black: 0 is black, 1 changes nothing."""
    look_up(image, np.arange(256) * factor)


def contrast(image: np.ndarray, factor: float) -> None:
    """Towards the image's mean gray."""
    mean = np.floor(gray_mean(image) + 0.5)
    look_up(image, mean + factor * (np.arange(256) - mean))


def saturation(image: np.ndarray, factor: float) -> None:
    """Towards each pixel's own gray."""
    matrix = factor * np.eye(3) + (1 - factor) * np.tile(_LUMA, (3, 1))
    cv2.transform(image, matrix, dst=image)


def hue(image: np.ndarray, turns: float) -> None:
    """Round the colour circle."""
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)
    hsv[..., 0] += np.uint8(round(turns * 256) % 256)
    cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB_FULL, dst=image)


def look_up(image: np.ndarray, values: np.ndarray) -> None:
    """Replaces every pixel value by that of a table [256], rounded and clipped."""
    table = np.clip(np.round(values), 0, 255).astype(np.uint8)
    cv2.LUT(image, table, dst=image)


CHANGES = (brightness, contrast, saturation, hue)
UNCHANGED = (1.0, 1.0, 1.0, 0.0)


def jitter(
    image: np.ndarray, amounts: tuple[float, float, float, float], order: tuple[int, ...]
) -> None:
    """Applies the four `CHANGES` by their amounts, in the given order."""
    for index in order:
        if amounts[index] != UNCHANGED[index]:
            CHANGES[index](image, amounts[index])
