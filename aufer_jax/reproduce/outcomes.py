"""What came out of a study: means over seeds, intervals over records, verdicts on the claims."""

import dataclasses
import itertools
import os
import pathlib
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from aufer_jax import facs
from aufer_jax.evaluate import intervals, metrics
from aufer_jax.papers.study import Claim, Study, Trend
from aufer_jax.report import results
from aufer_jax.reproduce import trends
from aufer_jax.runs import predictions
from aufer_jax.train import logs

Summary = Mapping[str, Any]
AU_SCORES = ("au_f1", "au_auc")


@dataclasses.dataclass(frozen=True)
class Outcome:
    """A finished run, or the runs of all folds as one.

    Attributes:
      summary: what was measured.
      epoch_seconds: of a training epoch (median).
      seconds: of all of it.
      taught: the AUs that it learned from labels.
      workdirs: its runs.
      epochs: that it trained.
    """

    summary: Summary
    epoch_seconds: float
    seconds: float = 0.0
    taught: tuple[int, ...] = ()
    workdirs: tuple[pathlib.Path, ...] = ()
    epochs: float = 1.0


def read(workdir: pathlib.Path) -> Outcome:
    """The outcome of a finished run."""
    lines = logs.read_lines(workdir / "metrics.jsonl")
    training = [line for line in lines if line["split"] == "train"]
    seconds = [line["seconds"] for line in training]
    done = workdir / "summary.json"
    whole = done.stat().st_mtime - (workdir / "environment.json").stat().st_mtime
    # The first epoch compiles.
    epoch = float(np.median(seconds[1:] or seconds))
    summary = logs.read_json(done)
    annotated = summary.get("annotated_aus", ())  # by the training data
    taught = tuple(annotated) if any("au_loss" in line for line in training) else ()
    return Outcome(summary, epoch, whole, taught, (workdir,), len(training))


def pooled(folds: Sequence[Outcome]) -> Outcome:
    """The folds of a cross-validation as one: their confusion matrices added, of the rest the mean."""
    if len(folds) == 1:
        return folds[0]
    first = folds[0].summary
    summary = {
        name: _pool([fold.summary[name] for fold in folds], first["expressions"])
        for name, values in first.items()
        if isinstance(values, dict) and "confusion" in values
    }
    return Outcome(
        {"expressions": first["expressions"], **summary},
        float(np.mean([fold.epoch_seconds for fold in folds])),
        sum(fold.seconds for fold in folds),
        folds[0].taught,
        tuple(workdir for fold in folds for workdir in fold.workdirs),
        float(np.mean([fold.epochs for fold in folds])),
    )


def _pool(folds: Sequence[Summary], expressions: Sequence[str]) -> dict[str, Any]:
    confusion = np.sum([fold["confusion"] for fold in folds], axis=0)
    shared = set.intersection(*(set(fold) for fold in folds))
    means = {n: float(np.mean([f[n] for f in folds])) for n in shared if np.isscalar(folds[0][n])}
    return {**means, **metrics.scores(confusion, expressions), "confusion": confusion.tolist()}


def common_aus(outcomes: Mapping[str, Sequence[Outcome]]) -> tuple[int, ...]:
    """The AUs with a score that every row was taught, of those rows that were taught any."""
    taught = [outcome for found in outcomes.values() for outcome in found if outcome.taught]
    splits = (v for outcome in taught for v in outcome.summary.values() if isinstance(v, dict))
    scored = {name for values in splits for name in values}
    shared = set.intersection(*(set(outcome.taught) for outcome in taught)) if taught else set()
    return tuple(au for au in sorted(shared) if f"au_f1/{facs.AUS[au].label}" in scored)


def with_au_means(outcomes: Mapping[str, Sequence[Outcome]]) -> dict[str, list[Outcome]]:
    """The outcomes with AU scores over the AUs that a row was taught, and over those that all were.

    A row without AUs has no AU scores at all: those of a head that learned nothing are left out.
    """
    common = common_aus(outcomes)

    def one(outcome: Outcome) -> Outcome:
        summary = dict(outcome.summary)
        for name, values in outcome.summary.items():
            if not isinstance(values, dict):
                continue
            if not outcome.taught:
                summary[name] = {n: v for n, v in values.items() if not n.startswith("au_")}
            elif "au_f1" in values:
                summary[name] = values | {
                    f"{score}_{which}": metrics.mean_over_aus(values, score, aus)
                    for score in AU_SCORES
                    for which, aus in (("taught", outcome.taught), ("common", common))
                }
        return dataclasses.replace(outcome, summary=summary)

    return {name: [one(outcome) for outcome in found] for name, found in outcomes.items()}


