"""The folds of a cross-validation as one result: pooled over all their samples, and the mean of the folds."""

import dataclasses
import json
import os
import pathlib
import statistics
from collections.abc import Sequence
from typing import Any

import numpy as np

from aufer_jax import errors
from aufer_jax.evaluate import metrics
from aufer_jax.report import figures, results
from aufer_jax.train import logs
from aufer_jax.train.workdir import names as short_names

KINDS = ("best", "last")
MAIN = {"accuracy": "WAR", "uar": "UAR", "weighted_f1": "weighted F1", "macro_f1": "macro F1"}
NOTE = """Percent. WAR is the share of right samples, UAR the mean recall of the classes. Pooled: one
confusion matrix, the sum of the folds'. Mean: the plain mean of the folds' values, with their standard
deviation (n - 1)."""


@dataclasses.dataclass(frozen=True)
class Fold:
    """A finished run's confusion matrix on its test samples, true classes in rows."""

    name: str
    expressions: tuple[str, ...]
    confusion: np.ndarray
    data: tuple[str, int] | None = None  # dataset and number of the fold

    @property
    def scores(self) -> dict[str, float]:
        """The scores of the fold's confusion matrix."""
        return metrics.scores(self.confusion, self.expressions)


def read(workdir: str | os.PathLike, split: str = "test", kind: str = "best") -> Fold:
    """The fold that a finished run was tested on, in its best or its last state."""
    if kind not in KINDS:
        raise errors.unknown("state", kind, KINDS)
    folder = pathlib.Path(workdir)
    if not (folder / "summary.json").exists():
        raise errors.UserError(
            f"workdir: {str(folder)!r} holds no finished run, it has no summary.json"
        )
    summary = logs.read_json(folder / "summary.json")
    name = f"{split}_{kind}"
    evaluated = [n for n, v in summary.items() if isinstance(v, dict) and "confusion" in v]
    if name not in evaluated:
        raise errors.unknown(f"evaluation of {str(folder)!r}", name, evaluated)
    if "expressions" not in summary:
        raise errors.UserError(f"workdir: the summary in {str(folder)!r} does not name its classes")
    data = logs.read_json(folder / "config.json")["data"]
    return Fold(
        folder.name,
        tuple(summary["expressions"]),
        np.array(summary[name]["confusion"]),
        (data["target"], data.get("fold", 0)),
    )


def pool(folds: Sequence[Fold]) -> dict[str, Any]:
    """`pooled`, `mean` and `std` of every score, `folds` with their own, and the summed `confusion`."""
    if len(folds) < 2:
        raise errors.UserError(f"workdirs: got {len(folds)}, pooling needs at least two folds")
    for fold in folds[1:]:
        if fold.expressions != folds[0].expressions:
            raise errors.UserError(
                f"workdirs: {fold.name!r} has the classes {', '.join(fold.expressions)}, "
                f"{folds[0].name!r} has {', '.join(folds[0].expressions)}"
            )
    seen: dict[Any, str] = {}
    for fold in folds:
        if fold.data is not None and fold.data in seen:
            raise errors.UserError(
                f"workdirs: {fold.name!r} and {seen[fold.data]!r} were tested on the same samples, "
                f"{fold.data[0]!r} with data.fold = {fold.data[1]}; folds are different ones"
            )
        seen[fold.data] = fold.name
    confusion = np.sum([fold.confusion for fold in folds], axis=0)
    total = metrics.scores(confusion, folds[0].expressions)
    rows = [fold.scores for fold in folds]
    by_name = {name: [row[name] for row in rows if name in row] for name in total}
    return {
        "expressions": list(folds[0].expressions),
        "samples": int(confusion.sum()),
        "confusion": confusion.tolist(),
        "pooled": total,
        "mean": {name: statistics.fmean(values) for name, values in by_name.items()},
        "std": {
            name: statistics.stdev(values) if len(values) > 1 else 0.0
            for name, values in by_name.items()
        },
        "folds": {fold.name: {**row} for fold, row in zip(folds, rows, strict=True)},
    }


def markdown(result: dict[str, Any], folds: Sequence[Fold]) -> str:
    """The tables of a pooled result: folds, classes, and the confusion matrix in counts."""
    rows = [
        {"": fold.name, "samples": int(fold.confusion.sum()), **_main(fold.scores)}
        for fold in folds
    ]
    spread = {
        label: f"{100 * result['mean'][name]:.2f} ± {100 * result['std'][name]:.2f}"
        for name, label in MAIN.items()
    }
    rows.append({"": "**mean of folds**", "samples": "", **spread})
    rows.append({"": "**pooled**", "samples": result["samples"], **_main(result["pooled"])})
    confusion, names = np.array(result["confusion"]), result["expressions"]
    classes = [
        {
            "class": name,
            "samples": int(count),
            "recall, pooled": _percent(result["pooled"], f"recall/{name}"),
            "recall, mean of folds": _percent(result["mean"], f"recall/{name}"),
            "F1, pooled": _percent(result["pooled"], f"f1/{name}"),
        }
        for name, count in zip(names, confusion.sum(1), strict=True)
    ]
    counts = [
        {"true / predicted": name, **dict(zip(names, map(int, row), strict=True))}
        for name, row in zip(names, confusion, strict=True)
    ]
    return "\n\n".join([NOTE, *(results.table(part) for part in (rows, classes, counts))])


def _main(scores: dict[str, float]) -> dict[str, str]:
    return {label: _percent(scores, name) for name, label in MAIN.items()}


def _percent(scores: dict[str, float], name: str) -> str:
    return f"{100 * scores[name]:.2f}" if name in scores else ""


def write(
    workdirs: Sequence[str | os.PathLike],
    *,
    split: str = "test",
    kind: str = "best",
    out: str | os.PathLike = "pool",
) -> dict[str, Any]:
    """Pools finished runs and writes `pool.md`, `pool.json` and the confusion matrix as two pictures.

    Args:
      workdirs: of one run a fold.
      split: that was evaluated at their end.
      kind: "best" or "last" state.
      out: folder to write to.
    """
    names = short_names([pathlib.Path(workdir) for workdir in workdirs]) if workdirs else []
    folds = [
        dataclasses.replace(read(workdir, split, kind), name=name)
        for workdir, name in zip(workdirs, names, strict=True)
    ]
    result = pool(folds)
    folder = pathlib.Path(out)
    folder.mkdir(parents=True, exist_ok=True)
    title = f"{len(folds)} folds, {split}, {kind} epoch"
    (folder / "pool.md").write_text(f"# {title}\n\n{markdown(result, folds)}\n")
    (folder / "pool.json").write_text(json.dumps(result, indent=1) + "\n")
    confusion = np.array(result["confusion"])
    for counts, name in ((False, "confusion.png"), (True, "confusion_counts.png")):
        figure = figures.confusion(confusion, result["expressions"], title, counts=counts)
        figures.save(figure, folder / name)
    return result
