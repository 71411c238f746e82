"""Features of one or two runs as t-SNE maps of the same samples, and how far the expressions lie apart."""

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from aufer_jax.errors import UserError
from aufer_jax.explain import tsne
from aufer_jax.report.figures import save
from aufer_jax.runs import Predictor


def embed(
    workdirs: Sequence[str | pathlib.Path],
    *,
    split: str = "test",
    count: int = 1000,
    perplexity: float = 30.0,
    seed: int = 0,
    out: str | pathlib.Path | None = None,
) -> dict[str, Any]:
    """Writes `tsne.png` with a panel for each run, and `tsne.json` with the numbers.

    Args:
      workdirs: runs on images or clips of one dataset; their best states are used.
      split: of their target dataset.
      count: samples at most, chosen at random by `seed`; their number squared is the time it takes.
      perplexity: see `tsne`; a third of the samples at most.
      seed: of the choice; the map itself has none.
      out: folder to write to; `explain` in the first workdir by default.

    Returns:
      For each run the silhouette of the expressions among its features and in its map.
    """
    if not workdirs:
        raise UserError("workdirs: got none, at least one run is needed")
    if count < 3:
        raise UserError(f"count: {count} must be at least 3")
    names = [pathlib.Path(path).name for path in workdirs]
    if len(set(names)) < len(names):
        names = [str(path) for path in workdirs]
    runs = [read(path, split, count, seed) for path in workdirs]
    for run, path in zip(runs[1:], workdirs[1:], strict=True):
        if not np.array_equal(run["id"], runs[0]["id"]) or run["names"] != runs[0]["names"]:
            raise UserError(f"workdirs: {str(path)!r} is evaluated on other records or classes")
    labels, classes = runs[0]["label"], runs[0]["names"]
    fitting = (len(labels) - 1) / 3  # t-SNE's own rule of thumb
    if perplexity > fitting >= 1:
        print(f"perplexity: {fitting:.3g} in place of {perplexity:g}, for {len(labels)} samples")
        perplexity = fitting
    maps, found = {}, {}
    for name, run in zip(names, runs, strict=True):
        places = maps[name] = tsne.tsne(run["features"], perplexity=perplexity)
        found[name] = {
            "silhouette_features": tsne.silhouette(run["features"], labels),
            "silhouette_map": tsne.silhouette(places, labels),
        }
    folder = pathlib.Path(out) if out else pathlib.Path(workdirs[0]) / "explain"
    save(figure(maps, labels, classes, found), folder / "tsne.png")
    result = {
        "folder": str(folder),
        "split": split,
        "samples": len(labels),
        "perplexity": perplexity,
        "runs": found,
    }
    (folder / "tsne.json").write_text(json.dumps(result, indent=1) + "\n")
    return result


def read(workdir: str | pathlib.Path, split: str, count: int, seed: int) -> dict[str, Any]:
    """`features` [N, D], `label` and `id` of labelled samples of a split, and the names of the classes."""
    predictor = Predictor.load(workdir)
    predictor.need_classes("workdir")
    if "features" not in predictor.shapes:
        raise UserError(f"workdir: the run in {str(workdir)!r} has no features to map")
    total = len(predictor.split(split).source)
    rows = np.arange(total)
    if total > count:
        rows = np.sort(np.random.default_rng(seed).choice(total, count, replace=False))
    found = predictor.collect(split, ["features"], rows)
    labelled = found["label"] >= 0
    problems = predictor.report.counts()
    if problems:  # most of them, such as short clips, are mapped all the same
        kinds = ", ".join(f"{number} x {kind}" for kind, number in problems.items())
        print(f"records with problems: {kinds}")
    if left_out := len(rows) - labelled.sum():
        print(f"{left_out} left out: without an expression, or not readable")
    return {name: values[labelled] for name, values in found.items()} | {
        "names": predictor.expressions
    }


def figure(
    maps: Mapping[str, np.ndarray],
    labels: np.ndarray,
    classes: Sequence[str],
    separation: Mapping[str, Mapping[str, float]],
) -> Figure:
    """One panel per run, points [N, 2] in the colours of their expressions."""
    drawn = Figure(figsize=(4.6 * len(maps) + 1.4, 4.6), layout="constrained")
    colours = colormaps["tab10" if len(classes) <= 10 else "tab20"]
    panels = drawn.subplots(1, len(maps), squeeze=False)[0]
    for axes, (name, places) in zip(panels, maps.items(), strict=True):
        for index, label in enumerate(classes):
            of_class = labels == index
            if of_class.any():
                axes.scatter(*places[of_class].T, s=8, color=colours(index), label=label)
        values = separation[name]
        axes.set_title(
            f"{name}\nsilhouette {values['silhouette_features']:.3f} of the features, "
            f"{values['silhouette_map']:.3f} here",
            fontsize=9,
        )
        axes.set_xticks([])
        axes.set_yticks([])
    handles, names = panels[0].get_legend_handles_labels()
    drawn.legend(handles, names, loc="outside right center", fontsize=8, markerscale=2)
    return drawn
