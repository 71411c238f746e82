"""STT: a ResNet-18 makes tokens of every frame; blocks of attention within a frame and over time join them.

Built from the paper's text; docs/audfer.md says which choices are ours.
"""

from collections.abc import Sequence

import jax
from flax import linen as nn

from aufer_jax import errors
from aufer_jax.models.heads import heads
from aufer_jax.models.layers import Attention, LayerNorm, Mlp
from aufer_jax.models.registry import Architecture, Preprocess, register
from aufer_jax.models.remat import rematerialised
from aufer_jax.models.resnet import ResNet

ORDERS = ("serial", "parallel")
_normal = nn.initializers.normal(0.02)


class SpatioTemporalBlock(nn.Module):
    """Tokens [B, T, N, C]: attention over the N of a frame, over the T at a place, then a feed-forward.

    "serial": the second attention reads what the first gives; "parallel": both read the block's input.
    """

    heads: int
    head_dim: int
    hidden: int
    order: str

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        across = self._attention("spatial", x, train)
        if self.order == "serial":
            x, across = x + across, 0
        over_time = self._attention("temporal", x.swapaxes(1, 2), train).swapaxes(1, 2)
        x = x + across + over_time
        return x + Mlp(self.hidden, name="mlp")(LayerNorm(epsilon=1e-5, name="norm")(x), train)

    def _attention(self, name: str, x: jax.Array, train: bool) -> jax.Array:
        y = LayerNorm(epsilon=1e-5, name=f"{name}_norm")(x).reshape(-1, *x.shape[2:])
        return Attention(self.heads, self.head_dim, name=f"{name}_attn")(y, train).reshape(x.shape)


class STT(nn.Module):
    """Clips [B, T, H, W, 3] -> heads over the mean of all tokens; T, H and W are fixed by the weights.

    The backbone's maps `stem` to `layer4` have B * T rows; `tokens` are [B, T, N, C].
    """

    num_classes: int = 7
    num_aus: int | None = None
    width: int = 64  # of the stem and the first stage; doubled at every later stage
    layers: Sequence[int] = (2, 2, 2, 2)
    depth: int = 3
    heads: int = 8
    head_dim: int = 64
    hidden: int = 1024
    order: str = "serial"  # or "parallel"

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> dict[str, jax.Array]:
        if self.order not in ORDERS:
            raise errors.unknown("order", self.order, ORDERS)
        batch, frames = x.shape[:2]
        resnet = ResNet(0, 0, "basic", tuple(self.layers), self.width, name="resnet")
        out = resnet(x.reshape(-1, *x.shape[2:]), train)
        x = out.pop("feature_map")
        x = x.reshape(batch, frames, -1, x.shape[-1])
        _, _, places, channels = x.shape
        place = self.param("pos_embedding", _normal, (1, 1, places, channels))
        time = self.param("temporal_embedding", _normal, (1, frames, 1, channels))
        x = x + (place + time).astype(x.dtype)
        for i in range(self.depth):
            block = rematerialised(SpatioTemporalBlock)(
                self.heads, self.head_dim, self.hidden, self.order
            )
            x = block.copy(name=f"blocks_{i}")(x, train)
        out["tokens"] = x = LayerNorm(epsilon=1e-5, name="norm")(x)
        return out | heads(x.mean((1, 2)), self.num_classes, self.num_aus)


register(
    "stt",
    Architecture(
        STT,
        Preprocess(112, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), frames=16),
        input="clip",
    ),
)
