"""What AU-ViT's published code does by mistake, each chosen by its name in `loss.slips`."""

from collections.abc import Sequence

from aufer_jax import errors
from aufer_jax.train import config, schedules, setup

SLIPS = (
    "evaluation_mode",  # after its first validation training goes on in evaluation mode
    "warmup_from_one",  # the k-th unit of a warm-up of n runs at k/n, not at (k - 1)/n
)
_FIRST_VALIDATION = 700  # on AffectNet, in steps; on other targets it ends the first epoch


def check(slips: Sequence[str]) -> None:
    """Raises at a slip that there is not."""
    for slip in slips:
        if slip not in SLIPS:
            raise errors.unknown("loss.slips", slip, SLIPS)


def evaluation_mode_from(run: config.Run, steps_per_epoch: int) -> int | None:
    """The step from which training computes in evaluation mode."""
    if "evaluation_mode" not in run.loss.slips:
        return None
    return _FIRST_VALIDATION if run.data.target.startswith("affectnet") else steps_per_epoch


def rate(run: config.Run, steps_per_epoch: int) -> schedules.Rate:
    """The learning rate by step."""
    return setup.rate(run, steps_per_epoch, ahead="warmup_from_one" in run.loss.slips)