# --- Table and verdicts ---------------------------------------------------------------------------


def lookup(summary: Summary, place: str) -> float:
    """The number at "test_last/accuracy" of a summary, NaN if there is none."""
    split, _, metric = place.partition("/")
    return float(summary.get(split, {}).get(metric, np.nan))


def table(study: Study, outcomes: Mapping[str, Sequence[Outcome]]) -> list[dict[str, str]]:
    """A row of the table for each of the study's: mean and deviation over seeds, and its cost."""
    first, beside = _cost(outcomes[study.rows[0].name]), _published(study)
    rows = []
    for row in study.rows:
        found = outcomes[row.name]
        cells = {"row": row.name}
        for head, place in study.metrics.items():
            cells[head] = mean_and_deviation(values(found, place)) + interval(found, place)
            if head in beside:
                column, numbers = beside[head]
                cells[column] = numbers.get(row.name, "-")
        cells["s an epoch"] = f"{np.mean([outcome.epoch_seconds for outcome in found]):.1f}"
        cells["cost"] = f"{_cost(found) / first:.2f}"
        cells |= {head: tell(row) for head, tell in study.columns.items()}
        rows.append(cells)
    return rows


def mean_and_deviation(values: np.ndarray, sign: str = "") -> str:
    """Mean and standard deviation over seeds as text; "-" where one is missing."""
    if np.isnan(values).any():
        return "-"
    spread = f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else ""
    return f"{values.mean():{sign}.3f}{spread}"


def interval(outcomes: Sequence[Outcome], place: str) -> str:
    """[low, high] of accuracy and UAR over test records: the mean of the seeds' intervals."""
    split, _, score = place.partition("/")
    confusions = [outcome.summary.get(split, {}).get("confusion") for outcome in outcomes]
    if score not in intervals.SCORES or any(confusion is None for confusion in confusions):
        return ""
    low, high = np.mean([intervals.bca(np.array(c), score) for c in confusions], axis=0)
    return f" [{low:.3f}, {high:.3f}]"


def verdicts(study: Study, outcomes: Mapping[str, Sequence[Outcome]]) -> list[dict[str, str]]:
    """What became of each claim: each step of an order, each trend, with the verdict over seeds."""
    rows = []
    for claim in study.claims:
        if isinstance(claim, Trend):
            rows += _trend(claim, study, outcomes)
            continue
        for i, (worse, better) in enumerate(itertools.pairwise(claim.order)):
            a, b = (values(outcomes[name], claim.metric) for name in (worse, better))
            step = f"{worse} < {better}"
            if claim.over:
                below_a, below_b = claim.over[i : i + 2]
                a = a - values(outcomes[below_a], claim.metric)
                b = b - values(outcomes[below_b], claim.metric)
                step = f"{worse} - {below_a} < {better} - {below_b}"
            rows.append(
                {
                    "claim": claim.text,
                    "metric": claim.metric,
                    "step": step,
                    "difference": mean_and_deviation(b - a, sign="+"),
                    "seeds for it": f"{int((b > a).sum())} of {len(a)}",
                    "verdict": verdict(b - a),
                    "McNemar's p": mcnemar(claim, outcomes[worse], outcomes[better]),
                }
            )
    return rows


def _trend(
    trend: Trend, study: Study, outcomes: Mapping[str, Sequence[Outcome]]
) -> list[dict[str, str]]:
    """The rank correlation of what rows have with what they lose, and where a gain turns into a loss."""
    if len(trend.rows) < 3:  # two can be in order by chance
        return []
    rows = {row.name: row for row in study.rows}
    measure = np.array([trend.measure(rows[name]) for name in trend.rows])
    base = values(outcomes[trend.base], trend.metric)
    gained = np.stack([values(outcomes[name], trend.metric) - base for name in trend.rows], 1)
    found = trends.rank_correlations(measure, -gained)
    turned = trends.crossings(measure, gained)
    turned = turned[np.isfinite(turned)]
    said = {"claim": trend.text, "metric": trend.metric}
    return [
        said
        | {
            "step": f"rank correlation of {trend.unit} with the loss against {trend.base}",
            "difference": mean_and_deviation(found, sign="+"),
            "seeds for it": f"{int((found > 0).sum())} of {len(found)}",
            "verdict": verdict(found),
            "McNemar's p": "",
        },
        said
        | {
            "step": f"{trend.unit} at which the gain over {trend.base} turns into a loss",
            "difference": mean_and_deviation(turned) if len(turned) else "none",
            "seeds for it": f"{len(turned)} of {len(found)}",
            "verdict": "-",
            "McNemar's p": "",
        },
    ]


