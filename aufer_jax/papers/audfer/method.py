"""AU-DFER: an AU loss weighted by AU-expression knowledge, on any video model with an AU head."""

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from aufer_jax import errors, facs, losses
from aufer_jax.data import batches
from aufer_jax.papers.audfer import knowledge, positive_weights
from aufer_jax.train import base, mixing, setup

POSITIVE_WEIGHTS = ("data", "published", "released")
EXPRESSION_LOSSES = ("cross_entropy", "focal", "logit_adjusted")
MIX_AUS = ("mixed", "released")


@dataclasses.dataclass(frozen=True)
class Options:
    au: str = "global"  # positive weights: none, global, distinct or minor
    au_weight: float = 0.25  # lambda of eq. 10; at 0 there is no AU head either
    # Where these come from: counted in the training "data"; the "published" constants for DFEW and
    # FERV39k; the same with the slips of the code, "released".
    positive_weights: str = "data"
    knowledge: str = ""  # a knowledge.csv of one's own; empty: the published one
    shift: str = "midrange"  # of the knowledge before its sigmoid; or "half_range", or a number
    knowledge_scale: float = 5.0
    expression: str = "cross_entropy"  # or "focal", "logit_adjusted"
    gamma: float = 2.0  # of "focal"
    tau: float = 1.0  # of "logit_adjusted"
    label_smoothing: float = 0.1
    mix: float = 0.0  # probability that a batch is mixed, see `methods.mixing`
    mixup: float = 0.8  # alpha; 0: CutMix only
    cutmix: float = 1.0  # alpha; 0: Mixup only
    mix_switch: float = 0.5  # probability of CutMix
    # AUs of a mixed row: "mixed" as its pixels are, with their weights; "released": the row's own AUs,
    # weighted as the expression with the larger share says.
    mix_aus: str = "mixed"

    def __post_init__(self):
        for key, permitted in (
            ("au", positive_weights.STRATEGIES),
            ("positive_weights", POSITIVE_WEIGHTS),
            ("expression", EXPRESSION_LOSSES),
            ("mix_aus", MIX_AUS),
        ):
            if getattr(self, key) not in permitted:
                raise errors.unknown(f"loss.{key}", getattr(self, key), permitted)
        self.shift_value()
        for key in ("au_weight", "mix", "mix_switch"):
            if not 0 <= getattr(self, key) <= 1:
                raise errors.UserError(f"loss.{key}: {getattr(self, key)} must be from 0 to 1")
        for key in ("gamma", "tau", "mixup", "cutmix"):
            if getattr(self, key) < 0:
                raise errors.UserError(f"loss.{key}: {getattr(self, key)} must not be negative")
        if self.mix and not (self.mixup or self.cutmix):
            raise errors.UserError("loss.mix: needs loss.mixup or loss.cutmix to be greater than 0")

    def shift_value(self) -> str | float:
        if self.shift in knowledge.SHIFTS:
            return self.shift
        permitted = (*knowledge.SHIFTS, "a number")
        try:
            number = float(self.shift)
        except ValueError:
            raise errors.unknown("loss.shift", self.shift, permitted) from None
        if not math.isfinite(number):
            raise errors.unknown("loss.shift", self.shift, permitted)
        return number

    @property
    def mixing(self) -> mixing.Mixing:
        return mixing.Mixing(self.mix, self.mixup, self.cutmix, self.mix_switch)


@dataclasses.dataclass(frozen=True)
class Tables:
    """What the loss knows of expressions, row by row."""

    weight: np.ndarray  # 5 K of eq. 9, [classes, AUs]
    positive_weight: np.ndarray  # of eq. 6 to 8, [classes, AUs]
    counts: tuple[int, ...] = ()  # training records of each class, for "logit_adjusted"


def loss(params, model_state, batch, key, *, parts: setup.Parts, options: Options, tables: Tables):
    """(1 - lambda) * expression loss + lambda * knowledge-weighted BCE of the video's AUs (eq. 10)."""
    x = base.normalise(batch["clip"], parts.preprocess)
    target = _target(batch, parts)
    taught = batch["mask"] & jnp.any(target > 0, axis=-1)
    share = None
    if options.mix and key is not None:
        key, mix_key = jax.random.split(key)
        x, share = mixing.mix(mix_key, x, taught, options.mixing)
    outputs, new_state = base.forward(
        parts.model, params, model_state, x, key=key, dtype=parts.dtype
    )
    logits = outputs["expression"]
    expression = _expression_loss(logits, target, share, parts, options, tables)
    total = (1 - options.au_weight) * losses.masked_mean(expression, taught)
    label = batch["expression"]
    labelled = batch["mask"] & (label >= 0)
    sums = {
        "expression_loss": base.summed(expression, taught),
        "accuracy": base.summed(base.correct(logits, label), labelled),
    }
    if options.au_weight:
        known = batch["au_known"] & labelled[:, None]
        au, known = _au_loss(outputs["au"], batch, known, share, options, tables)
        total += options.au_weight * losses.masked_mean(au, known)
        sums["au_loss"] = base.summed(au, known)
    sums["loss"] = base.shared(total)
    return total, (new_state, sums)


def _target(batch: base.Batch, parts: setup.Parts) -> jax.Array:
    """What each row's expression is taught to be [B, C]; zeros where it is unknown."""
    if parts.spec.labels == "majority":
        return jax.nn.one_hot(batch["expression"], len(parts.expressions))
    return batch["expression_target"]


