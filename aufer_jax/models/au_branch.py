"""The AU branch: crops of the feature map around facial regions, one norm and one head per region."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

from aufer_jax import facs
from aufer_jax.errors import UserError
from aufer_jax.models.layers import LayerNorm, Linear, torch_kernel_init

_HEADS = {"AU": "AU_head", "AU_up": "upperAU_head", "AU_low": "lowerAU_head"}


def head_name(region: str) -> str:
    """The published checkpoints' name of a region's head."""
    return _HEADS.get(region, f"head_{region}")


class AUBranch(nn.Module):
    """A map [B, n, n, C] -> `au` logits [B, len(aus)] and every region's own logits by head name.

    An AU that several regions read (the two eyes, the two cheeks, the mouth crops of scheme 9) takes
    the maximum of their logits, the symmetric maxout; without `maxout` their mean, our choice. With a
    `norm` of the caller's the regions share it instead of having one each.
    """

    scheme: int = 7  # how many regions: a key of facs.REGIONS
    aus: Sequence[int] = facs.AU_VIT_21
    maxout: bool = True
    norm: nn.Module | None = None
    kernel_init: nn.initializers.Initializer = torch_kernel_init
    bias_init: nn.initializers.Initializer | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> dict[str, jax.Array]:
        _, height, width, _ = x.shape
        if height != width:
            raise UserError(f"the AU branch needs a square map, got {height} x {width}")
        regions = facs.regions(self.scheme, grid=height, aus=tuple(self.aus))
        outputs = {}
        for region in regions:
            crop = x[:, slice(*region.rows), slice(*region.cols)].mean((1, 2))
            norm = self.norm or LayerNorm(epsilon=1e-6, name=f"norm_{region.key}")
            name = head_name(region.key)
            head = Linear(
                len(region.aus), kernel_init=self.kernel_init, bias_init=self.bias_init, name=name
            )
            outputs[name] = head(norm(crop))
        reduce = jnp.max if self.maxout else jnp.mean
        columns = []
        for au in self.aus:
            logits = [
                outputs[head_name(region.key)][:, region.aus.index(au)]
                for region in regions
                if au in region.aus
            ]
            columns.append(reduce(jnp.stack(logits), axis=0))
        return {"au": jnp.stack(columns, axis=-1), **outputs}
