"""Confusion matrices and training curves as PNG files."""

import json
import pathlib
from collections.abc import Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


def confusion(counts: np.ndarray, names: Sequence[str], title: str) -> Figure:
    """Row-normalised confusion matrix in percent, true classes in rows."""
    counts = np.asarray(counts, np.float64)
    share = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    figure = Figure(
        figsize=(1.6 + 0.62 * len(names), 1.4 + 0.62 * len(names)), layout="constrained"
    )
    axes = figure.add_subplot()
    axes.imshow(share, vmin=0, vmax=1, cmap="Blues")
    for row, column in np.ndindex(*share.shape):
        colour = "white" if share[row, column] > 0.5 else "black"
        text = f"{100 * share[row, column]:.0f}"
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=9)
    axes.set_xticks(range(len(names)), names, rotation=40, ha="right")
    axes.set_yticks(
        range(len(names)), [f"{n} ({int(c)})" for n, c in zip(names, counts.sum(1), strict=True)]
    )
    axes.set(xlabel="predicted", ylabel="true (samples)", title=title)
    return figure


def curves(lines: Sequence[dict]) -> Figure:
    """Losses, validation metrics, learning rate and time of each epoch, from metrics.jsonl."""
    train = [line for line in lines if line["split"] == "train"]
    validation = [line for line in lines if line["split"] == "validation"]
    figure = Figure(figsize=(11, 3.2), layout="constrained")
    losses, scores, rest = figure.subplots(1, 3)
    for name in [name for name in (train[-1] if train else {}) if name.endswith("loss")]:
        losses.plot([line["epoch"] for line in train], [line[name] for line in train], label=name)
    for name in ("accuracy", "uar", "au_f1"):
        points = [(line["epoch"], line[name]) for line in validation if name in line]
        if points:
            scores.plot(*zip(*points, strict=True), label=f"validation {name}")
    rest.plot(
        [line["epoch"] for line in train], [line["lr"] for line in train], label="learning rate"
    )
    seconds = rest.twinx()
    seconds.plot(
        [line["epoch"] for line in train], [line["seconds"] for line in train],
        color="tab:gray", label="seconds",
    )  # fmt: skip
    seconds.set_ylim(bottom=0)
    seconds.legend(loc="lower right", fontsize=8)
    for axes in (losses, scores, rest):
        axes.set_xlabel("epoch")
        axes.grid(alpha=0.3)
        if axes.lines:
            axes.legend(fontsize=8)
    return figure


def save(figure: Figure, path: pathlib.Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    FigureCanvasAgg(figure).print_png(str(path))


def write(workdir: pathlib.Path, summary: dict, expressions: Sequence[str]) -> None:
    """`figures/curves.png` and a confusion matrix of every evaluated split of a finished run."""
    text = (workdir / "metrics.jsonl").read_text()
    save(
        curves([json.loads(line) for line in text.splitlines()]), workdir / "figures" / "curves.png"
    )
    for name, values in summary.items():
        if isinstance(values, dict) and "confusion" in values:
            scores = f"accuracy {values['accuracy']:.3f}, UAR {values['uar']:.3f}"
            title = f"{name.replace('_', ', ')} epoch\n{scores}"
            figure = confusion(np.asarray(values["confusion"]), expressions, title)
            save(figure, workdir / "figures" / f"confusion_{name}.png")
