"""Several runs beside each other: scores with intervals, and the records on which they differ."""

from collections.abc import Iterator, Sequence

import numpy as np

from aufer_jax.evaluate import intervals
from aufer_jax.pages import files, html
from aufer_jax.pages.html import Section
from aufer_jax.pages.sections import NAMES
from aufer_jax.report import figures
from aufer_jax.train import workdir

_SHOWN = 30  # records that one run wins


def sections(runs: Sequence[files.Run]) -> Iterator[Section]:
    """What is shown of several runs, one part after the other."""
    yield Section("scores", "Scores", _scores(runs))
    names = _names(runs)
    drawn = {name: run.lines for name, run in zip(names, runs, strict=True) if run.of("train")}
    if drawn:
        body = html.figure(figures.compare(drawn), "Training and validation, one line for each run")
        yield Section("curves", "Training", body)
    yield Section("settings", "What differs in their configurations", _settings(runs))
    first = runs[0]
    for name, run in zip(names[1:], runs[1:], strict=True):
        for split in first.splits:
            if body := _records(first, run, names[0], name, split):
                place = f"{names.index(name)}-{split}"
                yield Section(f"records-{place}", f"{names[0]} and {name}: {split}", body)


def _names(runs: Sequence[files.Run]) -> list[str]:
    return workdir.names([run.folder for run in runs])


def _scores(runs: Sequence[files.Run]) -> str:
    body = ""
    for split in dict.fromkeys(split for run in runs for split in run.splits):
        having = [run.splits.get(split, {}) for run in runs]
        shown = [score for score in (*NAMES, "loss") if any(score in values for values in having)]
        rows = []
        for name, values in zip(_names(runs), having, strict=True):
            row: list[object] = [name]
            for score in shown:
                row.append(values.get(score, float("nan")))
                if score in intervals.SCORES:
                    row.append(_interval(values, score))
            rows.append(row)
        heads = ["run"]
        for score in shown:
            heads.append(NAMES.get(score, score))
            if score in intervals.SCORES:
                heads.append("95 %")
        body += html.table(split, heads, rows)
    return body or html.paragraph("No run has finished yet.")


def _interval(values: dict, score: str) -> str:
    if score not in values:
        return ""
    low, high = intervals.bca(np.array(values["confusion"]), score)
    return f"{low:.3f} to {high:.3f}"


def _settings(runs: Sequence[files.Run]) -> str:
    flat = [workdir.flatten(run.config) for run in runs]
    keys = sorted({key for config in flat for key in config})
    rows = [
        [key, *(config.get(key, "") for config in flat)]
        for key in keys
        if len({repr(config.get(key)) for config in flat}) > 1
    ]
    if not rows:
        return html.paragraph("Nothing.")
    return html.table("Keys with different values", ["key", *_names(runs)], rows)


def _records(a: files.Run, b: files.Run, name_a: str, name_b: str, split: str) -> str:
    """The difference on the same records, McNemar's test, and who wins where."""
    one, two = ({row["file"]: row for row in run.predictions(split)} for run in (a, b))
    files_ = [key for key, row in one.items() if row["label"] and key in two]
    if not files_ or one.keys() != two.keys():
        return ""
    label = np.array([one[key]["label"] for key in files_])
    said = [np.array([rows[key]["predicted"] for key in files_]) for rows in (one, two)]
    right = [predicted == label for predicted in said]
    p = intervals.mcnemar(right[0], right[1])
    rows = []
    for score in intervals.SCORES:
        difference, low, high = intervals.paired(label, said[0], said[1], score)
        rows.append([NAMES[score], difference, f"{low:+.3f} to {high:+.3f}"])
    body = html.table(
        f"{name_b} minus {name_a}, on the same {len(files_)} records (paired bootstrap)",
        ["score", "difference", "95 %"], rows,
    )  # fmt: skip
    won, lost = np.flatnonzero(~right[0] & right[1]), np.flatnonzero(right[0] & ~right[1])
    body += html.paragraph(
        f"{name_b} is right where {name_a} is wrong in {len(won)} records, and wrong where it is right in "
        f"{len(lost)}; McNemar's exact p = {p:.3g}."
    )
    for caption, places in (("Won", won), ("Lost", lost)):
        if len(places):
            shown = [[files_[i], label[i], said[0][i], said[1][i]] for i in places[:_SHOWN]]
            body += html.table(f"{caption} by {name_b}", ["file", "true", name_a, name_b], shown)
    return body
