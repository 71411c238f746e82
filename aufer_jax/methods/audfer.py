"""AU-DFER: an AU loss weighted by AU-expression knowledge, on any video model with an AU head."""

import dataclasses
import functools

import jax.numpy as jnp
import numpy as np

from aufer_jax import facs, losses, suggest
from aufer_jax.aus import knowledge
from aufer_jax.data import batches
from aufer_jax.methods import base, setup


@dataclasses.dataclass(frozen=True)
class Options:
    au: str = "global"  # positive weights: none, global, distinct or minor
    au_weight: float = 0.25  # lambda of eq. 10; 0 trains without the AU loss
    shift: str = "midrange"  # of the knowledge matrix before its sigmoid
    knowledge_scale: float = 5.0
    label_smoothing: float = 0.1

    def __post_init__(self):
        for key, value, permitted in (
            ("loss.au", self.au, knowledge.STRATEGIES),
            ("loss.shift", self.shift, knowledge.SHIFTS),
        ):
            if value not in permitted:
                raise suggest.unknown(key, value, permitted)
        if not 0 <= self.au_weight <= 1:
            raise ValueError(f"loss.au_weight: {self.au_weight} must be from 0 to 1")


def loss(params, model_state, batch, key, *, parts, options: Options, weight, positive_weight):
    """(1 - lambda) * cross-entropy + lambda * knowledge-weighted BCE of the video's AUs (eq. 10)."""
    x = base.normalise(batch["clip"], parts.preprocess)
    outputs, new_state = base.forward(
        parts.model, params, model_state, x, key=key, dtype=parts.dtype
    )
    label = batch["expression"]
    labelled = batch["mask"] & (label >= 0)
    expression, taught = base.expression_loss(
        outputs["expression"], batch, smoothing=options.label_smoothing, labels=parts.spec.labels
    )
    total = (1 - options.au_weight) * losses.masked_mean(expression, taught)
    sums = {
        "expression_loss": base.summed(expression, taught),
        "accuracy": base.summed(base.correct(outputs["expression"], label), labelled),
    }
    if options.au_weight:
        known = batch["au_known"] & labelled[:, None]
        row = jnp.maximum(label, 0)
        au = losses.au_cross_entropy(
            outputs["au"],
            batch["au"],
            known,
            pos_weight=jnp.asarray(positive_weight, jnp.float32)[row],
            weight=jnp.asarray(weight, jnp.float32)[row],
        )
        total += options.au_weight * losses.masked_mean(au, known)
        sums["au_loss"] = base.summed(au, known)
    sums["loss"] = base.shared(total)
    return total, (new_state, sums)


def build(run) -> base.Task:
    parts = setup.parts(run, field="clip", views=("original",))
    matrix = knowledge.for_orders(parts.expressions, parts.spec.aus, run.loss.shift)
    weight = run.loss.knowledge_scale * matrix  # 5 K of eq. 9, [classes, AUs]
    positive_weight = np.ones_like(weight)
    if run.loss.au_weight and run.loss.au != "none":
        labels = batches.labels(setup.target_part(run, parts))
        minor = tuple(
            i for i, name in enumerate(parts.expressions) if name in facs.MINOR_EXPRESSIONS
        )
        positive_weight = knowledge.positive_weights(
            labels["au"],
            labels["au_known"],
            labels["expression"],
            strategy=run.loss.au,
            num_classes=len(parts.expressions),
            minor=minor,
        )
    weighted = functools.partial(
        loss, options=run.loss, weight=weight, positive_weight=positive_weight
    )
    method = setup.method(parts, "clip", weighted)
    return setup.task(run, parts, method)
