"""S2D: a vision transformer for images, made one for clips by prompts of landmarks and adapters over time.

The transformer of a static expression network sees every frame for itself. Before each block a prompt adds
to its tokens where the landmarks are, and what the other frames hold at the same place.
"""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn

from aufer_jax import errors
from aufer_jax.models.heads import heads
from aufer_jax.models.layers import Attention, Conv, LayerNorm, Linear, gelu
from aufer_jax.models.mae_dfer import IMAGENET, norm, small_normal, zeros
from aufer_jax.models.mobilefacenet import MobileFaceNet
from aufer_jax.models.registry import Architecture, register
from aufer_jax.models.remat import rematerialised
from aufer_jax.models.transformer import Block

LANDMARKS = ("given", "mobilefacenet", "mesh")
_SIGMA = 0.5  # of a drawn landmark, in tokens
_linear = functools.partial(Linear, kernel_init=small_normal, bias_init=zeros)
_xavier = nn.initializers.xavier_uniform(in_axis=-2, out_axis=-1)


class Adapter(nn.Module):
    """[..., C] -> [..., C] over `hidden` channels, with attention among rows [B, N, C] if `heads`."""

    hidden: int
    heads: int = 0

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        y = gelu(_linear(self.hidden, name="D_fc1")(x))
        if self.heads:
            if self.hidden % self.heads:
                raise errors.UserError(
                    f"adapter_heads: {self.heads} do not divide the adapter's width {self.hidden}"
                )
            y = Attention(
                self.heads,
                self.hidden // self.heads,
                qkv_bias=False,
                kernel_init=small_normal,
                bias_init=zeros,
                name="attn",
            )(y, train)
        return _linear(x.shape[-1], name="D_fc2")(y)


class TMAdapter(nn.Module):
    """Tokens [B * T, N, C] through an adapter over a place's frames, then one of each token."""

    frames: int
    hidden: int
    heads: int

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        _, places, width = x.shape
        y = x.reshape(-1, self.frames, places, width).transpose(0, 2, 1, 3)
        y = Adapter(self.hidden, self.heads, name="T_Adapter")(
            y.reshape(-1, self.frames, width), train
        )
        y = y.reshape(-1, places, self.frames, width).transpose(0, 2, 1, 3).reshape(x.shape)
        y = LayerNorm(epsilon=1e-5, name="norm")(y)
        return Adapter(self.hidden, name="S_Adapter")(y, train)


