"""SVFAP's fine-tuning network: a transformer whose stages halve time and see space through a few tokens.

Stage 1 is a plain video transformer. Every later stage first joins neighbouring times by a convolution,
then lets a few bottleneck tokens of each time read the whole, and at last the whole read them.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from aufer_jax import errors
from aufer_jax.models.heads import heads
from aufer_jax.models.layers import Conv, DropPath, Mlp
from aufer_jax.models.mae_dfer import (
    IMAGENET,
    BiasedAttention,
    check_clip,
    norm,
    sinusoids,
    small_normal,
    zeros,
)
from aufer_jax.models.registry import Architecture, register
from aufer_jax.models.remat import rematerialised


class Block(nn.Module):
    """Pre-norm block on tokens [B, N, C]; with a context [B, M, C] they read that first."""

    heads: int
    mlp_ratio: float = 4.0
    drop_path: float = 0.0
    kernel_init: Callable = small_normal

    @nn.compact
    def __call__(self, x: jax.Array, train: bool, context: jax.Array | None = None) -> jax.Array:
        init, drop = self.kernel_init, DropPath(self.drop_path)
        if context is not None:
            cross = BiasedAttention(self.heads, kernel_init=init, name="cross_attn")
            context = norm(name="cross_norm2")(context)
            x = x + drop(cross(norm(name="cross_norm1")(x), context), train)
        attention = BiasedAttention(self.heads, fused=True, kernel_init=init, name="attn")
        x = x + drop(attention(norm(name="norm1")(x)), train)
        hidden = int(x.shape[-1] * self.mlp_ratio)
        mlp = Mlp(hidden, kernel_init=init, bias_init=zeros, name="mlp")
        return x + drop(mlp(norm(name="norm2")(x), train), train)


class Bottleneck(nn.Module):
    """Tokens [B, t * N, C] -> [B, t * tokens, C]: of each time weighted means of its tokens."""

    times: int
    tokens: int
    hidden: int
    kernel_init: Callable = small_normal

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        scores = Mlp(
            self.hidden, kernel_init=self.kernel_init, bias_init=zeros, out=self.tokens, name="mlp"
        )(norm(name="norm")(x), train)
        batch, _, width = x.shape
        scores = scores.reshape(batch, self.times, -1, self.tokens)
        weights = jax.nn.softmax(scores.astype(jnp.float32), axis=2).astype(x.dtype)
        x = x.reshape(batch, self.times, -1, width)
        return jnp.einsum("btnk,btnc->btkc", weights, x).reshape(batch, -1, width)


def join_times(x: jax.Array, times: int, kernel: int, name: str) -> tuple[jax.Array, jax.Array]:
    """Tokens [B, t * N, C] -> [B, t' * N, C] by a convolution over time at each place.

    Also as the convolution has them, [B * N, t', C]. Called inside a module's compact method.
    """
    batch, _, width = x.shape
    x = x.reshape(batch, times, -1, width).transpose(0, 2, 1, 3)
    places = x.shape[1]
    x = Conv(width, (kernel,), kernel, name=name)(x.reshape(-1, times, width))
    joined = x.reshape(batch, places, -1, width).transpose(0, 2, 1, 3)
    return joined.reshape(batch, -1, width), x


class Encoder(nn.Module):
    """Clips [B, T, H, W, 3] -> the tokens [B, t * N, C] of every stage, and maps of the way.

    `select` takes the embedded tokens of all places to those that are kept, the same places at all times.
    With `whole_context` the tokens that end a later stage read all embedded tokens, in place of its
    bottleneck tokens.
    """

    patch: int
    tubelet: int
    dim: int
    stage_depths: Sequence[int]
    heads: int
    mlp_ratio: float
    bottleneck_tokens: Sequence[int]
    bottleneck_dim: int
    temporal_kernel: int
    drop_path: float = 0.0
    whole_context: bool = False
    kernel_init: Callable = small_normal

    @nn.compact
    def __call__(
        self, x: jax.Array, train: bool, select: Callable[[jax.Array], jax.Array] | None = None
    ) -> tuple[list[jax.Array], dict[str, jax.Array]]:
        (times, *_), _ = check_clip(x, self.patch, self.tubelet, (1, 1, 1))
        tokens = self._check(times)
        rates = np.linspace(0, self.drop_path, sum(self.stage_depths)).tolist()
        blocks = iter(
            rematerialised(Block)(
                self.heads, self.mlp_ratio, rate, self.kernel_init, name=f"blocks_{i}"
            )
            for i, rate in enumerate(rates)
        )
        window = (self.tubelet, self.patch, self.patch)
        x = Conv(self.dim, window, window, name="patch_embed_proj")(x)
        x = x.reshape(x.shape[0], -1, self.dim)
        out = {"patch_embed": x}
        x = embedded = x + jnp.asarray(sinusoids(*x.shape[1:]), x.dtype)
        x = x if select is None else select(x)
        for _ in range(self.stage_depths[0]):
            x = next(blocks)(x, train)
            out.setdefault("block0", x)
        stages = [x]
        for k, depth in enumerate(self.stage_depths[1:]):
            name = f"stage{k + 2}"
            whole, out[f"temporal{k + 2}"] = join_times(
                x, times, self.temporal_kernel, f"temporal_downsamples_{k}"
            )
            times //= self.temporal_kernel
            few = Bottleneck(
                times,
                tokens[k],
                self.bottleneck_dim,
                self.kernel_init,
                name=f"spatial_downsamples_{k}",
            )(whole, train)
            out[f"bottleneck{k + 2}"] = few
            for _ in range(depth - 1):
                few = next(blocks)(few, train, whole)
                out.setdefault(f"{name}_first", few)
            x = next(blocks)(whole, train, embedded if self.whole_context else few)
            out.setdefault(f"{name}_first", x)
            stages.append(x)
        return stages, out | {f"stage{k + 1}": value for k, value in enumerate(stages)}

    def _check(self, times: int) -> Sequence[int]:
        """Bottleneck tokens of each stage but the first."""
        later = len(self.stage_depths) - 1
        if later < 0 or min(self.stage_depths) < 1:
            raise errors.UserError(
                f"stage_depths: {tuple(self.stage_depths)} must be one or more, each 1 or more"
            )
        if self.temporal_kernel < 1 or times < self.temporal_kernel**later:
            raise errors.UserError(
                f"temporal_kernel: {self.temporal_kernel} at each of {later} stages leaves nothing of the "
                f"clip's {times} times"
            )
        tokens = tuple(self.bottleneck_tokens)
        tokens = tokens * later if len(tokens) == 1 else tokens
        if len(tokens) != later:
            raise errors.UserError(
                f"bottleneck_tokens: {tokens} must be one number, or one for each of {later} stages"
            )
        return tokens


class SVFAP(nn.Module):
    """Clips [B, T, H, W, 3] -> heads over the normalised mean of the last stage's tokens.

    Maps: `patch_embed`, `block0`, of stage k `stageK` and, after the first, `temporalK` [B * N, t, C],
    `bottleneckK` and `stageK_first`, its first block's tokens.
    """

    num_classes: int | None = 7
    num_aus: int | None = None
    patch: int = 16
    tubelet: int = 2
    dim: int = 512
    stage_depths: Sequence[int] = (12, 6, 3)
    heads: int = 8
    mlp_ratio: float = 4.0
    bottleneck_tokens: Sequence[int] = (8,)  # of each time; one for all stages, or one of each
    bottleneck_dim: int = 128
    temporal_kernel: int = 2
    drop_path: float = 0.1
    head_scale: float = 0.001  # of the expression head's initial values

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> dict[str, jax.Array]:
        stages, out = Encoder(
            self.patch,
            self.tubelet,
            self.dim,
            self.stage_depths,
            self.heads,
            self.mlp_ratio,
            self.bottleneck_tokens,
            self.bottleneck_dim,
            self.temporal_kernel,
            self.drop_path,
            name="encoder",
        )(x, train)
        features = norm(name="fc_norm")(stages[-1].mean(1))
        init = nn.initializers.normal(0.02 * self.head_scale)
        return out | heads(
            features, self.num_classes, self.num_aus, fc="head", kernel_init=init, bias_init=zeros
        )


_KEYS = (
    (r"^encoder/patch_embed_proj/", "patch_embed/proj/"),
    (r"^encoder/", ""),
)
_PRETRAINING = (r"^mask_token$", r"^decoder\.", r"^encoder_to_decoder\.", r"^norm\.")
_SMALL = {"patch": 8, "dim": 32, "stage_depths": (2, 2), "heads": 2, "bottleneck_dim": 16}


def _row(size: int = 160, frames: int = 16, **options) -> Architecture:
    return Architecture(
        SVFAP,
        IMAGENET(size, frames=frames),
        input="clip",
        torch_keys=_KEYS,
        unused=_PRETRAINING,
        options=options,
    )


register("svfap", _row())
register("svfap_small", _row(32, 8, **_SMALL))  # for tests
