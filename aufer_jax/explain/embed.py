"""Features of runs as t-SNE maps of the same samples, and how far expressions, or datasets, lie apart."""

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from aufer_jax import remote
from aufer_jax.errors import UserError
from aufer_jax.explain import tsne
from aufer_jax.report.figures import save
from aufer_jax.runs import Predictor
from aufer_jax.train import workdir

_UNKNOWN = "#bbbbbb"


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
    names = workdir.names(workdirs)
    runs = [read(path, split, count, seed) for path in workdirs]
    for run, path in zip(runs[1:], workdirs[1:], strict=True):
        if not np.array_equal(run["id"], runs[0]["id"]) or run["names"] != runs[0]["names"]:
            raise UserError(f"workdirs: {str(path)!r} is evaluated on other records or classes")
    labels, classes = runs[0]["label"], runs[0]["names"]
    if (fits := fitting(perplexity, len(labels))) < perplexity:
        print(f"perplexity: {fits:.3g} in place of {perplexity:g}, for {len(labels)} samples")
        perplexity = fits
    maps, found = {}, {}
    for name, run in zip(names, runs, strict=True):
        places = maps[name] = tsne.tsne(run["features"], perplexity=perplexity)
        found[name] = apart(run["features"], places, labels)
    folder = pathlib.Path(out) if out else remote.copy(workdirs[0]) / "explain"
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


def fitting(perplexity: float, count: int) -> float:
    """The perplexity, or a third of the samples, t-SNE's own rule of thumb, if that is less.

    >>> fitting(30.0, 1000), fitting(30.0, 13)
    (30.0, 4.0)
    """
    most = (count - 1) / 3
    return most if perplexity > most >= 1 else perplexity


def apart(features: np.ndarray, places: np.ndarray, groups: np.ndarray) -> dict[str, float]:
    """How far groups of samples lie apart, by their features and in their map."""
    return {
        "silhouette_features": tsne.silhouette(features, groups),
        "silhouette_map": tsne.silhouette(places, groups),
    }


def read(workdir: str | pathlib.Path, split: str, count: int, seed: int) -> dict[str, Any]:
    """`features` [N, D], `label` and `id` of labelled samples of a split, and the names of the classes."""
    predictor = _load(workdir)
    found = _some(predictor, split, count, seed)
    labelled = found["label"] >= 0
    if left_out := len(labelled) - labelled.sum() + found.pop("lost"):
        print(f"{left_out} left out: without an expression, or not readable")
    return {name: values[labelled] for name, values in found.items()} | {
        "names": predictor.expressions
    }


def with_auxiliaries(
    workdir: str | pathlib.Path, split: str, count: int, seed: int
) -> dict[str, Any]:
    """The same of the run's datasets together, as many samples of each, labelled (-1: unknown) or not.

    `dataset` [N] is whose they are, by `datasets`: the target's name first, then the auxiliaries'.
    """
    predictor = _load(workdir)
    assert predictor.run is not None
    everyone = {predictor.run.data.target: predictor} | predictor.auxiliaries()
    parts = [_some(one, split, count // len(everyone), seed) for one in everyone.values()]
    together = {
        name: np.concatenate([part[name] for part in parts]) for name in ("features", "label", "id")
    }
    together["dataset"] = np.repeat(np.arange(len(parts)), [len(part["id"]) for part in parts])
    return together | {"names": predictor.expressions, "datasets": tuple(everyone)}


def _load(workdir: str | pathlib.Path) -> Predictor:
    predictor = Predictor.load(workdir)
    predictor.need_classes("workdir")
    if "features" not in predictor.shapes:
        raise UserError(f"workdir: the run in {str(workdir)!r} has no features to map")
    return predictor


def _some(predictor: Predictor, split: str, count: int, seed: int) -> dict[str, Any]:
    """Features of a split's samples, and how many of them are `lost`; says what is wrong with records."""
    total = len(predictor.split(split).source)
    rows = np.arange(total)
    if total > count:
        rows = np.sort(np.random.default_rng(seed).choice(total, count, replace=False))
    found = predictor.collect(split, ["features"], rows)
    problems = predictor.report.counts()
    if problems:  # most of them, such as short clips, are mapped all the same
        kinds = ", ".join(f"{number} x {kind}" for kind, number in problems.items())
        print(f"records with problems: {kinds}")
    return found | {"lost": len(rows) - len(found["id"])}


def figure(
    maps: Mapping[str, np.ndarray],
    labels: np.ndarray,
    classes: Sequence[str],
    separation: Mapping[str, Mapping[str, float]],
) -> Figure:
    """One panel per run, points [N, 2] in the colours of their expressions."""
    drawn = Figure(figsize=(4.6 * len(maps) + 1.4, 4.6), layout="constrained")
    panels = drawn.subplots(1, len(maps), squeeze=False)[0]
    for axes, (name, places) in zip(panels, maps.items(), strict=True):
        _panel(axes, places, labels, classes, name, separation[name])
    handles, names = panels[0].get_legend_handles_labels()
    drawn.legend(handles, names, loc="outside right center", fontsize=8, markerscale=2)
    return drawn


def by_dataset(places: np.ndarray, found: Mapping[str, Any]) -> Figure:
    """The map of what `with_auxiliaries` found, twice: in the colours of expressions, and of datasets."""
    drawn = Figure(figsize=(9.6, 5.4), layout="constrained")
    groups = {
        "expressions": ("label", "names", "tab10"),
        "datasets": ("dataset", "datasets", "Dark2"),
    }
    panels = drawn.subplots(1, len(groups))
    for axes, (title, (of, names, colours)) in zip(panels, groups.items(), strict=True):
        known = found[of] >= 0
        separation = apart(found["features"][known], places[known], found[of][known])
        axes.scatter(*places[~known].T, s=8, color=_UNKNOWN, label="unknown" if any(~known) else "")
        _panel(axes, places, found[of], found[names], title, separation, colours)
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, 0), ncols=4, fontsize=8, markerscale=2)
    return drawn


def _panel(
    axes: Axes,
    places: np.ndarray,
    groups: np.ndarray,
    names: Sequence[str],
    title: str,
    separation: Mapping[str, float],
    colours: str = "tab10",
) -> None:
    colour = colormaps[colours if len(names) <= colormaps[colours].N else "tab20"]
    for index, label in enumerate(names):
        of_group = groups == index
        if of_group.any():
            axes.scatter(*places[of_group].T, s=8, color=colour(index), label=label)
    axes.set_title(
        f"{title}\nsilhouette {separation['silhouette_features']:.3f} of the features, "
        f"{separation['silhouette_map']:.3f} here",
        fontsize=9,
    )
    axes.set_xticks([])
    axes.set_yticks([])
