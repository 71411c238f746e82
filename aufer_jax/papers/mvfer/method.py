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
from aufer_jax.models import fusion
from aufer_jax.papers.mvfer import views
from aufer_jax.train import base, setup

ROLES = ("view+supervise", "view", "supervise", "encoder", "none")
CHOICES = {
    "heatmap_role": ROLES,
    "heatmap_render": views.RENDERS,
    "heatmap_on": ("host", "device"),
    "fusion": fusion.FUSIONS,
    "forward": ("stacked", "separate"),
    "consistency": ("cam", "js", "cam+js", "none"),
    "align_loss": (*losses.ALIGNMENTS, "none"),
    "align_source": ("mean_feature", "cam_true_class"),
    "inference": ("image", "flip", "all"),
}
NOT_NEGATIVE = ("erased_weight", "heatmap_weight", "cam_weight", "js_weight", "align_weight")


@dataclasses.dataclass(frozen=True)
class Options:
    """View 1 is the image, view 2 its mirror with an erased box, view 3 is drawn from the heatmap.

    A term of weight 0 is left out, and so is a view that no term asks for.
    """

    share_weights: bool = True  # False: view 3 has a network of its own
    heatmap_role: str = ROLES[0]  # a view, a target of the attention, both, or input of an encoder
    heatmap_render: str = "weighted"  # of view 3: weighted, gray3, overlay
    heatmap_floor: float = 0.3  # a: what "weighted" keeps of a pixel outside all AU areas
    heatmap_scale: float = 1.0  # of view 3's side: at 0.5 it costs a quarter
    heatmap_on: str = "host"  # where heatmaps are drawn: host, device
    fusion: str = "concat"  # of the encoder's heatmap with the features: concat, gate
    forward: str = "stacked"  # all views in one pass; "separate": batch statistics of each its own
    ce_views: tuple[int, ...] = (1, 2, 3)  # which views have a cross-entropy
    erased_weight: float = 1.0  # w2: cross-entropy of view 2
    heatmap_weight: float = 1.0  # w3: cross-entropy of view 3
    label_smoothing: float = 0.0
    consistency: str = "cam"  # of the views: cam, js, cam+js, none
    cam_weight: float = 5.0  # lc: class activation maps of views 1 and 2
    js_weight: float = 1.0  # lp: predictions of all views, where `consistency` names js
    align_loss: str = "cosine"  # of attention and heatmap: cosine, std_cosine, mse, none
    align_source: str = "mean_feature"  # the attention: mean_feature, cam_true_class
    align_weight: float = 1.0  # lh
    align_erased: bool = False  # view 2's attention too, with the heatmap outside the erased box
    inference: str = "image"  # views whose mean probability predicts: image, flip, all

    def __post_init__(self):
        for key, permitted in CHOICES.items():
            if getattr(self, key) not in permitted:
                raise errors.unknown(f"loss.{key}", getattr(self, key), permitted)
        for key in NOT_NEGATIVE:
            if not 0 <= getattr(self, key) < math.inf:
                raise errors.UserError(f"loss.{key}: {getattr(self, key)} must not be negative")
        if 1 not in self.ce_views or not {1, 2, 3} >= set(self.ce_views):
            raise errors.UserError(f"loss.ce_views: {self.ce_views} must be 1 and any of 2 and 3")
        if not 0 <= self.heatmap_floor <= 1:
            raise errors.UserError(f"loss.heatmap_floor: {self.heatmap_floor} must be from 0 to 1")
        if not 0 < self.heatmap_scale <= 1:
            raise errors.UserError(
                f"loss.heatmap_scale: {self.heatmap_scale} must be above 0, up to 1"
            )
        if not 0 <= self.label_smoothing < 1:
            raise errors.UserError(
                f"loss.label_smoothing: {self.label_smoothing} must be from 0 up to 1"
            )
        for key, value in (("share_weights", False), ("inference", "all")):
            if getattr(self, key) == value and not self.heatmap_view:
                raise errors.UserError(
                    f"loss.{key}: {value} needs a heatmap view that is trained: loss.heatmap_role "
                    "with view, and 3 in loss.ce_views or js in loss.consistency"
                )

    @property
    def cam(self) -> bool:
        return "cam" in self.consistency and self.cam_weight > 0

    @property
    def js(self) -> bool:
        return "js" in self.consistency and self.js_weight > 0

    @property
    def aligned(self) -> bool:
        supervised = "supervise" in self.heatmap_role and self.align_loss != "none"
        return supervised and self.align_weight > 0

    @property
    def encoder(self) -> bool:
        return self.heatmap_role == "encoder"

    @property
    def erased_view(self) -> bool:
        classified = 2 in self.ce_views and self.erased_weight > 0
        return classified or self.cam or self.js or (self.aligned and self.align_erased)

    @property
    def heatmap_view(self) -> bool:
        classified = 3 in self.ce_views and self.heatmap_weight > 0
        return "view" in self.heatmap_role and (classified or self.js)

    def loaded(self, train: bool) -> tuple[str, ...]:
        """The views that the loader makes for a batch of training or of evaluation."""
        erased = train and self.erased_view
        heatmap = self.encoder or (
            self.heatmap_view or self.aligned if train else self.inference == "all"
        )
        drawn = heatmap and self.heatmap_on == "host"
        return ("original", *["erased"] * erased, *["heatmap"] * drawn)


