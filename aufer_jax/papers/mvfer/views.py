"""The views of MV-FER on the device: heatmaps, the view drawn from them, one or more forward passes."""

import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from aufer_jax.data import heatmaps
from aufer_jax.data.views import Spec
from aufer_jax.train import base
from aufer_jax.train.setup import Parts

RENDERS = ("weighted", "gray3", "overlay")


class Heatmap(NamedTuple):
    maps: jax.Array  # [B, h, w, C] from 0 to 1, over the whole image
    valid: jax.Array  # bool [B]: the face has landmarks and AU areas inside the image

    def mirrored(self) -> "Heatmap":
        return Heatmap(mirror(self.maps), self.valid)


class View(NamedTuple):
    """One image a face for the network to see."""

    image: jax.Array  # [B, H, W, 3], pixel values 0..255 in RGB
    heatmap: Heatmap | None = None  # for a network that reads it beside the image
    twin: bool = False  # seen by the second of two networks


def mirror(x: jax.Array) -> jax.Array:
    """[B, H, W, C], left and right exchanged."""
    return x[:, :, ::-1]


def heatmap(batch: base.Batch, spec: Spec, on_device: bool) -> Heatmap:
    """The faces' heatmaps: the batch's own, or drawn from its landmarks."""
    maps = batch["heatmap"] if not on_device else _draw(batch["landmarks"], spec)
    # A face of which no AU area lies inside the image has a blank map: nothing to learn from.
    return Heatmap(maps, batch["landmarks_valid"] & (maps.max((1, 2, 3)) > 0))


def _draw(landmarks: jax.Array, spec: Spec) -> jax.Array:
    return heatmaps.draw(landmarks, spec.heatmap, spec.size, xp=jnp)[0]


def render(image: jax.Array, heatmap: Heatmap, kind: str, floor: float = 0.3) -> jax.Array:
    """The heatmap view as pixels [B, H, W, 3] in 0..255, float32.

    Args:
      image: [B, H, W, 3].
      heatmap: merged maps.
      kind: "weighted" dims the image outside the AU areas, down to `floor` of its values; "gray3" is
        the heatmap itself; "overlay" the mean of the image and the heatmap in colours.
      floor: see above.

    A face without a valid heatmap keeps its image, so that it does not disturb batch statistics.
    """
    image = image.astype(jnp.float32)
    maps = jax.image.resize(heatmap.maps, (*image.shape[:3], 1), "bilinear")
    if kind == "weighted":
        drawn = image * (floor + (1 - floor) * maps)
    elif kind == "gray3":
        drawn = jnp.broadcast_to(255 * maps, image.shape)
    else:
        drawn = 0.5 * image + 0.5 * 255 * colours(maps)
    return jnp.where(heatmap.valid[:, None, None, None], drawn, image)


def colours(maps: jax.Array) -> jax.Array:
    """Values [..., 1] in 0..1 as RGB in 0..1: blue, cyan, yellow, red, each channel a trapezoid."""
    peaks = jnp.array([0.75, 0.5, 0.25])
    return jnp.clip(1.5 - 4 * jnp.abs(maps - peaks), 0, 1)


def without_box(maps: jax.Array, box: jax.Array, image_size: int) -> jax.Array:
    """Maps [B, h, w, C], zero in cells whose centre is in the box: top, left, height, width."""

    def inside(start: jax.Array, length: jax.Array, cells: int) -> jax.Array:
        centre = (jnp.arange(cells) + 0.5) * (image_size / cells) - 0.5
        start, length = start[:, None], length[:, None]
        return (centre > start - 0.5) & (centre < start + length - 0.5)

    top, left, height, width = (box[:, i].astype(jnp.float32) for i in range(4))
    rows, cols = inside(top, height, maps.shape[1]), inside(left, width, maps.shape[2])
    return jnp.where((rows[:, :, None] & cols[:, None, :])[..., None], 0, maps)


def forward(
    parts: Parts,
    params: Any,
    model_state: Any,
    views: Sequence[View],
    *,
    key: jax.Array | None = None,
    stacked: bool = True,
) -> tuple[list[dict[str, jax.Array]], Any]:
    """The network's outputs for each view, and the model state after all of them.

    Stacked views of one size go through the network together, in one batch with batch statistics over
    all of them; otherwise one after another, each with its own.
    """
    if stacked:
        groups = [list(group) for _, group in itertools.groupby(views, key=_together)]
    else:
        groups = [[view] for view in views]
    outputs = []
    for index, group in enumerate(groups):
        x = _interleave([base.normalise(view.image, parts.preprocess) for view in group])
        inputs: dict[str, Any] = {"heatmap_view": True} if group[0].twin else {}
        read = [view.heatmap for view in group if view.heatmap is not None]
        if read:
            inputs["heatmap"] = _interleave([heatmap.maps for heatmap in read])
            inputs["valid"] = _interleave([heatmap.valid for heatmap in read])
        group_key = None if key is None else jax.random.fold_in(key, index)
        together, model_state = base.forward(
            parts.model, params, model_state, x, key=group_key, dtype=parts.dtype, **inputs
        )
        outputs += _separate(together, len(group))
    return outputs, model_state


def _together(view: View) -> tuple[bool, int]:
    """Equal for views that may share a pass."""
    return view.twin, view.image.shape[1]


def _interleave(arrays: Sequence[jax.Array]) -> jax.Array:
    # Sample-major, so that a device keeps all views of its own samples.
    x = jnp.stack(arrays, axis=1)
    return x.reshape(-1, *x.shape[2:])


def _separate(outputs: dict[str, jax.Array], count: int) -> list[dict[str, jax.Array]]:
    split = {k: v.reshape(-1, count, *v.shape[1:]) for k, v in outputs.items()}
    return [{k: v[:, i] for k, v in split.items()} for i in range(count)]