def values(outcomes: Sequence[Outcome], place: str) -> np.ndarray:
    """The number at a place of the summary, of each seed."""
    return np.array([lookup(outcome.summary, place) for outcome in outcomes])


def verdict(differences: np.ndarray) -> str:
    """Of paired differences that are claimed to be positive, by the 95 % interval of their mean."""
    if np.isnan(differences).any():
        return "not measured"
    if len(differences) < 2:
        return "undecided (one seed)"
    mean, error = differences.mean(), differences.std(ddof=1) / np.sqrt(len(differences))
    margin = stats.t.ppf(0.975, len(differences) - 1) * error
    if mean - margin > 0:
        return "held"
    return "not held" if mean + margin < 0 else "undecided"


def mcnemar(claim: Claim, worse: Sequence[Outcome], better: Sequence[Outcome]) -> str:
    """The exact p of each seed's pair of runs, of claims on accuracy whose predictions were kept."""
    split, _, score = claim.metric.partition("/")
    if score != "accuracy" or claim.over:
        return ""
    found = []
    for pair in zip(worse, better, strict=True):
        a, b = (_right(outcome, split) for outcome in pair)
        if not a or a.keys() != b.keys():  # another fold, or written by an earlier version
            return ""
        found.append(intervals.mcnemar(*(np.array([run[key] for key in a]) for run in (a, b))))
    return ", ".join(f"{p:.2g}" for p in found)


def _right(outcome: Outcome, split: str) -> dict[str, bool]:
    paths = [workdir / f"predictions_{split}.csv" for workdir in outcome.workdirs]
    if not all(path.exists() for path in paths):
        return {}
    return {key: right for path in paths for key, right in predictions.right(path).items()}


def _cost(outcomes: Sequence[Outcome]) -> float:
    """Seconds of all epochs."""
    return float(np.mean([outcome.epoch_seconds * outcome.epochs for outcome in outcomes]))


def _published(study: Study) -> dict[str, tuple[str, Mapping[str, str]]]:
    """The columns that have a number for one of the study's rows, of which some may be left out."""
    names = {row.name for row in study.rows}
    return {
        head: (c, numbers) for head, (c, numbers) in study.published.items() if names & {*numbers}
    }


def _note(
    study: Study,
    outcomes: Mapping[str, Sequence[Outcome]],
    rows: Sequence[Mapping[str, str]],
    jobs: int,
) -> str:
    """What the study and the numbers of its table are."""
    count = len(next(iter(outcomes.values())))
    minutes = sum(outcome.seconds for found in outcomes.values() for outcome in found) / 60
    note = f"{study.note} Mean and standard deviation over {count} seeds"
    if any("[" in row[head] for row in rows for head in study.metrics):
        note += (
            "; in brackets the 95 % interval over test records of one run (BCa bootstrap), its bounds "
            "averaged over seeds"
        )
    note = f"{note}; the runs took {minutes:.0f} minutes, {jobs} of them at a time.".strip()
    if any("_common" in place for place in study.metrics.values()):
        common = ", ".join(facs.AUS[au].label for au in common_aus(outcomes)) or "none"
        note += (
            " AU scores: taught, over the AUs that a row was taught; common, over those that all rows "
            f"with AUs were taught ({common}); micro, over all AU labels of the test split, those of AUs "
            "that a row was not taught included."
        )
    if shown := _published(study):
        note += (
            " Published: what the paper has for this row on the dataset named, as a fraction of 1"
        )
        if any("?" in number for _, numbers in shown.values() for number in numbers.values()):
            note += "; with ?, it cannot be as printed"
        note += "."
    return note


def write(
    study: Study,
    outcomes: Mapping[str, Sequence[Outcome]],
    path: str | os.PathLike,
    command: str,
    jobs: int,
) -> None:
    """The study's table and verdicts as sections of a Markdown file."""
    rows = table(study, outcomes)
    note = _note(study, outcomes, rows, jobs)
    heading = f"Results: {re.split('[:,]', study.title)[0]}"
    results.write_section(path, study.title, rows, command, note, heading)
    if judged := verdicts(study, outcomes):
        explanation = (
            "Differences are paired by seed; undecided means that the 95 % interval of their mean (t "
            "distribution) holds zero. McNemar's exact p, one for each seed, is of the records on which the "
            "two runs differ."
        )
        if any(isinstance(claim, Trend) for claim in study.claims):
            explanation += (
                " A rank correlation is Spearman's of each seed, and is judged by the same interval; where a "
                "gain turns into a loss is read from a straight line between two rows."
            )
        title = f"{study.title}: claims"
        results.write_section(path, title, judged, command, explanation)
