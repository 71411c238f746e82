"""MAE-DFER's fine-tuning network: a video transformer of local-global interaction (LGI) blocks.

The grid of tubelets [T/2, H/16, W/16] is cut into regions, each with one learned representative token.
A block lets tokens see their region, representatives each other, and tokens all representatives.
"""

import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from aufer_jax import errors
from aufer_jax.models.attention import attend
from aufer_jax.models.heads import heads
from aufer_jax.models.layers import Conv, DropPath, LayerNorm, Linear, Mlp
from aufer_jax.models.registry import Architecture, Preprocess, register
from aufer_jax.models.remat import rematerialised

Grid = tuple[int, int, int]

READOUTS = ("region", "org", "all")
small_normal = nn.initializers.normal(0.02)  # truncated at +-2, a hundred deviations out
norm = functools.partial(LayerNorm, epsilon=1e-6)
zeros = nn.initializers.zeros


@functools.cache
def sinusoids(count: int, width: int) -> np.ndarray:
    """[count, width] fixed positions over a flat index: even columns sine, odd cosine of one angle."""
    rate = 10000.0 ** (-2 * (np.arange(width) // 2) / width)
    angle = np.arange(count)[:, None] * rate
    return np.where(np.arange(width) % 2 == 0, np.sin(angle), np.cos(angle)).astype(np.float32)


class BiasedAttention(nn.Module):
    """Queries from x [B, N, C], keys and values from `context` [B, M, C]; keys have no bias.

    Without a context this is self-attention; `fused` then keeps one matrix for all three, in place of
    one for the queries and one for keys and values.
    """

    heads: int
    fused: bool = False
    kernel_init: Callable = small_normal

    @nn.compact
    def __call__(self, x: jax.Array, context: jax.Array | None = None) -> jax.Array:
        width = x.shape[-1]
        if width % self.heads:
            raise errors.UserError(f"heads: {self.heads} do not divide the width {width}")
        linear = functools.partial(Linear, kernel_init=self.kernel_init, bias_init=zeros)
        if self.fused:
            q, k, v = jnp.split(linear(3 * width, bias=False, name="qkv")(x), 3, axis=-1)
        else:
            context = x if context is None else context
            q = linear(width, bias=False, name="q")(x)
            k, v = jnp.split(linear(2 * width, bias=False, name="kv")(context), 2, axis=-1)
        q = q + self.param("q_bias", zeros, (width,)).astype(x.dtype)
        v = v + self.param("v_bias", zeros, (width,)).astype(x.dtype)
        q, k, v = (y.reshape(*y.shape[:2], self.heads, -1).swapaxes(1, 2) for y in (q, k, v))
        y = attend(self, q, k, v).swapaxes(1, 2).reshape(x.shape)
        return linear(width, name="proj")(y)


class LGIBlock(nn.Module):
    """Tokens [B * R, 1 + n, C], the representative of each region first; rows are b * R + region.

    Also returns what the three attentions add. Stochastic depth draws per region where the rows are
    regions (first attention, MLP) and per clip where a clip's regions meet.
    """

    regions: int
    heads: int
    mlp_ratio: float = 4.0
    drop_path: float = 0.0
    kernel_init: Callable = small_normal

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        rows, tokens, width = x.shape
        init = self.kernel_init
        attention = functools.partial(BiasedAttention, self.heads, kernel_init=init)
        drop = DropPath(self.drop_path)

        first = attention(name="first_attn")(norm(name="first_attn_norm0")(x))
        x = x + drop(first, train)

        regional = x[:, 0].reshape(-1, self.regions, width)
        second = attention(name="second_attn")(norm(name="second_attn_norm0")(regional))
        regional = regional + drop(second, train)

        local = x[:, 1:].reshape(regional.shape[0], -1, width)  # region order
        third = attention(name="third_attn")(
            norm(name="third_attn_norm0")(local), norm(name="third_attn_norm1")(regional)
        )
        local = local + drop(third, train)

        regional = regional.reshape(rows, 1, width)
        x = jnp.concatenate([regional, local.reshape(rows, tokens - 1, width)], axis=1)
        mlp = Mlp(int(width * self.mlp_ratio), kernel_init=init, bias_init=zeros, name="mlp")
        x = x + drop(mlp(norm(name="norm2")(x), train), train)
        return x, {"first_attn": first, "second_attn": second, "third_attn": third}


def to_regions(x: jax.Array, grid: Grid, region: Grid) -> jax.Array:
    """[B, T * H * W, C], row-major -> [B, R, n, C]; regions row-major, and the tokens in each."""
    (t, h, w), (rt, rh, rw) = grid, region
    x = x.reshape(x.shape[0], t // rt, rt, h // rh, rh, w // rw, rw, -1)
    x = x.transpose(0, 1, 3, 5, 2, 4, 6, 7)
    return x.reshape(x.shape[0], -1, rt * rh * rw, x.shape[-1])


def check_clip(
    clip: jax.Array, patch: int, tubelet: int, region: Sequence[int]
) -> tuple[Grid, Grid]:
    """The tubelet grid of clips [B, T, H, W, 3] and the region size; both must divide."""
    grid = []
    for axis, size, step in zip("THW", clip.shape[1:4], (tubelet, patch, patch), strict=True):
        if size % step:
            raise errors.UserError(f"{axis} of the clip: {size} is not a multiple of {step}")
        grid.append(size // step)
    if len(region) != 3 or any(r < 1 or n % r for n, r in zip(grid, region, strict=True)):
        raise errors.UserError(
            f"region: {tuple(region)} does not divide the grid of tubelets {tuple(grid)}"
        )
    (t, h, w), (rt, rh, rw) = grid, region
    return (t, h, w), (rt, rh, rw)


class Encoder(nn.Module):
    """Clips [B, T, H, W, 3] -> tokens [B * R, 1 + n, C] after all blocks, and maps of the way.

    `select` takes the embedded tokens [B, N, C] to [B, R, n, C]: the regions of all of them, or of those
    a mask leaves visible.
    """

    regions: int
    patch: int
    tubelet: int
    dim: int
    depth: int
    heads: int
    mlp_ratio: float
    drop_path: float = 0.0
    kernel_init: Callable = small_normal
    token_init: Callable = small_normal

    @nn.compact
    def __call__(
        self, x: jax.Array, select: Callable[[jax.Array], jax.Array], train: bool
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        window = (self.tubelet, self.patch, self.patch)
        x = Conv(self.dim, window, window, name="patch_embed_proj")(x)
        x = x.reshape(x.shape[0], -1, self.dim)
        maps = {"patch_embed": x}
        x = maps["embedded"] = x + jnp.asarray(sinusoids(*x.shape[1:]), x.dtype)
        x = select(x)
        tokens = self.param("lg_region_tokens", self.token_init, (self.regions, self.dim))
        tokens = jnp.broadcast_to(tokens.astype(x.dtype)[:, None], (*x.shape[:2], 1, self.dim))
        x = jnp.concatenate([tokens, x], axis=2).reshape(-1, 1 + x.shape[2], self.dim)
        for i, rate in enumerate(np.linspace(0, self.drop_path, self.depth).tolist()):
            block = rematerialised(LGIBlock)(
                self.regions,
                self.heads,
                self.mlp_ratio,
                rate,
                self.kernel_init,
                name=f"blocks_{i}",
            )
            x, attentions = block(x, train)
            if i == 0:
                maps |= {f"block0_{name}": value for name, value in attentions.items()}
                maps |= {"block0_region": x[:, 0], "block0_local": x[:, 1:]}
        return x, maps


class MAEDFER(nn.Module):
    """Clips [B, T, H, W, 3] -> heads over the normalised mean of the tokens that `readout` names.

    `region` reads the representatives (the published runs), `org` the local tokens, `all` both. Maps
    with rows b * R + region: `block0_first_attn`, `block0_region`, `block0_local` and `last_*`.
    """

    num_classes: int | None = 7
    num_aus: int | None = None
    readout: str = "region"
    region: Sequence[int] = (2, 5, 10)  # tubelets along T, H, W
    patch: int = 16
    tubelet: int = 2
    dim: int = 512
    depth: int = 16
    heads: int = 8
    mlp_ratio: float = 4.0
    drop_path: float = 0.1
    head_scale: float = 0.001  # of the expression head's initial values

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> dict[str, jax.Array]:
        if self.readout not in READOUTS:
            raise errors.unknown("readout", self.readout, READOUTS)
        grid, region = check_clip(x, self.patch, self.tubelet, self.region)
        encoder = Encoder(
            int(np.prod(grid) // np.prod(region)),
            self.patch,
            self.tubelet,
            self.dim,
            self.depth,
            self.heads,
            self.mlp_ratio,
            self.drop_path,
            name="encoder",
        )
        batch = x.shape[0]
        x, out = encoder(x, lambda tokens: to_regions(tokens, grid, region), train)
        out |= {"last_region": x[:, 0], "last_local": x[:, 1:]}
        read = {"region": x[:, :1], "org": x[:, 1:], "all": x}[self.readout]
        features = norm(name="fc_norm")(read.reshape(batch, -1, self.dim).mean(1))
        init = nn.initializers.normal(0.02 * self.head_scale)
        return out | heads(
            features,
            self.num_classes,
            self.num_aus,
            fc="head",
            kernel_init=init,
            bias_init=zeros,
        )


IMAGENET = functools.partial(Preprocess, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
_KEYS = (
    (r"^encoder/patch_embed_proj/", "patch_embed/proj/"),
    (r"^encoder/", ""),
)
_PRETRAINING = (r"^mask_token$", r"^decoder\.", r"^encoder_to_decoder\.", r"^norm\.")
_SMALL = {"region": (2, 2, 2), "patch": 8, "dim": 32, "depth": 2, "heads": 2}


def _row(size: int = 160, frames: int = 16, **options) -> Architecture:
    return Architecture(
        MAEDFER,
        IMAGENET(size, frames=frames),
        input="clip",
        torch_keys=_KEYS,
        unused=_PRETRAINING,
        options=options,
    )


register("mae_dfer", _row())
register("mae_dfer_org", _row(readout="org"))
register("mae_dfer_small", _row(32, 8, **_SMALL))  # for tests
