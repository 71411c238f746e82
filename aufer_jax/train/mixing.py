"""Mixup and CutMix of a batch on the device: every row with a partner, by one share per step.

Partners are neighbours, rows 0 and 1, 2 and 3 and so on; where target and auxiliary rows alternate in a
pattern, a row's partner has the same place in the next pattern. They are on one device however a batch is
split, so `jit` and `pmap` mix alike. All randomness is the step's own key, the same on every device.
"""

import dataclasses

import jax
import jax.numpy as jnp

from aufer_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Options:
    """The part of the section `loss` that mixes rows."""

    mix: float = 0.0  # probability that a batch is mixed, see `train.mixing`
    mixup: float = 0.8  # alpha of the Beta distribution the share is drawn from; 0: CutMix only
    cutmix: float = 1.0  # likewise; 0: Mixup only
    mix_switch: float = 0.5  # probability of CutMix where both are possible

    def __post_init__(self):
        for key in ("mix", "mix_switch"):
            if not 0 <= getattr(self, key) <= 1:
                raise UserError(f"loss.{key}: {getattr(self, key)} must be from 0 to 1")
        for key in ("mixup", "cutmix"):
            if getattr(self, key) < 0:
                raise UserError(f"loss.{key}: {getattr(self, key)} must not be negative")
        if self.mix and not (self.mixup or self.cutmix):
            raise UserError("loss.mix: needs loss.mixup or loss.cutmix to be greater than 0")


@dataclasses.dataclass(frozen=True)
class Mix:
    """How one batch is mixed."""

    pair: jax.Array  # bool [B]: rows that are mixed, both of a pair or neither
    kept: jax.Array  # [B]: the share that each row keeps of itself
    cuts: jax.Array  # bool []: CutMix, not Mixup
    share: jax.Array  # []: of Mixup
    box: jax.Array  # bool [H, W]: where CutMix shows the partner
    period: int  # rows of a pattern


def partner(x: jax.Array, period: int = 1) -> jax.Array:
    """Rows [B, ...] in the order 1 0 3 2 5 4 ..., or patterns of `period` rows in this order."""
    if len(x) % (2 * period):
        raise UserError(
            f"data.batch_size: {len(x)} rows of a device, or of one part of train.accumulate, cannot "
            f"be mixed in pairs; a multiple of {2 * period} can"
        )
    return jnp.flip(x.reshape(-1, 2, period, *x.shape[1:]), 1).reshape(x.shape)


def draw(key: jax.Array, usable: jax.Array, size: int, options: Options, *, period: int = 1) -> Mix:
    """How a batch of images or clips of size x size pixels is mixed.

    Args:
      key: of the step.
      usable: bool [B]; both of a pair must be, or they stay as they are.
      size: see above.
      options: what is drawn.
      period: rows after which target and auxiliary rows repeat their pattern.
    """
    coin, kind, share_key, place = jax.random.split(key, 4)
    cuts = jax.random.uniform(kind) < _cut_probability(options)
    share = _share(share_key, options, cuts)
    share = jnp.where(jax.random.uniform(coin) < options.mix, share, 1.0)
    box = cut_box(place, share, size)
    pair = usable & partner(usable, period)
    kept = jnp.where(cuts, 1 - jnp.mean(box, dtype=jnp.float32), share)
    return Mix(pair, jnp.where(pair, kept, 1.0), cuts, share, box, period)


def pixels(mix: Mix | None, x: jax.Array, *, mirrored: bool = False) -> jax.Array:
    """Images [B, H, W, C] or clips [B, T, H, W, C], mixed; `mirrored` ones have a mirrored box."""
    if mix is None:
        return x
    box = mix.box[:, ::-1] if mirrored else mix.box
    other, share = partner(x, mix.period), mix.share.astype(x.dtype)
    cut = jnp.where(box[..., None], other, x)
    blend = share * x + (1 - share) * other
    return jnp.where(_rows(mix.pair, x), jnp.where(mix.cuts, cut, blend), x)


def maps(mix: Mix | None, x: jax.Array) -> jax.Array:
    """Maps [B, h, w, C] over the whole image, mixed: each cell by as much of it as the box covers."""
    if mix is None:
        return x
    covered = jax.image.resize(mix.box.astype(x.dtype), x.shape[1:3], "linear")[..., None]
    weight = jnp.where(mix.cuts, covered, 1 - mix.share)
    mixed = (1 - weight) * x + weight * partner(x, mix.period)
    return jnp.where(_rows(mix.pair, x), mixed, x)


def labels(mix: Mix | None, y: jax.Array) -> jax.Array:
    """Labels, or weights, [B, n], mixed by the rows' own shares."""
    if mix is None:
        return y
    kept = mix.kept[:, None]
    return kept * y + (1 - kept) * partner(y, mix.period)


def known(mix: Mix | None, mask: jax.Array) -> jax.Array:
    """What is known [B, ...] of mixed rows: what is known of both."""
    if mix is None:
        return mask
    return mask & (partner(mask, mix.period) | _rows(mix.kept == 1, mask))


def _rows(mask: jax.Array, like: jax.Array) -> jax.Array:
    """[B] as [B, 1, ...], to go with an array [B, ...]."""
    return mask.reshape(-1, *[1] * (like.ndim - 1))


def _cut_probability(options: Options) -> float:
    if not options.cutmix:
        return 0.0
    return options.mix_switch if options.mixup else 1.0


def _share(key: jax.Array, options: Options, cuts: jax.Array) -> jax.Array:
    """The share of each pair's first row: Beta(alpha, alpha) of the kind that was chosen."""
    alpha = jnp.where(cuts, options.cutmix or 1.0, options.mixup or 1.0)
    return jax.random.beta(key, alpha, alpha)


def cut_box(key: jax.Array, share: jax.Array, size: int) -> jax.Array:
    """A box as a bool [H, W] whose sides are sqrt(1 - share) of the image's.

    Its centre is anywhere in the image; what is beyond the edge is cut off.
    """
    inside = []
    for edge_key in jax.random.split(key):
        half = jnp.floor(size * jnp.sqrt(1 - share)).astype(jnp.int32) // 2
        middle = jax.random.randint(edge_key, (), 0, size)
        places = jnp.arange(size)
        inside.append((places >= middle - half) & (places < middle + half))
    return inside[0][:, None] & inside[1][None, :]