class Term(NamedTuple):
    """One term of the loss: its weight times the mean of the values under the mask."""

    name: str
    weight: float
    values: jax.Array  # [B]
    mask: jax.Array  # bool [B]


Outputs = dict[int, dict[str, jax.Array]]  # of each view by its number


def loss(params, model_state, batch, key, *, parts: setup.Parts, options: Options):
    """CE of each view + lc * MSE of class maps + lp * JS of predictions + lh * D(attention, heatmap)."""
    heatmap = None
    if options.encoder or options.heatmap_view or options.aligned:
        heatmap = views.heatmap(batch, parts.spec, options.heatmap_on == "device")
    read = heatmap if options.encoder else None
    seen = {1: views.View(batch["image"], read)}
    if options.erased_view:
        seen[2] = views.View(batch["image_erased"], read and read.mirrored())
    if options.heatmap_view:
        seen[3] = _heatmap_view(batch["image"], heatmap, options)
    stacked = options.forward == "stacked"
    found, new_state = views.forward(
        parts, params, model_state, list(seen.values()), key=key, stacked=stacked
    )
    outputs = dict(zip(seen, found, strict=True))
    valid = None if heatmap is None else heatmap.valid & batch["mask"]
    terms = _expression_terms(outputs, batch, valid, parts.spec.labels, options)
    terms += _consistency_terms(outputs, batch, valid, options)
    if heatmap is not None and options.aligned:
        terms += _alignment_terms(outputs, batch, heatmap, parts.spec.size, options)
    means = [term.weight * losses.masked_mean(term.values, term.mask) for term in terms]
    total = sum(means, jnp.zeros(()))
    sums = {f"{term.name}_loss": base.summed(term.values, term.mask) for term in terms}
    right = base.correct(outputs[1]["expression"], batch["expression"])
    sums["accuracy"] = base.summed(right, _labelled(batch))
    sums["loss"] = base.shared(total)
    return total, (new_state, sums)


def _labelled(batch: base.Batch) -> jax.Array:
    return batch["mask"] & (batch["expression"] >= 0)


def _heatmap_view(image: jax.Array, heatmap: Any, options: Options) -> views.View:
    drawn = views.render(image, heatmap, options.heatmap_render, options.heatmap_floor)
    if options.heatmap_scale < 1:
        side = max(round(options.heatmap_scale * image.shape[1]), 1)
        drawn = jax.image.resize(drawn, (len(drawn), side, side, 3), "linear")
    return views.View(drawn, twin=not options.share_weights)