class Fovea(nn.Module):
    """Maps [B, h, w, C] times their own softmax over places, of a learned sharpness."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        smooth = self.param("smooth", nn.initializers.constant(10.0), (1,))
        flat = x.reshape(x.shape[0], -1, x.shape[-1])
        weights = jax.nn.softmax(flat.astype(jnp.float32) * smooth, axis=1)
        return (flat * weights.astype(x.dtype)).reshape(x.shape)


class PromptBlock(nn.Module):
    """Normalised maps of tokens and of landmarks [B * T, h, w, C] -> the prompt, and what adapters add."""

    frames: int
    hidden_dim: int
    adapter_hidden: int
    adapter_heads: int

    @nn.compact
    def __call__(
        self, x: jax.Array, landmarks: jax.Array, train: bool
    ) -> tuple[jax.Array, jax.Array]:
        rows, _, _, channels = x.shape
        conv = functools.partial(Conv, kernel_size=(1, 1), kernel_init=_xavier)
        seen = Fovea(name="fovea")(conv(self.hidden_dim, name="conv0_0")(x))
        shape = conv(self.hidden_dim, name="conv0_1")(landmarks)
        prompt = conv(channels, name="conv1x1")(seen + shape)
        adapter = TMAdapter(self.frames, self.adapter_hidden, self.adapter_heads, name="TMA")
        added = adapter(x.reshape(rows, -1, channels), train)
        return prompt, added.reshape(x.shape)


def resize_corners(x: jax.Array, height: int, width: int) -> jax.Array:
    """Images [B, H, W, C] in another size, linearly, the corner pixels staying where they are."""

    def matrix(length: int, size: int) -> jax.Array:
        at = jnp.arange(size) * ((length - 1) / max(size - 1, 1))
        return jnp.maximum(1 - jnp.abs(at[:, None] - jnp.arange(length)), 0).astype(x.dtype)

    return jnp.einsum("ih,bhwc,jw->bijc", matrix(x.shape[1], height), x, matrix(x.shape[2], width))


def drawn(landmarks: jax.Array, size: int, grid: tuple[int, int], channels: int) -> jax.Array:
    """Landmarks [B, L, 2] in pixels of `size` as maps [B, h, w, channels]: Gaussians on the grid of tokens.

    A channel holds its share of the points, in their order; unknown ones (NaN) and missing ones are nowhere.
    """
    known = jnp.isfinite(landmarks).all(-1)
    points = jnp.where(known[..., None], landmarks, 0.0)
    reach = 0.5 / _SIGMA**2

    def along(place: jax.Array, cells: int) -> jax.Array:
        centres = (jnp.arange(cells) + 0.5) * (size / cells)
        return jnp.exp(-reach * jnp.square((place[..., None] - centres) * (cells / size)))

    across, down = along(points[..., 0], grid[1]), along(points[..., 1], grid[0])
    count = points.shape[1]
    share = jax.nn.one_hot(jnp.arange(count) * channels // max(count, channels), channels)
    weight = known[..., None] * share
    return jnp.einsum("bly,blx,blc->byxc", down, across, weight)


class S2D(nn.Module):
    """Clips [B, T, H, W, 3] -> heads over the mean of the frames' normalised class tokens.

    `landmarks` says where the features of the face's shape come from: "given" [B * T, h, w, C] as
    `landmark_features`; "mobilefacenet", which is then a part of the network under `landmark_net`, never
    trained; "mesh", our own `landmarks` [B, T, L, 2] drawn as maps, empty ones where there are none.
    Maps: `landmark_tokens`, `prompt0_map`, `prompt0_adapter`, `block0`, `last`.
    """

    num_classes: int | None = 7
    num_aus: int | None = None
    patch: int = 16
    dim: int = 768
    depth: int = 12
    heads: int = 12
    mlp_ratio: float = 4.0
    hidden_dim: int = 8  # of a prompt
    adapter_scale: float = 0.25
    adapter_heads: int = 8
    landmark_channels: int = 128
    head_dropout: float = 0.5
    landmarks: str = "given"

    @property
    def geometry(self) -> bool:
        """Whether the landmarks of the faces are read."""
        return self.landmarks == "mesh"

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        train: bool = False,
        landmark_features: jax.Array | None = None,
        landmarks: jax.Array | None = None,
        **_: jax.Array,
    ) -> dict[str, jax.Array]:
        batch, frames, height, width = x.shape[:4]
        if height % self.patch or width % self.patch:
            raise errors.UserError(
                f"image: {height} x {width} is not a multiple of the patch {self.patch}"
            )
        grid = (height // self.patch, width // self.patch)
        x = x.reshape(-1, *x.shape[2:])
        if landmark_features is None:
            landmark_features = self._features(x, grid, landmarks)
        a = Conv(self.dim, (1, 1), name="patch_embed_prompt_proj")(
            landmark_features.astype(x.dtype)
        )
        if a.shape[1:3] != grid:
            raise errors.UserError(
                f"landmark_features: a map of {a.shape[1:3]}, the tokens are {grid}"
            )
        x = Conv(self.dim, (self.patch,) * 2, self.patch, name="patch_embed_proj")(x)
        x, out = self._blocks(x, a, frames, train)
        x = norm(name="ln_post")(x)[:, 0].reshape(batch, frames, -1)
        features = nn.Dropout(self.head_dropout, deterministic=not train)(x.mean(1))
        return out | heads(
            features,
            self.num_classes,
            self.num_aus,
            fc="head_fc_cls",
            kernel_init=small_normal,
            bias_init=zeros,
        )

    def _features(
        self, x: jax.Array, grid: tuple[int, int], landmarks: jax.Array | None
    ) -> jax.Array:
        """Landmark features of images [B * T, H, W, 3]."""
        if self.landmarks not in LANDMARKS:
            raise errors.unknown("landmarks", self.landmarks, LANDMARKS)
        if self.landmarks == "mobilefacenet":
            net = MobileFaceNet(0, self.landmark_channels // 2, name="landmark_net")
            features = net(resize_corners(x, 8 * grid[0], 8 * grid[1]))["landmark_features"]
            return jax.lax.stop_gradient(features)
        if self.landmarks == "mesh" and landmarks is not None:
            points = landmarks.reshape(-1, *landmarks.shape[2:])  # [B, T, L, 2] -> [B * T, L, 2]
            return drawn(points, x.shape[1], grid, self.landmark_channels)
        if self.landmarks == "given" and not self.is_initializing():
            raise errors.UserError(
                "landmarks: 'given', but the model was called without landmark_features; "
                "landmarks='mobilefacenet' finds them itself"
            )
        return jnp.zeros((len(x), *grid, self.landmark_channels), x.dtype)

    def _blocks(
        self, x: jax.Array, a: jax.Array, frames: int, train: bool
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Maps of tokens and landmarks [B * T, h, w, C] -> tokens [B * T, 1 + N, C] after all blocks."""
        norms = [norm(name=f"prompt_norms_{i}") for i in range(self.depth)]
        norms[-1](a)  # the last one is stored, and read only where there are no others
        rows, height, width, _ = x.shape
        shape = (rows, height, width, self.dim)
        out, tokens = {"landmark_tokens": a.reshape(rows, -1, self.dim)}, x
        for i in range(self.depth):
            prompt = rematerialised(PromptBlock)(
                frames,
                self.hidden_dim,
                int(self.dim * self.adapter_scale),
                self.adapter_heads,
                name=f"prompt_blocks_{i}",
            )
            seen = tokens[:, 1:].reshape(shape) if i else x
            a, added = prompt(norms[max(i - 1, 0)](seen), norms[0](a), train)
            patches = (seen + added + a).reshape(rows, -1, self.dim)
            if i == 0:
                out |= {"prompt0_map": a, "prompt0_adapter": added.reshape(rows, -1, self.dim)}
                tokens = self._embedded(patches, frames)
            else:
                tokens = jnp.concatenate([tokens[:, :1], patches], axis=1)
            block = rematerialised(Block)(
                self.heads,
                self.mlp_ratio,
                kernel_init=small_normal,
                bias_init=zeros,
                name=f"blocks_{i}",
            )
            tokens = block(tokens, train)
            out.setdefault("block0", tokens)
        return tokens, out | {"last": tokens}

    def _embedded(self, patches: jax.Array, frames: int) -> jax.Array:
        """Patch tokens [B * T, N, C] with the class token, positions in the frame and in time."""
        rows, count, width = patches.shape
        token = self.param("cls_token", small_normal, (1, 1, width)).astype(patches.dtype)
        x = jnp.concatenate([jnp.broadcast_to(token, (rows, 1, width)), patches], axis=1)
        x = x + self.param("pos_embed", small_normal, (1, count + 1, width)).astype(x.dtype)
        time = self.param("temporal_embedding", small_normal, (1, frames, width)).astype(x.dtype)
        x = x.reshape(-1, frames, count + 1, width) + time[:, :, None]
        return x.reshape(rows, count + 1, width)


