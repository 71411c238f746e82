"""Tensors of a checkpoint made to fit a network of another size, where that has a meaning."""

import math
import re
from collections.abc import Iterable, Mapping

import jax
import numpy as np

from aufer_jax.errors import UserError

_POSITIONS = re.compile(r"pos_embed(ding)?$|position_embedding(s|\.weight)$")
_OF_FRAMES = re.compile(r"(^|\.)temporal_embedding$")
_OF_LANDMARKS = re.compile(r"(^|\.)patch_embed_prompt\.proj\.weight$")
_OVER_TIME = re.compile(r"(^|\.)t_former\.pos_embedding$")  # class token, then one position a frame
_BLOCKS = re.compile(r"(^|\.)blocks\.(\d+)\.")
_BY_SIZE = re.compile(r"(^|\.)lg_region_tokens$")  # as many as the clip has regions


def adapt(
    key: str, value: np.ndarray, shape: tuple[int, ...], head: bool, smooth: bool = False
) -> tuple[np.ndarray | None, str]:
    """A tensor under its PyTorch key and layout for a place of another shape, and what was done.

    None in place of the tensor leaves the initial value; a ValueError means that nothing sensible fits.
    `smooth`: grids of positions are resampled with anti-aliasing.
    """
    change = f"{list(value.shape)} to {list(shape)}"
    if inflatable(value.shape, shape):
        frames = shape[2]
        return np.repeat(
            value[:, :, None], frames, axis=2
        ) / frames, f"inflated over time, {change}"
    if head:
        return None, f"head of another size, {change}"
    if _BY_SIZE.search(key):
        return None, f"another number of regions, {change}"
    if _OF_LANDMARKS.search(key):
        return None, f"another network of landmarks, {change}"
    if _OF_FRAMES.search(key) and value.ndim == len(shape) == 3 and value.shape[2] == shape[2]:
        return _resized(value, shape[1]), f"positions resampled, {change}"
    if _POSITIONS.search(key) and value.ndim == len(shape) and value.shape[-1] == shape[-1]:
        rows = value.reshape(1, *value.shape[-2:])  # CLIP's are [N, C]
        of_frames = _OVER_TIME.search(key)
        resampled = _over_time(rows, shape[-2]) if of_frames else _grid(rows, shape[-2], smooth)
        if resampled is not None:
            return resampled.reshape(shape), f"positions resampled, {change}"
    raise UserError(
        f"{key}: shape {list(value.shape)} in the checkpoint, {list(shape)} in the model"
    )


def renamed(
    tensors: Mapping[str, np.ndarray], pairs: Iterable[tuple[str, str]]
) -> dict[str, np.ndarray]:
    """Tensors with keys replaced by (pattern, replacement) pairs, but for those that are there already."""
    out = dict(tensors)
    for pattern, replacement in pairs:
        for key in list(out):
            new = re.sub(pattern, replacement, key)
            if new not in out:
                out[new] = out.pop(key)
    return out


def split_blocks(tensors: Mapping[str, np.ndarray], first: int) -> dict[str, np.ndarray]:
    """A plain ViT's `blocks.N` as `blocks_1` (the first `first`) and `blocks_2` around an AU branch."""

    def renamed(found: re.Match) -> str:
        block = int(found[2])
        half, place = ("1", block) if block < first else ("2", block - first)
        return f"{found[1]}blocks_{half}.{place}."

    return {_BLOCKS.sub(renamed, key): value for key, value in tensors.items()}


def inflatable(shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    """Whether [O, I, h, w] can become [O, I, t, h, w], which repeats it and divides by t."""
    return len(shape) == 4 and len(wanted) == 5 and shape == (*wanted[:2], *wanted[3:])


def _grid(value: np.ndarray, count: int, smooth: bool) -> np.ndarray | None:
    """Positions [1, N, C] of a square grid, a class token's before them or not, as PyTorch resizes images.

    That is with Keys' cubic of a = -0.75 and the border repeated; `smooth` with its anti-aliasing, a = -0.5.
    """
    for extra in (0, 1):
        old, new = math.isqrt(value.shape[1] - extra), math.isqrt(count - extra)
        if old**2 + extra == value.shape[1] and new**2 + extra == count:
            grid = value[:, extra:].reshape(old, old, -1)
            if smooth:
                grid = jax.image.resize(grid, (new, new, grid.shape[-1]), "bicubic")
            else:
                matrix = _cubic(old, new)
                grid = np.einsum("io,opc,jp->ijc", matrix, grid, matrix)
            grid = np.asarray(grid, np.float32).reshape(1, new**2, -1)
            return np.concatenate([value[:, :extra], grid], axis=1)
    return None


def _cubic(old: int, new: int) -> np.ndarray:
    """[new, old]: what each of `old` points gives to each of `new`."""
    at = (np.arange(new) + 0.5) * old / new - 0.5
    matrix = np.zeros((new, old))
    for tap in range(-1, 3):
        place = np.floor(at).astype(int) + tap
        far = np.abs(at - place)
        near = 1.25 * far**3 - 2.25 * far**2 + 1
        weight = np.where(far <= 1, near, -0.75 * (far**3 - 5 * far**2 + 8 * far - 4))
        np.add.at(matrix, (np.arange(new), np.clip(place, 0, old - 1)), weight)
    return matrix


def _over_time(value: np.ndarray, count: int) -> np.ndarray:
    """Positions [1, 1 + T, C] of a class token and of frames, linearly."""
    return np.concatenate([value[:, :1], _resized(value[:, 1:], count - 1)], axis=1)


def _resized(value: np.ndarray, count: int) -> np.ndarray:
    """[1, T, C] -> [1, count, C], linearly."""
    shape = (1, count, value.shape[-1])
    return np.asarray(jax.image.resize(value, shape, "linear", antialias=False))
