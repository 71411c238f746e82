"""FRU-Adapter: beside every block of a frozen vision transformer for images, an adapter over frames.

The adapter first weighs the frames (the frame recalibration unit), then lets each place of the image attend
to itself in the other frames. Written from the paper's text and, where that is silent, from what the
authors' repository does; there are no reference values to compare with.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from aufer_jax import errors
from aufer_jax.models.heads import heads
from aufer_jax.models.layers import Conv, LayerNorm, Linear
from aufer_jax.models.mae_dfer import IMAGENET, norm, small_normal, zeros
from aufer_jax.models.registry import Architecture, register
from aufer_jax.models.remat import rematerialised
from aufer_jax.models.transformer import Block

ATTACH = ("parallel", "before")
RECALIBRATE = ("frames", "places", "none")
_torch_norm = functools.partial(LayerNorm, epsilon=1e-5)


class TemporalAttention(nn.Module):
    """T-SA: rows [B, T, C] plus what one head of attention among the T finds."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        width = x.shape[-1]
        seen = _torch_norm(name="norm")(x)
        q, k, v = (Linear(width, name=f"proj_{part}")(seen) for part in "QKV")
        logits = jnp.einsum("bqc,bkc->bqk", q * width**-0.5, k)
        weights = jax.nn.softmax(logits.astype(jnp.float32)).astype(x.dtype)
        return x + Linear(width, name="proj_output")(jnp.einsum("bqk,bkc->bqc", weights, v))


class FRUAdapter(nn.Module):
    """Tokens [B * T, N, C] -> what is added to them, of the same shape.

    The unit weighs frames by a softmax over their own: of the mean of a frame's tokens ("frames"), of each
    place's alone ("places"), or not at all ("none").
    """

    frames: int
    hidden: int
    recalibrate: str

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        _, places, width = x.shape
        y = _torch_norm(name="ln")(Linear(self.hidden, name="linear1")(x))
        y = y.reshape(-1, self.frames, places, self.hidden).transpose(0, 2, 1, 3)  # [B, N, T, h]
        if self.recalibrate != "none":
            mean = y.mean(-1) if self.recalibrate == "places" else y.mean((1, 3))[:, None]
            scores = Linear(self.frames, name="T_linear1")(mean)
            y = y * jax.nn.softmax(scores.astype(jnp.float32)).astype(y.dtype)[..., None]
        y = y.reshape(-1, self.frames, self.hidden)
        y = Linear(width, name="linear2")(TemporalAttention(name="TFormer")(y))
        return y.reshape(-1, places, self.frames, width).transpose(0, 2, 1, 3).reshape(x.shape)


class FRUAdapterViT(nn.Module):
    """Clips [B, T, H, W, 3] -> heads over the mean of frames, each the mean of its patches' tokens.

    `attach`: the adapter beside a block, block(x) + adapter(x), or before it, block(x + adapter(x)).
    Maps: `embedded`, `block0` and `last`, tokens [B * T, 1 + N, C]; `frames` [B, T, C].
    """

    num_classes: int | None = 7
    num_aus: int | None = None
    patch: int = 16
    dim: int = 1024
    depth: int = 24
    heads: int = 16
    mlp_ratio: float = 4.0
    adapter_dim: int = 128
    attach: str = "parallel"
    recalibrate: str = "frames"
    drop_path: float = 0.1

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> dict[str, jax.Array]:
        batch, frames, height, width = x.shape[:4]
        self._check(height, width)
        x = x.reshape(-1, *x.shape[2:])
        x = Conv(self.dim, (self.patch,) * 2, self.patch, name="patch_embed_proj")(x)
        x = x.reshape(x.shape[0], -1, self.dim)
        token = self.param("cls_token", small_normal, (1, 1, self.dim)).astype(x.dtype)
        x = jnp.concatenate([jnp.broadcast_to(token, (x.shape[0], 1, self.dim)), x], axis=1)
        x = x + self.param("pos_embed", small_normal, (1, *x.shape[1:])).astype(x.dtype)
        out = {"embedded": x}
        for i, rate in enumerate(np.linspace(0, self.drop_path, self.depth).tolist()):
            adapter = rematerialised(FRUAdapter)(
                frames, self.adapter_dim, self.recalibrate, name=f"tsea_blocks_{i}"
            )
            added = adapter(x)
            block = rematerialised(Block)(
                self.heads,
                self.mlp_ratio,
                drop_path=rate,
                kernel_init=small_normal,
                bias_init=zeros,
                name=f"blocks_{i}",
            )
            before = self.attach == "before"
            x = block(x + added, train) if before else block(x, train) + added
            out.setdefault("block0", x)
        out["last"] = x
        x = norm(name="fc_norm")(x[:, 1:].mean(1)).reshape(batch, frames, self.dim)
        out["frames"] = x
        x = Linear(self.dim, name="classifier_fc1")(x).mean(1)
        features = _torch_norm(name="classifier_norm")(x)
        return out | heads(features, self.num_classes, self.num_aus, fc="classifier_fc2")

    def _check(self, height: int, width: int) -> None:
        for name, permitted in (("attach", ATTACH), ("recalibrate", RECALIBRATE)):
            if getattr(self, name) not in permitted:
                raise errors.unknown(name, getattr(self, name), permitted)
        if height % self.patch or width % self.patch:
            raise errors.UserError(
                f"image: {height} x {width} is not a multiple of the patch {self.patch}"
            )


# What its authors train is all that one of these names is in.
TRAINED = ("norm", "cls_token", "tsea", "classifier", "fc_au")
FROZEN = (rf"^(?!.*(?:{'|'.join(TRAINED)}))",)

register(
    "fru_adapter",
    Architecture(
        FRUAdapterViT,
        IMAGENET(224, frames=16),
        input="clip",
        torch_keys=(
            (r"^patch_embed_proj/", "patch_embed/proj/"),
            (r"^classifier_(\w+)/", r"classifier/\1/"),
        ),
        unused=(r"^(?:head|norm|ID_head|decoder\w*)\.", r"^(?:mask_token|decoder_pos_embed)$"),
    ),
)
