"""What AU-DFER's published code does by mistake, each chosen by its name in `loss.slips`."""

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from aufer_jax import errors
from aufer_jax.data import mixture, records
from aufer_jax.data.sampling import Sampling
from aufer_jax.data.views import Spec
from aufer_jax.train import config, schedules, setup

SLIPS = (
    "test_jitter",  # evaluation draws a clip's frames as training does
    "running_clock",  # the curve's clock runs during the warm-up, which ends below the full rate
    "late_rate",  # each step has the rate of the one before
)


def check(slips: Sequence[str]) -> None:
    """Raises at a slip that there is not."""
    for slip in slips:
        if slip not in SLIPS:
            raise errors.unknown("loss.slips", slip, SLIPS)


class Jittered(Sampling):
    """Draws in evaluation too, for each record always the same."""

    def choose(self, length: int, rng: np.random.Generator | None, key: str) -> np.ndarray:
        """Draws as in training; without a generator, from one seeded by the record."""
        return super().choose(length, rng or mixture.generator(records.key_id(key), 0), key)


def evaluation(run: config.Run, spec: Spec) -> Spec:
    """What a batch of evaluation holds."""
    if "test_jitter" not in run.loss.slips or spec.clip is None:
        return spec
    if spec.clip.views > 1:
        raise errors.UserError(
            f"loss.slips: 'test_jitter' takes one clip of a record; data.test_clips is {spec.clip.views}"
        )
    return dataclasses.replace(spec, clip=Jittered(**vars(spec.clip)))


def rate(run: config.Run, steps_per_epoch: int) -> schedules.Rate:
    """The learning rate by step."""
    configured = setup.rate(run, steps_per_epoch)
    curve = setup.rate(run, steps_per_epoch, warmup_epochs=0.0)
    warmup = run.schedule.warmup_epochs * steps_per_epoch
    late = 1 if "late_rate" in run.loss.slips else 0

    def slipped(step: jax.Array | int) -> jax.Array:
        step = jnp.maximum(step - late, 0)
        if "running_clock" not in run.loss.slips:
            return configured(step)
        return jnp.where(step < warmup, configured(step), curve(step))

    return slipped
