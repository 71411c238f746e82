"""SVFAP's pre-training: hide most places of a clip at all times, reconstruct their pixels.

The stages' tokens are brought to the first one's times and summed; a decoder as MAE-DFER's fills the rest.
Masks, targets and the loss are those of `mae_dfer_pretrain`, with tubes.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from aufer_jax.errors import UserError, unknown
from aufer_jax.models.mae_dfer import IMAGENET, check_clip, norm
from aufer_jax.models.mae_dfer_pretrain import (
    masked_tokens,
    rebuilt,
    take,
    tube_mask,
    xavier,
)
from aufer_jax.models.registry import Architecture, register
from aufer_jax.models.svfap import Encoder

FORMS = ("corrected", "reference")


def at_first_times(x: jax.Array, times: int, factor: int, form: str, kernel: int) -> jax.Array:
    """A stage's tokens [B, t * N, C] repeated `factor` times over time, [B, t * factor * N, C].

    The published code takes them for `times` * `kernel` times of fewer places ("reference"), so it repeats
    parts of a time's places one after the other.
    """
    batch, _, width = x.shape
    rows = times * kernel if form == "reference" else times
    x = jnp.repeat(x.reshape(batch, rows, -1, width), factor, axis=1)
    return x.reshape(batch, -1, width)


class SVFAPPretrain(nn.Module):
    """Clips [B, T, H, W, 3] -> `reconstruction` [B, M, D] of the `masked` tokens [B, M].

    `visible` [B, V] are the tokens to keep, the same places at all times; without it they are drawn from
    the stream "dropout". In the published code the end of a later stage reads all tokens, the hidden ones
    too (`context` "reference"), and times are repeated amiss (`upsampling` "reference", `at_first_times`);
    "corrected" does what the text describes.
    """

    context: str = "corrected"
    upsampling: str = "corrected"
    mask_ratio: float = 0.9
    patch: int = 16
    tubelet: int = 2
    dim: int = 512
    stage_depths: Sequence[int] = (12, 6, 3)
    heads: int = 8
    mlp_ratio: float = 4.0
    bottleneck_tokens: Sequence[int] = (8,)
    bottleneck_dim: int = 128
    temporal_kernel: int = 2
    decoder_dim: int = 384
    decoder_depth: int = 4
    decoder_heads: int = 6

    @property
    def masking(self) -> str:
        """How tokens are hidden, as `mae_dfer_pretrain` names it."""
        return "tube"

    @property
    def region(self) -> tuple[int, int, int]:
        """Tubelets of a region: there are none."""
        return (1, 1, 1)

    @nn.compact
    def __call__(
        self, x: jax.Array, train: bool = False, visible: jax.Array | None = None
    ) -> dict[str, jax.Array]:
        for key in ("context", "upsampling"):
            if getattr(self, key) not in FORMS:
                raise unknown(key, getattr(self, key), FORMS)
        grid, _ = check_clip(x, self.patch, self.tubelet, self.region)
        if visible is None:
            visible = tube_mask(self.make_rng("dropout"), len(x), grid, self.mask_ratio)
        visible, count = jnp.asarray(visible), int(np.prod(grid))
        masked = masked_tokens(visible, count)
        stages, _ = self._encoder()(x, train, lambda tokens: take(tokens, visible))
        x = norm(name="encoder_norm")(self._summed(stages, grid[0]))
        out = {"masked": masked, "encoder_out": x}
        return out | rebuilt(self, x, visible, masked, train)

    def _summed(self, stages: list[jax.Array], times: int) -> jax.Array:
        total, factor, kernel = stages[0], 1, self.temporal_kernel
        for x in stages[1:]:
            factor *= kernel
            rows = times // factor * (kernel if self.upsampling == "reference" else 1)
            if times % factor or x.shape[1] % rows:
                raise UserError(
                    f"temporal_kernel: {kernel} at each of {len(stages) - 1} stages does not divide the "
                    f"clip's {times} times, or with upsampling 'reference' the visible places of one"
                )
            total += at_first_times(x, times // factor, factor, self.upsampling, kernel)
        return total

    def _encoder(self) -> Encoder:
        return Encoder(
            self.patch,
            self.tubelet,
            self.dim,
            self.stage_depths,
            self.heads,
            self.mlp_ratio,
            self.bottleneck_tokens,
            self.bottleneck_dim,
            self.temporal_kernel,
            whole_context=self.context == "reference",
            kernel_init=xavier,
            name="encoder",
        )


def _row(size: int, frames: int, **options) -> Architecture:
    return Architecture(
        SVFAPPretrain,
        IMAGENET(size, frames=frames),
        input="clip",
        torch_keys=(
            (r"^encoder/patch_embed_proj/", "encoder/patch_embed/proj/"),
            (r"^encoder_norm/", "encoder/norm/"),
        ),
        options=options,
    )


_PUBLISHED = {"dim": 768, "heads": 12, "context": "reference", "upsampling": "reference"}
_SMALL = {
    "mask_ratio": 0.75,
    "patch": 8,
    "dim": 32,
    "stage_depths": (2, 2),
    "heads": 2,
    "bottleneck_tokens": (2,),
    "bottleneck_dim": 16,
    "decoder_dim": 24,
    "decoder_depth": 1,
    "decoder_heads": 2,
}
register("svfap_pretrain", _row(160, 16))
register("svfap_pretrain_published", _row(160, 16, **_PUBLISHED))
register("svfap_pretrain_small", _row(32, 8, **_SMALL))  # for tests
