"""A backbone that reads an AU heatmap beside the image, through an encoder of its own.

The backbone's parameters keep the backbone's own names, so that its published weights fit.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

from aufer_jax.models.layers import BatchNorm, Conv, Linear, class_maps


class HeatmapEncoder(nn.Module):
    """Heatmaps [B, h, w, C] -> [B, widths[-1]]."""

    widths: Sequence[int] = (32, 64, 128)

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        for i, width in enumerate(self.widths, 1):
            x = Conv(width, (3, 3), 2, 1, bias=False, name=f"conv{i}")(x)
            x = jax.nn.relu(BatchNorm(name=f"bn{i}")(x, train))
        return x.mean((1, 2))


class WithHeatmap(nn.Module):
    """A backbone without head whose last map meets the heatmap, and the expression head after that.

    Every cell of the map gets the heatmap's encoding, so the head reads the feature and the encoding side
    by side. A face whose heatmap is not valid gets the encoding 0.
    """

    backbone: nn.Module
    num_classes: int

    def setup(self):
        """The backbone's parameters keep their names; encoder and head are added."""
        nn.share_scope(self, self.backbone)
        self.heatmap_encoder = HeatmapEncoder()
        self.fc = Linear(self.num_classes)

    def __call__(
        self, x: jax.Array, train: bool = False, *, heatmap: jax.Array, valid: jax.Array
    ) -> dict[str, jax.Array]:
        outputs = dict(self.backbone(x, train))
        features = outputs["feature_map"]
        encoding = self.heatmap_encoder(heatmap.astype(features.dtype), train)
        encoding = jnp.where(valid[:, None], encoding, jnp.zeros_like(encoding))[:, None, None]
        encoding = jnp.broadcast_to(encoding, (*features.shape[:3], encoding.shape[-1]))
        features = jnp.concatenate([features, encoding], -1)
        mean = features.mean((1, 2))
        return outputs | {
            "feature_map": features,
            "features": mean,
            "expression": self.fc(mean),
            "cam": class_maps(features, self.fc),
        }