def _expression_loss(
    logits: jax.Array,
    target: jax.Array,
    share: jax.Array | None,
    parts: setup.Parts,
    options: Options,
    tables: Tables,
) -> jax.Array:
    if parts.spec.labels == "multi_target":
        return losses.multi_target(logits, target)
    if share is not None:
        target = mixing.labels(share, target)
    smoothing = options.label_smoothing
    if options.expression == "focal":
        return losses.focal_loss(logits, target, gamma=options.gamma, smoothing=smoothing)
    if options.expression == "logit_adjusted":
        logits = losses.adjust_logits(logits, tables.counts, tau=options.tau)
    return losses.cross_entropy(logits, target, smoothing=smoothing)


def _au_loss(
    logits: jax.Array,
    batch: base.Batch,
    known: jax.Array,
    share: jax.Array | None,
    options: Options,
    tables: Tables,
) -> tuple[jax.Array, jax.Array]:
    """Eq. 9 of each row and AU [B, n], and which of them count."""
    row, au = jnp.maximum(batch["expression"], 0), batch["au"]
    if share is not None and options.mix_aus == "released":
        row = jnp.where(share >= 0.5, row, mixing.partner(row))
    weight = jnp.asarray(tables.weight, jnp.float32)[row]
    positive_weight = jnp.asarray(tables.positive_weight, jnp.float32)[row]
    if share is not None and options.mix_aus == "mixed":
        known &= mixing.partner(known) | (share == 1)[:, None]
        au, weight, positive_weight = (
            mixing.labels(share, values) for values in (au, weight, positive_weight)
        )
    value = losses.au_cross_entropy(logits, au, known, pos_weight=positive_weight, weight=weight)
    return value, known


def parts_of(run, labels: base.Labels | None = None) -> setup.Parts:
    au_head = run.loss.au_weight > 0
    return setup.parts(run, field="clip", views=("original",), au_head=au_head, labels=labels)


def inference(run, labels: base.Labels) -> base.Inference:
    parts = parts_of(run, labels)
    return setup.inference(run, parts, setup.method(parts, "clip", loss))


def build(run) -> base.Task:
    options, parts = run.loss, parts_of(run)
    _check(run, parts)
    tables = _tables(run, parts)
    method = setup.method(parts, "clip", functools.partial(loss, options=options, tables=tables))
    return setup.task(run, parts, method)


def _check(run: Any, parts: setup.Parts) -> None:
    options = run.loss
    if options.au_weight and "au" not in setup.output_shapes(parts):
        raise errors.UserError(
            f"model.name: {run.model['name']!r} has no AU head, loss.au_weight = "
            f"{options.au_weight} needs one; see docs/audfer.md for how to add it"
        )
    changed = options.mix or options.expression != "cross_entropy"
    if run.data.labels == "multi_target" and changed:
        raise errors.UserError(
            "data.labels: 'multi_target' is a loss of its own; loss.mix must be 0 and "
            "loss.expression 'cross_entropy'"
        )


def _tables(run: Any, parts: setup.Parts) -> Tables:
    options, names, aus = run.loss, parts.expressions, parts.spec.aus
    matrix = knowledge.for_orders(names, aus, options.shift_value(), options.knowledge)
    positive_weight, counts = np.ones_like(matrix), ()
    weighted = options.au_weight > 0 and options.au != "none"
    counted = weighted and options.positive_weights == "data"
    if weighted and not counted:
        positive_weight = _published_weights(run, parts)
    if counted or options.expression == "logit_adjusted":
        labels = batches.labels(setup.target_part(run, parts))
        if counted:
            positive_weight = _counted_weights(run, parts, labels)
        if options.expression == "logit_adjusted":
            counts = _counts(labels["expression"], names)
    return Tables(options.knowledge_scale * matrix, positive_weight, counts)


def _counted_weights(run: Any, parts: setup.Parts, labels: batches.Batch) -> np.ndarray:
    if not labels["au_known"].any():
        raise errors.UserError(
            f"loss.au_weight: {run.loss.au_weight}, but no training record of {run.data.target!r} has "
            f"any of the AUs {', '.join(map(str, parts.spec.aus))}; label them (docs/audfer.md), or "
            "set it to 0"
        )
    names = parts.expressions
    return positive_weights.counted(
        labels["au"],
        labels["au_known"],
        labels["expression"],
        strategy=run.loss.au,
        num_classes=len(names),
        minor=tuple(i for i, name in enumerate(names) if name in facs.MINOR_EXPRESSIONS),
    )


def _published_weights(run: Any, parts: setup.Parts) -> np.ndarray:
    options = run.loss
    if run.data.target not in positive_weights.DATASETS:
        raise errors.UserError(
            f"loss.positive_weights: {options.positive_weights!r} is permitted for "
            f"{' and '.join(positive_weights.DATASETS)}, not for {run.data.target!r}; 'data' counts "
            "in the training split"
        )
    return positive_weights.published(
        run.data.target,
        strategy=options.au,
        expressions=parts.expressions,
        aus=parts.spec.aus,
        form="released" if options.positive_weights == "released" else "repaired",
    )


def _counts(expression: np.ndarray, names: tuple[str, ...]) -> tuple[int, ...]:
    counts = np.bincount(expression[expression >= 0], minlength=len(names))
    missing = [name for name, count in zip(names, counts, strict=True) if not count]
    if missing:
        raise errors.UserError(
            "loss.expression: 'logit_adjusted' needs training records of every class; there are none "
            f"of {', '.join(missing)}"
        )
    return tuple(map(int, counts))
