"""Vision transformers that others pre-trained, as hosts: CLIP, DINOv2, DINOv3, VideoMAE and V-JEPA 2.

The options say what a family has; the names of weights are those of Hugging Face's files. Encoders of images
see every frame for itself. What is added (adapters, a head over time, heads) is all that learns if the rest
stays as it is: `FROZEN`.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from aufer_jax import errors
from aufer_jax.models import encoder_keys
from aufer_jax.models.attention import attend
from aufer_jax.models.heads import heads
from aufer_jax.models.layers import Conv, LayerNorm, Linear, gelu
from aufer_jax.models.mae_dfer import IMAGENET, sinusoids, small_normal, zeros
from aufer_jax.models.registry import Architecture, Preprocess, register
from aufer_jax.models.remat import rematerialised
from aufer_jax.models.transformer import Block

POSITIONS = ("learned", "sinusoids", "rope")
POOLS = ("token", "mean", "whole")
MLPS = ("gelu", "quick_gelu", "swiglu", "swiglu_fused")
TEMPORAL = ("mean", "attention")
ADAPTERS = ("none", "serial", "parallel", "lora")
_linear = functools.partial(Linear, kernel_init=small_normal, bias_init=zeros)


class Adapter(nn.Module):
    """[..., C] -> [..., C] through few channels; zero at first."""

    hidden: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = gelu(_linear(self.hidden, name="down")(x))
        return _linear(x.shape[-1], kernel_init=zeros, name="up")(y)


class LoRA(nn.Module):
    """[..., C] -> [..., C], a matrix of low rank; zero at first."""

    rank: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = _linear(self.rank, bias=False, name="down")(x)
        return _linear(x.shape[-1], bias=False, kernel_init=zeros, name="up")(y)


class Attention(nn.Module):
    """Self-attention among tokens [B, N, C] with three matrices; `lora_rank` adds to queries and values."""

    heads: int
    biases: str  # of "qkv"
    lora_rank: int
    lora_scale: float

    @nn.compact
    def __call__(self, x: jax.Array, rotation: np.ndarray | None, halves: bool) -> jax.Array:
        width = x.shape[-1]
        if width % self.heads:
            raise errors.UserError(f"heads: {self.heads} do not divide the width {width}")

        def projected(name: str) -> jax.Array:
            y = _linear(width, bias=name[0] in self.biases, name=name)(x)
            if self.lora_rank and name != "key":
                y += self.lora_scale * LoRA(self.lora_rank, name=f"lora_{name}")(x)
            return y.reshape(*y.shape[:2], self.heads, -1).transpose(0, 2, 1, 3)

        q, k, v = projected("query"), projected("key"), projected("value")
        if rotation is not None:
            q, k = rotated(q, rotation, halves), rotated(k, rotation, halves)
        y = attend(self, q, k, v).swapaxes(1, 2).reshape(x.shape)
        return _linear(width, name="proj")(y)


def rotated(x: jax.Array, rotation: np.ndarray, halves: bool) -> jax.Array:
    """Queries or keys [B, heads, N, D] turned by the angles of `rotation` [2, N, D], cosines and sines.

    What turns together are the halves of D, or neighbours in it.
    """
    cos, sin = (jnp.asarray(part, x.dtype) for part in rotation)
    if halves:
        first, second = jnp.split(x, 2, axis=-1)
        turned = jnp.concatenate([-second, first], axis=-1)
    else:
        first, second = x[..., 0::2], x[..., 1::2]
        turned = jnp.stack([-second, first], axis=-1).reshape(x.shape)
    return x * cos + turned * sin


@functools.cache
def image_rotation(grid: tuple[int, int], extra: int, width: int) -> np.ndarray:
    """DINOv3's angles of patches, by where they are in the image; `extra` tokens before them have none."""
    rates = 100.0 ** -np.arange(0, 1, 4 / width)
    down, across = (2 * (np.arange(n) + 0.5) / n - 1 for n in grid)
    places = np.stack(np.meshgrid(down, across, indexing="ij"), axis=-1).reshape(-1, 2)
    angles = (2 * np.pi * places[:, :, None] * rates).reshape(len(places), -1)
    angles = np.pad(np.tile(angles, 2), ((extra, 0), (0, 0)))
    return np.stack([np.cos(angles), np.sin(angles)]).astype(np.float32)


