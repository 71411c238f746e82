"""Networks beside a backbone: an encoder of the AU heatmap, and a second backbone for its view.

Both keep the backbone's parameters under the backbone's own names, so that its published weights fit.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from aufer_jax.errors import unknown
from aufer_jax.models.layers import BatchNorm, Conv, Linear, class_maps

FUSIONS = ("concat", "gate")
TWIN = "heatmap_backbone"


def area_mean(heatmap: jax.Array, height: int, width: int) -> jax.Array:
    """[B, h, w, C] -> [B, height, width, C] by means over equal cells."""
    b, h, w, c = heatmap.shape
    return heatmap.reshape(b, height, h // height, width, w // width, c).mean((2, 4))


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

    "concat" gives every cell of the map the heatmap's encoding, so the head reads the feature and the
    encoding side by side; "gate" multiplies each cell by 1 + sigmoid(a linear map of the heatmap there).
    A face whose heatmap is not valid gets the encoding 0, or a gate of 1.
    """

    backbone: nn.Module
    num_classes: int
    fusion: str = "concat"

    def setup(self):
        if self.fusion not in FUSIONS:
            raise unknown("loss.fusion", self.fusion, FUSIONS)
        nn.share_scope(self, self.backbone)
        if self.fusion == "concat":
            self.heatmap_encoder = HeatmapEncoder()
        else:
            self.heatmap_gate = Conv(1, (1, 1))
        self.fc = Linear(self.num_classes)

    def __call__(
        self, x: jax.Array, train: bool = False, *, heatmap: jax.Array, valid: jax.Array
    ) -> dict[str, jax.Array]:
        outputs = dict(self.backbone(x, train))
        features = outputs["feature_map"]
        heatmap, valid = heatmap.astype(features.dtype), valid[:, None, None, None]
        if self.fusion == "concat":
            encoding = self.heatmap_encoder(heatmap, train)[:, None, None]
            encoding = jnp.where(valid, encoding, 0)
            encoding = jnp.broadcast_to(encoding, (*features.shape[:3], encoding.shape[-1]))
            features = jnp.concatenate([features, encoding], -1)
        else:
            gate = jax.nn.sigmoid(self.heatmap_gate(area_mean(heatmap, *features.shape[1:3])))
            features = features * (1 + jnp.where(valid, gate, 0))
        mean = features.mean((1, 2))
        return outputs | {
            "feature_map": features,
            "features": mean,
            "expression": self.fc(mean),
            "cam": class_maps(features, self.fc),
        }


class Twins(nn.Module):
    """Two networks of one architecture: one for photographs, one for their heatmap view."""

    backbone: nn.Module
    heatmap_backbone: nn.Module

    def setup(self):
        nn.share_scope(self, self.backbone)

    def __call__(
        self, x: jax.Array, train: bool = False, *, heatmap_view: bool = False
    ) -> dict[str, jax.Array]:
        if self.is_initializing():
            self.heatmap_backbone(x, train)
        return (self.heatmap_backbone if heatmap_view else self.backbone)(x, train)


def twins_alike(variables: Mapping[str, Any]) -> dict[str, Any]:
    """Variables in which the second of two networks, if there is one, begins as a copy of the first."""

    def alike(tree: Mapping[str, Any]) -> Mapping[str, Any]:
        first = {key: value for key, value in tree.items() if key != TWIN}
        return first | {TWIN: first} if TWIN in tree else tree

    return {collection: alike(tree) for collection, tree in variables.items()}
