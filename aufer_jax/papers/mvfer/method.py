"""MV-FER: the image, its mirror with an erased box, and its AU heatmap, through one network.

The paper's abstract fixes the three views; everything else is an option, see docs/mvfer.md. Erasing
Attention Consistency (EAC) is one setting of them.
"""

import dataclasses
import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from aufer_jax import errors, losses, models
from aufer_jax.data.heatmaps import HeatmapSpec, drawn_sigma
from aufer_jax.models import fusion
from aufer_jax.papers.mvfer import views
from aufer_jax.train import base, expression, mixing, setup
from aufer_jax.train.base import Batch, Sums, Variables
from aufer_jax.train.run import Run

CHOICES = {
    "heatmap_role": ("view+supervise", "view", "supervise", "encoder", "none"),
    "forward": ("stacked", "separate"),
    "statistics": ("all", "first"),
    "consistency": ("cam", "js", "cam+js", "none"),
    "align_loss": (*losses.ALIGNMENTS, "none"),
    "inference": ("image", "flip", "all"),
}
NOT_NEGATIVE = ("erased_weight", "heatmap_weight", "cam_weight", "js_weight", "align_weight")


@dataclasses.dataclass(frozen=True)
class Options(expression.Options):
    """View 1 is the image, view 2 its mirror with an erased box, view 3 is drawn from the heatmap.

    A term of weight 0 is left out, and so is a view that no term asks for.
    """

    heatmap_role: str = "view+supervise"  # a view, a target of the attention, both, or an input
    heatmap_scale: float = 1.0  # of view 3's side: at 0.5 it costs a quarter
    forward: str = "stacked"  # all views in one pass; "separate": batch statistics of each its own
    # Whose batch statistics inference gets, all views' or view 1's alone, as inference sees it alone.
    statistics: str = "all"  # or "first", with separate passes
    ce_views: tuple[int, ...] = (1, 2, 3)  # which views have a cross-entropy
    erased_weight: float = 1.0  # w2: cross-entropy of view 2
    heatmap_weight: float = 1.0  # w3: cross-entropy of view 3
    consistency: str = "cam"  # of the views: cam, js, cam+js, none
    cam_weight: float = 5.0  # lc: class activation maps of views 1 and 2
    js_weight: float = 1.0  # lp: predictions of all views, where `consistency` names js
    align_loss: str = "cosine"  # of attention and heatmap: cosine, std_cosine, mse, none
    align_weight: float = 1.0  # lh
    inference: str = "image"  # views whose mean probability predicts: image, flip, all

    def __post_init__(self):
        super().__post_init__()
        for key, permitted in CHOICES.items():
            if getattr(self, key) not in permitted:
                raise errors.unknown(f"loss.{key}", getattr(self, key), permitted)
        for key in NOT_NEGATIVE:
            if not 0 <= getattr(self, key) < math.inf:
                raise errors.UserError(f"loss.{key}: {getattr(self, key)} must not be negative")
        if 1 not in self.ce_views or not {1, 2, 3} >= set(self.ce_views):
            raise errors.UserError(f"loss.ce_views: {self.ce_views} must be 1 and any of 2 and 3")
        if self.statistics == "first" and self.forward == "stacked":
            raise errors.UserError(
                "loss.statistics: 'first' needs loss.forward separate; stacked views share them"
            )
        if not 0 < self.heatmap_scale <= 1:
            raise errors.UserError(
                f"loss.heatmap_scale: {self.heatmap_scale} must be above 0, up to 1"
            )
        if self.inference == "all" and not self.heatmap_view:
            raise errors.UserError(
                "loss.inference: all needs a heatmap view that is trained: loss.heatmap_role with "
                "view, and 3 in loss.ce_views or js in loss.consistency"
            )

    @property
    def cam(self) -> bool:
        """Whether class maps are compared between views."""
        return "cam" in self.consistency and self.cam_weight > 0

    @property
    def js(self) -> bool:
        """Whether predictions are compared between views."""
        return "js" in self.consistency and self.js_weight > 0

    @property
    def aligned(self) -> bool:
        """Whether the attention is drawn to the heatmap."""
        supervised = "supervise" in self.heatmap_role and self.align_loss != "none"
        return supervised and self.align_weight > 0

    @property
    def encoder(self) -> bool:
        """Whether the network reads the heatmap beside the image."""
        return self.heatmap_role == "encoder"

    @property
    def erased_view(self) -> bool:
        """Whether any term needs the mirrored and erased view."""
        classified = 2 in self.ce_views and self.erased_weight > 0
        return classified or self.cam or self.js

    @property
    def heatmap_view(self) -> bool:
        """Whether any term needs the view drawn from the heatmap."""
        classified = 3 in self.ce_views and self.heatmap_weight > 0
        return "view" in self.heatmap_role and (classified or self.js)

    @property
    def trains_on_heatmaps(self) -> bool:
        """Whether training reads heatmaps."""
        return self.encoder or self.heatmap_view or self.aligned

    @property
    def predicts_from_heatmaps(self) -> bool:
        """Whether inference reads heatmaps."""
        return self.encoder or self.inference == "all"

    def loaded(self, train: bool) -> tuple[str, ...]:
        """The views that the loader makes for a batch of training or of evaluation."""
        erased = train and self.erased_view
        heatmap = self.trains_on_heatmaps if train else self.predicts_from_heatmaps
        return ("original", *["erased"] * erased, *["heatmap"] * heatmap)