def _expression_terms(outputs: Outputs, batch, valid, labels: str, options: Options) -> list[Term]:
    weights = {1: 1.0, 2: options.erased_weight, 3: options.heatmap_weight}
    names = {1: "original", 2: "erased", 3: "heatmap"}
    terms = []
    for view in sorted(outputs.keys() & set(options.ce_views)):
        values, taught = base.expression_loss(
            outputs[view]["expression"], batch, smoothing=options.label_smoothing, labels=labels
        )
        mask = taught & valid if view == 3 else taught
        terms.append(Term(names[view], weights[view], values, mask))
    return terms


def _consistency_terms(outputs: Outputs, batch, valid, options: Options) -> list[Term]:
    terms = []
    if options.cam:
        values = losses.cam_consistency(outputs[1]["cam"], outputs[2]["cam"])
        terms.append(Term("cam", options.cam_weight, values, batch["mask"]))
    if options.js:
        logits = [outputs[view]["expression"] for view in sorted(outputs)]
        values = losses.js_consistency(logits)
        if 3 in outputs:  # a face without heatmap has two views to agree on
            values = jnp.where(valid, values, losses.js_consistency(logits[:2]))
        terms.append(Term("js", options.js_weight, values, batch["mask"]))
    return terms


def _alignment_terms(
    outputs: Outputs, batch, heatmap: views.Heatmap, size: int, options: Options
) -> list[Term]:
    """The attention of view 1, and of view 2 if asked for, with the heatmap of what the view shows."""
    targets = {1: ("alignment", heatmap.maps)}
    if options.align_erased:
        maps = views.without_box(views.mirror(heatmap.maps), batch["erased_box"], size)
        targets[2] = ("alignment_erased", maps)
    terms = []
    for view, (name, maps) in targets.items():
        mask = batch["mask"] & heatmap.valid & (maps.max((1, 2, 3)) > 0)
        if options.align_source == "mean_feature":
            attention = outputs[view]["feature_map"].mean(-1)
        else:
            label = jnp.maximum(batch["expression"], 0)[:, None, None, None]
            attention = jnp.take_along_axis(outputs[view]["cam"], label, axis=-1)[..., 0]
            mask &= _labelled(batch)
        values = alignment(attention, maps, options.align_loss)
        terms.append(Term(name, options.align_weight, values, mask))
    return terms


def alignment(attention: jax.Array, maps: jax.Array, kind: str) -> jax.Array:
    """Distance [B] of an attention map [B, h, w] from heatmaps [B, h', w', C].

    The heatmaps are averaged over the attention's cells and scaled to a maximum of 1; of several
    channels, one for each AU, those that are not blank count alike.
    """
    target = fusion.area_mean(maps, *attention.shape[1:])
    most = target.max((1, 2), keepdims=True)
    target = target / jnp.maximum(most, 1e-6)
    distance = jax.vmap(
        functools.partial(losses.heatmap_alignment, kind=kind), in_axes=(None, -1), out_axes=-1
    )(attention, target)
    seen = most[:, 0, 0] > 0
    return jnp.where(seen, distance, 0).sum(-1) / jnp.maximum(seen.sum(-1), 1)


def predict(params, model_state, batch, *, parts: setup.Parts, options: Options):
    """The image's outputs, its `expression` the log of the mean probability of the views used."""
    heatmap = None
    if options.encoder or options.inference == "all":
        heatmap = views.heatmap(batch, parts.spec, options.heatmap_on == "device")
    read = heatmap if options.encoder else None
    everyone = jnp.ones(len(batch["image"]), bool)
    seen, used = [views.View(batch["image"], read)], [everyone]
    if options.inference != "image":
        seen.append(views.View(views.mirror(batch["image"]), read and read.mirrored()))
        used.append(everyone)
    if heatmap is not None and options.inference == "all":
        seen.append(_heatmap_view(batch["image"], heatmap, options))
        used.append(heatmap.valid)
    outputs, _ = views.forward(parts, params, model_state, seen)
    log_p = jnp.stack([jax.nn.log_softmax(found["expression"]) for found in outputs])
    count = jnp.stack(used)[..., None]
    mean = jax.nn.logsumexp(log_p, axis=0, b=count) - jnp.log(count.sum(0))
    return outputs[0] | {"expression": mean if len(seen) > 1 else outputs[0]["expression"]}


