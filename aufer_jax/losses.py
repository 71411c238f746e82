"""Losses: pure, unreduced, in float32; `masked_mean` reduces them, over all devices of a step.

The methods combine them: AU-ViT eq. 3 is alpha * cross_entropy + beta * au_cross_entropy,
AU-DFER eq. 10 is (1 - lambda) * cross_entropy + lambda * au_cross_entropy.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from aufer_jax.errors import unknown
from aufer_jax.parallel import psum

ALIGNMENTS = ("cosine", "std_cosine", "mse")


def masked_mean(values: jax.Array, mask: jax.Array) -> jax.Array:
    """sum(values * mask) / max(sum(mask), 1), for values and a bool mask of one shape.

    Under `pmap` the count is that of all devices, so each device returns its share of the global
    mean: sum the shares (and their gradients). Values outside the mask may even be NaN.

    >>> float(masked_mean(jnp.array([1.0, 3.0, jnp.nan]), jnp.array([True, True, False])))
    2.0
    """
    if values.shape != mask.shape:
        raise ValueError(f"mask: got shape {mask.shape}, it must be that of values, {values.shape}")
    mask = mask.astype(bool)
    count = psum(jnp.sum(mask, dtype=values.dtype))
    return jnp.sum(jnp.where(mask, values, 0)) / jnp.maximum(count, 1)


def cross_entropy(logits: jax.Array, labels: jax.Array, *, smoothing: float = 0.0) -> jax.Array:
    """Softmax cross-entropy [B] of logits [B, C]; AU-ViT eq. 3, AU-DFER eq. 5.

    AU-DFER writes log(5 p): the same except for the constant -ln 5, which has no gradient.

    Args:
      logits: [B, C].
      labels: class indices [B] (integers; -1 is unknown and gives 0) or distributions [B, C].
      smoothing: share of every label that is spread evenly over all classes.

    >>> logits = jnp.log(jnp.array([[0.5, 0.25, 0.25], [0.5, 0.25, 0.25]]))
    >>> np.exp(-cross_entropy(logits, jnp.array([0, 1]))).round(2).tolist()
    [0.5, 0.25]
    >>> abs(cross_entropy(logits, jnp.array([-1, -1]))).tolist()
    [0.0, 0.0]
    """
    targets = _distribution(labels, logits.shape[-1], smoothing)
    log_p = jax.nn.log_softmax(_taught(logits, jnp.any(targets > 0, axis=-1)))
    return -jnp.sum(targets * log_p, axis=-1)


def multi_target(logits: jax.Array, targets: jax.Array, *, floor: float = 0.001) -> jax.Array:
    """-log of the largest probability [B] of the target's classes; Barsoum et al. 2016.

    Args:
      logits: [B, C].
      targets: [B, C], positive for every class that counts as right; a row of zeros gives 0.
      floor: what the probability of any other class counts.

    >>> logits = jnp.log(jnp.array([[0.5, 0.25, 0.25]]))
    >>> float(np.exp(-multi_target(logits, jnp.array([[0, 1, 1]]))[0]).round(2))
    0.25
    """
    right = targets > 0
    known = jnp.any(right, axis=-1)
    log_weight = jnp.where(right, 0.0, math.log(floor))
    values = log_weight + jax.nn.log_softmax(_taught(logits, known))
    # Not a maximum: its slope asks which value equals it, and a compiled sum may then equal none.
    loss = -jnp.take_along_axis(values, values.argmax(-1, keepdims=True), -1)[..., 0]
    return jnp.where(known, loss, 0.0)


def focal_loss(
    logits: jax.Array, labels: jax.Array, *, gamma: float = 2.0, smoothing: float = 0.0
) -> jax.Array:
    """Cross-entropy [B] weighted by (1 - p)^gamma; Lin et al. 2017, eq. 4.

    `logits`, `labels` and `smoothing` are those of `cross_entropy`.

    >>> logits = jnp.log(jnp.array([[0.5, 0.5]]))
    >>> ratio = focal_loss(logits, jnp.array([0])) / cross_entropy(logits, jnp.array([0]))
    >>> round(float(ratio[0]), 3)  # (1 - 0.5) ** 2
    0.25
    """
    targets = _distribution(labels, logits.shape[-1], smoothing)
    log_p = jax.nn.log_softmax(_taught(logits, jnp.any(targets > 0, axis=-1)))
    # The floor keeps the gradient of the power finite at p = 1 for gamma below 1.
    missing = jnp.maximum(-jnp.expm1(log_p), 1e-12)
    return -jnp.sum(targets * missing**gamma * log_p, axis=-1)


def adjust_logits(logits: jax.Array, counts: Sequence[int], *, tau: float = 1.0) -> jax.Array:
    """Logits [B, C] + tau * log prior; their cross-entropy is Menon et al. 2021, eq. 10.

    `counts` are the training samples of each class. Adjust in training only.

    >>> np.exp(adjust_logits(jnp.zeros((1, 2)), counts=(30, 10))).round(2).tolist()
    [[0.75, 0.25]]
    """
    if len(counts) != logits.shape[-1] or min(counts) <= 0:
        raise ValueError(
            f"counts: got {tuple(counts)}, they must be {logits.shape[-1]} positive numbers"
        )
    prior = np.asarray(counts, np.float64) / np.sum(counts)
    return _float32(logits) + jnp.asarray(tau * np.log(prior), jnp.float32)


def au_cross_entropy(
    logits: jax.Array,
    labels: jax.Array,
    known: jax.Array,
    *,
    pos_weight: jax.typing.ArrayLike = 1.0,
    weight: jax.Array | float = 1.0,
) -> jax.Array:
    """Binary cross-entropy [B, n] of AU logits [B, n]; AU-ViT eq. 3, AU-DFER eq. 9.

    Reduce with `masked_mean(values, known)`: AU-DFER's eq. 9 prints no mean over AUs, but its code
    has one.

    Args:
      logits: [B, n].
      labels: 0/1 (or a mixture of both) [B, n]; anything where not known.
      known: bool [B, n]; the loss is 0 where False.
      pos_weight: weight of the positive term, scalar, [n] or [B, n] (AU-DFER eq. 6 to 8).
      weight: weight of the whole, scalar, [n] or [B, n] (AU-DFER's 5 K[expression]).

    >>> labels, known = jnp.array([[1.0, 0.0]]), jnp.array([[True, False]])
    >>> loss = au_cross_entropy(jnp.zeros((1, 2)), labels, known, pos_weight=3.0)
    >>> (loss / np.log(2)).round(2).tolist()
    [[3.0, 0.0]]
    """
    known = known.astype(bool)
    z = jnp.where(known, _float32(logits), 0.0)  # else the gradient of a NaN is NaN, not 0
    y = jnp.where(known, _float32(labels), 0.0)
    positive = 1.0 + (jnp.asarray(pos_weight, jnp.float32) - 1.0) * y
    loss = (1.0 - y) * z + positive * jax.nn.softplus(-z)
    return jnp.where(known, jnp.asarray(weight, jnp.float32) * loss, 0.0)


def cam_consistency(maps: jax.Array, mirrored_maps: jax.Array) -> jax.Array:
    """Mean square difference [B] of maps [B, H, W, C] and the mirrored view's, mirrored back.

    The consistency term of Erasing Attention Consistency (Zhang et al. 2022).

    >>> maps = jnp.arange(4.0).reshape(1, 1, 4, 1)
    >>> cam_consistency(maps, jnp.flip(maps, axis=2)).tolist()
    [0.0]
    """
    return jnp.mean(jnp.square(maps - jnp.flip(mirrored_maps, axis=2)), axis=(1, 2, 3))


def js_consistency(logits: Sequence[jax.Array]) -> jax.Array:
    """Jensen-Shannon divergence [B], in nats, of the views' predictions, each of logits [B, C].

    Entropy of the mean prediction minus the mean entropy of the predictions (Lin 1991).

    >>> sure = jnp.array([[90.0, 0.0]])
    >>> abs(js_consistency([sure, sure])).round(3).tolist()
    [0.0]
    >>> (js_consistency([sure, -sure]) / np.log(2)).round(2).tolist()
    [1.0]
    """
    log_p = jax.nn.log_softmax(_float32(jnp.stack(logits)))
    log_mean = jax.nn.logsumexp(log_p, axis=0) - np.log(len(logits))
    return jnp.mean(jnp.sum(jnp.exp(log_p) * (log_p - log_mean), axis=-1), axis=0)


def heatmap_alignment(
    attention: jax.Array, heatmap: jax.Array, *, kind: str = "cosine"
) -> jax.Array:
    """Distance [B] of an attention map from an AU heatmap, both [B, h, w].

    Args:
      attention: for example the mean of a feature map over its channels.
      heatmap: the AU heatmap, already at the attention's resolution.
      kind: "cosine" is 1 - cosine similarity; "std_cosine" the same of the standardised attention
        (Bonnard et al. 2022); "mse" the mean square difference.

    >>> heatmap = jnp.array([[[0.0, 1.0], [0.0, 0.0]]])
    >>> abs(heatmap_alignment(7 * heatmap, heatmap)).round(3).tolist()
    [0.0]
    >>> heatmap_alignment(1 - heatmap, heatmap).round(3).tolist()
    [1.0]
    """
    if attention.shape != heatmap.shape:
        raise ValueError(
            f"heatmap: got shape {heatmap.shape}, it must be the attention's, {attention.shape}"
        )
    a, h = (_float32(x).reshape(x.shape[0], -1) for x in (attention, heatmap))
    if kind == "cosine":
        return 1.0 - _cosine(a, h)
    if kind == "std_cosine":
        # Cosines ignore scale, so of the standardisation only the centring is left.
        return 1.0 - _cosine(a - jnp.mean(a, axis=-1, keepdims=True), h)
    if kind == "mse":
        return jnp.mean(jnp.square(a - h), axis=-1)
    raise unknown("kind", kind, ALIGNMENTS)


def _taught(logits: jax.Array, known: jax.Array) -> jax.Array:
    """Logits [B, C] in float32, zeros where nothing is known: else the gradient of a NaN is NaN, not 0."""
    return jnp.where(known[..., None], _float32(logits), 0.0)


def _distribution(labels: jax.Array, classes: int, smoothing: float = 0.0) -> jax.Array:
    if jnp.issubdtype(labels.dtype, jnp.integer):
        labels = jax.nn.one_hot(labels, classes)  # -1 gives a row of zeros
    labels = _float32(labels)
    spread = jnp.sum(labels, axis=-1, keepdims=True) / classes
    return (1.0 - smoothing) * labels + smoothing * spread


def _cosine(a: jax.Array, b: jax.Array) -> jax.Array:
    squares = jnp.sum(a * a, axis=-1) * jnp.sum(b * b, axis=-1)
    # A blank map has no direction: it counts as orthogonal and gets no gradient, which would
    # otherwise be infinite.
    blank = squares < 1e-16
    cosine = jnp.sum(a * b, axis=-1) / jnp.sqrt(jnp.where(blank, 1.0, squares))
    return jnp.where(blank, 0.0, cosine)


def _float32(x: jax.Array) -> jax.Array:
    return jnp.asarray(x, jnp.float32)
