"""What `aufer paper knowledge` writes: the matrix as CSV, as a figure, and its origin as Markdown."""

import os
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from aufer_jax import errors, facs
from aufer_jax.knowledge.estimate import Knowledge, Options, estimate
from aufer_jax.knowledge.medians import Medians
from aufer_jax.papers.audfer import knowledge
from aufer_jax.report.figures import save
from aufer_jax.report.results import table

_SHOWN = 5  # names of what was left out
_LARGEST = 10  # differences from the published matrix


def knowledge_of(sources: Sequence[str], out: str | os.PathLike, **options: Any) -> Knowledge:
    """Makes knowledge and writes `knowledge.csv`, `knowledge.md` and `knowledge.png` to a folder.

    `options` are those of `Options`; `aus` may be the name of an order or "1,2,4" as well.
    """
    for name, read in (("aus", _aus), ("shift", _shift)):
        if isinstance(options.get(name), str):
            options[name] = read(options[name])
    found = estimate(sources, Options(**options))
    write(found, out)
    return found


def write(found: Knowledge, out: str | os.PathLike) -> None:
    """`knowledge.csv`, `knowledge.md` and `knowledge.png` in a folder."""
    folder = pathlib.Path(out).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    forms = {shift: knowledge.matrix(found.sums, shift) for shift in knowledge.SHIFTS}
    forms.setdefault(str(found.options.shift), found.matrix)
    sums = (found.expressions, found.aus, found.sums)
    knowledge.write(folder / "knowledge.csv", sums, forms)
    (folder / "knowledge.md").write_text("\n".join(_lines(found)) + "\n", encoding="utf-8")
    names = ", ".join(dataset.name for dataset in found.datasets)
    title = f"AU-expression knowledge of {names}\nshift: {found.options.shift}"
    save(heatmap(found.matrix, found.expressions, found.aus, title), folder / "knowledge.png")


