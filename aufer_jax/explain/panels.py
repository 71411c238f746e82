"""Figures of explanations: faces beside their maps, and faces that two runs disagree on."""

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

_MAP_SHARE = 0.5  # of the colours in an overlay


def overlay(image: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """A face [H, W, 3] uint8 under a map [h, w] scaled to its own range, as RGB in 0..1."""
    height, width = image.shape[:2]
    heat = cv2.resize(np.asarray(heat, np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    span = heat.max() - heat.min()
    colours = colormaps["jet"]((heat - heat.min()) / (span or 1))[..., :3]
    return (1 - _MAP_SHARE) * image / 255 + _MAP_SHARE * colours


def maps(
    images: np.ndarray,
    labels: Sequence[str],
    columns: Mapping[str, tuple[np.ndarray, Sequence[str]]],
) -> Figure:
    """One row per face: the image, then its map of each column with a caption (AU-ViT, figure 8).

    Args:
      images: uint8 [B, H, W, 3].
      labels: of the faces.
      columns: title -> maps [B, h, w], and a caption of each.
    """
    width = 1 + len(columns)
    figure = Figure(figsize=(0.25 + 1.45 * width, 0.4 + 1.6 * len(images)))
    figure.set_layout_engine("constrained", w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)
    grid = figure.subplots(len(images), width, squeeze=False)
    for row, axes in enumerate(grid):
        axes[0].imshow(images[row])
        axes[0].set_xlabel(labels[row], fontsize=8, labelpad=2)
        for cell, (heat, captions) in zip(axes[1:], columns.values(), strict=True):
            cell.imshow(overlay(images[row], heat[row]))
            colour = _colour(captions[row], labels[row])
            cell.set_xlabel(captions[row], fontsize=8, labelpad=2, color=colour)
    for axes in grid.ravel():
        axes.set(xticks=[], yticks=[], frame_on=False)
    for axes, title in zip(grid[0], ["face", *columns], strict=True):
        axes.set_title(title, fontsize=8)
    return figure


def disagreements(
    images: np.ndarray,
    labels: Sequence[str],
    first: tuple[str, Sequence[str]],
    second: tuple[str, Sequence[str]],
    title: str,
) -> Figure:
    """Faces under their label and the predictions of two runs (AU-ViT, figure 6).

    `first` and `second` are a run's name and its predictions; right ones are green, wrong ones red.
    """
    columns = min(len(images), 6)
    lines = -(-len(images) // columns)
    face, text, head = 1.7, 0.75, 0.35  # inches
    height = head + lines * (face + text)
    figure = Figure(figsize=(face * columns, height))
    space = {"left": 0.01, "right": 0.99, "bottom": text / height, "top": 1 - head / height}
    space |= {"hspace": text / face, "wspace": 0.04}
    grid = figure.subplots(lines, columns, squeeze=False, gridspec_kw=space).ravel()
    for i, (axes, image) in enumerate(zip(grid, images, strict=False)):
        axes.imshow(image)
        captions = [(labels[i], "black")]
        captions += [(f"{n}: {p[i]}", _colour(p[i], labels[i])) for n, p in (first, second)]
        for line, (text, colour) in enumerate(captions):
            place = (0.5, -0.08 - 0.12 * line)
            axes.text(*place, text, ha="center", va="center", fontsize=8, color=colour,
                      transform=axes.transAxes)  # fmt: skip
    for axes in grid:
        axes.set_axis_off()
    figure.suptitle(title, fontsize=9)
    return figure


def _colour(prediction: str, label: str) -> str:
    return "tab:green" if prediction == label else "tab:red"
