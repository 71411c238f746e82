"""The views of MV-FER on the device: heatmaps, the view drawn from them, one or more forward passes."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from aufer_jax.train import base
from aufer_jax.train.setup import Parts

FLOOR = 0.3  # what the heatmap view keeps of a pixel outside all AU areas


class Heatmap(NamedTuple):
    """AU heatmaps of a batch, and which of them can be used."""

    maps: jax.Array  # [B, h, w, C] from 0 to 1, over the whole image
    valid: jax.Array  # bool [B]: the face has landmarks and AU areas inside the image

    def mirrored(self) -> "Heatmap":
        """Left and right swapped."""
        return Heatmap(mirror(self.maps), self.valid)


class View(NamedTuple):
    """One image a face for the network to see."""

    image: jax.Array  # [B, H, W, 3], pixel values 0..255 in RGB
    heatmap: Heatmap | None = None  # for a network that reads it beside the image


def mirror(x: jax.Array) -> jax.Array:
    """[B, H, W, C], left and right exchanged."""
    return x[:, :, ::-1]


def area_mean(maps: jax.Array, height: int, width: int) -> jax.Array:
    """[B, h, w, C] -> [B, height, width, C] by means over equal cells."""
    b, h, w, c = maps.shape
    return maps.reshape(b, height, h // height, width, w // width, c).mean((2, 4))


def resize(x: jax.Array, height: int, width: int) -> jax.Array:
    """[B, h, w, C] -> [B, height, width, C], bilinear, without aliasing.

    As `jax.image.resize`, but in operations that exist for a batch of any size in exported programs too.
    """
    rows, h, w, channels = x.shape
    if (h, w) == (height, width):
        return x
    scale, shift = jnp.array([height / h, width / w], jnp.float32), jnp.zeros(2, jnp.float32)
    shape = (rows, height, width, channels)
    return jax.image.scale_and_translate(x, shape, (1, 2), scale, shift, "linear")


def heatmap(batch: base.Batch) -> Heatmap:
    """The faces' heatmaps. A face of which no AU area is in the image has a blank one: it is not valid."""
    maps = batch["heatmap"]
    return Heatmap(maps, batch["landmarks_valid"] & (maps.max((1, 2, 3)) > 0))


def render(image: jax.Array, heatmap: Heatmap) -> jax.Array:
    """The heatmap view as pixels [B, H, W, 3] in 0..255, float32: the image, dim outside the AU areas.

    A face without a valid heatmap keeps its image, so that it does not disturb batch statistics.
    """
    image = image.astype(jnp.float32)
    maps = resize(heatmap.maps, image.shape[1], image.shape[2])
    drawn = image * (FLOOR + (1 - FLOOR) * maps)
    return jnp.where(heatmap.valid[:, None, None, None], drawn, image)


def forward(
    parts: Parts,
    params: base.Variables,
    model_state: base.Variables,
    views: Sequence[View],
    *,
    key: jax.Array | None = None,
    stacked: bool = True,
    statistics: str = "all",
) -> tuple[list[base.Outputs], base.Variables]:
    """The network's outputs for each view, and the model state after all of them.

    Stacked views of one size go through the network together, in one batch with batch statistics over
    all of them; otherwise one after another, each with its own. The model state keeps those of `statistics`:
    of "all" groups in turn, or of the "first".
    """
    if stacked:
        groups = [
            list(g) for _, g in itertools.groupby(views, key=lambda view: view.image.shape[1])
        ]
    else:
        groups = [[view] for view in views]
    outputs = []
    for index, group in enumerate(groups):
        x = _interleave([base.normalise(view.image, parts.preprocess) for view in group])
        inputs: dict[str, jax.Array] = {}
        read = [view.heatmap for view in group if view.heatmap is not None]
        if read:
            inputs["heatmap"] = _interleave([heatmap.maps for heatmap in read])
            inputs["valid"] = _interleave([heatmap.valid for heatmap in read])
        group_key = None if key is None else jax.random.fold_in(key, index)
        together, new_state = base.forward(
            parts.model, params, model_state, x, key=group_key, dtype=parts.dtype, **inputs
        )
        if index == 0 or statistics == "all":
            model_state = new_state
        outputs += _separate(together, len(group))
    return outputs, model_state


def _interleave(arrays: Sequence[jax.Array]) -> jax.Array:
    # Sample-major, so that a device keeps all views of its own samples.
    x = jnp.stack(arrays, axis=1)
    return x.reshape(-1, *x.shape[2:])


def _separate(outputs: dict[str, jax.Array], count: int) -> list[dict[str, jax.Array]]:
    split = {k: v.reshape(-1, count, *v.shape[1:]) for k, v in outputs.items()}
    return [{k: v[:, i] for k, v in split.items()} for i in range(count)]
