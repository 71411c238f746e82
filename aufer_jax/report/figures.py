"""Confusion matrices and training curves as PNG files."""

import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from aufer_jax.errors import UserError
from aufer_jax.train import logs

SCORES = {"accuracy": "WAR", "uar": "UAR", "au_f1": "AU F1"}


def confusion(
    matrix: np.ndarray, names: Sequence[str], title: str, *, counts: bool = False
) -> Figure:
    """Confusion matrix with the true classes in rows: their percentages, or `counts` of samples."""
    matrix = np.asarray(matrix, np.int64)
    samples = matrix.sum(1)
    share = matrix / np.maximum(samples, 1)[:, None]
    figure = Figure(
        figsize=(1.6 + 0.62 * len(names), 1.4 + 0.62 * len(names)), layout="constrained"
    )
    axes = figure.add_subplot()
    axes.imshow(share, vmin=0, vmax=1, cmap="Blues")
    for row, column in np.ndindex(*share.shape):
        colour = "white" if share[row, column] > 0.5 else "black"
        text = f"{matrix[row, column]}" if counts else f"{100 * share[row, column]:.0f}"
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=9)
    axes.set_xticks(range(len(names)), names, rotation=40, ha="right")
    axes.set_yticks(range(len(names)), [f"{n} ({c})" for n, c in zip(names, samples, strict=True)])
    axes.set(xlabel="predicted", ylabel="true (samples)", title=title)
    return figure


def curves(lines: Sequence[dict]) -> Figure:
    """Losses, validation metrics, learning rate and time of each epoch, from metrics.jsonl."""
    train = [line for line in lines if line["split"] == "train"]
    validation = [line for line in lines if line["split"] == "validation"]
    figure = Figure(figsize=(11, 3.2), layout="constrained")
    losses, scores, rest = figure.subplots(1, 3)
    for name in [name for name in (train[-1] if train else {}) if name.endswith("loss")]:
        _plot(losses, *_points(train, name), label=name)
    for name in SCORES if _has_scores(validation) else ("loss",):
        if any(name in line for line in validation):
            _plot(scores, *_points(validation, name), label=SCORES.get(name, name))
    _plot(rest, *_points(train, "lr"))
    seconds = rest.twinx()
    _plot(seconds, *_points(train, "seconds"), color="tab:gray")
    seconds.set_ylim(bottom=0)
    losses.set_title("training losses", fontsize=10)
    scores.set_title("validation", fontsize=10)
    # One line to an axis, which has its colour, so neither needs a legend.
    rest.set_ylabel("learning rate", color="tab:blue")
    seconds.set_ylabel("seconds an epoch", color="tab:gray")
    for axes in (losses, scores, rest):
        _finish(axes)
    return figure


def compare(runs: Mapping[str, Sequence[dict]]) -> Figure:
    """The curves of several runs, one colour each: losses, WAR and UAR of both splits, seconds an epoch.

    `runs`: name -> lines of metrics.jsonl. What none of them has gets no panel.
    """
    panels = [("train", name, f"training {name}") for name in _losses(runs)]
    panels += [("train", name, f"training {SCORES[name]}") for name in ("accuracy", "uar")]
    panels += [
        ("validation", name, f"validation {label}")
        for name, label in {**SCORES, "loss": "loss"}.items()
    ]
    panels.append(("train", "seconds", "seconds an epoch"))
    panels = [
        panel
        for panel in panels
        if any(
            line["split"] == panel[0] and panel[1] in line
            for lines in runs.values()
            for line in lines
        )
    ]
    columns = min(4, len(panels))
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(3.4 * columns, 2.8 * rows), layout="constrained")
    for place, (split, name, title) in enumerate(panels):
        axes = figure.add_subplot(rows, columns, place + 1)
        for run, lines in runs.items():
            epochs, values = _points([line for line in lines if line["split"] == split], name)
            if epochs:
                _plot(axes, epochs, values, label=run)
        axes.set_title(title, fontsize=10)
        if name == "seconds":
            axes.set_ylim(bottom=0)
        _finish(axes)
    return figure


def read_lines(workdir: str | os.PathLike) -> list[dict]:
    """What a run has logged so far, line by line."""
    path = pathlib.Path(workdir) / "metrics.jsonl"
    if not path.exists():
        raise UserError(f"workdir: {str(workdir)!r} holds no run, it has no metrics.jsonl")
    return logs.read_lines(path)


def write_comparison(
    workdirs: Sequence[str | os.PathLike], out: str | os.PathLike = "curves.png"
) -> pathlib.Path:
    """Draws the curves of one or several runs, finished or not, into one picture."""
    names = [pathlib.Path(workdir).name for workdir in workdirs]
    if len(set(names)) < len(names):
        names = [str(workdir) for workdir in workdirs]
    runs = {name: read_lines(path) for name, path in zip(names, workdirs, strict=True)}
    for name, lines in runs.items():
        if not any(line["split"] == "train" for line in lines):
            raise UserError(f"workdir: {name!r} has not finished an epoch yet")
    save(compare(runs), pathlib.Path(out))
    return pathlib.Path(out)


def _has_scores(lines: Sequence[dict]) -> bool:
    return any(name in line for line in lines for name in SCORES)


def _losses(runs: Mapping[str, Sequence[dict]]) -> list[str]:
    """The names of all training losses, the whole one first."""
    found = [
        name
        for lines in runs.values()
        for line in lines
        if line["split"] == "train"
        for name in line
        if name.endswith("loss")
    ]
    return sorted(dict.fromkeys(found), key=lambda name: name != "loss")


def _points(lines: Sequence[dict], name: str) -> tuple[list[int], list[float]]:
    """Epochs and values of the lines that have one."""
    having = [line for line in lines if name in line]
    return [line["epoch"] for line in having], [line[name] for line in having]


def _plot(axes: Any, epochs: list[int], values: list[float], **options: Any) -> None:
    axes.plot(epochs, values, marker="." if len(epochs) == 1 else None, **options)


def _finish(axes: Any) -> None:
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.grid(alpha=0.3)
    if axes.get_legend_handles_labels()[1]:  # above the lines, which it would cover
        axes.legend(
            fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.12), ncols=2, frameon=False
        )


def save(figure: Figure, path: pathlib.Path) -> None:
    """Writes a figure as PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    FigureCanvasAgg(figure).print_png(str(path))


def write(workdir: pathlib.Path) -> None:
    """`figures/curves.png` and a confusion matrix of every evaluated split of a finished run."""
    summary = logs.read_json(workdir / "summary.json")
    save(curves(read_lines(workdir)), workdir / "figures" / "curves.png")
    for name, values in summary.items():
        if isinstance(values, dict) and "confusion" in values:
            scores = f"accuracy {values['accuracy']:.3f}, UAR {values['uar']:.3f}"
            title = f"{name.replace('_', ', ')} epoch\n{scores}"
            for counts, file in ((False, name), (True, f"{name}_counts")):
                figure = confusion(
                    values["confusion"], summary["expressions"], title, counts=counts
                )
                save(figure, workdir / "figures" / f"confusion_{file}.png")
