"""BlazeFace, short range: where faces are in a small picture, as boxes and points of anchors.

Bazarevsky et al., "BlazeFace: Sub-millisecond Neural Face Detection on Mobile GPUs", 2019.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

from aufer_jax.models.layers import Conv, max_pool

SIZE = 128  # height and width of the picture
VALUES = 16  # of an anchor: centre and size of the box, six points


class Block(nn.Module):
    """[B, H, W, C] -> [B, H', W', channels]: a depth-wise and a 1x1 convolution beside the input."""

    channels: int
    stride: int = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        width = x.shape[-1]
        padding = [(1, 1)] * 2 if self.stride == 1 else [(0, 1)] * 2
        y = Conv(width, (3, 3), self.stride, padding, groups=width, name="depthwise")(x)
        y = Conv(self.channels, (1, 1), name="pointwise")(y)
        if self.stride > 1:
            x = max_pool(x, (2, 2), (2, 2))
        x = jnp.pad(x, [(0, 0)] * 3 + [(0, self.channels - width)])
        return nn.relu(x + y)


class BlazeFace(nn.Module):
    """Pictures [B, 128, 128, 3], RGB from -1 to 1 -> `boxes` [B, 896, 16] and `scores` [B, 896].

    Anchors are in the order of `faces.boxes.ANCHORS`. Boxes are in pixels from the anchor's centre, scores
    are logits.
    """

    stem: int = 24
    fine: Sequence[int] = (24, 28, 32, 36, 42, 48, 56, 64, 72, 80, 88)  # up to 16 x 16 cells
    coarse: Sequence[int] = (96, 96, 96, 96, 96)  # 8 x 8 cells
    halved: Sequence[int] = (2, 5, 11)  # blocks that halve height and width
    anchors: Sequence[int] = (2, 6)  # of a fine and of a coarse cell

    @nn.compact
    def __call__(self, x: jax.Array) -> dict[str, jax.Array]:
        x = nn.relu(Conv(self.stem, (5, 5), 2, [(1, 2)] * 2, name="stem")(x))
        maps = []
        for i, channels in enumerate((*self.fine, *self.coarse)):
            x = Block(channels, 2 if i in self.halved else 1, name=f"block_{i}")(x)
            if i + 1 in (len(self.fine), len(self.fine) + len(self.coarse)):
                maps.append(x)

        def read(name: str, values: int) -> jax.Array:
            found = [
                Conv(n * values, (1, 1), name=f"{name}_{i}")(x).reshape(len(x), -1, values)
                for i, (x, n) in enumerate(zip(maps, self.anchors, strict=True))
            ]
            return jnp.concatenate(found, axis=1)

        return {"scores": read("scores", 1)[..., 0], "boxes": read("boxes", VALUES)}