# What its authors train is all that one of these names is in.
TRAINED = ("temporal_embedding", "ln_post", "Adapter", "head", "prompt", "fc_au")
FROZEN = (rf"^(?!.*(?:{'|'.join(TRAINED)}))",)
_KEYS = (
    (r"^patch_embed(_prompt)?_proj/", r"patch_embed\1/proj/"),
    (r"^head_fc_cls/", "head/fc_cls/"),
    (r"/conv0_([01])/", r"/conv0~\1/"),
    (r"^landmark_net/conv_(\d+)/", r"landmark_net/conv~\1/"),
)
_SMALL = {
    "patch": 8,
    "dim": 32,
    "depth": 2,
    "heads": 2,
    "hidden_dim": 4,
    "adapter_heads": 2,
    "landmark_channels": 8,
}


def _row(size: int = 224, frames: int = 16, **options) -> Architecture:
    return Architecture(
        S2D,
        IMAGENET(size, frames=frames),
        input="clip",
        torch_keys=_KEYS,
        renamed=((r"^(module\.)?norm\.", r"\1ln_post."),),  # of the network that it was for images
        options=options,
    )


register("s2d", _row())
register("s2d_mobilefacenet", _row(landmarks="mobilefacenet"))
register("s2d_small", _row(32, 4, **_SMALL))  # for tests
