"""Mixup and CutMix of a batch on the device: every row with its neighbour, by one share a step.

Neighbours are rows 0 and 1, 2 and 3 and so on: they lie on one device however a batch is split, so `jit`
and `pmap` mix alike. All randomness is the step's own key, which is the same on every device.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from aufer_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Mixing:
    """How a batch is mixed; with an alpha of 0 that kind is never taken."""

    p: float = 0.0  # probability that a batch is mixed
    mixup: float = 0.8  # alpha of the Beta distribution the share is drawn from
    cutmix: float = 1.0
    switch: float = 0.5  # probability of CutMix where both are possible


def partner(x: jax.Array) -> jax.Array:
    """Rows [B, ...] in the order 1 0 3 2 5 4 ..."""
    if len(x) % 2:
        raise UserError(
            f"data.batch_size: {len(x)} rows of a device, or of one part of train.accumulate, cannot "
            "be mixed in pairs; an even number can"
        )
    return jnp.flip(x.reshape(-1, 2, *x.shape[1:]), 1).reshape(x.shape)


def mix(
    key: jax.Array, x: jax.Array, usable: jax.Array, mixing: Mixing
) -> tuple[jax.Array, jax.Array]:
    """Mixed pixels, and the share [B] that each row keeps of itself.

    Args:
      key: of the step.
      x: images [B, H, W, C] or clips [B, T, H, W, C].
      usable: bool [B]; both of a pair must be, or it stays as it is.
      mixing: what is drawn.
    """
    coin, kind, share_key, place = jax.random.split(key, 4)
    cuts = jax.random.uniform(kind) < _cut_probability(mixing)
    share = _share(share_key, mixing, cuts)
    share = jnp.where(jax.random.uniform(coin) < mixing.p, share, 1.0)
    height, width = x.shape[-3:-1]
    box, kept = cut_box(place, share, height, width)
    other = partner(x)
    cut = jnp.where(box[..., None], other, x)
    blend = share.astype(x.dtype) * x + (1 - share).astype(x.dtype) * other
    pair = usable & partner(usable)
    mixed = jnp.where(pair.reshape(-1, *[1] * (x.ndim - 1)), jnp.where(cuts, cut, blend), x)
    return mixed, jnp.where(pair, jnp.where(cuts, kept, share), 1.0)


def labels(share: jax.Array, y: jax.Array) -> jax.Array:
    """Labels, or weights, [B, n] mixed by the rows' own shares [B]."""
    return share[:, None] * y + (1 - share[:, None]) * partner(y)


def _cut_probability(mixing: Mixing) -> float:
    if not mixing.cutmix:
        return 0.0
    return mixing.switch if mixing.mixup else 1.0


def _share(key: jax.Array, mixing: Mixing, cuts: jax.Array) -> jax.Array:
    """The first row's share: Beta(alpha, alpha) of the kind that was chosen."""
    alpha = jnp.where(cuts, mixing.cutmix or 1.0, mixing.mixup or 1.0)
    return jax.random.beta(key, alpha, alpha)


def cut_box(key: jax.Array, share: jax.Array, height: int, width: int) -> Any:
    """A box as a bool [H, W] whose sides are sqrt(1 - share) of the image's, and the share left outside.

    Its middle is anywhere in the image, what lies beyond the edge is cut off.
    """
    side = jnp.sqrt(1 - share)
    rows, columns = jax.random.split(key)
    inside = []
    for edge_key, size in ((rows, height), (columns, width)):
        half = jnp.floor(size * side).astype(jnp.int32) // 2
        middle = jax.random.randint(edge_key, (), 0, size)
        places = jnp.arange(size)
        inside.append((places >= middle - half) & (places < middle + half))
    box = inside[0][:, None] & inside[1][None, :]
    return box, 1 - jnp.mean(box, dtype=jnp.float32)