class Term(NamedTuple):
    """One term of the loss: its weight times the mean of the values under the mask."""

    name: str
    weight: float
    values: jax.Array  # [B]
    mask: jax.Array  # bool [B]


Outputs = dict[int, base.Outputs]  # of each view by its number


def loss(
    params: Variables,
    model_state: Variables,
    batch: Batch,
    key: jax.Array | None,
    *,
    parts: setup.Parts,
    options: Options,
) -> tuple[jax.Array, tuple[Variables, Sums]]:
    """CE of each view + lc * MSE of class maps + lp * JS of predictions + lh * D(attention, heatmap)."""
    taught, key = expression.taught(batch, key, parts, options)
    images, heatmap = _mixed(*_images(batch, options), taught.mix)
    if 3 in images:
        images[3] = _scaled(images[3], options.heatmap_scale)
    seen = _seen(images, heatmap if options.encoder else None)
    found, new_state = views.forward(
        parts, params, model_state, list(seen.values()), key=key,
        stacked=options.forward == "stacked", statistics=options.statistics,
    )  # fmt: skip
    outputs = dict(zip(seen, found, strict=True))
    valid = None if heatmap is None else heatmap.valid & batch["mask"]
    terms = _expression_terms(outputs, taught, valid, parts, options)
    terms += _consistency_terms(outputs, batch["mask"], valid, options)
    if heatmap is not None and options.aligned:
        terms.append(_alignment_term(outputs[1], batch["mask"], heatmap, options))
    means = [term.weight * losses.masked_mean(term.values, term.mask) for term in terms]
    total = sum(means, jnp.zeros(()))
    sums = {f"{term.name}_loss": base.summed(term.values, term.mask) for term in terms}
    sums |= base.scores(outputs[1]["expression"], batch, parts.expressions)
    sums["loss"] = base.shared(total)
    return total, (new_state, sums)


Images = dict[int, jax.Array]  # pixels [B, H, W, 3] of each view by its number


def _images(batch: Batch, options: Options) -> tuple[Images, views.Heatmap | None]:
    """The views that the loss asks for, and the heatmap if something does."""
    heatmap = views.heatmap(batch) if options.trains_on_heatmaps else None
    images = {1: batch["image"]}
    if options.erased_view:
        images[2] = batch["image_erased"]
    if options.heatmap_view and heatmap is not None:
        images[3] = views.render(batch["image"], heatmap)
    return images, heatmap


def _mixed(
    images: Images, heatmap: views.Heatmap | None, mix: mixing.Mix | None
) -> tuple[Images, views.Heatmap | None]:
    """All views of a row with those of the same other row; view 2 is a mirror, its box too."""
    if mix is None:
        return images, heatmap
    images = {
        number: mixing.pixels(mix, image.astype(jnp.float32), mirrored=number == 2)
        for number, image in images.items()
    }
    if heatmap is not None:
        maps, valid = mixing.maps(mix, heatmap.maps), mixing.known(mix, heatmap.valid)
        heatmap = views.Heatmap(maps, valid)
    return images, heatmap


def _scaled(image: jax.Array, scale: float) -> jax.Array:
    if scale == 1:
        return image
    side = max(round(scale * image.shape[1]), 1)
    return views.resize(image, side, side)