@functools.cache
def video_rotation(grid: tuple[int, int, int], width: int) -> np.ndarray:
    """V-JEPA 2's angles of tubelets: a third of the channels for each axis, the rest without.

    Neighbouring channels are a pair, while the rates follow each other twice: so its weights were trained.
    """
    third = width // 3 // 2 * 2
    rates = 10000.0 ** -(np.arange(third // 2) / max(third // 2, 1))
    angles = np.concatenate(
        [np.tile(at.reshape(-1, 1) * rates, 2) for at in np.indices(grid)], axis=1
    )
    angles = np.pad(angles, ((0, 0), (0, width - angles.shape[1])))
    return np.stack([np.cos(angles), np.sin(angles)]).astype(np.float32)


class FeedForward(nn.Module):
    """[..., C] -> hidden -> C; with a gate two layers, or one for both, as in DINOv2's files."""

    hidden: int
    kind: str

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        width = x.shape[-1]
        if self.kind == "swiglu_fused":
            gate, y = jnp.split(_linear(2 * self.hidden, name="weights_in")(x), 2, axis=-1)
            return _linear(width, name="weights_out")(jax.nn.silu(gate) * y)
        y = _linear(self.hidden, name="fc1")(x)
        if self.kind == "swiglu":
            y = jax.nn.silu(_linear(self.hidden, name="gate")(x)) * y
        else:
            y = gelu(y) if self.kind == "gelu" else y * jax.nn.sigmoid(1.702 * y)
        return _linear(width, name="fc2")(y)


class PretrainedViT(nn.Module):
    """Clips [B, T, H, W, 3] -> heads over the mean of times, or over a block of attention among them.

    Maps: `embedded` and `last`, tokens [B * T, N, C] of frames, or [B, t * N, C] of a clip with `tubelet`;
    `tokens`, the last ones normalised; `times` [B, t, C].
    """

    num_classes: int | None = 7
    num_aus: int | None = None
    patch: int = 16
    tubelet: int | None = None  # frames of a token; None: every frame for itself
    dim: int = 768
    depth: int = 12
    heads: int = 12
    hidden: int = 3072
    class_token: bool = True
    registers: int = 0
    positions: str = "learned"  # or another of POSITIONS
    flat_embeddings: bool = False  # class token [C] and positions [N, C], in place of [1, N, C]
    patch_bias: bool = True
    pre_norm: bool = False  # before the first block
    biases: str = "qkv"  # of queries, keys, values
    layer_scale: bool = False
    mlp: str = "gelu"  # or another of MLPS
    epsilon: float = 1e-6
    pool: str = "token"  # or "mean" of a time's patches; "whole": the mean of all, then normalised
    temporal: str = "mean"
    adapter: str = "none"
    adapter_dim: int = 64  # or the rank
    adapter_scale: float = 1.0

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> dict[str, jax.Array]:
        self._check(x)
        batch, window = x.shape[0], (self.patch, self.patch)
        if self.tubelet:
            window = (self.tubelet, *window)
        else:
            x = x.reshape(-1, *x.shape[2:])
        x = Conv(
            self.dim, window, window, bias=self.patch_bias, kernel_init=small_normal, name="embed"
        )(x)
        grid = x.shape[1:-1]
        x = self._embedded(x.reshape(x.shape[0], -1, self.dim))
        norm = functools.partial(LayerNorm, epsilon=self.epsilon)
        x = norm(name="pre_norm")(x) if self.pre_norm else x
        out, rotation = {"embedded": x}, self._rotation(grid)
        layer = rematerialised(PretrainedViT._layer, static=("i",))
        for i in range(self.depth):
            x = layer(self, i, x, rotation)
        out["last"] = x
        if self.pool == "whole":
            x = norm(name="norm")(x.mean(1, keepdims=True))
        else:
            x = out["tokens"] = norm(name="norm")(x)
            x = x.reshape(batch, -1, x.shape[1] // (grid[0] if self.tubelet else 1), self.dim)
            x = (
                x[:, :, 0]
                if self.pool == "token"
                else x[:, :, self.class_token + self.registers :].mean(2)
            )
        out["times"] = x
        if self.temporal == "attention":
            place = self.param("temporal_embedding", small_normal, (1, *x.shape[1:]))
            x = Block(self.heads, mlp_ratio=1.0, name="temporal_block")(
                x + place.astype(x.dtype), train
            )
        init = {"kernel_init": small_normal, "bias_init": zeros}
        return out | heads(x.mean(1), self.num_classes, self.num_aus, fc="classifier", **init)

    def _check(self, x: jax.Array) -> None:
        for name, permitted in (
            ("positions", POSITIONS),
            ("pool", POOLS),
            ("mlp", MLPS),
            ("temporal", TEMPORAL),
            ("adapter", ADAPTERS),
        ):
            if getattr(self, name) not in permitted:
                raise errors.unknown(name, getattr(self, name), permitted)
        if set(self.biases) - set("qkv"):
            raise errors.UserError(f"biases: {self.biases!r} must be letters of 'qkv'")
        steps = (self.tubelet or 1, self.patch, self.patch)
        for axis, size, step in zip("THW", x.shape[1:4], steps, strict=True):
            if size % step:
                raise errors.UserError(f"{axis} of the clip: {size} is not a multiple of {step}")
        if self.tubelet and (self.class_token or self.registers):
            raise errors.UserError(
                f"tubelet: {self.tubelet}, of encoders of clips, without class_token and registers"
            )
        if self.pool == "token" and not self.class_token:
            raise errors.UserError("pool: 'token', but class_token is False; 'mean' needs none")
        if self.pool == "whole" and not self.tubelet:
            raise errors.UserError(
                "pool: 'whole' is for encoders of clips; 'mean' for those of images"
            )

    def _embedded(self, x: jax.Array) -> jax.Array:
        """Tokens of patches with what stands before them and where they are."""

        def learned(name: str, count: int) -> jax.Array:
            shape = (1, count, self.dim)
            stored = shape[1 + (count == 1) :] if self.flat_embeddings else shape
            return self.param(name, small_normal, stored).astype(x.dtype).reshape(shape)

        def before(token: jax.Array, x: jax.Array) -> jax.Array:
            return jnp.concatenate([jnp.broadcast_to(token, (x.shape[0], *token.shape[1:])), x], 1)

        x = before(learned("class_token", 1), x) if self.class_token else x
        if self.positions == "learned":
            x += learned("positions", x.shape[1])
        elif self.positions == "sinusoids":
            x += jnp.asarray(sinusoids(*x.shape[1:]), x.dtype)
        if self.registers:  # after the class token, without positions
            own = int(self.class_token)
            x = jnp.concatenate(
                [x[:, :own], before(learned("registers", self.registers), x[:, own:])], axis=1
            )
        return x

    def _rotation(self, grid: tuple[int, ...]) -> np.ndarray | None:
        width = self.dim // self.heads
        if self.positions != "rope":
            return None
        if self.tubelet:
            return video_rotation(grid, width)
        return image_rotation(grid, self.class_token + self.registers, width)

    def _layer(self, i: int, x: jax.Array, rotation: np.ndarray | None) -> jax.Array:
        """Block i on tokens [B, N, C]; adapters add after its scales."""
        name = f"layer_{i}_"
        lora = self.adapter_dim if self.adapter == "lora" else 0
        attention = Attention(
            self.heads, self.biases, lora, self.adapter_scale, name=name + "attention"
        )

        def scaled(y: jax.Array, which: str) -> jax.Array:
            if not self.layer_scale:
                return y
            scale = self.param(name + which, nn.initializers.ones, (self.dim,))
            return y * scale.astype(y.dtype)

        norm = functools.partial(LayerNorm, epsilon=self.epsilon)
        y = attention(norm(name=name + "norm1")(x), rotation, self.tubelet is None)
        x = x + scaled(y, "scale1")
        seen = norm(name=name + "norm2")(x)
        y = scaled(FeedForward(self.hidden, self.mlp, name=name + "mlp")(seen), "scale2")
        if self.adapter in ("serial", "parallel"):
            adapter = Adapter(self.adapter_dim, name=name + "adapter")
            y = y + self.adapter_scale * adapter(y if self.adapter == "serial" else seen)
        return x + y


# What is added to a pre-trained encoder is all that one of these names is in; it learns.
TRAINED = ("adapter", "lora", "temporal", "classifier", "fc_au")
FROZEN = (rf"^(?!.*(?:{'|'.join(TRAINED)}))",)


def _row(family: str, preprocess: Preprocess, **options) -> None:
    register(
        family,
        Architecture(
            PretrainedViT,
            preprocess,
            input="clip",
            torch_keys=encoder_keys.KEYS[family],
            unused=encoder_keys.UNUSED,
            renamed=encoder_keys.RENAMED,
            options=options,
        ),
    )


_row(
    "clip",  # ViT-B/16
    Preprocess(
        224,
        mean=(0.48145466, 0.4578275, 0.40821073),
        std=(0.26862954, 0.26130258, 0.27577711),
        frames=16,
    ),
    flat_embeddings=True,
    patch_bias=False,
    pre_norm=True,
    mlp="quick_gelu",
    epsilon=1e-5,
)
_row("dinov2", IMAGENET(224, frames=16), patch=14, layer_scale=True)  # ViT-B/14
_row(  # ViT-B/16
    "dinov3",
    IMAGENET(224, frames=16),
    registers=4,
    positions="rope",
    biases="qv",
    layer_scale=True,
    epsilon=1e-5,
)
_CLIPS = {"tubelet": 2, "class_token": False, "pool": "mean"}
_row(  # ViT-B/16
    "videomae",
    IMAGENET(224, frames=16),
    positions="sinusoids",
    biases="qv",
    epsilon=1e-12,
    **_CLIPS,
)
_row(  # ViT-L/16
    "vjepa2",
    IMAGENET(256, frames=16),
    dim=1024,
    depth=24,
    heads=16,
    hidden=4096,
    positions="rope",
    **_CLIPS,
)
