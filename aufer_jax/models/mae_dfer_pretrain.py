"""MAE-DFER's pre-training: hide most tubelets of a clip, reconstruct their first frames and their motion.

    visible = part_window_mask(key, batch, grid=(8, 10, 10), ratio=0.9, window=(5, 10))
    outputs = model.apply(variables, clip, visible=visible)
    loss = reconstruction_loss(outputs["reconstruction"], targets(clip, outputs["masked"])).mean()

A mask is given as the ascending indices `visible` [B, V] of the tokens it leaves: V is a shape, never data.
"""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from aufer_jax.errors import UserError, unknown
from aufer_jax.models.layers import Linear, Mlp
from aufer_jax.models.mae_dfer import (
    IMAGENET,
    BiasedAttention,
    Encoder,
    Grid,
    check_clip,
    norm,
    sinusoids,
    zeros,
)
from aufer_jax.models.registry import Architecture, Preprocess, register
from aufer_jax.models.remat import rematerialised

MASKINGS = ("part_window", "tube")
ORDERS = ("reference", "corrected")
xavier = nn.initializers.xavier_uniform()
token_init = nn.initializers.truncated_normal(0.02, lower=-1.0, upper=1.0)  # cut at +-0.02


def part_window_mask(
    key: jax.Array, batch: int, grid: Grid, ratio: float = 0.9, window: Sequence[int] = (5, 10)
) -> jax.Array:
    """Hides int(ratio * cells) cells of every window of a frame, the same at all times.

    `grid` is the clip's size in tubelets [T, H, W], `window` a size in tubelets [h, w] that divides it.
    Returns the flat indices of the visible tokens [B, V], ascending.
    """
    (frames, height, width), (wh, ww) = grid, window
    if wh < 1 or ww < 1 or height % wh or width % ww:
        raise UserError(
            f"window: {(wh, ww)} does not divide the frame of {(height, width)} tubelets"
        )
    cells = wh * ww
    keep = cells - int(ratio * cells)
    if not 0 < keep < cells:
        raise UserError(f"mask ratio: {ratio} leaves {keep} of a window's {cells} cells visible")
    across = width // ww
    windows = (height // wh) * across
    inside = jnp.argsort(jax.random.uniform(key, (batch, windows, cells)))[..., :keep]
    number = jnp.arange(windows)[:, None]
    y = number // across * wh + inside // ww
    x = number % across * ww + inside % ww
    frame = jnp.sort((y * width + x).reshape(batch, 1, -1))
    time = jnp.arange(frames)[:, None] * (height * width)
    return (time + frame).reshape(batch, -1)


def tube_mask(key: jax.Array, batch: int, grid: Grid, ratio: float = 0.9) -> jax.Array:
    """Hides int(ratio * cells) cells anywhere in the frame, the same at all times."""
    return part_window_mask(key, batch, grid, ratio, window=grid[1:])


def visible_tokens(mask: np.ndarray) -> np.ndarray:
    """A mask [B, N], true where hidden, as indices [B, V]; all rows must hide as many."""
    counts = np.unique((~np.asarray(mask, bool)).sum(1))
    if len(counts) != 1:
        raise ValueError(
            f"mask: rows leave {counts.tolist()} tokens visible, they must leave as many"
        )
    return np.nonzero(~np.asarray(mask, bool))[1].reshape(len(mask), -1)


def masked_tokens(visible: jax.Array, count: int) -> jax.Array:
    """Indices [B, N - V] of the `count` = N tokens that are not visible, ascending."""
    rows = jnp.arange(len(visible))[:, None]
    seen = jnp.zeros((len(visible), count), bool).at[rows, visible].set(True)
    return jnp.argsort(seen, stable=True)[:, : count - visible.shape[1]]


def targets(
    clip: jax.Array,
    masked: jax.Array,
    *,
    patch: int = 16,
    tubelet: int = 2,
    motion: bool = True,
    normalise: bool = True,
    preprocess: Preprocess = IMAGENET(160),  # noqa: B008 (frozen)
) -> jax.Array:
    """What the masked tokens [B, M] of normalised clips [B, T, H, W, 3] should become, [B, M, D], float32.

    Pixels in [0, 1], normalised per token and channel; with `motion` every frame of a tubelet but the
    first minus the one before it, after that. D runs over frame, row, column, channel.
    """
    x = clip.astype(jnp.float32) * jnp.asarray(preprocess.std) + jnp.asarray(preprocess.mean)
    batch, frames, height, width, channels = x.shape
    x = x.reshape(
        batch, frames // tubelet, tubelet, height // patch, patch, width // patch, patch, channels
    )
    x = x.transpose(0, 1, 3, 5, 2, 4, 6, 7).reshape(batch, -1, tubelet * patch**2, channels)
    x = jnp.take_along_axis(x, masked[:, :, None, None], axis=1)
    if normalise:
        deviation = x.std(2, keepdims=True, ddof=1)
        x = (x - x.mean(2, keepdims=True)) / (deviation + 1e-6)
    x = x.reshape(*masked.shape, tubelet, -1)
    if motion:
        x = jnp.concatenate([x[:, :, :1], jnp.diff(x, axis=2)], axis=2)
    return x.reshape(*masked.shape, -1)


def token_errors(reconstruction: jax.Array, target: jax.Array, tubelet: int = 2) -> jax.Array:
    """Mean squared error of every masked token in each frame of its tubelet, [B, M, tubelet]."""
    error = jnp.square(reconstruction.astype(jnp.float32) - target)
    return error.reshape(*error.shape[:2], tubelet, -1).mean(-1)


def reconstruction_loss(
    reconstruction: jax.Array, target: jax.Array, tubelet: int = 2, motion_weight: float = 0.5
) -> jax.Array:
    """(1 - w) * appearance (first frame) + w * motion (later frames) of every masked token, [B, M].

    With w = 0.5 and tubelets of two frames, the published mean over everything.
    """
    return weighted(token_errors(reconstruction, target, tubelet), motion_weight)


def weighted(errors: jax.Array, motion_weight: float) -> jax.Array:
    """(1 - w) * appearance + w * motion of errors [..., tubelet] by frame."""
    return (1 - motion_weight) * errors[..., 0] + motion_weight * errors[..., 1:].mean(-1)


class DecoderBlock(nn.Module):
    """Plain pre-norm block on tokens [B, N, C]."""

    heads: int
    mlp_ratio: float

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        attention = BiasedAttention(self.heads, fused=True, kernel_init=xavier, name="attn")
        x = x + attention(norm(name="norm1")(x))
        hidden = int(x.shape[-1] * self.mlp_ratio)
        mlp = Mlp(hidden, kernel_init=xavier, bias_init=zeros, name="mlp")
        return x + mlp(norm(name="norm2")(x), train)


class Decoder(nn.Module):
    """Tokens [B, N, C] -> values of the last `count` [B, count, outputs], and the first block's tokens."""

    depth: int
    heads: int
    mlp_ratio: float
    outputs: int

    @nn.compact
    def __call__(self, x: jax.Array, count: int, train: bool) -> tuple[jax.Array, jax.Array]:
        first = x
        for i in range(self.depth):
            block = rematerialised(DecoderBlock)(self.heads, self.mlp_ratio, name=f"blocks_{i}")
            x = block(x, train)
            first = x if i == 0 else first
        x = norm(name="norm")(x[:, -count:])
        x = Linear(self.outputs, kernel_init=xavier, bias_init=zeros, name="head")(x)
        return x, first


def rebuilt(
    model: Any, x: jax.Array, visible: jax.Array, masked: jax.Array, train: bool
) -> dict[str, jax.Array]:
    """Encoded visible tokens -> `reconstruction` of the masked ones, with the modules of a pre-training."""
    width, count = model.decoder_dim, visible.shape[1] + masked.shape[1]
    x = read = Linear(width, bias=False, name="encoder_to_decoder")(x)
    token = model.param("mask_token", token_init, (1, 1, width)).astype(x.dtype)
    table = jnp.asarray(sinusoids(count, width), x.dtype)
    x = jnp.concatenate([x + table[visible], token + table[masked]], axis=1)
    values = model.tubelet * model.patch**2 * 3
    decoder = Decoder(
        model.decoder_depth, model.decoder_heads, model.mlp_ratio, values, name="decoder"
    )
    reconstruction, first = decoder(x, masked.shape[1], train)
    return {"enc_to_dec": read, "reconstruction": reconstruction, "dec_block0": first}


class MAEDFERPretrain(nn.Module):
    """Clips [B, T, H, W, 3] -> `reconstruction` [B, M, D] of the `masked` tokens [B, M].

    `visible` [B, V] are the tokens to keep; without it a mask is drawn from the stream "dropout" by the
    options. `token_order`: the published code splits the visible tokens of a frame into regions in index
    order, as if regions followed each other there, and gives the encoder's outputs, which leave it
    region by region, the decoder positions of index order ("reference", and so its weights). "corrected"
    does both by where a token is.
    """

    masking: str = "part_window"  # windows are the regions' [h, w]
    mask_ratio: float = 0.9
    token_order: str = "reference"
    region: Sequence[int] = (2, 5, 10)  # tubelets along T, H, W
    patch: int = 16
    tubelet: int = 2
    dim: int = 512
    depth: int = 16
    heads: int = 8
    decoder_dim: int = 384
    decoder_depth: int = 4
    decoder_heads: int = 6
    mlp_ratio: float = 4.0

    @nn.compact
    def __call__(
        self, x: jax.Array, train: bool = False, visible: jax.Array | None = None
    ) -> dict[str, jax.Array]:
        grid, region = check_clip(x, self.patch, self.tubelet, self.region)
        self._check(grid, region)
        if visible is None:
            visible = self._draw(len(x), grid, region)
        visible = jnp.asarray(visible)
        batch, seen = visible.shape
        count = int(np.prod(grid))
        masked = masked_tokens(visible, count)
        order = region_order(visible, grid, region, self.token_order)
        encoder = self._encoder(count // int(np.prod(region)))

        def select(tokens: jax.Array) -> jax.Array:
            tokens = take(tokens, take(visible, order))
            return tokens.reshape(batch, encoder.regions, -1, self.dim)

        x, maps = encoder(x, select, train)
        out = {name: maps[name] for name in ("block0_region", "block0_local")} | {"masked": masked}
        x = norm(name="encoder_norm")(x[:, 1:].reshape(batch, seen, self.dim))
        if self.token_order == "corrected":
            x = take(x, jnp.argsort(order))
        out["encoder_out"] = x
        return out | rebuilt(self, x, visible, masked, train)

    def _check(self, grid: Grid, region: Grid) -> None:
        if self.masking not in MASKINGS:
            raise unknown("masking", self.masking, MASKINGS)
        if self.token_order not in ORDERS:
            raise unknown("token_order", self.token_order, ORDERS)
        if (self.masking, self.token_order) == ("tube", "corrected") and region[1:] != grid[1:]:
            raise UserError(
                "masking: 'tube' leaves regions unequal numbers of visible tokens, which token_order"
                f" 'corrected' permits only with regions as large as the frame {grid[1:]}, not {region[1:]}"
            )

    def _draw(self, batch: int, grid: Grid, region: Grid) -> jax.Array:
        window = region[1:] if self.masking == "part_window" else grid[1:]
        return part_window_mask(self.make_rng("dropout"), batch, grid, self.mask_ratio, window)

    def _encoder(self, regions: int) -> Encoder:
        return Encoder(
            regions,
            self.patch,
            self.tubelet,
            self.dim,
            self.depth,
            self.heads,
            self.mlp_ratio,
            kernel_init=xavier,
            token_init=token_init,
            name="encoder",
        )


def region_order(visible: jax.Array, grid: Grid, region: Grid, token_order: str) -> jax.Array:
    """Places [B, V] within `visible` such that equal runs of them are the regions, row-major."""
    (t, h, w), (rt, rh, rw) = grid, region
    windows = (h // rh) * (w // rw)
    batch, seen = visible.shape
    if seen % (t * windows):
        raise ValueError(
            f"visible: {seen} tokens do not spread evenly over {t} times and {windows} regions a frame"
        )
    if token_order == "reference":
        order = np.arange(seen).reshape(t // rt, rt, windows, -1).transpose(0, 2, 1, 3)
        return jnp.broadcast_to(order.reshape(-1), (batch, seen))
    time, y, x = jnp.unravel_index(visible, grid)
    number = (time // rt * (h // rh) + y // rh) * (w // rw) + x // rw
    return jnp.argsort(number, stable=True)


def take(tokens: jax.Array, places: jax.Array) -> jax.Array:
    """tokens [B, N, ...] at places [B, M]."""
    places = places.reshape(*places.shape, *(1,) * (tokens.ndim - 2))
    return jnp.take_along_axis(tokens, places, axis=1)


def _row(size: int, frames: int, **options) -> Architecture:
    return Architecture(
        MAEDFERPretrain,
        IMAGENET(size, frames=frames),
        input="clip",
        torch_keys=(
            (r"^encoder/patch_embed_proj/", "encoder/patch_embed/proj/"),
            (r"^encoder_norm/", "encoder/norm/"),
        ),
        options=options,
    )


_SMALL = {
    "mask_ratio": 0.75,
    "region": (2, 2, 4),
    "patch": 8,
    "dim": 32,
    "depth": 2,
    "heads": 2,
    "decoder_dim": 24,
    "decoder_depth": 1,
    "decoder_heads": 2,
}
register("mae_dfer_pretrain", _row(160, 16))
register("mae_dfer_pretrain_small", _row(32, 8, **_SMALL))  # for tests
