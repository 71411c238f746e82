"""Former-DFER: a ResNet-18 with a transformer among its stages on every frame, a transformer over frames."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

from aufer_jax.models.heads import heads
from aufer_jax.models.layers import Attention, BatchNorm, Conv, LayerNorm, Linear, max_pool
from aufer_jax.models.registry import Architecture, Preprocess, register
from aufer_jax.models.remat import rematerialised
from aufer_jax.models.resnet import BasicBlock

_kaiming_fan_out = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
_normal = nn.initializers.normal(1.0)


class FeedForward(nn.Module):
    """C -> hidden -> C with GELU's tanh approximation."""

    hidden: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = jax.nn.gelu(Linear(self.hidden, name="fc1")(x), approximate=True)
        return Linear(x.shape[-1], name="fc2")(y)


class Layer(nn.Module):
    """Pre-norm transformer layer on tokens [B, N, C]; also returns them after the attention alone."""

    heads: int
    head_dim: int
    hidden: int

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, jax.Array]:
        # As published: one head as wide as the tokens needs no projection back to them.
        project = (self.heads, self.head_dim) != (1, x.shape[-1])
        attention = Attention(
            self.heads, self.head_dim, qkv_bias=False, project=project, name="attn"
        )
        attended = x + attention(LayerNorm(epsilon=1e-5, name="norm1")(x), train)
        normed = LayerNorm(epsilon=1e-5, name="norm2")(attended)
        return attended + FeedForward(self.hidden, name="mlp")(normed), attended


class SFormer(nn.Module):
    """Frames [B, H, W, 3] -> features [B, 8 * width], and its maps."""

    width: int
    layers: Sequence[int]
    depth: int
    heads: int
    head_dim: int
    hidden: int

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        maps = {}
        init = _kaiming_fan_out
        x = Conv(self.width, (7, 7), 2, 3, bias=False, kernel_init=init, name="conv1")(x)
        x = jax.nn.relu(BatchNorm(name="bn1")(x, train))
        x = maps["stem"] = max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))
        for stage in (1, 2, 3):
            x = maps[f"layer{stage}"] = self._stage(x, stage, train)
        tokens = x.reshape(x.shape[0], -1, x.shape[-1])
        position = self.param("pos_embedding", _normal, (1, *tokens.shape[1:]))
        tokens = tokens + position.astype(x.dtype)
        for i in range(self.depth):
            layer = rematerialised(Layer)(
                self.heads, self.head_dim, self.hidden, name=f"layers_{i}"
            )
            tokens, _ = layer(tokens, train)
        maps["spatial_tokens"] = tokens
        x = maps["layer4"] = self._stage(tokens.reshape(x.shape), 4, train)
        return x.mean((1, 2)), maps

    def _stage(self, x: jax.Array, stage: int, train: bool) -> jax.Array:
        for i in range(self.layers[stage - 1]):
            stride = 2 if stage > 1 and i == 0 else 1
            block = rematerialised(BasicBlock)(
                self.width * 2 ** (stage - 1), stride, name=f"layer{stage}_{i}"
            )
            x = block(x, train)
        return x


class TFormer(nn.Module):
    """Frame features [B, T, C] -> class token [B, C], and what the first layer gives."""

    depth: int
    heads: int
    head_dim: int
    hidden: int

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        batch, _, width = x.shape
        token = self.param("cls_token", _normal, (1, 1, width)).astype(x.dtype)
        x = jnp.concatenate([jnp.broadcast_to(token, (batch, 1, width)), x], axis=1)
        x = x + self.param("pos_embedding", _normal, (1, *x.shape[1:])).astype(x.dtype)
        maps = {}
        for i in range(self.depth):
            layer = rematerialised(Layer)(
                self.heads, self.head_dim, self.hidden, name=f"layers_{i}"
            )
            x, attended = layer(x, train)
            if i == 0:
                maps = {"t_attn0": attended, "t_block0": x}
        return x[:, 0], maps


class FormerDFER(nn.Module):
    """Clips [B, T, H, W, 3] -> heads over the temporal class token; T, H and W are fixed by the weights.

    The maps `stem` to `layer4`, `spatial_tokens` and `s_former` have B * T rows, a clip's frames
    together; `t_attn0`, `t_block0` are [B, 1 + T, 8 * width].
    """

    num_classes: int | None = 7
    num_aus: int | None = None
    width: int = 64  # of the stem and the first stage; doubled at every later stage
    layers: Sequence[int] = (2, 2, 2, 2)
    s_depth: int = 1
    s_heads: int = 8
    s_head_dim: int = 32
    s_hidden: int = 512
    t_depth: int = 3
    t_heads: int = 8
    t_head_dim: int = 64
    t_hidden: int = 1024

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> dict[str, jax.Array]:
        batch, frames = x.shape[:2]
        spatial = SFormer(
            self.width,
            tuple(self.layers),
            self.s_depth,
            self.s_heads,
            self.s_head_dim,
            self.s_hidden,
            name="s_former",
        )
        temporal = TFormer(
            self.t_depth, self.t_heads, self.t_head_dim, self.t_hidden, name="t_former"
        )
        x, out = spatial(x.reshape(batch * frames, *x.shape[2:]), train)
        out["s_former"] = x
        x, maps = temporal(x.reshape(batch, frames, -1), train)
        return out | maps | heads(x, self.num_classes, self.num_aus)


_UNIT = Preprocess(112, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), frames=16)
_KEYS = (
    (r"/layers_(\d+)/norm1/", r"/spatial_transformer/layers_\1/0/fn/norm/"),
    (r"/layers_(\d+)/attn/qkv/", r"/spatial_transformer/layers_\1/0/fn/fn/to_qkv/"),
    (r"/layers_(\d+)/attn/proj/", r"/spatial_transformer/layers_\1/0/fn/fn/to_out/0/"),
    (r"/layers_(\d+)/norm2/", r"/spatial_transformer/layers_\1/1/fn/norm/"),
    (r"/layers_(\d+)/mlp/fc1/", r"/spatial_transformer/layers_\1/1/fn/fn/net/0/"),
    (r"/layers_(\d+)/mlp/fc2/", r"/spatial_transformer/layers_\1/1/fn/fn/net/3/"),
    (r"^fc_au/", "AU_fc/"),
)
_SMALL = {
    "width": 8,
    "layers": (1, 1, 1, 1),
    "s_heads": 2,
    "s_head_dim": 8,
    "s_hidden": 32,
    "t_depth": 1,
    "t_heads": 2,
    "t_head_dim": 16,
    "t_hidden": 64,
}


def _row(preprocess: Preprocess, **options) -> Architecture:
    return Architecture(FormerDFER, preprocess, input="clip", torch_keys=_KEYS, options=options)


register("former_dfer", _row(_UNIT))
register(
    "former_dfer_small",  # for tests
    _row(Preprocess(32, mean=_UNIT.mean, std=_UNIT.std, frames=4), **_SMALL),
)
