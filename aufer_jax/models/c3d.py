"""C3D: eight 3x3x3 convolutions, three linear layers; DFEW's with BatchNorm, Sports-1M's without."""

import functools

import jax
from flax import linen as nn

from aufer_jax.models.heads import heads
from aufer_jax.models.layers import BatchNorm, Conv, Linear, max_pool, torch_kernel_init
from aufer_jax.models.registry import Architecture, Preprocess, register

_STAGES = (("1",), ("2",), ("3a", "3b"), ("4a", "4b"), ("5a", "5b"))


class C3D(nn.Module):
    """Clips [B, T, H, W, 3] -> heads, `pool1`..`pool5`, `fc6`, `fc7` (before their ReLU).

    The convolutions' own outputs are there as `conv1`..`conv5b` and, with `batch_norm`, `bn1`..`bn5b`.
    The linear layers fix the clip's size: weights trained at 16x112x112 fit no other.
    """

    num_classes: int = 7
    num_aus: int | None = None
    batch_norm: bool = True
    width: int = 64  # of the first stage; the others 2, 4, 8 and 8 times that
    hidden: int = 4096  # of fc6 and fc7
    dropout: float = 0.5

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> dict[str, jax.Array]:
        outputs = {}
        for stage, layers in enumerate(_STAGES, 1):
            for layer in layers:
                width = self.width * min(2 ** (stage - 1), 8)
                x = outputs[f"conv{layer}"] = Conv(width, (3, 3, 3), 1, 1, name=f"conv{layer}")(x)
                if self.batch_norm:
                    x = outputs[f"bn{layer}"] = BatchNorm(name=f"bn{layer}")(x, train)
                x = jax.nn.relu(x)
            window = (1 if stage == 1 else 2, 2, 2)
            edge = int(stage == 5)
            x = max_pool(x, window, window, ((0, 0), (edge, edge), (edge, edge)))
            outputs[f"pool{stage}"] = x
        # DFEW's trainer draws its linear layers anew; the Sports-1M network keeps PyTorch's.
        init = nn.initializers.he_normal() if self.batch_norm else torch_kernel_init
        drop = nn.Dropout(self.dropout, deterministic=not train)
        x = x.transpose(0, 4, 1, 2, 3).reshape(x.shape[0], -1)  # the published order: C, T, H, W
        for name in ("fc6", "fc7"):
            x = outputs[name] = Linear(self.hidden, kernel_init=init, name=name)(x)
            x = drop(jax.nn.relu(x))
        return outputs | heads(x, self.num_classes, self.num_aus, fc="fc8", kernel_init=init)


_row = functools.partial(Architecture, C3D, input="clip")
_UNIT = Preprocess(112, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), frames=16)
_PIXELS = Preprocess(112, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), scale=1.0, frames=16)

register("c3d", _row(_UNIT))
register("c3d_sports1m", _row(_PIXELS, options={"num_classes": 487, "batch_norm": False}))
