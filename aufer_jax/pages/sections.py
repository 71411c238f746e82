"""What the report of one run says, section by section."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from aufer_jax import facs
from aufer_jax.evaluate import intervals
from aufer_jax.pages import html
from aufer_jax.pages.files import Run
from aufer_jax.pages.html import Section, Share
from aufer_jax.report import figures
from aufer_jax.train import speed

NAMES = {"accuracy": "accuracy (WAR)", "uar": "UAR", "macro_f1": "macro F1", "au_f1": "AU F1",
         "au_auc": "AU AUC", "ece": "calibration error"}  # fmt: skip
_MISTAKES = 12
_PROBLEMS = 200


def sections(run: Run) -> Iterator[Section]:
    """All that the files of a run tell."""
    if run.finished:
        yield Section("result", "Result", _result(run))
    else:
        yield Section("now", "Now", _now(run))
    yield Section("protocol", "Protocol", _protocol(run))
    if run.of("train"):
        yield Section("curves", "Training", _curves(run))
    for split, values in run.splits.items():
        if "confusion" in values:
            yield Section(f"classes-{split}", f"Classes: {split}", _classes(run, values))
            yield Section(f"sure-{split}", f"Calibration: {split}", _calibration(values))
        if any(name.startswith("au_f1/") for name in values):
            yield Section(f"aus-{split}", f"Action units: {split}", _aus(values))
        if rows := run.predictions(split):
            if body := _profiles(run, rows):
                yield Section(f"profiles-{split}", f"AUs of each expression: {split}", body)
            yield Section(f"mistakes-{split}", f"Surest mistakes: {split}", _mistakes(rows))
    if run.problems:
        yield Section("problems", "Records that could not be used", _problems(run))


def headline(values: dict[str, Any]) -> Iterator[tuple[str, float, str]]:
    """Name, value and what stands below it, of the scores that a split has."""
    for score, name in NAMES.items():
        if score not in values:
            continue
        below = ""
        if score in intervals.SCORES:
            low, high = intervals.bca(np.array(values["confusion"]), score)
            below = f"95 %: {low:.3f} to {high:.3f}"
        yield name, values[score], below
    if "accuracy" not in values and "loss" in values:
        yield "loss", values["loss"], ""


def _result(run: Run) -> str:
    body = ""
    for split, values in run.splits.items():
        tiles = "".join(
            f"<li><span>{html.escape(name)}</span><b>{value:.3f}</b><span>{below}</span></li>"
            for name, value, below in headline(values)
        )
        body += f'<h3>{html.escape(split)}</h3><ul class="tiles">{tiles}</ul>'
    if rivals := run.conclusion.get("rivals"):
        rows = [
            [name, rival["accuracy"], rival["uar"], f"{value:+.3f}", f"{low:+.3f} to {high:+.3f}"]
            for name, rival in rivals.items()
            for value, low, high in [rival["ahead"]]
        ]
        heads = ["simple model", "accuracy", "UAR", "this run's UAR above it", "95 %"]
        body += html.table(f"Against simple models on {run.conclusion['split']}", heads, rows)
    return body + html.paragraph(
        "Intervals: BCa bootstrap over test records, of this one training; other seeds are not in them."
    )


def _now(run: Run) -> str:
    """How far a run is, and how long its last epochs say that the rest takes."""
    epochs, wanted = run.of("train"), run.config.get("train", {}).get("epochs", 0)
    if not epochs:
        return html.paragraph("The first epoch has not ended yet.")
    done = epochs[-1]["epoch"]
    left = (wanted - done) * float(np.mean([line["seconds"] for line in epochs[-3:]]))
    time = f"{left / 60:.0f} minutes" if left >= 120 else f"{left:.0f} s"
    return html.paragraph(f"{done} of {wanted} epochs; {time} of training are left.")


def _protocol(run: Run) -> str:
    config, env, found = run.config, run.environment, run.resources
    data, train = config.get("data", {}), config.get("train", {})
    chosen = run.summary.get("chosen") or {}
    rule = f"best {train.get('best_metric', '?')} of the validation split"
    if chosen:
        rule += f": epoch {chosen['epoch']}, {chosen['value']:.4f}"
    versions = ", ".join(f"{name} {v}" for name, v in env.get("packages", {}).items() if v)
    seconds = sum(line.get("seconds", 0) for line in run.of("train"))
    last = run.of("train")[-1:]
    frames = f", {data.get('frames')} frames" if run.labels.get("kind") == "clip" else ""
    aux = ", ".join(data.get("aux") or ())
    return html.definitions(
        {
            "dataset": f"{data.get('target')}{f', AUs from {aux}' if aux else ''}",
            "fold": data.get("fold") or "",
            "classes": ", ".join(run.labels.get("expressions", ())),
            "AUs": ", ".join(facs.AUS[au].label for au in run.labels.get("aus", ())),
            "method": config.get("method"),
            "network": config.get("model", {}).get("name"),
            "input": f"{data.get('size')} pixels{frames}",
            "alignment": data.get("align") or "as prepared",
            "first weights": config.get("init_from") or config.get("resume") or "random",
            "epoch": rule,
            "epochs": f"{len(run.of('train'))} of {train.get('epochs')}",
            "rows a step": data.get("batch_size"),
            "seed": config.get("seed"),
            "training time": f"{seconds:.0f} s" if seconds else "",
            "speed": speed.brief(last[0]).removeprefix(", ") if last else "",
            "whole time": f"{found['seconds']:.0f} s" if "seconds" in found else "",
            "peak memory": _gigabytes(found.get("peak_host_bytes")),
            "peak device memory": _gigabytes(found.get("peak_device_bytes")),
            "energy": f"{found['joules'] / 3600:.2f} Wh of the chips" if found.get("joules") else "",
            "devices": env.get("devices"),
            "processes": env.get("processes"),
            "system": env.get("platform"),
            "commit": env.get("commit"),
            "versions": f"Python {env.get('python')}, {versions}" if env else "",
        }
    )  # fmt: skip


def _gigabytes(size: int | None) -> str:
    return f"{size / 1e9:.2f} GB" if size else ""


def _curves(run: Run) -> str:
    label = "Losses, validation metrics, learning rate and seconds of each epoch"
    body = html.figure(figures.curves(run.lines), label)
    parts = sorted({n for line in run.of("train") for n in line if n.endswith("loss")}, key=len)
    scores = [name for name in ("loss", *NAMES) if any(name in v for v in run.of("validation"))]
    validated = {line["epoch"]: line for line in run.of("validation")}
    rows = [
        [line["epoch"], *(line.get(part, float("nan")) for part in parts)]
        + [validated.get(line["epoch"], {}).get(name, float("nan")) for name in scores]
        for line in run.of("train")
    ]
    heads = ["epoch", *(f"training {part}" for part in parts), *(f"validation {s}" for s in scores)]
    return body + html.table("Every epoch", heads, rows)


def _classes(run: Run, values: dict[str, Any]) -> str:
    matrix, names = np.array(values["confusion"]), run.summary["expressions"]
    counts = matrix.sum(1)
    share = matrix / np.maximum(counts, 1)[:, None]
    confusion = html.shares(
        "Confusion: of each true class, with its records, the percentage predicted as each class",
        names,
        [
            (f"{name} ({count})", [Share(value, f"{100 * value:.0f}") for value in row])
            for name, count, row in zip(names, counts, share, strict=True)
        ],
    )
    nan = float("nan")
    rows = [
        [
            name,
            int(count),
            *(values.get(f"{score}/{name}", nan) for score in ("recall", "precision", "f1")),
        ]
        for name, count in zip(names, counts, strict=True)
    ]
    return confusion + html.table(
        "Each class", ["class", "records", "recall", "precision", "F1"], rows
    )


def _aus(values: dict[str, Any]) -> str:
    nan = float("nan")
    rows = []
    for name in values:
        if name.startswith("au_f1/"):
            label = name.partition("/")[2]
            au = facs.AUS[int(label.removeprefix("AU"))]
            rows.append([label, au.name, values[name], values.get(f"au_auc/{label}", nan)])
    return html.table("Each action unit", ["AU", "what moves", "F1", "AUC"], rows)


def _calibration(values: dict[str, Any]) -> str:
    bins = np.array(values["calibration"], float)  # records, mean confidence, share right
    drawn = Figure(figsize=(4.2, 3.6), layout="constrained")
    axes = drawn.subplots()
    axes.plot([0, 1], [0, 1], color="#000000", linewidth=0.8, linestyle="--")
    filled = bins[:, 0] > 0
    area = 20 + 180 * bins[filled, 0] / max(bins[:, 0].max(), 1)
    axes.scatter(bins[filled, 1], bins[filled, 2], s=area, alpha=0.7)
    axes.set(xlabel="confidence", ylabel="share right", xlim=(0, 1), ylim=(0, 1))
    axes.grid(alpha=0.3)
    label = f"How often a confidence is right; the error over all records is {values['ece']:.3f}"
    return html.figure(drawn, label)


def _profiles(run: Run, rows: list[dict[str, str]]) -> str:
    """The mean AU probabilities of the faces predicted as each expression, beside the prototypes' AUs."""
    aus = [au for au in run.labels.get("aus", ()) if facs.AUS[au].label in rows[0]]
    if not aus:
        return ""
    probability = np.array([[float(row[facs.AUS[au].label]) for au in aus] for row in rows])
    said = np.array([row["predicted"] for row in rows])
    profiles = []
    for name in run.summary["expressions"]:
        mine = probability[said == name]
        if len(mine):
            typical = facs.PROTOTYPES.get(name, ())
            means = zip(aus, mine.mean(0), strict=True)
            cells = [Share(mean, f"{mean:.2f}", strong=au in typical) for au, mean in means]
            profiles.append((f"{name} ({len(mine)})", cells))
    caption = "Mean AU probability of the faces predicted as each expression; its prototype's AUs are bold"
    return html.shares(caption, [facs.AUS[au].label for au in aus], profiles)


