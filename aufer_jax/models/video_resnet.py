"""Residual networks over clips: torchvision's R3D-18, R(2+1)D-18, MC3-18, and a small one for CPUs."""

import functools
from collections.abc import Sequence

import jax
from flax import linen as nn

from aufer_jax import errors
from aufer_jax.models.heads import heads
from aufer_jax.models.layers import BatchNorm, Conv
from aufer_jax.models.registry import Architecture, Preprocess, register
from aufer_jax.models.remat import rematerialised

_kaiming_fan_out = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
_conv = functools.partial(Conv, bias=False, kernel_init=_kaiming_fan_out)


def _conv_3d(x, width, stride, middle, train, name):
    return _conv(width, (3, 3, 3), stride, 1, name=f"{name}_0")(x)


def _conv_2d(x, width, stride, middle, train, name):
    return _conv(width, (1, 3, 3), (1, stride, stride), (0, 1, 1), name=f"{name}_0")(x)


def _conv_2plus1d(x, width, stride, middle, train, name):
    x = _conv(middle, (1, 3, 3), (1, stride, stride), (0, 1, 1), name=f"{name}_0_0")(x)
    x = jax.nn.relu(BatchNorm(name=f"{name}_0_1")(x, train))
    return _conv(width, (3, 1, 1), (stride, 1, 1), (1, 0, 0), name=f"{name}_0_3")(x)


CONVS = {"3d": _conv_3d, "2d": _conv_2d, "2plus1d": _conv_2plus1d}


class Block(nn.Module):
    """[B, T, H, W, C] -> [B, T', H', W', width]: two convolutions of one kind of `CONVS`."""

    width: int
    stride: int
    conv: str

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        conv, c, width = CONVS[self.conv], x.shape[-1], self.width
        # As many weights as a 3x3x3 from c has; the second convolution keeps the first one's number.
        middle = (27 * c * width) // (9 * c + 3 * width)
        y = conv(x, width, self.stride, middle, train, "conv1")
        y = jax.nn.relu(BatchNorm(name="conv1_1")(y, train))
        y = conv(y, width, 1, middle, train, "conv2")
        y = BatchNorm(name="conv2_1")(y, train)
        if self.stride != 1 or c != width:
            strides = (1 if self.conv == "2d" else self.stride, self.stride, self.stride)
            x = _conv(width, (1, 1, 1), strides, name="downsample_0")(x)
            x = BatchNorm(name="downsample_1")(x, train)
        return jax.nn.relu(y + x)


def trunk(
    x: jax.Array,
    train: bool,
    convs: Sequence[str] = ("3d", "3d", "3d", "3d"),
    layers: Sequence[int] = (2, 2, 2, 2),
    widths: Sequence[int] = (64, 128, 256, 512),
    stem_strides: Sequence[int] = (1, 2, 2),
) -> dict[str, jax.Array]:
    """Clips [B, T, H, W, 3] -> the maps `stem`, `layer1`, `layer2`, ...; the layers are the caller's.

    `convs`, `layers` and `widths` hold one entry a stage: kind of convolution, blocks, channels.
    """
    for kind in convs:
        if kind not in CONVS:
            raise errors.unknown("convs", kind, CONVS)
    _, *plane = stem_strides
    if convs[0] == "2plus1d":
        x = _conv(45, (1, 7, 7), (1, *plane), (0, 3, 3), name="stem_0")(x)
        x = jax.nn.relu(BatchNorm(name="stem_1")(x, train))
        x = _conv(widths[0], (3, 1, 1), (stem_strides[0], 1, 1), (1, 0, 0), name="stem_3")(x)
        x = jax.nn.relu(BatchNorm(name="stem_4")(x, train))
    else:
        x = _conv(widths[0], (3, 7, 7), stem_strides, (1, 3, 3), name="stem_0")(x)
        x = jax.nn.relu(BatchNorm(name="stem_1")(x, train))
    maps = {"stem": x}
    for stage, (conv, count, width) in enumerate(zip(convs, layers, widths, strict=True), 1):
        for i in range(count):
            stride = 2 if stage > 1 and i == 0 else 1
            x = rematerialised(Block)(width, stride, conv, name=f"layer{stage}_{i}")(x, train)
        maps[f"layer{stage}"] = x
    return maps


class VideoResNet(nn.Module):
    """Clips [B, T, H, W, 3] -> heads over the mean of the last map, and the maps of every stage."""

    num_classes: int = 7
    num_aus: int | None = None
    convs: Sequence[str] = ("3d", "3d", "3d", "3d")
    layers: Sequence[int] = (2, 2, 2, 2)
    widths: Sequence[int] = (64, 128, 256, 512)
    stem_strides: Sequence[int] = (1, 2, 2)

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> dict[str, jax.Array]:
        maps = trunk(x, train, self.convs, self.layers, self.widths, self.stem_strides)
        features = maps[f"layer{len(self.widths)}"].mean((1, 2, 3))
        init = {"kernel_init": nn.initializers.normal(0.01), "bias_init": nn.initializers.zeros}
        return maps | heads(features, self.num_classes, self.num_aus, **init)


KINETICS = Preprocess(
    112, mean=(0.43216, 0.394666, 0.37645), std=(0.22803, 0.22145, 0.216989), frames=16
)
_row = functools.partial(Architecture, VideoResNet, KINETICS, "clip")

register("r3d18", _row())
register("r2plus1d18", _row(options={"convs": ("2plus1d",) * 4}))
register("mc3_18", _row(options={"convs": ("3d", "2d", "2d", "2d")}))
register(
    "r3d_small",
    _row(
        options={
            "convs": ("3d",) * 4,
            "layers": (1, 1, 1, 1),
            "widths": (16, 32, 64, 64),
            "stem_strides": (2, 4, 4),
        }
    ),
)
