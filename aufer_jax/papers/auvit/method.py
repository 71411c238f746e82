"""AU-ViT: expressions of the target and AUs of auxiliary datasets, trained jointly."""

import dataclasses
import functools

import jax
import numpy as np

from aufer_jax import errors, facs, losses
from aufer_jax.data import batches
from aufer_jax.datasets import catalog
from aufer_jax.papers.auvit import slips
from aufer_jax.train import base, expression, mixing, setup
from aufer_jax.train.base import Batch, Sums, Variables
from aufer_jax.train.run import Run

POS_WEIGHTS = ("none", "released", "train")
# Negatives over positives in RAF-AU, as the published scripts have them, in the order of AU_VIT_21.
RELEASED_POS_WEIGHT = (
    3.04216867, 4.40402685, 1.42384106, 3.5033557, 8.63157895, 11.74050633, 4.62290503, 2.0407855,
    2.38603869, 40.9375, 14.66536965, 4.98216939, 7.37006237, 39.66666667, 19.02985075, 11.94533762,
    38.86138614, 20.18947368, 0.52442257, 2.96259843, 4.27653997,
)  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Options(expression.Options):
    """The section `loss` of AU-ViT's configuration."""

    alpha: float = 1.0  # weight of the expression loss
    beta: float = 1.0  # weight of the AU loss
    au_pos_weight: str = "none"  # of present AUs; released: AU-ViT's code's, train: measured
    slips: tuple[str, ...] = ()  # which of the published code's to reproduce, see `slips.SLIPS`

    def __post_init__(self):
        super().__post_init__()
        slips.check(self.slips)
        if self.au_pos_weight not in POS_WEIGHTS:
            raise errors.unknown("loss.au_pos_weight", self.au_pos_weight, POS_WEIGHTS)


def loss(
    params: Variables,
    model_state: Variables,
    batch: Batch,
    key: jax.Array | None,
    *,
    parts: setup.Parts,
    options: Options,
    pos_weight: jax.typing.ArrayLike = 1.0,
) -> tuple[jax.Array, tuple[Variables, Sums]]:
    """alpha * cross-entropy of the known expressions + beta * BCE of the known AUs (eq. 3)."""
    taught, key = expression.taught(batch, key, parts, options)
    x = mixing.pixels(taught.mix, base.normalise(batch["image"], parts.preprocess))
    given = setup.geometry(parts.model, batch)
    outputs, new_state = base.forward(
        parts.model, params, model_state, x, key=key, dtype=parts.dtype, **given
    )
    values = expression.loss(outputs["expression"], taught, parts, options)
    total = options.alpha * losses.masked_mean(values, taught.mask)
    sums = {
        "expression_loss": base.summed(values, taught.mask),
        **base.scores(outputs["expression"], batch, parts.expressions),
    }
    if "au" in outputs and options.beta:
        known = mixing.known(taught.mix, batch["au_known"] & batch["mask"][:, None])
        present = mixing.labels(taught.mix, batch["au"])
        au = losses.au_cross_entropy(outputs["au"], present, known, pos_weight=pos_weight)
        total += options.beta * losses.masked_mean(au, known)
        sums["au_loss"] = base.summed(au, known)
    sums["loss"] = base.shared(total)
    return total, (new_state, sums)


def positive_weights(run: Run[Options], parts: setup.Parts) -> np.ndarray | float:
    """The weight of a present AU, for each AU of the batch."""
    if run.loss.au_pos_weight == "none":
        return 1.0
    if run.loss.au_pos_weight == "released":
        places = np.array(facs.au_index(facs.AU_VIT_21, parts.spec.aus))
        if min(places) < 0:
            raise errors.UserError("loss.au_pos_weight: 'released' knows the AUs of au_vit_21 only")
        return np.array(RELEASED_POS_WEIGHT, np.float32)[places]
    teachers = setup.aux_parts(run, parts)
    if run.data.target_aus:
        teachers.append(setup.target_part(run, parts))
    counts = [_count(batches.labels(part)) for part in teachers]
    present, known = np.sum(counts, axis=0)
    return ((known - present) / np.maximum(present, 1)).astype(np.float32)


def _count(labels: batches.Batch) -> tuple[np.ndarray, np.ndarray]:
    known = labels["au_known"]
    return (known & (labels["au"] > 0.5)).sum(0), known.sum(0)


def parts_of(run: Run[Options], labels: base.Labels | None = None) -> setup.Parts:
    """What an AU-ViT run is built from."""
    parts = setup.parts(run, field="image", views=("original",), labels=labels)
    if run.loss.mix and getattr(parts.model, "geometry", False):
        raise errors.UserError(f"loss.mix: {run.loss.mix} mixes pixels, not model.geometry")
    return parts


def inference(run: Run[Options], labels: base.Labels) -> base.Inference:
    """How a finished run is applied."""
    parts = parts_of(run, labels)
    return setup.inference(run, parts, setup.method(parts, "image", loss))


def _check_teachers(run: Run[Options]) -> None:
    """An auxiliary without AUs, as a published set is without pseudo-AUs, would silently teach nothing."""
    for name in () if run.data.aux_expressions else run.data.aux:
        if not catalog.info(name, run.data.dir).aus:
            raise errors.UserError(
                f"data.aux: {name!r} has no AUs, so it teaches nothing; aufer data prepare --au takes them"
            )


def build(run: Run[Options]) -> base.Task:
    """The task of a checked configuration: weights from its data, slips where they are asked for."""
    parts = expression.counted(run, parts_of(run))
    _check_teachers(run)
    weighted = functools.partial(loss, options=run.loss, pos_weight=positive_weights(run, parts))
    task = setup.task(run, parts, setup.method(parts, "image", weighted))
    return dataclasses.replace(
        task,
        rate=slips.rate(run, task.steps_per_epoch),
        evaluation_mode_from=slips.evaluation_mode_from(run, task.steps_per_epoch),
    )