def _seen(images: Images, read: views.Heatmap | None) -> dict[int, views.View]:
    """The views as the network sees them; an encoder reads the heatmap of what a view shows."""
    return {
        number: views.View(image, read and (read.mirrored() if number == 2 else read))
        for number, image in images.items()
    }


def _expression_terms(
    outputs: Outputs,
    taught: expression.Taught,
    valid: jax.Array | None,
    parts: setup.Parts,
    options: Options,
) -> list[Term]:
    weights = {1: 1.0, 2: options.erased_weight, 3: options.heatmap_weight}
    names = {1: "original", 2: "erased", 3: "heatmap"}
    terms = []
    for view in sorted(outputs.keys() & set(options.ce_views)):
        values = expression.loss(outputs[view]["expression"], taught, parts, options)
        mask = taught.mask & valid if view == 3 and valid is not None else taught.mask
        terms.append(Term(names[view], weights[view], values, mask))
    return terms


def _consistency_terms(
    outputs: Outputs, mask: jax.Array, valid: jax.Array | None, options: Options
) -> list[Term]:
    terms = []
    if options.cam:
        values = losses.cam_consistency(outputs[1]["cam"], outputs[2]["cam"])
        terms.append(Term("cam", options.cam_weight, values, mask))
    if options.js:
        logits = [outputs[view]["expression"] for view in sorted(outputs)]
        values = losses.js_consistency(logits)
        if 3 in outputs and valid is not None:  # a face without heatmap has two views to agree on
            values = jnp.where(valid, values, losses.js_consistency(logits[:2]))
        terms.append(Term("js", options.js_weight, values, mask))
    return terms


def _alignment_term(
    outputs: dict[str, jax.Array], mask: jax.Array, heatmap: views.Heatmap, options: Options
) -> Term:
    """The attention of view 1, the mean of its feature map, with the heatmap."""
    mask = mask & heatmap.valid & (heatmap.maps.max((1, 2, 3)) > 0)
    attention = outputs["feature_map"].mean(-1)
    values = alignment(attention, heatmap.maps, options.align_loss)
    return Term("alignment", options.align_weight, values, mask)


def alignment(attention: jax.Array, maps: jax.Array, kind: str) -> jax.Array:
    """Distance [B] of an attention map [B, h, w] from heatmaps [B, h', w', C].

    The heatmaps are averaged over the attention's cells and scaled to a maximum of 1; of several
    channels, one for each AU, those that are not blank count alike.
    """
    target = views.area_mean(maps, *attention.shape[1:])
    most = target.max((1, 2), keepdims=True)
    target = target / jnp.maximum(most, 1e-6)
    distance = jax.vmap(
        functools.partial(losses.heatmap_alignment, kind=kind), in_axes=(None, -1), out_axes=-1
    )(attention, target)
    seen = most[:, 0, 0] > 0
    return jnp.where(seen, distance, 0).sum(-1) / jnp.maximum(seen.sum(-1), 1)


def predict(
    params: Variables,
    model_state: Variables,
    batch: Batch,
    *,
    parts: setup.Parts,
    options: Options,
) -> dict[str, Any]:
    """The image's outputs, its `expression` the log of the mean probability of the views used."""
    heatmap = views.heatmap(batch) if options.predicts_from_heatmaps else None
    everyone = jnp.ones(batch["image"].shape[0], bool)
    images, used = {1: batch["image"]}, [everyone]
    if options.inference != "image":
        images[2] = views.mirror(batch["image"])
        used.append(everyone)
    if heatmap is not None and options.inference == "all":
        images[3] = _scaled(views.render(batch["image"], heatmap), options.heatmap_scale)
        used.append(heatmap.valid)
    seen = _seen(images, heatmap if options.encoder else None)
    outputs, _ = views.forward(parts, params, model_state, list(seen.values()))
    if len(seen) == 1:
        return outputs[0]
    log_p = jnp.stack([jax.nn.log_softmax(found["expression"]) for found in outputs])
    count = jnp.stack(used)[..., None].astype(jnp.float32)
    mean = jax.nn.logsumexp(log_p, axis=0, b=count) - jnp.log(count.sum(0))
    return outputs[0] | {"expression": mean}


def init(
    key: jax.Array, batch: Batch, *, parts: setup.Parts, options: Options
) -> dict[str, Variables]:
    """Variables of the network, which reads a heatmap beside the image if there is an encoder."""
    inputs = {}
    if options.encoder:
        side, channels = parts.spec.heatmap.size, parts.spec.heatmap.channels
        inputs = {"heatmap": jnp.zeros((1, side, side, channels)), "valid": jnp.ones(1, bool)}
    return base.init(parts.model, "image", key, batch, **inputs)


