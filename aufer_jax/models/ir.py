"""IR-50 of face.evoLVe: a face embedder, the convolutional embedding of AU-ViT, a classifier."""

import functools
from collections.abc import Sequence

import jax
from flax import linen as nn

from aufer_jax.errors import UserError
from aufer_jax.models.layers import BatchNorm, Conv, Linear, PReLU, class_maps
from aufer_jax.models.registry import Architecture, Preprocess, register
from aufer_jax.models.remat import rematerialised

_xavier = nn.initializers.xavier_uniform()
_zeros = nn.initializers.zeros
_conv = functools.partial(Conv, bias=False, kernel_init=_xavier)


class Unit(nn.Module):
    """[B, H, W, C] -> [B, H', W', channels]; the stride is on the second convolution."""

    channels: int
    stride: int

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        y = BatchNorm(name="res_layer_0")(x, train)
        y = _conv(self.channels, (3, 3), 1, 1, name="res_layer_1")(y)
        y = PReLU(name="res_layer_2")(y)
        y = _conv(self.channels, (3, 3), self.stride, 1, name="res_layer_3")(y)
        y = BatchNorm(name="res_layer_4")(y, train)
        if x.shape[-1] == self.channels:
            return y + x[:, :: self.stride, :: self.stride]
        x = _conv(self.channels, (1, 1), self.stride, name="shortcut_layer_0")(x)
        return y + BatchNorm(name="shortcut_layer_1")(x, train)


class IR(nn.Module):
    """Images [B, H, W, 3] -> `stem`, `stage1`, ... and, by the last two options, the heads' outputs.

    With `embedding`: `embedding` [B, embedding], the face descriptor, not normalised; its size depends
    on the image size that the parameters were made for. With `num_classes`: `expression` and its class
    maps `cam` [B, h, w, num_classes], read from the global average of the last map as in ResNet.
    """

    num_classes: int = 7
    embedding: int = 512
    units: Sequence[int] = (3, 4, 14, 3)
    channels: Sequence[int] = (64, 128, 256, 512)
    strides: Sequence[int] | None = None  # None: 2 at every stage
    stem_channels: int | None = None  # None: as the first stage
    stem_kernel: int = 3
    stem_stride: int = 1

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> dict[str, jax.Array]:
        strides = self.strides or (2,) * len(self.units)
        if not len(self.units) == len(self.channels) == len(strides):
            raise UserError(
                f"units {self.units}, channels {self.channels} and strides {strides} "
                "must name the same number of stages"
            )
        kernel = (self.stem_kernel, self.stem_kernel)
        stem = self.stem_channels or self.channels[0]
        x = _conv(stem, kernel, self.stem_stride, self.stem_kernel // 2, name="input_layer_0")(x)
        x = PReLU(name="input_layer_2")(BatchNorm(name="input_layer_1")(x, train))
        outputs = {"stem": x}
        index = 0
        for stage, count in enumerate(self.units):
            for i in range(count):
                stride = strides[stage] if i == 0 else 1
                unit = rematerialised(Unit)(self.channels[stage], stride, name=f"body_{index}")
                x = unit(x, train)
                index += 1
            outputs[f"stage{stage + 1}"] = x
        outputs["feature_map"] = x
        outputs["features"] = x.mean((1, 2))
        if self.num_classes:
            head = Linear(self.num_classes, kernel_init=_xavier, bias_init=_zeros, name="fc")
            outputs["expression"] = head(outputs["features"])
            outputs["cam"] = class_maps(x, head)
        if self.embedding:
            outputs["embedding"] = self._embed(x, train)
        return outputs

    def _embed(self, x: jax.Array, train: bool) -> jax.Array:
        x = BatchNorm(name="output_layer_0")(x, train)
        x = nn.Dropout(0.5, deterministic=not train)(x)
        # Published weights count channels first.
        x = x.transpose(0, 3, 1, 2).reshape(x.shape[0], -1)
        linear = Linear(
            self.embedding, kernel_init=_xavier, bias_init=_zeros, name="output_layer_3"
        )
        return BatchNorm(name="output_layer_4")(linear(x), train)


_PREPROCESS = Preprocess(112)

register("ir50", Architecture(IR, _PREPROCESS, options={"num_classes": 0}))
register("ir50_classifier", Architecture(IR, _PREPROCESS, options={"embedding": 0}))
