"""M3DFEL: R3D-18 on short instances of a clip, then a BiLSTM and gated attention over their bag."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

from aufer_jax.errors import UserError
from aufer_jax.models.heads import heads
from aufer_jax.models.layers import Conv, Linear
from aufer_jax.models.lstm import LSTM
from aufer_jax.models.registry import Architecture, Preprocess, register
from aufer_jax.models.video_resnet import trunk


class DMIN(nn.Module):
    """Dynamic multi-instance normalisation of a bag [B, n, C], n at least 2; no running statistics.

    Mean and variance are learned mixtures of each channel's over the bag (unbiased) and of the whole
    bag's, which are made of the former.
    """

    eps: float = 1e-5

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        ones, zeros = nn.initializers.ones, nn.initializers.zeros
        scale = self.param("scale", ones, (1, x.shape[-1], 1))[..., 0]
        bias = self.param("bias", zeros, (1, x.shape[-1], 1))[..., 0]
        mean_share = jax.nn.softmax(self.param("mean_weight", ones, (2,)))
        var_share = jax.nn.softmax(self.param("var_weight", ones, (2,)))
        x32 = x.astype(jnp.float32)
        mean_in = x32.mean(1, keepdims=True)
        var_in = x32.var(1, keepdims=True, ddof=1)
        mean_ln = mean_in.mean(-1, keepdims=True)
        var_ln = (var_in + mean_in**2).mean(-1, keepdims=True) - mean_ln**2
        mean = mean_share[0] * mean_in + mean_share[1] * mean_ln
        var = var_share[0] * var_in + var_share[1] * var_ln
        return ((x32 - mean) * jax.lax.rsqrt(var + self.eps) * scale + bias).astype(x.dtype)


class M3DFEL(nn.Module):
    """Clips [B, T, H, W, 3] -> heads over `video_feature`; T is fixed by the weights.

    A clip is cut into n = T / instance_length instances; the trunk's maps `features_0` (stem) to
    `features_4` have B * n rows, all later intermediates are [B, n, C].
    """

    num_classes: int = 7
    num_aus: int | None = None
    instance_length: int = 4
    layers: Sequence[int] = (2, 2, 2, 2)
    widths: Sequence[int] = (64, 128, 256, 512)
    hidden: int = 512  # of the LSTM, one direction
    attention_heads: int = 8

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> dict[str, jax.Array]:
        batch, frames = x.shape[:2]
        bag, rest = divmod(frames, self.instance_length)
        if rest or bag < 2:
            raise UserError(
                f"frames: {frames} given, but it must be a multiple of instance_length"
                f" {self.instance_length}, at least {2 * self.instance_length}"
            )
        x = x.reshape(batch * bag, self.instance_length, *x.shape[2:])
        convs = ("3d",) * len(self.widths)
        maps = list(trunk(x, train, convs, self.layers, self.widths).values())
        out = {f"features_{i}": m for i, m in enumerate(maps)}
        out["instance_features"] = maps[-1].mean((1, 2, 3)).reshape(batch, bag, -1)
        lstm = LSTM(self.hidden, layers=2, bidirectional=True, name="lstm")
        x = out["lstm_out"] = lstm(out["instance_features"])
        out["attn_out"] = self._attention(x)
        out["dmin_out"] = DMIN(name="norm")(out["attn_out"])
        out["gate"] = jax.nn.sigmoid(out["dmin_out"])
        out["bag_after"] = x * out["gate"]
        # The window slides along the features, the instances are its channels.
        mixed = Conv(1, (3,), padding=1, name="pwconv")(jnp.swapaxes(out["bag_after"], 1, 2))
        out["video_feature"] = mixed[..., 0]
        return out | heads(out["video_feature"], self.num_classes, self.num_aus)

    def _attention(self, x: jax.Array) -> jax.Array:
        """Heads side by side, without a projection after them."""
        batch, bag, width = x.shape
        qkv = Linear(3 * width, bias=False, name="to_qkv")(x)
        q, k, v = jnp.moveaxis(qkv.reshape(batch, bag, 3, self.attention_heads, -1), 2, 0)
        logits = jnp.einsum("bqhd,bkhd->bhqk", q * q.shape[-1] ** -0.5, k)
        weights = jax.nn.softmax(logits.astype(jnp.float32)).astype(x.dtype)
        return jnp.einsum("bhqk,bkhd->bqhd", weights, v).reshape(batch, bag, width)


_UNIT = Preprocess(112, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), frames=16)
_KEYS = (
    (r"^stem_", "features/0_"),
    (r"^layer(\d)_", r"features/\1_"),
)

register("m3dfel", Architecture(M3DFEL, _UNIT, input="clip", torch_keys=_KEYS))
register(
    "m3dfel_au",
    Architecture(M3DFEL, _UNIT, input="clip", torch_keys=_KEYS, options={"num_aus": 18}),
)
register(
    "m3dfel_small",
    Architecture(
        M3DFEL,
        _UNIT,
        input="clip",
        torch_keys=_KEYS,
        options={"layers": (1,) * 4, "widths": (8, 16, 32, 48), "hidden": 48, "attention_heads": 4},
    ),
)