def build(run: Run[Options]) -> base.Task:
    """Only what inference asks for is read to predict: by default the image alone, no landmarks."""
    options = run.loss
    if run.heatmap.per_au and options.heatmap_role not in ("supervise", "encoder"):
        raise errors.UserError(
            f"heatmap.per_au: True suits loss.heatmap_role supervise and encoder, not "
            f"{options.heatmap_role!r}: a view has one heatmap"
        )
    parts = expression.counted(run, parts_of(run))
    task = setup.task(run, parts, method(parts, options), evaluation(parts, options))
    return dataclasses.replace(task, description=task.description + blurred(run, parts))


def blurred(run: Run[Options], parts: setup.Parts) -> str:
    """Says that a heatmap is drawn wider than it was asked for, if it is."""
    heatmap, size = parts.spec.heatmap, parts.spec.size
    drawn = drawn_sigma(heatmap, size)
    if not run.loss.trains_on_heatmaps or drawn == heatmap.sigma:
        return ""
    return (
        f"\n  heatmap.sigma {heatmap.sigma:g} is drawn as {drawn:.2f}, the width of a cell: a map of "
        f"{heatmap.size} for {size} pixels is too coarse for less, a larger heatmap.size is not"
    )


def inference(run: Run[Options], labels: base.Labels) -> base.Inference:
    """How a finished run is applied."""
    parts = parts_of(run, labels)
    return setup.inference(run, parts, method(parts, run.loss), evaluation(parts, run.loss))


def evaluation(parts: setup.Parts, options: Options) -> setup.Spec:
    """How records are read in evaluation: with the views that inference needs."""
    return dataclasses.replace(parts.spec, views=options.loaded(train=False))


def method(parts: setup.Parts, options: Options) -> base.Method:
    """The method with these options, of parts that `network` has made ready."""
    chosen = {"parts": parts, "options": options}
    return base.Method(
        init=functools.partial(init, **chosen),
        loss=functools.partial(loss, **chosen),
        predict=functools.partial(predict, **chosen),
    )


def parts_of(run: Run[Options], labels: base.Labels | None = None) -> setup.Parts:
    """What an MV-FER run is built from, with the views that its loss needs."""
    views_read = run.loss.loaded(train=True)
    return network(run, setup.parts(run, field="image", views=views_read, labels=labels))


def network(run: Run[Options], parts: setup.Parts) -> setup.Parts:
    """Parts with the network that the options ask for, and heatmaps that fit its feature map."""
    shapes = setup.output_shapes(parts)
    _check_outputs(run, shapes)
    # No AU head: nothing here would train it.
    headless = {"num_aus": 0} if "num_aus" in models.options(run.model["name"]) else {}
    classes = len(parts.expressions)
    model = setup.create_model({**run.model, **headless}, num_classes=classes, aus=parts.spec.aus)
    if run.loss.encoder:
        model = fusion.WithHeatmap(model.copy(num_classes=0), classes)
    spec = dataclasses.replace(parts.spec, heatmap=_heatmap_spec(run, shapes))
    return dataclasses.replace(parts, model=model, spec=spec)


def _check_outputs(run: Run[Options], shapes: dict[str, jax.ShapeDtypeStruct]) -> None:
    options = run.loss
    for output, needed, key in (
        ("expression", True, "ce_views"),
        ("cam", options.cam, "consistency"),
        ("feature_map", options.aligned, "align_loss"),
        ("feature_map", options.encoder, "heatmap_role"),
    ):
        if needed and output not in shapes:
            raise errors.UserError(
                f"model.name: {run.model['name']!r} gives no {output!r}, which loss.{key} = "
                f"{getattr(options, key)!r} needs"
            )


def _heatmap_spec(run: Run[Options], shapes: dict[str, jax.ShapeDtypeStruct]) -> HeatmapSpec:
    """The configured heatmap, by default of four times the feature map's side."""
    found = shapes.get("feature_map", shapes.get("cam"))
    side = 1 if found is None else found.shape[1]
    heatmap = run.heatmap.spec(4 * side)
    if run.loss.aligned and heatmap.size % side:
        raise errors.UserError(
            f"heatmap.size: {heatmap.size} is not a multiple of {side}, the cells of the feature map"
        )
    return heatmap
