"""A ResNet on every frame and an LSTM over them: the DFEW authors' network, and a true ResNet-18's."""

from collections.abc import Sequence

import jax
from flax import linen as nn

from aufer_jax.models.heads import heads
from aufer_jax.models.lstm import LSTM
from aufer_jax.models.registry import Architecture, Preprocess, register
from aufer_jax.models.resnet import ResNet

_kaiming_fan_in = nn.initializers.he_normal()


class ResNetLSTM(nn.Module):
    """Clips [B, T, H, W, 3] -> heads over all T states of the LSTM side by side; so T is fixed.

    Maps `maxpool`, `layer1`..`layer4` and the means `avgpool` have B * T rows, a clip's frames
    together; `LSTM` is [B, T, hidden].
    """

    num_classes: int = 7
    num_aus: int | None = None
    block: str = "bottleneck"
    layers: Sequence[int] = (2, 2, 2, 2)
    width: int = 64
    caffe: bool = True
    hidden: int = 256
    lstm_layers: int = 3

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> dict[str, jax.Array]:
        batch, frames = x.shape[:2]
        resnet = ResNet(0, 0, self.block, tuple(self.layers), self.width, self.caffe, name="resnet")
        maps = resnet(x.reshape(batch * frames, *x.shape[2:]), train)
        maps["maxpool"], maps["avgpool"] = maps.pop("stem"), maps.pop("features")
        x = maps["avgpool"].reshape(batch, frames, -1)
        x = maps["LSTM"] = LSTM(self.hidden, self.lstm_layers, name="LSTM")(x)
        x = x.reshape(batch, -1)
        return maps | heads(
            x, self.num_classes, self.num_aus, fc="output", kernel_init=_kaiming_fan_in
        )


def _row(**options) -> Architecture:
    unit = Preprocess(112, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), frames=16)
    return Architecture(
        ResNetLSTM, unit, input="clip", torch_keys=((r"^resnet/", ""),), options=options
    )


register("resnet18_lstm", _row())  # bottlenecks in spite of its name, as published
register("resnet18_lstm_basic", _row(block="basic", caffe=False))
