"""MAE-DFER's pre-training: reconstruct the appearance and the motion of hidden parts of unlabelled clips.

SVFAP's is the same with its own network and without motion.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp

from aufer_jax import losses, models
from aufer_jax.errors import UserError, unknown
from aufer_jax.models import mae_dfer_pretrain as network
from aufer_jax.models.svfap_pretrain import SVFAPPretrain
from aufer_jax.train import base, setup
from aufer_jax.train.base import Batch, Sums, Variables
from aufer_jax.train.run import Run


@dataclasses.dataclass(frozen=True)
class Options:
    """The section `loss` of the pre-training's configuration."""

    motion_weight: float = 0.5  # of (1 - w) * appearance + w * motion; 0.5 is the published mean
    normalise: bool = True  # targets by each token's own mean and deviation, channel by channel
    motion: bool = (
        True  # False: the pixels of later frames too are to be reconstructed, SVFAP's targets
    )

    def __post_init__(self):
        if not 0 <= self.motion_weight <= 1:
            raise UserError(f"loss.motion_weight: {self.motion_weight} must be from 0 to 1")


def draw_visible(model: Any, key: jax.Array, batch: Batch) -> jax.Array:
    """A mask for each row, as the indices [B, V] that it leaves.

    It follows from the key and the row's record, so it is the same however the batch is split.
    """
    grid, region = network.check_clip(batch["clip"], model.patch, model.tubelet, model.region)
    window = region[1:] if model.masking == "part_window" else grid[1:]

    def draw(number: jax.Array) -> jax.Array:
        row_key = jax.random.fold_in(key, number)
        return network.part_window_mask(row_key, 1, grid, model.mask_ratio, window)[0]

    return jax.vmap(draw)(batch["id"].astype(jnp.uint32))


def errors(outputs: Any, x: jax.Array, parts: setup.Parts, options: Options) -> dict:
    """Mean squared errors of the hidden tokens of each row [B]: `appearance_loss` and `motion_loss`.

    Without motion `loss` alone, the mean over all frames of a token.
    """
    model = parts.model
    target = network.targets(
        x,
        outputs["masked"],
        patch=model.patch,
        tubelet=model.tubelet,
        normalise=options.normalise,
        motion=options.motion,
        preprocess=parts.preprocess,
    )
    error = network.token_errors(outputs["reconstruction"], target, model.tubelet).mean(1)
    if not options.motion:
        return {"loss": error.mean(-1)}
    return {
        "loss": network.weighted(error, options.motion_weight),
        "appearance_loss": error[:, 0],
        "motion_loss": error[:, 1:].mean(-1),
    }


def loss(
    params: Variables,
    model_state: Variables,
    batch: Batch,
    key: jax.Array | None,
    *,
    parts: setup.Parts,
    options: Options,
) -> tuple[jax.Array, tuple[Variables, Sums]]:
    """(1 - w) * appearance + w * motion, the mean over the rows that can be read."""
    x = base.normalise(batch["clip"], parts.preprocess)
    visible = draw_visible(parts.model, _mask_key(key), batch)
    outputs, new_state = base.forward(
        parts.model, params, model_state, x, key=key, dtype=parts.dtype, visible=visible
    )
    found = errors(outputs, x, parts, options)
    total = losses.masked_mean(found.pop("loss"), batch["mask"])
    sums = {name: base.summed(values, batch["mask"]) for name, values in found.items()}
    return total, (new_state, {**sums, "loss": base.shared(total)})


def predict(
    params: Variables,
    model_state: Variables,
    batch: Batch,
    *,
    parts: setup.Parts,
    options: Options,
) -> dict[str, Any]:
    """The losses of each row, under a mask that is always the same for the same record."""
    x = base.normalise(batch["clip"], parts.preprocess)
    visible = draw_visible(parts.model, _mask_key(None), batch)
    outputs, _ = base.forward(
        parts.model, params, model_state, x, dtype=parts.dtype, visible=visible
    )
    return {"losses": errors(outputs, x, parts, options)}


def _mask_key(key: jax.Array | None) -> jax.Array:
    return jax.random.key(0) if key is None else key


def method(parts: setup.Parts, options: Options) -> base.Method:
    """The pre-training as a method."""
    return base.Method(
        init=functools.partial(base.init, parts.model, "clip"),
        loss=functools.partial(loss, parts=parts, options=options),
        predict=functools.partial(predict, parts=parts, options=options),
    )


def parts_of(run: Run[Options], labels: base.Labels | None = None) -> setup.Parts:
    """What a pre-training run is built from; it reads no labels."""
    return setup.parts(run, field="clip", views=("original",), labelled=False, labels=labels)


def inference(run: Run[Options], labels: base.Labels) -> base.Inference:
    """How a finished run is applied."""
    parts = parts_of(run, labels)
    return setup.inference(run, parts, method(parts, run.loss))


def build(run: Run[Options]) -> base.Task:
    """The task of a checked configuration."""
    _check(run)
    parts = parts_of(run)
    return setup.task(run, parts, method(parts, run.loss))


def _check(run: Run[Options]) -> None:
    networks = [
        name
        for name in models.names()
        if models.architecture(name).build in (network.MAEDFERPretrain, SVFAPPretrain)
    ]
    if run.model["name"] not in networks:
        raise unknown("model.name of method 'mae_pretrain'", run.model["name"], networks)
    for key, value, permitted in (
        ("train.best_metric", run.train.best_metric, "loss"),
        ("data.test_clips", run.data.test_clips, 1),
    ):
        if value != permitted:
            raise UserError(f"{key}: {value!r}; pre-training needs {permitted!r}")
