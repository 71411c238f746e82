"""P3D: bottlenecks whose 3x3x3 is split into a spatial S and a temporal T, joined in three ways."""

import functools
import itertools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

from aufer_jax import errors
from aufer_jax.models.heads import heads
from aufer_jax.models.layers import BatchNorm, Conv, max_pool, torch_kernel_init
from aufer_jax.models.registry import Architecture, Preprocess, register
from aufer_jax.models.remat import rematerialised

STRUCTURES = ("A", "B", "C")
_kaiming_fan_in = nn.initializers.he_normal()


def _published_init(key, shape, dtype=jnp.float32):
    """Kaiming's normal by fan out, which the reference counts without the window's last axis."""
    kt, kh, _, _, out = shape
    return math.sqrt(2 / (kt * kh * out)) * jax.random.normal(key, shape, dtype)


class Bottleneck(nn.Module):
    """Maps [B, *space, C] -> [B, *space', 4 * width]; `stride` is of height and width only.

    `structure` "A": T after S; "B": S and T side by side, summed; "C": S plus T after S; "2d": a
    plain 3x3 on images.
    """

    width: int
    stride: int
    structure: str

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        flat, out = self.structure == "2d", 4 * self.width
        init = torch_kernel_init if flat else _published_init
        conv = functools.partial(Conv, bias=False, kernel_init=init)
        one = (1, 1) if flat else (1, 1, 1)
        strides = (self.stride,) * 2 if flat else (1, self.stride, self.stride)

        def unit(x, tag, window, strides: int | tuple[int, ...] = 1):
            padding = [k // 2 for k in window]
            x = conv(self.width, window, strides, padding, name=f"conv{tag}")(x)
            return jax.nn.relu(BatchNorm(name=f"bn{tag}")(x, train))

        spatial = functools.partial(unit, tag=2, window=(1, 3, 3))
        temporal = functools.partial(unit, tag=3, window=(3, 1, 1))
        y = unit(x, 1, one, strides)
        if flat:
            y = unit(y, "_normal", (3, 3))
        elif self.structure == "A":
            y = temporal(spatial(y))
        elif self.structure == "B":
            y = spatial(y) + temporal(y)
        else:
            y = spatial(y)
            y = y + temporal(y)
        y = conv(out, one, name="conv4")(y)
        y = BatchNorm(name="bn4")(y, train)
        if self.stride != 1 or x.shape[-1] != out:
            x = conv(out, one, strides, name="downsample_0")(x)
            x = BatchNorm(name="downsample_1")(x, train)
        return jax.nn.relu(y + x)


class P3D(nn.Module):
    """Clips [B, T, H, W, 3], T from 16 on -> heads and the maps `bn1`, `maxpool`, `layer1`..`layer4`.

    The last stage sees single frames: a 16-frame clip has become one; of a longer clip every frame
    left goes through on its own and the mean over them reaches the heads.
    """

    num_classes: int = 7
    num_aus: int | None = None
    layers: Sequence[int] = (3, 4, 6, 3)
    structures: Sequence[str] = ("A", "B", "C")  # taken in turn by the blocks of the first stages
    width: int = 64
    dropout: float = 0.5

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> dict[str, jax.Array]:
        for structure in self.structures:
            if structure not in STRUCTURES:
                raise errors.unknown("structures", structure, STRUCTURES)
        if x.shape[1] < 16:
            raise errors.UserError(
                f"frames: {x.shape[1]} given, but P3D halves them four times and needs at least 16"
            )
        x = Conv(
            self.width,
            (1, 7, 7),
            (1, 2, 2),
            (0, 3, 3),
            bias=False,
            kernel_init=_published_init,
            name="conv1_custom",
        )(x)
        x = BatchNorm(name="bn1")(x, train)
        outputs = {"bn1": x}
        x = max_pool(jax.nn.relu(x), (2, 3, 3), (2, 2, 2), ((0, 0), (1, 1), (1, 1)))
        outputs["maxpool"] = x
        structures = itertools.cycle(self.structures)
        for stage, count in enumerate(self.layers, 1):
            last = stage == len(self.layers)
            if last:
                batch, frames = x.shape[:2]
                x = x.reshape(batch * frames, *x.shape[2:])
            for i in range(count):
                stride = 2 if stage > 1 and i == 0 else 1
                structure = "2d" if last else next(structures)
                width = self.width * 2 ** (stage - 1)
                block = rematerialised(Bottleneck)(
                    width, stride, structure, name=f"layer{stage}_{i}"
                )
                x = block(x, train)
            outputs[f"layer{stage}"] = x
            if not last:
                x = max_pool(x, (2, 1, 1), (2, 1, 1))
        x = x.mean((1, 2)).reshape(batch, frames, -1).mean(1)
        x = nn.Dropout(self.dropout, deterministic=not train)(x)
        return outputs | heads(x, self.num_classes, self.num_aus, kernel_init=_kaiming_fan_in)


_IMAGENET = Preprocess(160, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), frames=16)

for _depth, _layers in {63: (3, 4, 6, 3), 131: (3, 4, 23, 3), 199: (3, 8, 36, 3)}.items():
    register(
        f"p3d{_depth}", Architecture(P3D, _IMAGENET, input="clip", options={"layers": _layers})
    )