def heatmap(
    matrix: np.ndarray, expressions: Sequence[str], aus: Sequence[int], title: str
) -> Figure:
    """K [E, n] in 0..1 with its values in the cells; empty where there is none."""
    width, height = 1.8 + 0.56 * len(aus), 1.5 + 0.52 * len(expressions)
    figure = Figure(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(matrix, vmin=0, vmax=1, cmap="YlGnBu", aspect="auto")
    for row, column in np.ndindex(*matrix.shape):
        value = matrix[row, column]
        text = f"{value:.2f}" if np.isfinite(value) else "-"
        colour = "white" if value > 0.6 else "black"
        axes.text(column, row, text, ha="center", va="center", color=colour, fontsize=9)
    axes.set_xticks(range(len(aus)), [facs.AUS[au].label for au in aus], rotation=45)
    axes.set_yticks(range(len(expressions)), expressions)
    axes.set_title(title, fontsize=10)
    figure.colorbar(image, ax=axes, label="K", fraction=0.03, pad=0.01)
    return figure


def differences(found: Knowledge) -> dict[str, np.ndarray]:
    """How K differs from the published K of the same shift, over the cells that both tell.

    `ours` and `theirs` are K [cells], `row` and `column` where they stand; AUs filled with a mean, ours or
    theirs (AU28), are left out. The text's form is compared to the published `midrange`.
    """
    names, sums = knowledge.published()
    rows = np.array(facs.label_map(found.expressions, names))
    columns = np.array(facs.au_index(facs.OPENFACE_18, found.aus))
    filled = np.isin(found.aus, (*found.filled, knowledge.AU28))
    shift = found.options.shift
    theirs = knowledge.matrix(sums, "midrange" if shift == "text" else shift)
    told = (rows[:, None] >= 0) & ((columns >= 0) & ~filled) & np.isfinite(found.matrix)
    row, column = np.nonzero(told)
    return {
        "ours": found.matrix[row, column],
        "theirs": theirs[rows[row], columns[column]],
        "row": row,
        "column": column,
    }


# --- Markdown -----------------------------------------------------------------------------------


def _lines(found: Knowledge) -> Iterator[str]:
    options = found.options
    yield "# AU-expression knowledge"
    yield ""
    yield f"K = sigmoid(S - c) with the shift `{options.shift}`{_shift_value(found)}; loss weights are 5 K."
    yield "`knowledge.csv` has S with all digits and both published forms of K."
    yield ""
    rows = zip(found.expressions, found.matrix, strict=True)
    yield table([{"K": name} | _cells(found.aus, row) for name, row in rows])
    yield ""
    if found.filled:
        aus = ", ".join(facs.AUS[au].label for au in found.filled)
        yield f"The mean of all other cells of S stands in for {aus}, as AU28 has no intensity in OpenFace."
    yield from _use(found)
    yield ""
    yield "## Made of"
    yield ""
    yield from _choices(found)
    for dataset in found.datasets:
        yield ""
        yield from _dataset(dataset)
    yield ""
    yield "## Differences from the published matrix"
    yield ""
    yield from _differences(found)


def _shift_value(found: Knowledge) -> str:
    low, high = np.nanmin(found.sums), np.nanmax(found.sums)
    value = {"midrange": (high + low) / 2, "half_range": (high - low) / 2}.get(
        str(found.options.shift), found.options.number
    )
    return f" (c = {value:.4g}, S from {low:.4g} to {high:.4g})"


def _use(found: Knowledge) -> Iterator[str]:
    shift = found.options.number
    yield f"To train with it: `loss.knowledge` is the path of `knowledge.csv`, `loss.shift` is {shift}."
    if found.options.shift == "text":
        yield "S here sums one sigmoid a dataset, as the text has it, and not medians."


def _choices(found: Knowledge) -> Iterator[str]:
    options = found.options
    yield (
        f"- Gaps in time: interpolate `{options.interpolate}`"
        + (f", ends {options.ends}." if options.interpolate != "none" else ".")
    )
    if options.select == "none":
        yield "- Frames: all, no model selected them."
    else:
        yield (
            f"- Frames: those whose score for the clip's expression exceeds theta = {options.theta:g} "
            f"(the paper gives no theta), told by `{options.host}`, way `{options.select}`."
        )
    yield f"- Tracks: rows with a confidence under {options.confidence:g} are unknown."
    if options.closed_as_blink:
        yield "- AU43 (eyes closed) stands in for AU45 (blink) where there is no AU45."
    count = len(found.datasets)
    yield f"- S is the sum over {count} dataset{'s' * (count > 1)} (the published one: four)."


def _dataset(dataset: Medians) -> Iterator[str]:
    yield f"### {dataset.name}"
    yield ""
    yield "Medians of the intensities over the frames kept."
    yield ""
    rows = []
    for i, name in enumerate(dataset.expressions):
        kept = f"{dataset.kept[i]} of {dataset.frames[i]}"
        row = {"median": name, "clips": f"{dataset.clips[i]}", "frames kept": kept}
        rows.append(row | _cells(dataset.aus, dataset.values[i]))
    yield table(rows)
    for why, keys in dataset.left_out.items():
        shown = "; ".join(keys[:_SHOWN]) + ("; ..." if len(keys) > _SHOWN else "")
        yield ""
        yield f"{len(keys)} left out, {why}: {shown}"


def _differences(found: Knowledge) -> Iterator[str]:
    told = differences(found)
    ours, theirs = told["ours"], told["theirs"]
    if len(ours) < 3:
        yield "Too few cells in common."
        return
    if ours.std() and theirs.std():
        correlation = np.corrcoef(ours, theirs)[0, 1]
        yield (
            f"Over {len(ours)} cells that both tell, K correlates with the published K by "
            f"{correlation:.3f}; the mean absolute difference is {np.abs(ours - theirs).mean():.3f}. The "
            "largest:"
        )
    else:
        yield f"Over {len(ours)} cells that both tell K is constant. The largest differences:"
    yield ""
    order = np.argsort(-np.abs(ours - theirs), kind="stable")[:_LARGEST]
    rows = [
        {
            "expression": found.expressions[told["row"][i]],
            "AU": facs.AUS[found.aus[told["column"][i]]].label,
            "here": f"{ours[i]:.2f}",
            "published": f"{theirs[i]:.2f}",
            "difference": f"{ours[i] - theirs[i]:+.2f}",
        }
        for i in order
    ]
    yield table(rows)


def _cells(aus: Sequence[int], values: np.ndarray) -> dict[str, str]:
    """The cells of a row of AUs."""
    return {
        facs.AUS[au].label: f"{value:.2f}" if np.isfinite(value) else "-"
        for au, value in zip(aus, values, strict=True)
    }


def _aus(text: str) -> tuple[int, ...]:
    if text in facs.AU_ORDERS:
        return facs.au_order(text)
    if not any(character.isdigit() for character in text):
        raise errors.unknown("aus", text, (*facs.AU_ORDERS, "numbers such as 1,2,4"))
    numbers = tuple(map(facs.au_number, text.split(",")))
    if len(set(numbers)) < len(numbers):
        raise errors.UserError(f"aus: {text} names an AU twice")
    return numbers


def _shift(text: str) -> str | float:
    try:
        return float(text)
    except ValueError:
        return text
