"""ScoreCAM (Wang et al. 2020): a layer's channels mask the image, weighted by how much of a class is left."""

import functools
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.tree_util import Partial

from aufer_jax import errors

Apply = Callable[[jax.Array], Mapping[str, jax.Array]]

_EXTRA = 2  # tokens that may stand before those of the grid: the class token and an AU token
_LAST = ("feature_map", r"stage\d+", "blocks", r"layer\d+")  # where networks keep their last map


def token_grid(tokens: int) -> tuple[int, int]:
    """The square grid of so many tokens, with up to two others before it."""
    side = math.isqrt(tokens)
    if tokens - side * side > _EXTRA:
        raise errors.UserError(
            f"grid: {tokens} tokens are not a square with up to {_EXTRA} class tokens before it; "
            "give grid=(height, width)"
        )
    return side, side


def as_map(x: jax.Array, grid: tuple[int, int] | None = None) -> jax.Array:
    """A map [B, h, w, C] as it is; tokens [B, N, C] as the map of their `grid`, class tokens dropped."""
    if x.ndim == 4:
        return x
    height, width = grid or token_grid(x.shape[1])
    return x[:, x.shape[1] - height * width :].reshape(len(x), height, width, -1)


def spatial_layers(outputs: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of the outputs (or of their shapes) that are a map or the tokens of a square grid."""

    def fits(x: Any) -> bool:
        return x.ndim == 4 or (x.ndim == 3 and x.shape[1] - math.isqrt(x.shape[1]) ** 2 <= _EXTRA)

    return tuple(name for name, x in outputs.items() if fits(x))


def default_layer(outputs: Mapping[str, Any]) -> str:
    """The last map or tokens before a network's head."""
    names = spatial_layers(outputs)
    for pattern in _LAST:
        found = [name for name in names if re.fullmatch(pattern, name)]
        if found:
            return max(found, key=lambda name: int(re.sub(r"\D", "", name) or 0))
    raise errors.UserError(
        f"layer: name one of {', '.join(names) or 'none: the model gives no map'}"
    )


def score_cam(
    apply: Apply,
    x: jax.Array,
    layer: str,
    class_index: jax.Array | int | None = None,
    *,
    grid: tuple[int, int] | None = None,
    top: int | None = None,
    chunk: int = 32,
    baseline: jax.Array | float = 0.0,
) -> jax.Array:
    """The parts of images that speak for a class, as seen by a layer.

    Every channel of the layer is enlarged to the image, scaled to 0..1 and multiplied with the image.
    Its weight is how much more probable (softmax) the class is then than on the baseline. The result is
    the weighted sum of the channels, where it is positive.

    Args:
      apply: images -> named outputs, among them `expression` logits and the layer. As a
        `jax.tree_util.Partial` that binds the parameters, these are not compiled in.
      x: [B, H, W, C] as the network reads them, already normalised.
      layer: the name of a map [B, h, w, c] or of tokens [B, N, c].
      class_index: the class, one or [B]; None takes the predicted one of each image.
      grid: rows and columns of the tokens, where they are not a square.
      top: only so many channels of each image, those of the largest variance; None takes all.
      chunk: channels tried at a time, each on all images.
      baseline: what a masked pixel becomes; 0 is the training images' mean in normalised input.

    Returns:
      [B, H, W], not negative.
    """
    apply = apply if isinstance(apply, Partial) else Partial(apply)
    shapes = jax.eval_shape(apply, x)
    if layer not in shapes:
        raise errors.unknown("layer", layer, spatial_layers(shapes))
    if shapes[layer].ndim not in (3, 4):
        raise errors.UserError(f"layer: {layer!r} is {shapes[layer].shape}, neither map nor tokens")
    if top is not None and top < 1:
        raise errors.UserError(f"top: {top} must be greater than 0")
    if class_index is not None:
        class_index = jnp.broadcast_to(jnp.asarray(class_index), (len(x),))
    return _score_cam(apply, x, class_index, baseline, layer, grid, top, chunk)


@functools.partial(jax.jit, static_argnums=(4, 5, 6, 7))
def _score_cam(apply, x, class_index, baseline, layer, grid, top, chunk):
    outputs = apply(x)
    maps = as_map(outputs[layer], grid).astype(jnp.float32)
    if class_index is None:
        class_index = jnp.argmax(outputs["expression"], -1)
    if top is not None and top < maps.shape[-1]:
        chosen = jax.lax.top_k(maps.var((1, 2)), top)[1]
        maps = jnp.take_along_axis(maps, chosen[:, None, None], axis=-1)
    b, h, w, count = maps.shape
    height, width = x.shape[1:3]

    def probability(images: jax.Array) -> jax.Array:
        """[n * B, H, W, C] -> [n, B], of each image's class."""
        p = jax.nn.softmax(apply(images)["expression"]).reshape(
            -1, b, outputs["expression"].shape[-1]
        )
        return jnp.take_along_axis(p, class_index[None, :, None], axis=-1)[..., 0]

    def try_channels(group: jax.Array) -> jax.Array:
        """[n, B, h, w] -> [n, B]."""
        masks = jax.image.resize(group, (len(group), b, height, width), "bilinear")
        low, high = masks.min((2, 3), keepdims=True), masks.max((2, 3), keepdims=True)
        varies = high > low
        masks = jnp.where(varies, (masks - low) / jnp.where(varies, high - low, 1), 0)
        masked = baseline + (x - baseline) * masks[..., None]
        return probability(masked.reshape(-1, *x.shape[1:]))

    chunk = min(chunk, count)
    padded = jnp.pad(maps, ((0, 0), (0, 0), (0, 0), (0, -count % chunk)))
    groups = jnp.moveaxis(padded, -1, 0).reshape(-1, chunk, b, h, w)
    scores = jax.lax.map(try_channels, groups).reshape(-1, b)[:count]
    raised = scores - probability(jnp.broadcast_to(baseline, x.shape).astype(x.dtype))
    total = jnp.einsum("bhwc,cb->bhw", maps, raised)
    return jax.nn.relu(jax.image.resize(total, (b, height, width), "bilinear"))
