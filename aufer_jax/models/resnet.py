"""ResNet for images: torchvision's networks, the Caffe arrangement of VGGFace2 and EAC, a small one."""

import dataclasses
import functools
from collections.abc import Sequence

import jax
from flax import linen as nn

from aufer_jax import errors
from aufer_jax.models.layers import BatchNorm, Conv, Linear, class_maps, max_pool
from aufer_jax.models.registry import Architecture, Preprocess, register
from aufer_jax.models.remat import rematerialised

_kaiming_fan_out = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
_conv = functools.partial(Conv, bias=False, kernel_init=_kaiming_fan_out)


class BasicBlock(nn.Module):
    """[B, H, W, C] -> [B, H', W', width]: two 3x3 convolutions, the stride on the first."""

    width: int
    stride: int
    caffe: bool = False  # no 1x1 convolution could take the stride: the same in both arrangements
    expansion = 1

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        y = _conv(self.width, (3, 3), self.stride, 1, name="conv1")(x)
        y = jax.nn.relu(BatchNorm(name="bn1")(y, train))
        y = _conv(self.width, (3, 3), 1, 1, name="conv2")(y)
        y = BatchNorm(name="bn2")(y, train)
        return jax.nn.relu(y + _shortcut(x, self.width, self.stride, train))


class Bottleneck(nn.Module):
    """[B, H, W, C] -> [B, H', W', 4 * width]: 1x1, 3x3, 1x1."""

    width: int
    stride: int
    caffe: bool = False  # the stride on the first 1x1 convolution instead of the 3x3
    expansion = 4

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        first, second = (self.stride, 1) if self.caffe else (1, self.stride)
        out = self.expansion * self.width
        y = _conv(self.width, (1, 1), first, name="conv1")(x)
        y = jax.nn.relu(BatchNorm(name="bn1")(y, train))
        y = _conv(self.width, (3, 3), second, 1, name="conv2")(y)
        y = jax.nn.relu(BatchNorm(name="bn2")(y, train))
        y = _conv(out, (1, 1), name="conv3")(y)
        y = BatchNorm(name="bn3")(y, train)
        return jax.nn.relu(y + _shortcut(x, out, self.stride, train))


def _shortcut(x: jax.Array, width: int, stride: int, train: bool) -> jax.Array:
    if stride == 1 and x.shape[-1] == width:
        return x
    y = _conv(width, (1, 1), stride, name="downsample_0")(x)
    return BatchNorm(name="downsample_1")(y, train)


BLOCKS = {"basic": BasicBlock, "bottleneck": Bottleneck}


class ResNet(nn.Module):
    """Images [B, H, W, C] -> `expression` [B, num_classes], `features` [B, d] and the class maps `cam`.

    `cam` [B, h, w, num_classes] is the last map seen through the expression head without its bias; its
    mean over the map plus the bias is `expression`. It sends no gradient into the head's weights.
    """

    num_classes: int = 7
    num_aus: int = 0
    block: str = "basic"
    layers: Sequence[int] = (2, 2, 2, 2)
    width: int = 64  # of the stem and the first stage; doubled at every later stage
    caffe: bool = False
    stem_kernel: int = 7
    stem_stride: int = 2
    stem_pool: bool = True

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> dict[str, jax.Array]:
        if self.block not in BLOCKS:
            raise errors.unknown("block", self.block, BLOCKS)
        outputs = {}
        kernel = (self.stem_kernel, self.stem_kernel)
        x = _conv(self.width, kernel, self.stem_stride, self.stem_kernel // 2, name="conv1")(x)
        x = jax.nn.relu(BatchNorm(name="bn1")(x, train))
        if self.stem_pool and self.caffe:
            x = max_pool(x, (3, 3), (2, 2), ceil_mode=True)
        elif self.stem_pool:
            x = max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))
        outputs["stem"] = x
        for stage, count in enumerate(self.layers):
            for i in range(count):
                stride = 2 if stage > 0 and i == 0 else 1
                block = rematerialised(BLOCKS[self.block])(
                    self.width * 2**stage, stride, self.caffe
                )
                x = block.copy(name=f"layer{stage + 1}_{i}")(x, train)
            outputs[f"layer{stage + 1}"] = x
        outputs["feature_map"] = x
        outputs["features"] = features = x.mean((1, 2))
        if self.num_classes:
            head = Linear(self.num_classes, name="fc")
            outputs["expression"] = head(features)
            outputs["cam"] = class_maps(x, head)
        if self.num_aus:
            outputs["au"] = Linear(self.num_aus, name="fc_au")(features)
        return outputs


_IMAGENET = Preprocess(224, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
_EAC_KEYS = (
    (r"^conv1/", "features/0/"),
    (r"^bn1/", "features/1/"),
    *((rf"^layer{n}_", f"features/{n + 3}_") for n in range(1, 5)),
)
_RESNET50 = {"block": "bottleneck", "layers": (3, 4, 6, 3)}

register("resnet18", Architecture(ResNet, _IMAGENET))
register("resnet50", Architecture(ResNet, _IMAGENET, options=_RESNET50))
register(
    "resnet50_caffe",  # trained on VGGFace2: pixel values 0..255 minus the mean, in OpenCV's order
    Architecture(
        ResNet,
        Preprocess(224, (91.4953, 103.8827, 131.0912), (1.0, 1.0, 1.0), scale=1.0, order="BGR"),
        options=_RESNET50 | {"caffe": True},
    ),
)
register(
    "eac_resnet50",
    Architecture(ResNet, _IMAGENET, torch_keys=_EAC_KEYS, options=_RESNET50 | {"caffe": True}),
)
register(
    "resnet_small",  # 0.6 M parameters, 48 M multiply-adds an image, class maps of 7x7
    Architecture(
        ResNet,
        dataclasses.replace(_IMAGENET, size=112),
        options={
            "layers": (1, 1, 2),
            "width": 32,
            "stem_kernel": 5,
            "stem_stride": 4,
            "stem_pool": False,
        },
    ),
)
