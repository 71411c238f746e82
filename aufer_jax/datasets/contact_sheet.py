"""A contact sheet of faces: one row per class, with their landmarks."""

import pathlib
from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from aufer_jax import synth
from aufer_jax.data import views

COLUMNS = 10

_TILE, _GAP, _LINE = 128, 4, 16
_LEFT, _TOP, _DPI = 170, 46, 100
_PAPER = 255
_DOT = (60, 230, 60)
_FINE = 4  # bits of the fractions of a pixel in which dots are placed


def save(
    rows: Mapping[str, Sequence[tuple[bytes, np.ndarray | None]]],
    path: pathlib.Path,
    title: str = "",
    captions: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """Writes a PNG with a row of encoded images, with their landmarks [68, 2], for each heading.

    `captions` are for each heading what is written below its images.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    tiles = [[_tile(*picture) for picture in pictures] for pictures in rows.values()]
    below = _LINE if captions else 0
    if captions:
        paper = np.full((below, _TILE, 3), _PAPER, np.uint8)
        tiles = [[np.concatenate([tile, paper]) for tile in row] for row in tiles]
    grid = synth.contact_sheet(tiles, gap=_GAP)
    width, height = _LEFT + grid.shape[1] + _GAP, _TOP + grid.shape[0] + _GAP
    figure = Figure(figsize=(width / _DPI, height / _DPI), dpi=_DPI)
    figure.text(_GAP / width, 1 - _GAP / height, title, va="top", fontsize=12)
    for row, heading in enumerate(rows):
        top = _TOP + row * (_TILE + below + _GAP)
        middle = 1 - (top + _TILE / 2) / height
        place = ((_LEFT - 3 * _GAP) / width, middle)
        figure.text(*place, heading, ha="right", va="center")
        for column, text in enumerate(captions[heading] if captions else ()):
            place = (
                (_LEFT + column * (_TILE + _GAP) + _TILE / 2) / width,
                1 - (top + _TILE) / height,
            )
            figure.text(*place, text, ha="center", va="top", fontsize=8)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    sheet = np.array(canvas.buffer_rgba())[..., :3]
    shown = sheet[-_GAP - len(grid) : -_GAP, _LEFT : _LEFT + grid.shape[1]]
    np.minimum(shown, grid, out=shown)  # the paper of both is white
    path.write_bytes(cv2.imencode(".png", sheet[..., ::-1])[1].tobytes())


def _tile(data: bytes, landmarks: np.ndarray | None) -> np.ndarray:
    """An image fitted into a tile, RGB [_TILE, _TILE, 3]."""
    image = views.decode(data)
    tile = np.full((_TILE, _TILE, 3), _PAPER, np.uint8)
    if image is None:
        return tile
    height, width = image.shape[:2]
    scale = _TILE / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    fitted = np.ascontiguousarray(cv2.resize(image, size, interpolation=how)[..., ::-1])
    if landmarks is not None:
        for x, y in landmarks[np.isfinite(landmarks).all(1)]:
            place = [round(((v + 0.5) * scale - 0.5) * 2**_FINE) for v in (float(x), float(y))]
            cv2.circle(fitted, place, 18, _DOT, cv2.FILLED, cv2.LINE_AA, _FINE)
    y, x = (_TILE - size[1]) // 2, (_TILE - size[0]) // 2
    tile[y : y + size[1], x : x + size[0]] = fitted
    return tile
