"""Metrics from counts: `counts` of each batch, `add` them up, `summarize` divides once."""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from aufer_jax import facs, losses

Sums = dict[str, Any]

HIGHER_IS_BETTER = {
    **dict.fromkeys(("accuracy", "uar", "war_plus_uar", "macro_f1"), True),
    **dict.fromkeys(("weighted_f1", "combined"), True),
    **dict.fromkeys(("au_f1", "au_accuracy", "au_combined"), True),
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
      `au_fn`, `au_tn` [n] and `au_loss`. Without classes: `rows`, and `losses` summed by name.
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
    return {
        "au_tp": _count(known & present & predicted),
        "au_fp": _count(known & ~present & predicted),
        "au_fn": _count(known & present & ~predicted),
        "au_tn": _count(known & ~present & ~predicted),
        "au_loss": jnp.sum(loss),
    }


def _count(true: jax.Array) -> jax.Array:
    return jnp.sum(true, axis=0, dtype=jnp.int32)


def add(a: Sums, b: Sums) -> Sums:
    """The sums of both, on the host in 64 bits: no number of batches rounds or overflows."""
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
      with labels), `au_accuracy` over all labels, `au_combined` (their mean), `au_loss` and
      `au_f1/AU01` and so on. What has no labels at all is left out. From a method without classes:
      the means of its `losses`.
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
    """The main metrics of a split, to be printed."""
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
    """What `summarize` says of a confusion matrix [C, C] of at least one sample, true classes in rows."""
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
    return {
        "au_f1": float(mean_f1),
        "au_accuracy": float(accuracy),
        "au_combined": float((mean_f1 + accuracy) / 2),
        "au_loss": float(sums["au_loss"] / labels.sum()),
        **{f"au_f1/{facs.AUS[au].label}": float(f1[i]) for i, au in enumerate(aus) if known[i]},
    }


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """The quotient, 0 where it is undefined."""
    return numerator / np.maximum(denominator, 1)
