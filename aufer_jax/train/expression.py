"""The expression loss of every method, in all its forms: its options, its target, its value.

A method's own options inherit `Options`, its loss asks `taught` once for a batch and `loss` for each set of
logits. What is mixed beside the labels goes through `train.mixing` with `Taught.mix`.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from aufer_jax import errors, losses
from aufer_jax.data import batches
from aufer_jax.train import base, mixing, setup
from aufer_jax.train.run import Run

FORMS = ("cross_entropy", "focal", "logit_adjusted")


@dataclasses.dataclass(frozen=True)
class Options(mixing.Options):
    """The expression loss's part of the section `loss`."""

    expression: str = "cross_entropy"  # or "focal", "logit_adjusted"
    gamma: float = 2.0  # of "focal"
    tau: float = 1.0  # of "logit_adjusted"
    label_smoothing: float = 0.0  # share of a label that is spread over all classes

    def __post_init__(self):
        super().__post_init__()
        if self.expression not in FORMS:
            raise errors.unknown("loss.expression", self.expression, FORMS)
        for key in ("gamma", "tau"):
            if getattr(self, key) < 0:
                raise errors.UserError(f"loss.{key}: {getattr(self, key)} must not be negative")
        if not 0 <= self.label_smoothing < 1:
            raise errors.UserError(
                f"loss.label_smoothing: {self.label_smoothing} must be from 0 up to 1"
            )

    def check_labels(self, labels: str) -> None:
        """Raises where `data.labels` does not go with these options."""
        plain = self.expression == "cross_entropy" and not (self.label_smoothing or self.mix)
        if labels == "multi_target" and not plain:
            raise errors.UserError(
                "data.labels: 'multi_target' is a loss of its own; loss.label_smoothing and loss.mix "
                "must be 0 and loss.expression 'cross_entropy'"
            )


@dataclasses.dataclass(frozen=True)
class Taught:
    """What the rows of a batch are taught of expressions."""

    target: jax.Array  # [B, C], zeros where nothing is known
    mask: jax.Array  # bool [B]: rows with an expression to learn
    mix: mixing.Mix | None  # how the batch is mixed, None: not at all


def taught(
    batch: base.Batch, key: jax.Array | None, parts: setup.Parts, options: Options
) -> tuple[Taught, jax.Array | None]:
    """What a batch teaches, and the key for all else; without a key nothing is mixed.

    A pair of rows is mixed if both have an expression, or neither: those teach AUs.
    """
    if parts.spec.labels == "majority":
        target = jax.nn.one_hot(batch["expression"], len(parts.expressions))
    else:
        target = batch["expression_target"]
    mask = batch["mask"] & jnp.any(target > 0, axis=-1)
    if not options.mix or key is None:
        return Taught(target, mask, None), key
    key, mix_key = jax.random.split(key)
    usable = batch["mask"] & (mask == mixing.partner(mask, parts.period))
    mix = mixing.draw(mix_key, usable, parts.spec.size, options, period=parts.period)
    return Taught(target, mask, mix), key


def loss(logits: jax.Array, taught: Taught, parts: setup.Parts, options: Options) -> jax.Array:
    """The loss [B] of logits [B, C], of any view; it counts where `taught.mask` is True."""
    if parts.spec.labels == "multi_target":
        return losses.multi_target(logits, taught.target)
    target, smoothing = mixing.labels(taught.mix, taught.target), options.label_smoothing
    if options.expression == "focal":
        return losses.focal_loss(logits, target, gamma=options.gamma, smoothing=smoothing)
    if options.expression == "logit_adjusted":
        logits = losses.adjust_logits(logits, parts.class_counts, tau=options.tau)
    return losses.cross_entropy(logits, target, smoothing=smoothing)


def counted(run: Run[Options], parts: setup.Parts) -> setup.Parts:
    """Parts with the target's training records of each class, if the loss asks for them."""
    if run.loss.expression != "logit_adjusted":
        return parts
    labels = batches.labels(setup.target_part(run, parts))["expression"]
    counts = np.bincount(labels[labels >= 0], minlength=len(parts.expressions))
    missing = [name for name, n in zip(parts.expressions, counts, strict=True) if not n]
    if missing:
        raise errors.UserError(
            "loss.expression: 'logit_adjusted' needs training records of every class; there are none "
            f"of {', '.join(missing)}"
        )
    return dataclasses.replace(parts, class_counts=tuple(map(int, counts)))
