"""MV-FER: the image, its mirror with an erased box, and its AU heatmap, through one network."""

import dataclasses
import functools

import jax
import jax.numpy as jnp

from aufer_jax import losses
from aufer_jax.data import heatmaps
from aufer_jax.methods import base, setup


@dataclasses.dataclass(frozen=True)
class Options:
    erased_weight: float = 1.0  # w2: cross-entropy of the mirrored and erased view
    heatmap_weight: float = 1.0  # w3: cross-entropy of the heatmap view
    consistency: float = 5.0  # lc: class activation maps of views 1 and 2
    alignment: float = 1.0  # lh: attention of view 1 with the heatmap
    heatmap_floor: float = 0.3  # a: what a pixel outside all AU areas keeps in the heatmap view
    label_smoothing: float = 0.0


def weighted_view(image: jax.Array, heatmap: jax.Array, floor: float) -> jax.Array:
    """Pixels [B, H, W, 3] dimmed outside the AU areas of the heatmap [B, h, w, 1] in 0..1."""
    size = (*image.shape[:3], 1)
    full = jax.image.resize(heatmap, size, "bilinear")
    return image.astype(jnp.float32) * (floor + (1 - floor) * full)


def area_mean(heatmap: jax.Array, height: int, width: int) -> jax.Array:
    """[B, h, w, 1] -> [B, height, width] by means over equal cells."""
    b, h, w, _ = heatmap.shape
    cells = heatmap.reshape(b, height, h // height, width, w // width)
    return cells.mean((2, 4))


def loss(params, model_state, batch, key, *, parts: setup.Parts, options: Options):
    """CE of each view + lc * MSE of the activation maps + lh * (1 - cosine) to the heatmap."""
    heatmap = batch["heatmap"]
    views = [batch["image"], batch["image_erased"]]
    if options.heatmap_weight:
        views.append(weighted_view(batch["image"], heatmap, options.heatmap_floor))
    count = len(views)
    # Sample-major, so that a device keeps all views of its own samples.
    x = jnp.stack([base.normalise(view, parts.preprocess) for view in views], axis=1)
    x = x.reshape(-1, *x.shape[2:])
    outputs, new_state = base.forward(
        parts.model, params, model_state, x, key=key, dtype=parts.dtype
    )
    logits = outputs["expression"].reshape(-1, count, outputs["expression"].shape[-1])
    maps = outputs["cam"].reshape(-1, count, *outputs["cam"].shape[1:])
    attention = outputs["feature_map"].mean(-1)
    attention = attention.reshape(-1, count, *attention.shape[1:])[:, 0]

    labelled = batch["mask"] & (batch["expression"] >= 0)
    with_heatmap = batch["mask"] & batch["landmarks_valid"]
    terms = {"original": (1.0, 0, labelled), "erased": (options.erased_weight, 1, labelled)}
    if options.heatmap_weight:
        terms["heatmap"] = (options.heatmap_weight, 2, labelled & with_heatmap)
    total, sums = 0.0, {}
    for name, (weight, index, mask) in terms.items():
        value = losses.cross_entropy(
            logits[:, index], batch["expression"], smoothing=options.label_smoothing
        )
        total += weight * losses.masked_mean(value, mask)
        sums[f"{name}_loss"] = base.summed(value, mask)
    consistency = losses.cam_consistency(maps[:, 0], maps[:, 1])
    total += options.consistency * losses.masked_mean(consistency, batch["mask"])
    sums["consistency_loss"] = base.summed(consistency, batch["mask"])
    target = area_mean(heatmap, *attention.shape[1:])
    alignment = losses.heatmap_alignment(attention, target)
    total += options.alignment * losses.masked_mean(alignment, with_heatmap)
    sums["alignment_loss"] = base.summed(alignment, with_heatmap)
    sums["accuracy"] = base.summed(base.correct(logits[:, 0], batch["expression"]), labelled)
    sums["loss"] = base.shared(total)
    return total, (new_state, sums)


def build(run) -> base.Task:
    """The image alone is read to predict: no landmarks are needed at inference."""
    parts = setup.parts(run, field="image", views=("original", "erased", "heatmap"))
    side = setup.output_shapes(parts)["feature_map"].shape[1]
    heatmap = heatmaps.HeatmapSpec(size=4 * side)  # cells of the map are whole cells of the heatmap
    parts = dataclasses.replace(parts, spec=dataclasses.replace(parts.spec, heatmap=heatmap))
    method = setup.method(parts, "image", functools.partial(loss, options=run.loss))
    return setup.task(run, parts, method)
