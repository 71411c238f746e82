"""P3D: bottlenecks whose 3x3x3 is split into a spatial S and a temporal T, joined in three ways."""

import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

from aufer_jax import suggest
from aufer_jax.models.heads import heads
from aufer_jax.models.layers import BatchNorm, Conv, max_pool, torch_kernel_init
from aufer_jax.models.registry import Architecture, Preprocess, register

_kaiming_fan_in = nn.initializers.he_normal()


def _published_init(key, shape, dtype=jnp.float32):
    """Kaiming's normal by fan out, which the reference counts without the window's last axis."""
    kt, kh, _, _, out = shape
    return math.sqrt(2 / (kt * kh * out)) * jax.random.normal(key, shape, dtype)


def _conv_bn(x, train, width, window, strides=1, padding=0, names=("conv", "bn")):
    init = _published_init if len(window) == 3 else torch_kernel_init
    x = Conv(width, window, strides, padding, bias=False, kernel_init=init, name=names[0])(x)
    return BatchNorm(name=names[1])(x, train)


class Bottleneck(nn.Module):
    """Maps [B, *space, C] -> [B, *space', 4 * width]; frames stay, `stride` is of height and width.

    `structure` "A": T after S; "B": S and T side by side, summed; "C": S plus T after S; "2d": images.
    """

    width: int
    stride: int
    structure: str

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        flat, out, relu = self.structure == "2d", 4 * self.width, jax.nn.relu
        one = (1, 1) if flat else (1, 1, 1)
        strides = (self.stride,) * 2 if flat else (1, self.stride, self.stride)
        conv_bn = functools.partial(_conv_bn, train=train)
        y = relu(conv_bn(x, width=self.width, window=one, strides=strides, names=("conv1", "bn1")))
        spatial = functools.partial(
            conv_bn, width=self.width, window=(1, 3, 3), padding=(0, 1, 1), names=("conv2", "bn2")
        )
        temporal = functools.partial(
            conv_bn, width=self.width, window=(3, 1, 1), padding=(1, 0, 0), names=("conv3", "bn3")
        )
        if flat:
            names = ("conv_normal", "bn_normal")
            y = relu(conv_bn(y, width=self.width, window=(3, 3), padding=1, names=names))
        elif self.structure == "A":
            y = relu(temporal(relu(spatial(y))))
        elif self.structure == "B":
            y = relu(spatial(y)) + relu(temporal(y))
        else:
            y = relu(spatial(y))
            y = y + relu(temporal(y))
        y = conv_bn(y, width=out, window=one, names=("conv4", "bn4"))
        if self.stride != 1 or x.shape[-1] != out:
            names = ("downsample_0", "downsample_1")
            x = conv_bn(x, width=out, window=one, strides=strides, names=names)
        return relu(y + x)