def init(key, batch, *, parts: setup.Parts, options: Options):
    """Variables of the network, which reads a heatmap beside the image if there is an encoder."""
    inputs = {}
    if options.encoder:
        side, channels = parts.spec.heatmap.size, parts.spec.heatmap.channels
        inputs = {"heatmap": jnp.zeros((1, side, side, channels)), "valid": jnp.ones(1, bool)}
    return base.init(parts.model, "image", key, batch, **inputs)


def build(run) -> base.Task:
    """Only what inference asks for is read to predict: by default the image alone, no landmarks."""
    options: Options = run.loss
    if run.heatmap.per_au and options.heatmap_role not in ("supervise", "encoder"):
        raise errors.UserError(
            f"heatmap.per_au: True suits loss.heatmap_role supervise and encoder, not "
            f"{options.heatmap_role!r}: a view has one heatmap"
        )
    parts = parts_of(run)
    return setup.task(run, parts, method(parts, options), evaluation(parts, options))


def inference(run, labels: base.Labels) -> base.Inference:
    parts = parts_of(run, labels)
    return setup.inference(run, parts, method(parts, run.loss), evaluation(parts, run.loss))


def evaluation(parts: setup.Parts, options: Options) -> setup.Spec:
    return dataclasses.replace(parts.spec, views=options.loaded(train=False))


def method(parts: setup.Parts, options: Options) -> base.Method:
    """The method with these options, of parts that `network` has made ready."""
    chosen = {"parts": parts, "options": options}
    return base.Method(
        init=functools.partial(init, **chosen),
        loss=functools.partial(loss, **chosen),
        predict=functools.partial(predict, **chosen),
    )


def parts_of(run, labels: base.Labels | None = None) -> setup.Parts:
    views_read = run.loss.loaded(train=True)
    return network(run, setup.parts(run, field="image", views=views_read, labels=labels))


def network(run, parts: setup.Parts) -> setup.Parts:
    """Parts with the network that the options ask for, and heatmaps that fit its feature map."""
    options, name = run.loss, run.model["name"]
    shapes = setup.output_shapes(parts)
    mean = options.align_source == "mean_feature"
    for output, needed, key in (
        ("expression", True, "ce_views"),
        ("cam", options.cam, "consistency"),
        ("cam", options.aligned and not mean, "align_source"),
        ("feature_map", options.aligned and mean, "align_source"),
        ("feature_map", options.encoder, "heatmap_role"),
    ):
        if needed and output not in shapes:
            raise errors.UserError(
                f"model.name: {name!r} gives no {output!r}, which loss.{key} = "
                f"{getattr(options, key)!r} needs"
            )
    classes = len(parts.expressions)
    # No AU head: nothing here would train it.
    headless = {"num_aus": 0} if "num_aus" in models.options(name) else {}
    model = setup.create_model({**run.model, **headless}, num_classes=classes, aus=parts.spec.aus)
    if options.encoder:
        model = fusion.WithHeatmap(model.copy(num_classes=0), classes, options.fusion)
    elif not options.share_weights:
        model = fusion.Twins(model, model.copy())
    found = next((shapes[key] for key in ("feature_map", "cam") if key in shapes), None)
    side = 1 if found is None else found.shape[1]
    heatmap = run.heatmap.spec(4 * side)
    if (options.aligned or options.encoder) and heatmap.size % side:
        raise errors.UserError(
            f"heatmap.size: {heatmap.size} is not a multiple of {side}, the cells of the feature map"
        )
    spec = dataclasses.replace(parts.spec, heatmap=heatmap)
    return dataclasses.replace(parts, model=model, spec=spec)
