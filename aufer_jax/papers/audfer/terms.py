"""What the papers of other hosts add to the expression loss, for any host that has what a term reads.

Each term has its weight in `loss`, 0 by default, and is a part of the expression loss, as S2D's is.
"""

import dataclasses
from collections.abc import Iterator, Mapping

import jax
import jax.numpy as jnp

from aufer_jax import errors, losses, parallel
from aufer_jax.train import base, expression, mixing

FORMS = ("corrected", "released")
NEEDS = {"paths": "paths", "views": "views"}  # term -> the model's output that it reads


@dataclasses.dataclass(frozen=True)
class Options:
    """The terms' part of AU-DFER's section `loss`: their weights."""

    ecstfl: float = 0.0  # EC-STFL's clustering of features by expression
    # "released": the authors' later code, whose weight is 10; "corrected": means over what there is.
    ecstfl_form: str = "released"
    compact: float = 0.0  # STT's: wrong classes are equally unlikely
    paths: float = 0.0  # DPCNet's: its two paths predict alike
    views: float = 0.0  # DPCNet's: its views of a clip have like features

    def __post_init__(self):
        for key in ("ecstfl", "compact", "paths", "views"):
            if getattr(self, key) < 0:
                raise errors.UserError(f"loss.{key}: {getattr(self, key)} must not be negative")
        if self.ecstfl_form not in FORMS:
            raise errors.unknown("loss.ecstfl_form", self.ecstfl_form, FORMS)

    def missing(self, outputs: Mapping[str, object]) -> str:
        """A weighted term that reads what a model with these outputs does not give, or nothing."""
        absent = (t for t, read in NEEDS.items() if getattr(self, t) and read not in outputs)
        return next(absent, "")


def of(
    outputs: base.Outputs,
    clean: base.Outputs,
    taught: expression.Taught,
    label: jax.Array,
    options: Options,
) -> Iterator[tuple[str, float, jax.Array, jax.Array]]:
    """(name, weight, values [B], rows that count) of each weighted term.

    `clean` are the outputs of clips that are not mixed, `label` their expressions, -1 where unknown.
    """
    if options.ecstfl:
        released = options.ecstfl_form == "released"
        yield "ecstfl", options.ecstfl, *clustering(clean["features"], label, released=released)
    if options.compact:
        right = mixing.labels(taught.mix, taught.target) > 0
        yield "compact", options.compact, compact(outputs["expression"], right), taught.mask
    if options.paths:
        logits = jnp.unstack(outputs["paths"], axis=1)
        yield "paths", options.paths, losses.js_consistency(logits), taught.mask
    if options.views:
        yield "views", options.views, spread(outputs["views"]), taught.mask


def clustering(
    features: jax.Array, label: jax.Array, *, released: bool
) -> tuple[jax.Array, jax.Array]:
    """EC-STFL's loss [B] of features [B, d] whose label is not -1, over the rows of all devices.

    The mean L1 distance to rows of the same expression times the mean inverse distance to others. In the
    form `released` a row counts among its like ones, its unlike ones are one more than there are, and
    the product is divided by the number of rows. Else a row counts if there are both kinds.
    """
    everyone, labels = parallel.gather(features), parallel.gather(label)
    distance = jnp.abs(features[:, None] - everyone[None]).sum(-1)
    known = (label >= 0)[:, None] & (labels >= 0)
    equal = label[:, None] == labels
    like, unlike = known & equal, known & ~equal
    near = jnp.where(like, distance, 0.0).sum(1)
    far = jnp.where(unlike, 1 / (jnp.where(unlike, distance, 1.0) + 1e-6), 0.0).sum(1)
    like_count, unlike_count = like.sum(1), unlike.sum(1)
    if released:
        value = near / (like_count + 1e-6) * far / (unlike_count + 1 + 1e-6)
        return value / jnp.maximum((labels >= 0).sum(), 1), label >= 0
    counts = (like_count > 1) & (unlike_count > 0)
    value = near / jnp.maximum(like_count - 1, 1) * far / jnp.maximum(unlike_count, 1)
    return value, counts


def compact(logits: jax.Array, right: jax.Array) -> jax.Array:
    """Symmetric divergence [B] from uniform of the probabilities among classes that are not right [B, C].

    >>> right = jnp.array([[True, False, False]])
    >>> compact(jnp.array([[9.0, 2.0, 2.0]]), right).round(3).tolist()
    [0.0]
    """
    count = jnp.maximum((~right).sum(-1, keepdims=True), 1)
    log_q = jax.nn.log_softmax(jnp.where(right, -1e9, logits.astype(jnp.float32)))
    log_q = jnp.where(right, 0.0, log_q)
    difference = jnp.where(right, 0.0, jnp.exp(log_q) - 1 / count)
    return (difference * (log_q + jnp.log(count))).sum(-1)


def spread(features: jax.Array) -> jax.Array:
    """Mean square distance [B] of unit features [B, V, d] from their mean over the V views.

    >>> spread(jnp.array([[[2.0, 0.0], [0.0, 3.0]], [[1.0, 1.0], [4.0, 4.0]]])).round(3).tolist()
    [0.5, 0.0]
    """
    unit = features * jax.lax.rsqrt(jnp.square(features).sum(-1, keepdims=True) + 1e-12)
    return jnp.square(unit - unit.mean(1, keepdims=True)).sum(-1).mean(-1)
