"""Metrics from counts: `counts` of each batch, `add` them up, `summarize` divides once."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from aufer_jax import facs, losses

Sums = dict[str, Any]

# AU logits are ranked in equal parts of -10..10; parts of p would lump rare AUs together near 0.
_AU_PARTS, _AU_REACH = 400, 10.0

HIGHER_IS_BETTER = {
    **dict.fromkeys(("accuracy", "uar", "war_plus_uar", "macro_f1"), True),
    **dict.fromkeys(("weighted_f1", "combined"), True),
    **dict.fromkeys(("au_f1", "au_f1_micro", "au_auc", "au_accuracy", "au_combined"), True),
    **dict.fromkeys(("loss", "ece", "au_loss"), False),
}


def counts(
    outputs: Mapping[str, jax.Array],
    batch: Mapping[str, jax.Array],
    *,
    num_classes: int,
    au_threshold: float = 0.5,
    bins: int = 15,
) -> Sums:
    """What a batch adds to every metric; rows that the batch's mask leaves out add nothing.

    Args:
      outputs: `expression` logits [B, C] and, from a model that has them, `au` logits [B, n]. Or, from
        a method without classes, `losses`, {name: loss of each row [B]}.
      batch: `mask` bool [B], False for padding; `expression` int [B], -1 for unknown; and where
        AUs are to be counted `au` [B, n] and `au_known` bool [B, n].
      num_classes: C.
      au_threshold: an AU is present in the labels above it; in the predictions above p = 0.5.
      bins: equal parts of [0, 1] for the calibration of the winning class's probability.

    Returns:
      `samples`; `confusion` [C, C], true classes in rows; `loss`, summed cross-entropy;
      `bin_samples`, `bin_confidence`, `bin_correct` [bins]; with AUs also `au_tp`, `au_fp`,
      `au_fn`, `au_tn` [n], `au_loss`, and `au_ranks` [2, n, 400], the logits of absent and of present AUs
      as histograms. Without classes: `rows`, and `losses` summed by name.

    >>> outputs = {"expression": jnp.eye(2)}  # says 0, then 1
    >>> batch = {"mask": jnp.array([True, True]), "expression": jnp.array([0, 0])}
    >>> counts(outputs, batch, num_classes=2)["confusion"].tolist()
    [[1, 1], [0, 0]]
    """
    if "losses" in outputs:
        return _loss_counts(outputs["losses"], batch["mask"])
    sums = _expression_counts(outputs["expression"], batch, num_classes, bins)
    if "au" in outputs and "au" in batch:
        sums |= _au_counts(outputs["au"], batch, au_threshold)
    return sums


def _loss_counts(losses: Any, mask: jax.Array) -> Sums:
    summed = {name: jnp.sum(jnp.where(mask, loss, 0.0)) for name, loss in losses.items()}
    return {"rows": _count(mask), "losses": summed}


def _expression_counts(
    logits: jax.Array, batch: Mapping[str, jax.Array], num_classes: int, bins: int
) -> Sums:
    label = batch["expression"]
    valid = batch["mask"] & (label >= 0)
    predicted = jnp.argmax(logits, axis=-1)
    classes = jnp.arange(num_classes)
    true_rows = (label[:, None] == classes) & valid[:, None]
    predicted_rows = predicted[:, None] == classes

    confidence = jnp.max(jax.nn.softmax(logits.astype(jnp.float32)), axis=-1)
    index = jnp.minimum((confidence * bins).astype(jnp.int32), bins - 1)
    in_bin = (index[:, None] == jnp.arange(bins)) & valid[:, None]
    return {
        "samples": _count(valid),
        "confusion": _count(true_rows[:, :, None] & predicted_rows[:, None, :]),
        "loss": jnp.sum(jnp.where(valid, losses.cross_entropy(logits, label), 0.0)),
        "bin_samples": _count(in_bin),
        "bin_confidence": jnp.sum(jnp.where(in_bin, confidence[:, None], 0.0), axis=0),
        "bin_correct": _count(in_bin & (predicted == label)[:, None]),
    }


def _au_counts(logits: jax.Array, batch: Mapping[str, jax.Array], threshold: float) -> Sums:
    known = batch["au_known"] & batch["mask"][:, None]
    present, predicted = batch["au"] > threshold, logits > 0
    loss = losses.au_cross_entropy(logits, present, known)
    part = jnp.floor((logits.astype(jnp.float32) / _AU_REACH + 1) * (_AU_PARTS / 2))
    part = jnp.clip(jnp.nan_to_num(part), 0, _AU_PARTS - 1).astype(jnp.int32)
    ranks = jnp.zeros((2, logits.shape[1], _AU_PARTS), jnp.int32)
    place = (present.astype(jnp.int32), jnp.arange(logits.shape[1]), part)
    return {
        "au_tp": _count(known & present & predicted),
        "au_fp": _count(known & ~present & predicted),
        "au_fn": _count(known & present & ~predicted),
        "au_tn": _count(known & ~present & ~predicted),
        "au_loss": jnp.sum(loss),
        "au_ranks": ranks.at[place].add(known.astype(jnp.int32)),
    }


def _count(true: jax.Array) -> jax.Array:
    return jnp.sum(true, axis=0, dtype=jnp.int32)


def add(a: Sums, b: Sums) -> Sums:
    """The sums of both, on the host in 64 bits: no number of batches rounds or overflows.

    >>> {name: int(value) for name, value in add({"samples": 2}, {"samples": 3}).items()}
    {'samples': 5}
    """
    return jax.tree.map(lambda x, y: _wide(x) + _wide(y), a, b)


def _wide(x: Any) -> np.ndarray:
    x = np.asarray(x)
    return x.astype(np.float64 if x.dtype.kind == "f" else np.int64)


def summarize(
    sums: Sums, *, expressions: Sequence[str], aus: Sequence[int] = ()
) -> dict[str, float | list]:
    """The metrics, in fractions of 1, from the sums over a whole dataset.

    Args:
      sums: from `counts` and `add`.
      expressions: names of the classes.
      aus: numbers of the AUs, where they were counted.

    Returns:
      `accuracy` (also called WAR); `uar`, the mean recall of the classes that occur; `war_plus_uar`,
      their sum, by which AU-DFER's code chooses its best epoch; `macro_f1`,
      `weighted_f1`; `combined`, 0.67 macro F1 + 0.33 accuracy; `loss`; `ece`, the expected
      calibration error; `recall/NAME`, `precision/NAME`, `f1/NAME`, left out for classes without
      samples (and, the latter two, without predictions); `confusion`; `calibration`, a row
      (samples, mean confidence, accuracy) for each bin in use. With AUs `au_f1` (mean over the AUs
      with labels), `au_f1_micro` and `au_accuracy` over all labels, `au_combined` (mean of `au_f1` and
      `au_accuracy`), `au_auc` (mean area under the ROC curve of the AUs that are present in some labels
      and absent in others; logits within 0.05 count as equal), `au_loss`, and `au_f1/AU01`,
      `au_auc/AU01` and so on. What has no labels at all is left out. From a method without classes:
      the means of its `losses`.

    >>> batch = {"mask": jnp.array([True, True]), "expression": jnp.array([0, 0])}
    >>> sums = counts({"expression": jnp.eye(2)}, batch, num_classes=2)
    >>> values = summarize(sums, expressions=("neutral", "happiness"))
    >>> values["accuracy"], values["recall/neutral"], "recall/happiness" in values
    (0.5, 0.5, False)
    """
    if "losses" in sums:
        rows = int(sums["rows"])
        return {name: float(total) / rows for name, total in sums["losses"].items() if rows}
    sums = {name: _wide(value) for name, value in sums.items()}
    metrics = _expression_metrics(sums, expressions) if sums["samples"] else {}
    if "au_tp" in sums:
        metrics |= _au_metrics(sums, aus)
    return metrics


def line(split: str, values: Mapping[str, Any]) -> str:
    """The main metrics of a split, to be printed.

    >>> line("test", {"accuracy": 0.5, "uar": 0.25})
    'test: accuracy 0.5000  UAR 0.2500'
    """
    names = {"accuracy": "accuracy", "uar": "UAR", "au_f1": "AU F1"}
    if "accuracy" not in values and "loss" in values:  # a method without classes
        names["loss"] = "loss"
    parts = [f"{label} {values[name]:.4f}" for name, label in names.items() if name in values]
    return f"{split}: " + "  ".join(parts)


def _expression_metrics(sums: Sums, names: Sequence[str]) -> dict[str, float | list]:
    confusion, samples = sums["confusion"], int(sums["samples"])
    if len(names) != len(confusion):
        raise ValueError(f"expressions: got {tuple(names)}, they must be {len(confusion)} names")
    if confusion.sum() != samples:
        raise ValueError(
            f"expression: {samples - confusion.sum()} of {samples} labels are not in "
            f"0..{len(confusion) - 1}"
        )
    bins = zip(sums["bin_samples"], sums["bin_confidence"], sums["bin_correct"], strict=True)
    return {
        **scores(confusion, names),
        "loss": float(sums["loss"] / samples),
        "ece": float(np.abs(sums["bin_confidence"] - sums["bin_correct"]).sum() / samples),
        "confusion": confusion.tolist(),
        "calibration": [
            [int(n), float(confidence / n), float(right / n)] for n, confidence, right in bins if n
        ],
    }


def scores(confusion: np.ndarray, names: Sequence[str]) -> dict[str, float]:
    """What `summarize` says of a confusion matrix [C, C] of at least one sample, true classes in rows.

    >>> values = scores(np.array([[3, 1], [0, 4]]), ("neutral", "happiness"))
    >>> values["accuracy"], values["recall/neutral"], values["precision/neutral"]
    (0.875, 0.75, 1.0)
    """
    samples = int(confusion.sum())
    correct, true, predicted = np.diag(confusion), confusion.sum(1), confusion.sum(0)
    recall, precision = _ratio(correct, true), _ratio(correct, predicted)
    f1 = _ratio(2 * correct, true + predicted)
    occurs, concerned = true > 0, true + predicted > 0

    accuracy, macro_f1 = correct.sum() / samples, f1[concerned].mean()
    metrics = {
        "accuracy": float(accuracy),
        "uar": float(recall[occurs].mean()),
        "war_plus_uar": float(accuracy + recall[occurs].mean()),
        "macro_f1": float(macro_f1),
        "weighted_f1": float(f1 @ true / samples),
        "combined": float(0.67 * macro_f1 + 0.33 * accuracy),
    }
    for score, values, shown in (
        ("recall", recall, occurs),
        ("precision", precision, concerned),
        ("f1", f1, concerned),
    ):
        rows = zip(names, values, shown, strict=True)
        metrics |= {f"{score}/{name}": float(value) for name, value, show in rows if show}
    return metrics


def _au_metrics(sums: Sums, aus: Sequence[int]) -> dict[str, float | list]:
    tp, fp, fn, tn = (sums[f"au_{name}"] for name in ("tp", "fp", "fn", "tn"))
    if len(aus) != len(tp):
        raise ValueError(f"aus: got {tuple(aus)}, they must be {len(tp)} numbers")
    labels = tp + fp + fn + tn
    if not labels.sum():
        return {}
    f1 = _ratio(2 * tp, 2 * tp + fp + fn)
    known = labels > 0
    mean_f1, accuracy = f1[known].mean(), (tp + tn).sum() / labels.sum()
    auc = _auc(*sums["au_ranks"])
    ranked = np.isfinite(auc)
    metrics: dict[str, float | list] = {
        "au_f1": float(mean_f1),
        "au_f1_micro": float(_ratio(2 * tp.sum(), (2 * tp + fp + fn).sum())),
        "au_accuracy": float(accuracy),
        "au_combined": float((mean_f1 + accuracy) / 2),
        "au_loss": float(sums["au_loss"] / labels.sum()),
    }
    if ranked.any():
        metrics["au_auc"] = float(auc[ranked].mean())
    for name, values, shown in (("au_f1", f1, known), ("au_auc", auc, ranked)):
        rows = zip(aus, values, shown, strict=True)
        metrics |= {
            f"{name}/{facs.AUS[au].label}": float(value) for au, value, show in rows if show
        }
    return metrics


def _auc(absent: np.ndarray, present: np.ndarray) -> np.ndarray:
    """Areas [n] under the ROC curve from histograms [n, parts], ties halved; NaN where one is empty."""
    below = absent.cumsum(-1) - absent
    pairs = absent.sum(-1) * present.sum(-1)
    wins = (present * (below + absent / 2)).sum(-1)
    return np.where(pairs > 0, wins / np.maximum(pairs, 1), np.nan)


def mean_over_aus(values: Mapping[str, Any], score: str, aus: Sequence[int]) -> float:
    """The mean of `au_f1` or `au_auc` over these AUs, as far as `values` have them; NaN if they have none.

    >>> mean_over_aus({"au_f1/AU06": 0.5, "au_f1/AU12": 1.0}, "au_f1", aus=(6, 12, 25))
    0.75
    """
    found = [values.get(f"{score}/{facs.AUS[au].label}") for au in aus]
    return float(np.mean([v for v in found if v is not None] or [np.nan]))


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """The quotient, 0 where it is undefined."""
    return numerator / np.maximum(denominator, 1)
