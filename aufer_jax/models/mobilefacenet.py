"""MobileFaceNet that finds 68 landmarks in a face; its map on the way is what S2D reads of a face's shape."""

from collections.abc import Sequence

import jax
from flax import linen as nn

from aufer_jax.models.layers import BatchNorm, Conv, Linear, PReLU
from aufer_jax.models.registry import Architecture, Preprocess, register

_kaiming = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


class ConvBlock(nn.Module):
    """Convolution, normalisation and, if `active`, PReLU: [B, H, W, C] -> [B, H', W', channels]."""

    channels: int
    kernel: int = 1
    stride: int = 1
    padding: int = 0
    groups: int = 1
    active: bool = True

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        x = Conv(
            self.channels,
            (self.kernel, self.kernel),
            self.stride,
            self.padding,
            self.groups,
            bias=False,
            kernel_init=_kaiming,
            name="conv",
        )(x)
        x = BatchNorm(name="bn")(x, train)
        return PReLU(name="prelu")(x) if self.active else x


class DepthWise(nn.Module):
    """1x1 to `hidden` channels, depth-wise 3x3, 1x1 back to `channels`; what is small adds its input."""

    channels: int
    hidden: int
    stride: int = 1
    residual: bool = False

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        y = ConvBlock(self.hidden, name="conv")(x, train)
        y = ConvBlock(self.hidden, 3, self.stride, 1, self.hidden, name="conv_dw")(y, train)
        y = ConvBlock(self.channels, active=False, name="project")(y, train)
        return x + y if self.residual else y


class Chain(nn.Module):
    """Residual depth-wise blocks one after the other."""

    count: int
    hidden: int

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        for i in range(self.count):
            block = DepthWise(x.shape[-1], self.hidden, residual=True, name=f"model_{i}")
            x = block(x, train)
        return x


class Output(nn.Module):
    """A map [B, h, w, C] -> [B, count]: one depth-wise window as large as the map, and a linear layer."""

    count: int

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        channels, side = x.shape[-1], x.shape[1]
        x = ConvBlock(channels, side, groups=channels, active=False, name="conv_6_dw")(x, train)
        x = Linear(self.count, bias=False, kernel_init=_kaiming, name="linear")(x[:, 0, 0])
        return BatchNorm(name="bn")(x, train)


class MobileFaceNet(nn.Module):
    """Images [B, H, W, 3] -> `landmarks` [B, points, 2], and every stage's map under its name.

    `landmark_features` [B, H / 8, W / 8, 2 * width] is the map that S2D reads; with `points` 0 the rest
    is left out.
    """

    points: int = 68
    width: int = 64
    units: Sequence[int] = (4, 6, 2)

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> dict[str, jax.Array]:
        w, out = self.width, {}

        def through(name: str, module: type[nn.Module], x: jax.Array, *args, **kwargs) -> jax.Array:
            out[name] = module(*args, **kwargs, name=name)(x, train)
            return out[name]

        x = through("conv1", ConvBlock, x, w, 3, 2, 1)
        x = through("conv2_dw", ConvBlock, x, w, 3, 1, 1, w)
        x = through("conv_23", DepthWise, x, w, 2 * w, 2)
        x = through("conv_3", Chain, x, self.units[0], 2 * w)
        x = through("conv_34", DepthWise, x, 2 * w, 4 * w, 2)
        x = out["landmark_features"] = through("conv_4", Chain, x, self.units[1], 4 * w)
        if not self.points:
            return out
        x = through("conv_45", DepthWise, x, 2 * w, 8 * w, 2)
        x = through("conv_5", Chain, x, self.units[2], 4 * w)
        x = through("conv_6_sep", ConvBlock, x, 8 * w)
        x = through("output_layer", Output, x, 2 * self.points)
        out["landmarks"] = x.reshape(len(x), self.points, 2)
        return out


KEYS = (
    (r"(^|/)conv_6_(sep|dw)/", r"\1conv~6~\2/"),
    (r"(^|/)conv_(\d+)/", r"\1conv~\2/"),
)
_PREPROCESS = Preprocess(112, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
_SMALL = {"width": 4, "units": (1, 1, 1)}

register("mobilefacenet", Architecture(MobileFaceNet, _PREPROCESS, torch_keys=KEYS))
register(
    "mobilefacenet_small",
    Architecture(MobileFaceNet, Preprocess(32), torch_keys=KEYS, options=_SMALL),
)  # for tests
