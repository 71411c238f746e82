"""ViT-B/16, the basic AU-ViT (an AU branch after any block) and its variant with an AU token."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

from aufer_jax import errors, facs
from aufer_jax.models.au_branch import AUBranch
from aufer_jax.models.layers import Conv, LayerNorm, Linear
from aufer_jax.models.registry import Architecture, Preprocess, register
from aufer_jax.models.remat import rematerialised
from aufer_jax.models.transformer import Block

small_normal = nn.initializers.normal(0.02)  # truncated at +-2, a hundred deviations out
_INIT = {"kernel_init": small_normal, "bias_init": nn.initializers.zeros}
AU_TOKENS = (None, "reference", "intended")


class ViT(nn.Module):
    """Images [B, H, W, 3] -> `expression` [B, num_classes] from the class token.

    With `regions`, the AU branch reads the patch tokens after block `supervise_layer`: `au`
    [B, len(aus)]. With `au_token` a second token, without a position, goes through all blocks: the
    published code sends it to the expression head and the class token to the AU head ("reference");
    "intended" wires them by their names. `patch` None takes tokens [B, N, C] in place of images.
    """

    num_classes: int = 7
    aus: Sequence[int] = facs.AU_VIT_21
    regions: int | None = None  # how many regions the AU branch reads; None: no AU branch
    maxout: bool = True
    supervise_layer: int = 10
    au_token: str | None = None
    patch: int | None = 16
    dim: int = 768
    depth: int = 12
    heads: int = 12
    mlp_ratio: float = 4.0
    attention_dropout: float = 0.0

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> dict[str, jax.Array]:
        self._check()
        outputs = {}
        if self.patch:
            x = Conv(self.dim, (self.patch,) * 2, self.patch, name="patch_embed_proj")(x)
            x = x.reshape(x.shape[0], -1, self.dim)
            outputs["patch_embed"] = x
        x = self._with_class_token(x)
        if self.au_token:
            x = jnp.concatenate([self._token("au_token", x), x], axis=1)
        for i in range(self.depth):
            x = self._block(i)(x, train)
            if self.regions and self.aus and i + 1 == self.supervise_layer:
                outputs["base"] = x
                outputs |= self._au_branch(x[:, 1:], self.regions)
        outputs["blocks"] = x
        tokens = LayerNorm(epsilon=1e-6, name="norm")(x)
        outputs["final_tokens"] = tokens
        expression_token = 1 if self.au_token == "intended" else 0
        outputs["features"] = tokens[:, expression_token]
        if self.num_classes:
            outputs["expression"] = Linear(self.num_classes, name="head", **_INIT)(
                outputs["features"]
            )
        if self.au_token and self.aus:
            head = Linear(len(self.aus), name="AU_head", **_INIT)
            outputs["au"] = head(tokens[:, 1 - expression_token])
        return outputs

    def _check(self) -> None:
        if self.au_token not in AU_TOKENS:
            raise errors.unknown("au_token", self.au_token, AU_TOKENS)
        if self.au_token and self.regions:
            raise errors.UserError("au_token and regions both make the AU logits: give one of them")
        if self.regions and not 1 <= self.supervise_layer <= self.depth:
            raise errors.UserError(
                f"supervise_layer: {self.supervise_layer} is not in 1..{self.depth}"
            )

    def _token(self, name: str, x: jax.Array) -> jax.Array:
        token = self.param(name, small_normal, (1, 1, x.shape[-1])).astype(x.dtype)
        return jnp.broadcast_to(token, (x.shape[0], 1, x.shape[-1]))

    def _with_class_token(self, x: jax.Array) -> jax.Array:
        x = jnp.concatenate([self._token("cls_token", x), x], axis=1)
        position = self.param("pos_embed", small_normal, (1, *x.shape[1:]))
        return x + position.astype(x.dtype)

    def _block(self, i: int) -> Block:
        if not self.regions:
            name = f"blocks_{i}"
        elif i < self.supervise_layer:
            name = f"blocks_1_{i}"
        else:
            name = f"blocks_2_{i - self.supervise_layer}"
        return rematerialised(Block)(
            self.heads,
            self.mlp_ratio,
            attention_dropout=self.attention_dropout,
            name=name,
            **_INIT,
        )

    def _au_branch(self, tokens: jax.Array, regions: int) -> dict[str, jax.Array]:
        b, n, c = tokens.shape
        side = int(n**0.5)
        branch = AUBranch(regions, self.aus, self.maxout, name="au_branch", **_INIT)
        return branch(tokens.reshape(b, side, n // side, c))


_PREPROCESS = Preprocess(224)
_KEYS = (
    (r"^blocks_([12])_(\d+)/", r"blocks_\1.\2/"),
    (r"^au_branch/", ""),
    (r"^patch_embed_proj/", "patch_embed/proj/"),
)

register("vit", Architecture(ViT, _PREPROCESS, torch_keys=_KEYS))
register("auvit_vanilla", Architecture(ViT, _PREPROCESS, torch_keys=_KEYS, options={"regions": 7}))
register(
    "auvit_token",
    Architecture(ViT, _PREPROCESS, torch_keys=_KEYS, options={"au_token": "reference"}),
)
