"""I3D: Inception-v1 over clips, with TensorFlow's padding; clips of any length and size."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

from aufer_jax.models.heads import heads
from aufer_jax.models.layers import BatchNorm, Conv, max_pool
from aufer_jax.models.registry import Architecture, Preprocess, register
from aufer_jax.models.remat import rematerialised

# Width of the branches b0, b1a, b1b, b2a, b2b, b3b.
_MIXED = {
    "3b": (64, 96, 128, 16, 32, 32),
    "3c": (128, 128, 192, 32, 96, 64),
    "4b": (192, 96, 208, 16, 48, 64),
    "4c": (160, 112, 224, 24, 64, 64),
    "4d": (128, 128, 256, 24, 64, 64),
    "4e": (112, 144, 288, 32, 64, 64),
    "4f": (256, 160, 320, 32, 128, 128),
    "5b": (256, 160, 320, 32, 128, 128),
    "5c": (384, 192, 384, 48, 128, 128),
}


def same_padding(
    size: Sequence[int], window: Sequence[int], strides: Sequence[int]
) -> list[tuple[int, int]]:
    """Padding to ceil(size / stride) outputs an axis, the odd one at the far end."""
    totals = [
        max((-(-n // s) - 1) * s + k - n, 0) for n, k, s in zip(size, window, strides, strict=True)
    ]
    return [(total // 2, total - total // 2) for total in totals]


def _pool(x: jax.Array, window: Sequence[int], strides: Sequence[int]) -> jax.Array:
    # The reference pads with zeros, which -inf equals here: the inputs are ReLU's outputs.
    return max_pool(x, window, strides, same_padding(x.shape[1:-1], window, strides))


class Unit3D(nn.Module):
    """Convolution, BatchNorm, ReLU."""

    width: int
    window: Sequence[int] = (1, 1, 1)
    strides: Sequence[int] = (1, 1, 1)

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        padding = same_padding(x.shape[1:-1], self.window, self.strides)
        x = Conv(self.width, self.window, self.strides, padding, bias=False, name="conv3d")(x)
        return jax.nn.relu(BatchNorm(momentum=0.01, eps=1e-3, name="bn")(x, train))


class Mixed(nn.Module):
    """Four branches side by side, concatenated on channels."""

    widths: Sequence[int]

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        w0, w1a, w1b, w2a, w2b, w3 = self.widths
        b0 = Unit3D(w0, name="b0")(x, train)
        b1 = Unit3D(w1a, name="b1a")(x, train)
        b1 = Unit3D(w1b, (3, 3, 3), name="b1b")(b1, train)
        b2 = Unit3D(w2a, name="b2a")(x, train)
        b2 = Unit3D(w2b, (3, 3, 3), name="b2b")(b2, train)
        b3 = Unit3D(w3, name="b3b")(_pool(x, (3, 3, 3), (1, 1, 1)), train)
        return jnp.concatenate([b0, b1, b2, b3], axis=-1)


class I3D(nn.Module):
    """Clips [B, T, H, W, 3] -> heads and the maps under the names of the layers that made them.

    `avg_pool` slides a 2x7x7 window, smaller where the map is smaller, over the last map; `logits`
    are the classes at each of its places and `expression` their mean.
    """

    num_classes: int = 7
    num_aus: int | None = None
    width: float = 1.0  # of every layer, as a share of the published one
    blocks: Sequence[str] = tuple(_MIXED)  # of mixed branches, by stage
    dropout: float = 0.5

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> dict[str, jax.Array]:
        outputs = {}

        def unit(name, x, width, *args):
            outputs[name] = Unit3D(self._width(width), *args, name=name)(x, train)
            return outputs[name]

        def mixed(name, x):
            widths = tuple(map(self._width, _MIXED[name]))
            block = rematerialised(Mixed)(widths, name=f"Mixed_{name}")
            outputs[f"Mixed_{name}"] = block(x, train)
            return outputs[f"Mixed_{name}"]

        x = unit("Conv3d_1a_7x7", x, 64, (7, 7, 7), (2, 2, 2))
        x = outputs["MaxPool3d_2a_3x3"] = _pool(x, (1, 3, 3), (1, 2, 2))
        x = unit("Conv3d_2b_1x1", x, 64)
        x = unit("Conv3d_2c_3x3", x, 192, (3, 3, 3))
        x = _pool(x, (1, 3, 3), (1, 2, 2))
        for stage in "345":
            for name in (name for name in self.blocks if name.startswith(stage)):
                x = mixed(name, x)
            if stage != "5":
                x = _pool(x, (3, 3, 3) if stage == "3" else (2, 2, 2), (2, 2, 2))
        window = tuple(min(n, k) for n, k in zip(x.shape[1:-1], (2, 7, 7), strict=True))
        x = outputs["avg_pool"] = nn.avg_pool(x, window_shape=window)
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        outputs["logits"] = Conv(self.num_classes, (1, 1, 1), name="logits")(x)
        outputs["expression"] = outputs["logits"].mean((1, 2, 3))
        return outputs | heads(x.mean((1, 2, 3)), None, self.num_aus)

    def _width(self, published: int) -> int:
        return max(int(published * self.width), 1)


register(
    "i3d",
    Architecture(
        I3D,
        Preprocess(224, frames=16),
        input="clip",
        torch_keys=((r"^logits/", "logits/conv3d/"),),
    ),
)
