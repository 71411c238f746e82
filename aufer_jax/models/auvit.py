"""AU-ViT: a convolutional embedding, a two-stage transformer and an AU branch; and the plain CNN-ViT."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from aufer_jax import facs
from aufer_jax.errors import UserError
from aufer_jax.geometry.landmarks import MESH_FEATURES
from aufer_jax.geometry.mean_face import NEUTRAL
from aufer_jax.models.au_branch import AUBranch
from aufer_jax.models.ir import IR
from aufer_jax.models.layers import Conv, LayerNorm, Linear, gelu
from aufer_jax.models.registry import Architecture, Preprocess, register
from aufer_jax.models.remat import rematerialised
from aufer_jax.models.transformer import Block
from aufer_jax.models.vit import ViT, small_normal


class Transformer(nn.Module):
    """One stage: blocks on a map [B, H, W, C], returned after every block."""

    depth: int
    heads: int
    mlp_ratio: float
    conv_ffn: bool

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> list[jax.Array]:
        tokens = x.reshape(x.shape[0], -1, x.shape[-1])
        maps = []
        for i in range(self.depth):
            block = rematerialised(Block)(
                self.heads, self.mlp_ratio, self.conv_ffn, name=f"blocks_{i}"
            )
            tokens = block(tokens, train)
            maps.append(tokens.reshape(x.shape))
        return maps


class PatchMerging(nn.Module):
    """[B, H, W, C] -> [B, H/2, W/2, 2C] by a strided convolution, two outputs of each channel."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        c = x.shape[-1]
        return Conv(2 * c, (3, 3), strides=2, padding=1, groups=c, name="conv")(x)


class Geometry(nn.Module):
    """Landmarks [B, 68, 2] and blendshapes [B, 52] of a face -> [B, width]; unknown ones are as the average.

    Our addition: what a face mesh knows of a face and a small network would need many faces to learn.
    """

    width: int = 96
    unknown: float = 0.1  # share of training rows in which they are hidden
    dropout: float = 0.3

    @nn.compact
    def __call__(
        self,
        rows: int,
        landmarks: jax.Array | None,
        blendshapes: jax.Array | None,
        train: bool,
        dtype: jax.typing.DTypeLike,
    ) -> jax.Array:
        if landmarks is None:
            landmarks = jnp.full((rows, 68, 2), jnp.nan)
        if blendshapes is None:
            blendshapes = jnp.full((rows, len(facs.BLENDSHAPES)), jnp.nan)
        # Brought to zero and about one; most blendshapes are near 0.
        points = 10.0 * (_centred(landmarks) - _centred(jnp.asarray(NEUTRAL[:, :2], jnp.float32)))
        shapes = 4.0 * (jnp.sqrt(blendshapes) - 0.25)
        shown = jnp.ones((rows, 1), bool)
        if train:
            shown = jax.random.bernoulli(self.make_rng("dropout"), 1 - self.unknown, (rows, 1))
        parts = [
            jnp.where(shown & jnp.isfinite(part).all(1, keepdims=True), part, 0.0)
            for part in (points.reshape(rows, -1), shapes)
        ]
        y = gelu(Linear(self.width, name="linear1")(jnp.concatenate(parts, 1).astype(dtype)))
        y = nn.Dropout(self.dropout, deterministic=not train)(y)
        y = gelu(Linear(self.width, name="linear2")(y))
        return nn.Dropout(self.dropout, deterministic=not train)(y)


class MeshHead(nn.Module):
    """Mesh features [B, 512] -> logits [B, num_classes]; of unknown ones 0.

    Our addition: a second opinion, fitted by logistic regression (`runs.shipping`) and not by training, which
    begins with none.
    """

    num_classes: int

    @nn.compact
    def __call__(self, features: jax.Array) -> jax.Array:
        known = jnp.isfinite(features).all(1, keepdims=True)
        zeros = nn.initializers.zeros
        read = Linear(self.num_classes, kernel_init=zeros, bias_init=zeros, name="linear")
        return jnp.where(known, read(jnp.where(known, features, 0.0)), 0.0)


def _centred(points: jax.Array) -> jax.Array:
    """Points [..., 68, 2] around 0 and of size 1."""
    points = points - points.mean(-2, keepdims=True)
    return points / jnp.sqrt(jnp.square(points).mean((-2, -1), keepdims=True) + 1e-9)


def _cnn(model: Any) -> IR:
    """The convolutional embedding that the options `ir_*` and `stem_*` of a model describe."""
    return IR(
        num_classes=0,
        embedding=0,
        units=model.ir_units,
        channels=model.ir_channels,
        strides=model.ir_strides,
        stem_kernel=model.stem_kernel,
        stem_stride=model.stem_stride,
        name="cnn",
    )


