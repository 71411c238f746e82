"""DPCNet: few frames in two views, what is excited in places and frames, and in channels over time beside it.

Built from the paper's abstract; docs/audfer.md says which choices are ours.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

from aufer_jax.errors import UserError
from aufer_jax.models.heads import heads
from aufer_jax.models.layers import Conv, Linear
from aufer_jax.models.registry import Architecture, Preprocess, register
from aufer_jax.models.resnet import ResNet


class SpatialFrameExcitation(nn.Module):
    """Maps [B, T, h, w, C] of a view, each place and each frame weighed, added to the maps themselves."""

    reduction: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        flat = x.reshape(-1, *x.shape[2:])
        # The slope of a maximum asks which channel equals it; a compiled sum may then equal none.
        most = jnp.take_along_axis(flat, flat.argmax(-1, keepdims=True), -1)
        across = jnp.concatenate([flat.mean(-1, keepdims=True), most], -1)
        places = Conv(1, (3, 3), padding=1, name="spatial")(across)
        squeezed = jax.nn.relu(Linear(_narrow(x, self.reduction), name="frame1")(x.mean((2, 3))))
        frames = Linear(1, name="frame2")(squeezed)[:, :, None, None]
        places = jax.nn.sigmoid(places).reshape(*x.shape[:-1], 1)
        return x + x * places * jax.nn.sigmoid(frames)


class ChannelTemporalAggregation(nn.Module):
    """Maps [B, T, h, w, C] of a view -> their mean [B, C], channels weighed by what is near in time."""

    reduction: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        pooled = x.mean((2, 3))
        narrow = _narrow(x, self.reduction)
        y = jax.nn.relu(Linear(narrow, name="squeeze")(pooled))
        y = jax.nn.relu(Conv(narrow, (3,), padding=1, name="temporal")(y))
        return (pooled * jax.nn.sigmoid(Linear(x.shape[-1], name="excite")(y))).mean(1)


def _narrow(x: jax.Array, reduction: int) -> int:
    return max(x.shape[-1] // reduction, 1)


class DPCNet(nn.Module):
    """Clips [B, T, H, W, 3] -> heads over both paths' features [B, 2 C]; T is a multiple of `views`.

    Frame t belongs to view t modulo `views`. `paths` [B, 2, num_classes] are the logits of the paths,
    whose mean is `expression`; `views` [B, views, 2 C] the features of each view, whose mean is
    `features`.
    """

    num_classes: int = 7
    num_aus: int | None = None
    views: int = 2
    reduction: int = 16  # of channels, where their weights are made
    block: str = "bottleneck"
    layers: Sequence[int] = (3, 4, 6, 3)
    width: int = 64

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> dict[str, jax.Array]:
        batch, frames = x.shape[:2]
        if frames % self.views:
            raise UserError(f"frames: {frames} given, not a multiple of the {self.views} views")
        resnet = ResNet(0, 0, self.block, tuple(self.layers), self.width, name="resnet")
        x = resnet(x.reshape(-1, *x.shape[2:]), train)["feature_map"]
        x = x.reshape(batch, frames // self.views, self.views, *x.shape[1:]).swapaxes(1, 2)
        x = x.reshape(-1, *x.shape[2:])
        x = SpatialFrameExcitation(self.reduction, name="sfe")(x)
        paths = [x.mean((1, 2, 3)), ChannelTemporalAggregation(self.reduction, name="cta")(x)]
        by_view = jnp.concatenate(paths, axis=-1).reshape(batch, self.views, -1)
        features = by_view.mean(1)
        out = {"excited": x, "views": by_view}
        if self.num_classes:
            halves = jnp.split(features, 2, axis=-1)
            names = ("fc_spatial_frame", "fc_channel_temporal")
            logits = [
                Linear(self.num_classes, name=name)(half)
                for name, half in zip(names, halves, strict=True)
            ]
            out["paths"] = jnp.stack(logits, axis=1)
            out["expression"] = out["paths"].mean(1)
        return out | heads(features, None, self.num_aus)


register(
    "dpcnet",
    Architecture(
        DPCNet,
        Preprocess(112, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), frames=8),
        input="clip",
    ),
)
