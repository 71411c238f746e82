"""The losses of AU-DFER, for the comparison with their golden fixture."""

import csv

import jax.numpy as jnp
import numpy as np
import places

from aufer_jax import losses
from aufer_jax.papers.audfer import positive_weights

# Unrounded knowledge matrices, and positive weights of each dataset and strategy: rows are expressions.
WEIGHTS = places.GOLDEN / "audfer_loss_weights.csv"


def weights(matrix: str, dataset: str) -> dict[str, np.ndarray]:
    """Tables [7, 18] by name: the knowledge matrix and the positive weights of each strategy."""
    with WEIGHTS.open() as file:
        rows = list(csv.reader(file))[1:]

    def table(name: str) -> np.ndarray:
        return np.array([values for kind, _, *values in rows if kind == name], float)

    expressions = [expression for kind, expression, *_ in rows if kind == matrix]
    minor = np.isin(expressions, positive_weights.MINOR_EXPRESSIONS)
    distinct = table(f"{dataset} distinct")
    return {
        "knowledge": table(matrix),
        "none": np.ones((7, 18)),
        "global": np.repeat(table(f"{dataset} global"), 7, axis=0),
        "distinct": distinct,
        "minor": np.where(minor[:, None], distinct, 1.0),
    }


def audfer_loss(config: dict, _: dict, inputs: dict) -> dict[str, np.ndarray]:
    """Every output of the fixture, by our losses."""
    logits, au_logits = inputs["expression_logits"], inputs["au_logits"]
    label = inputs["expression_source"].argmax(-1)
    au = (inputs["au_source"] > 0).astype(np.float32)
    known, everyone = np.ones(au.shape, bool), np.ones(label.shape, bool)
    tables = weights(config["matrix"], config["dataset"])
    smoothing = config["label_smoothing"]

    ce = losses.masked_mean(losses.cross_entropy(logits, label), everyone)
    smooth = losses.masked_mean(losses.cross_entropy(logits, label, smoothing=smoothing), everyone)
    ours = {
        "expression_label": label,
        "au_label": au,
        "ce": ce,
        f"ce_smooth_{smoothing:g}".replace(".", "p"): smooth,
        "ce_eq5": ce - np.log(5),
    }
    for strategy in ("none", "global", "distinct", "minor"):
        elements = losses.au_cross_entropy(
            au_logits,
            au,
            known,
            pos_weight=tables[strategy][label],
            weight=5 * tables["knowledge"][label],
        )
        mean = losses.masked_mean(elements, known)
        ratio = config["au_ratio"]
        ours |= {
            f"au_{strategy}_elements": elements,
            f"au_{strategy}_mean": mean,
            f"au_{strategy}_sum_over_aus": jnp.mean(jnp.sum(elements, axis=-1)),
            f"total_{strategy}": (1 - ratio) * smooth + ratio * mean,
        }
    return {name: np.asarray(value) for name, value in ours.items()}


COMPARISONS = {"audfer_loss": audfer_loss}
