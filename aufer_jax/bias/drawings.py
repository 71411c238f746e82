"""Figures of dataset bias: mean faces, AU profiles, matrices of distances."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from aufer_jax import facs, synth
from aufer_jax.bias.sources import MeanFaces
from aufer_jax.datasets.profiles import ALL, DIFFERENT, SIMILAR, Profile, rows

# Who shows AUs: one face for all, without a beard, hair or shadows that hide what moves.
_FACE = synth.Identity(hair_style="bald")
_STUDIO = synth.Camera(background="plain", view=synth.View(scale=0.34))
_STANDS_OUT, _MOST_NAMED = 0.25, 5  # of the AUs beneath a face


def mean_faces(faces: Sequence[MeanFaces]) -> Figure:
    """One row per dataset, one column per expression; empty where a dataset lacks it."""
    columns = [*rows(faces), ALL]
    figure = Figure(figsize=(0.5 + 1.1 * len(columns), 0.4 + 1.25 * len(faces)))
    figure.set_layout_engine("constrained", w_pad=0.01, h_pad=0.01, wspace=0, hspace=0)
    grid = figure.subplots(len(faces), len(columns), squeeze=False)
    for axes, face in zip(grid, faces, strict=True):
        for cell, name in zip(axes, columns, strict=True):
            cell.set(xticks=[], yticks=[], frame_on=False)
            place = face.rows.index(name) if name in face.rows else None
            if place is None or not face.samples[place]:
                cell.text(0.5, 0.5, "no labels", ha="center", va="center", fontsize=7, color="gray")
                cell.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
            else:
                cell.imshow(face.images[place])
                cell.set_xlabel(f"n = {face.samples[place]}", fontsize=7, labelpad=1)
        axes[0].set_ylabel(face.dataset, fontsize=9)
    for cell, name in zip(grid[0], columns, strict=True):
        cell.set_title(name, fontsize=9, pad=3)
    return figure


def au_faces(profiles: Sequence[Profile], most: float, size: int = 112) -> Figure:
    """The mean AUs of every expression, drawn on one and the same face (AU-ViT, figure 1).

    Args:
      profiles: one row of faces each; AUs that are not known, or cannot be drawn, stay at rest.
      most: the mean that is drawn at the highest intensity.
      size: of a face, in pixels.
    """
    columns = [*rows(profiles), ALL]
    figure = Figure(figsize=(0.5 + 1.1 * len(columns), 0.4 + 1.3 * len(profiles)))
    figure.set_layout_engine("constrained", w_pad=0.01, h_pad=0.01, wspace=0, hspace=0)
    grid = figure.subplots(len(profiles), len(columns), squeeze=False)
    for axes, p in zip(grid, profiles, strict=True):
        for cell, name in zip(axes, columns, strict=True):
            cell.set(xticks=[], yticks=[], frame_on=False)
            shown = p.mean[p.rows.index(name)] if name in p.rows else np.full(len(p.aus), np.nan)
            if np.isnan(shown).all():
                cell.text(0.5, 0.5, "no AUs", ha="center", va="center", fontsize=7, color="gray")
                cell.set(xlim=(0, 1), ylim=(0, 1), aspect="equal")
                continue
            cell.imshow(au_face(dict(zip(p.aus, shown / most, strict=True)), size))
            cell.set_xlabel(_foremost(p.aus, shown / most), fontsize=7, labelpad=1)
        axes[0].set_ylabel(p.dataset, fontsize=9)
    for cell, name in zip(grid[0], columns, strict=True):
        cell.set_title(name, fontsize=9, pad=3)
    return figure


def au_face(shares: Mapping[int, float], size: int = 112) -> np.ndarray:
    """A face [size, size, 3] that shows AUs, each at its share of the highest intensity."""
    known = {au: share * facs.MOST for au, share in shares.items() if np.isfinite(share)}
    able = {au: level for au, level in known.items() if au in synth.AUS}
    return synth.render(_FACE, able, _STUDIO, size=size).image


def _foremost(aus: Sequence[int], shares: np.ndarray) -> str:
    """The AUs that stand out, the strongest first."""
    found = [
        i for i in np.argsort(-np.nan_to_num(shares), kind="stable") if shares[i] >= _STANDS_OUT
    ]
    return " + ".join(str(aus[i]) for i in found[:_MOST_NAMED])


def au_profiles(profiles: Sequence[Profile], unit: str) -> Figure:
    """Mean AUs of every dataset side by side, one panel per expression."""
    panels = [*rows(profiles), ALL]
    columns = 2
    lines = -(-len(panels) // columns)
    figure = Figure(figsize=(11, 0.6 + 1.6 * lines), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False, sharey=True).ravel()
    aus, width = profiles[0].aus, 0.85 / len(profiles)
    for axes, name in zip(grid, panels, strict=False):
        for i, p in enumerate(profiles):
            found = name in p.rows
            mean = np.nan_to_num(p.mean[p.rows.index(name)]) if found else np.zeros(len(aus))
            x = np.arange(len(aus)) + (i - (len(profiles) - 1) / 2) * width
            axes.bar(x, mean, width, label=p.dataset, color=f"C{i}")
        axes.set_xticks(range(len(aus)), [facs.AUS[au].label for au in aus], fontsize=7)
        axes.set_title(name, fontsize=9)
        axes.grid(alpha=0.3, axis="y")
    for axes in grid[len(panels) :]:
        axes.set_visible(False)
    figure.supylabel(unit, fontsize=9)
    figure.legend(
        *grid[0].get_legend_handles_labels(), loc="outside upper center", ncols=len(profiles)
    )
    return figure


def matrices(distances: Mapping[str, np.ndarray], names: Sequence[str]) -> Figure:
    """Matrices of distances between datasets, by title; the colours change at 0.3 and 0.5."""
    columns = min(len(distances), 5)
    lines = -(-len(distances) // columns)
    side = 0.9 + 0.42 * len(names)
    figure = Figure(figsize=(columns * side, lines * (side + 0.1)), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False)
    for axes, (title, matrix) in zip(grid.ravel(), distances.items(), strict=False):
        axes.imshow(matrix, vmin=0, vmax=SIMILAR + DIFFERENT, cmap="RdYlBu_r")
        for row, column in np.ndindex(*matrix.shape):
            value = matrix[row, column]
            text = f"{value:.2f}" if np.isfinite(value) else "-"
            weight = "bold" if value > DIFFERENT else "normal"
            axes.text(column, row, text, ha="center", va="center", fontsize=7, weight=weight)
        axes.set_title(title, fontsize=9)
        axes.set_xticks(range(len(names)), names, rotation=60, ha="right", fontsize=7)
        axes.set_yticks(range(len(names)), names, fontsize=7)
    for axes in grid.ravel()[len(distances) :]:
        axes.set_visible(False)
    for axes in grid[:, 1:].ravel():
        axes.set_yticks([])
    for axes in grid.ravel()[: len(distances) - columns]:
        axes.set_xticks([])
    return figure