class AUViT(nn.Module):
    """Images [B, H, W, 3] -> `expression` [B, num_classes] and `au` [B, len(aus)].

    The switches are the rows of the paper's ablation: `cnn_embedding` (otherwise patches of the image),
    `multistage` (merging patches between the stages), `conv_ffn`, `patch_flatten` (otherwise the global
    average) and `regions` (None: no AU branch). `supervise_layer` counts the blocks before the AU
    branch; None is the end of the first stage, where `au_after_merging` says which side of the merging
    is read. The published crops are for a 14x14 map, so the default reads before the merging.
    """

    num_classes: int = 7
    aus: Sequence[int] = facs.AU_VIT_21
    regions: int | None = 7
    maxout: bool = True
    supervise_layer: int | None = None
    au_after_merging: bool = False
    shared_norm: bool = False  # the AU heads read through the expression head's norm
    cnn_embedding: bool = True
    projection: bool = False  # a 3x3 convolution after the CNN even where that is `dim` wide
    multistage: bool = True
    conv_ffn: bool = True
    patch_flatten: bool = True
    dim: int = 256  # of the first stage; the second doubles it where patches are merged
    depth: Sequence[int] = (4, 2)
    heads: Sequence[int] = (8, 16)
    mlp_ratio: float = 4.0
    ir_units: Sequence[int] = (3, 4, 14)
    ir_channels: Sequence[int] = (64, 128, 256)
    ir_strides: Sequence[int] | None = None  # None: 2 at every stage
    stem_kernel: int = 3
    stem_stride: int = 1
    patch: int = 16  # side of a patch without the CNN embedding
    flatten_dropout: float = 0.5
    geometry: bool = False  # reads the landmarks and blendshapes of the face too
    mesh_head: bool = False  # asks the features of the network that found the face's mesh too

    @nn.compact
    def __call__(
        self,
        x: jax.Array,
        train: bool = False,
        landmarks: jax.Array | None = None,  # [B, 68, 2] in pixels, NaN where unknown, as
        blendshapes: jax.Array | None = None,  # [B, 52] are, and
        mesh_features: jax.Array | None = None,  # [B, 512]
    ) -> dict[str, jax.Array]:
        self._check()
        shape = None
        if self.geometry:
            read = Geometry(name="geometry")
            shape = read(x.shape[0], landmarks, blendshapes, train, x.dtype)
        outputs = {}
        x = self._embed(x, train, outputs)
        position = self.param("pos_embed", small_normal, (1, x.shape[1] * x.shape[2], self.dim))
        x = x + position.astype(x.dtype).reshape(1, *x.shape[1:])
        maps = []  # after every block
        for stage, (depth, heads) in enumerate(zip(self.depth, self.heads, strict=True)):
            transformer = Transformer(
                depth, heads, self.mlp_ratio, self.conv_ffn, name=f"transformers_{stage}"
            )
            maps += transformer(x, train)
            x = outputs[f"stage{stage + 1}"] = maps[-1]
            if stage + 1 < len(self.depth) and self.multistage:
                x = PatchMerging(name=f"pools_{stage}")(x)
                if self.au_after_merging:
                    maps[-1] = x
        norm = LayerNorm(epsilon=1e-6, name="norm")
        if self.regions and self.aus:
            supervise_layer = self.supervise_layer or sum(self.depth[:-1])
            outputs["base"] = maps[supervise_layer - 1]
            shared = norm if self.shared_norm else None
            branch = AUBranch(self.regions, self.aus, self.maxout, shared, name="au_branch")
            outputs |= branch(outputs["base"])
            if shape is not None:
                outputs["au"] += Linear(len(self.aus), name="geometry_au")(shape)
        pooled = self._pool(x, train, outputs)
        if shape is not None:
            pooled += Linear(pooled.shape[-1], name="geometry_features")(shape)
        outputs["features"] = norm(pooled)
        if self.num_classes:
            outputs["expression"] = Linear(self.num_classes, name="head")(outputs["features"])
            if self.mesh_head:
                if mesh_features is None:
                    mesh_features = jnp.full((x.shape[0], MESH_FEATURES), jnp.nan)
                second = MeshHead(self.num_classes, name="mesh_head")(mesh_features)
                outputs["expression"] += second.astype(x.dtype)
        return outputs

    def _check(self) -> None:
        if self.mesh_head and not self.geometry:
            raise UserError("mesh_head: reads what is read with geometry=True only")
        if len(self.depth) != len(self.heads):
            raise UserError(f"depth {self.depth} and heads {self.heads} must name the same stages")
        blocks = sum(self.depth)
        if self.supervise_layer is not None and not 1 <= self.supervise_layer <= blocks:
            raise UserError(f"supervise_layer: {self.supervise_layer} is not in 1..{blocks}")

    def _embed(self, x: jax.Array, train: bool, outputs: dict) -> jax.Array:
        """Images -> the map [B, H, W, dim] of tokens."""
        if not self.cnn_embedding:
            size = (self.patch, self.patch)
            x = Conv(self.dim, size, self.patch, name="patch_embed")(x)
        else:
            x = outputs["cnn"] = _cnn(self)(x, train)["feature_map"]
            if self.projection or x.shape[-1] != self.dim:
                x = Conv(self.dim, (3, 3), padding=1, name="patch_embed")(x)
        outputs["patch_embed"] = x
        return x

    def _pool(self, x: jax.Array, train: bool, outputs: dict) -> jax.Array:
        """The last map -> the vector [B, width] that the expression head's norm reads."""
        if not self.patch_flatten:
            return x.mean((1, 2))
        width = x.shape[-1]
        x = nn.Dropout(self.flatten_dropout, deterministic=not train)(x)
        # Published weights count channels first.
        x = x.transpose(0, 3, 1, 2).reshape(x.shape[0], -1)
        outputs["flat"] = jax.nn.relu(Linear(width, name="output_layer_2")(x))
        return outputs["flat"]


