"""AU-ViT: expressions of the target and AUs of auxiliary datasets, trained jointly."""

import dataclasses
import functools

from aufer_jax import losses
from aufer_jax.methods import base, setup


@dataclasses.dataclass(frozen=True)
class Options:
    alpha: float = 1.0  # weight of the expression loss
    beta: float = 1.0  # weight of the AU loss
    label_smoothing: float = 0.0


def loss(params, model_state, batch, key, *, parts: setup.Parts, options: Options):
    """alpha * cross-entropy of the known expressions + beta * BCE of the known AUs (eq. 3)."""
    x = base.normalise(batch["image"], parts.preprocess)
    outputs, new_state = base.forward(
        parts.model, params, model_state, x, key=key, dtype=parts.dtype
    )
    labelled = batch["mask"] & (batch["expression"] >= 0)
    expression = losses.cross_entropy(
        outputs["expression"], batch["expression"], smoothing=options.label_smoothing
    )
    total = options.alpha * losses.masked_mean(expression, labelled)
    sums = {
        "expression_loss": base.summed(expression, labelled),
        "accuracy": base.summed(base.correct(outputs["expression"], batch["expression"]), labelled),
    }
    if "au" in outputs and options.beta:
        known = batch["au_known"] & batch["mask"][:, None]
        au = losses.au_cross_entropy(outputs["au"], batch["au"], known)
        total += options.beta * losses.masked_mean(au, known)
        sums["au_loss"] = base.summed(au, known)
    sums["loss"] = base.shared(total)
    return total, (new_state, sums)


def build(run) -> base.Task:
    parts = setup.parts(run, field="image", views=("original",))
    method = setup.method(parts, "image", functools.partial(loss, options=run.loss))
    return setup.task(run, parts, method)