def _mistakes(rows: list[dict[str, str]]) -> str:
    wrong = [row for row in rows if row["label"] and row["predicted"] != row["label"]]
    wrong.sort(key=lambda row: -float(row[row["predicted"]]))
    pairs = Counter((row["label"], row["predicted"]) for row in wrong)
    labelled = sum(bool(row["label"]) for row in rows)
    body = html.paragraph(f"{len(wrong)} of {labelled} records are predicted wrongly.")
    if not wrong:
        return body
    body += html.table(
        "Most frequent confusions", ["true, predicted", "records"],
        [[f"{true}, {said}", count] for (true, said), count in pairs.most_common(_MISTAKES)],
    )  # fmt: skip
    return body + html.table(
        "The surest", ["file", "true", "predicted", "its probability", "of the true class"],
        [
            [row["file"], row["label"], said, float(row[said]), float(row[row["label"]])]
            for row in wrong[:_MISTAKES]
            for said in [row["predicted"]]
        ],
    )  # fmt: skip


def _problems(run: Run) -> str:
    rows = [(key, kind) for kind, keys in run.problems.items() for key in keys]
    body = html.table(
        "How many", ["problem", "records"], [(k, len(v)) for k, v in run.problems.items()]
    )
    body += html.table("Which", ["record", "problem"], rows[:_PROBLEMS])
    if len(rows) > _PROBLEMS:
        body += html.paragraph(f"{len(rows) - _PROBLEMS} more are in data_problems_*.json.")
    return body