class CNNViT(nn.Module):
    """Images [B, H, W, 3] -> `expression`: a plain ViT with a class token on the map of IR-50.

    `regions` (with `supervise_layer`) or `au_token` give it AUs in the two ways that `ViT` knows.
    """

    num_classes: int = 7
    aus: Sequence[int] = facs.AU_VIT_21
    regions: int | None = None
    maxout: bool = True
    supervise_layer: int = 4
    au_token: str | None = None
    depth: int = 6
    heads: int = 16
    mlp_ratio: float = 4.0
    attention_dropout: float = 0.3
    ir_units: Sequence[int] = (3, 4, 14)
    ir_channels: Sequence[int] = (64, 128, 256)
    ir_strides: Sequence[int] | None = None
    stem_kernel: int = 3
    stem_stride: int = 1

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> dict[str, jax.Array]:
        x = _cnn(self)(x, train)["feature_map"]
        tokens = x.reshape(x.shape[0], -1, x.shape[-1])
        joint = LayerNorm(1e-5, axes=(1, 2), name="norm")  # over all tokens of an image at once
        tokens = joint(tokens)
        vit = ViT(
            self.num_classes,
            aus=self.aus,
            regions=self.regions,
            maxout=self.maxout,
            supervise_layer=self.supervise_layer,
            au_token=self.au_token,
            patch=None,
            dim=x.shape[-1],
            depth=self.depth,
            heads=self.heads,
            mlp_ratio=self.mlp_ratio,
            attention_dropout=self.attention_dropout,
            name="vit",
        )
        return {"cnn": x, "tokens": tokens, **vit(tokens, train)}


_PREPROCESS = Preprocess(112)
_KEYS = ((r"^cnn/", "cnn/"), (r"^au_branch/", "vit/"), (r"^", "vit/"))
_CNN_VIT_KEYS = (
    (r"^vit/blocks_([12])_(\d+)/", r"vit/blocks_\1.\2/"),
    (r"^vit/au_branch/", "vit/"),
)
_NEVER_READ = (r"^norm\.", r"^vit\.pos_block\.")
_RELEASED = {
    "multistage": False,
    "conv_ffn": False,
    "patch_flatten": False,
    "projection": True,
    "dim": 512,
    "heads": (16, 16),
}
_MULTISTAGE = {"regions": 2, "au_after_merging": True, "shared_norm": True}
_SMALL = {  # 0.6 M parameters, 28 M multiply-adds an image
    "dim": 48,
    "depth": (1, 1),
    "heads": (2, 4),
    "mlp_ratio": 2.0,
    "ir_units": (1, 1),
    "ir_channels": (16, 48),
    "ir_strides": (1, 2),
    "stem_kernel": 5,
    "stem_stride": 4,
}

register("auvit_paper", Architecture(AUViT, _PREPROCESS, torch_keys=_KEYS))
register(
    "auvit_released",
    Architecture(
        AUViT,
        _PREPROCESS,
        torch_keys=_KEYS,
        unused=(*_NEVER_READ, r"^vit\.pools\.", r"^vit\.output_layer\."),
        options=_RELEASED,
    ),
)
register(
    "auvit_multistage",
    Architecture(AUViT, _PREPROCESS, torch_keys=_KEYS, unused=_NEVER_READ, options=_MULTISTAGE),
)
register("auvit_small", Architecture(AUViT, _PREPROCESS, torch_keys=_KEYS, options=_SMALL))
register(
    "auvit_face",
    Architecture(AUViT, _PREPROCESS, torch_keys=_KEYS, options={**_SMALL, "geometry": True}),
)
register("cnn_vit", Architecture(CNNViT, _PREPROCESS, torch_keys=_CNN_VIT_KEYS))
