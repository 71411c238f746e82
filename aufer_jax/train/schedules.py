"""Learning-rate curves as functions of the step; epochs or steps are the unit, warm-up comes first."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp

from aufer_jax import errors

UNITS = ("step", "epoch")
NAMES = ("constant", "cosine", "exponential", "step", "linear")
Rate = Callable[[jax.Array | int], jax.Array]  # step -> learning rate


@dataclasses.dataclass(frozen=True)
class Schedule:
    """One curve. Lengths are in `unit`s; a curve by epoch changes at epoch boundaries only."""

    name: str = "cosine"
    unit: str = "step"  # or "epoch": the rate is held over each epoch
    warmup_epochs: float = 0.0
    warmup_inclusive: bool = False  # True: the warm-up's last unit already runs at the full rate
    decay_epochs: float = (
        0.0  # length of the cosine (which rises again after it) or linear curve; 0: to the end
    )
    min_lr: float = 0.0
    gamma: float = 0.9  # factor of "exponential" (each epoch) and of "step" (at each milestone)
    milestones: tuple[float, ...] = ()  # epochs


def create(
    config: Schedule, *, lr: float, epochs: float, steps_per_epoch: int, ahead: int = 0
) -> Rate:
    """The curve, or the same some units early: `ahead` of the clock."""
    if config.name not in NAMES:
        raise errors.unknown("schedule.name", config.name, NAMES)
    if config.unit not in UNITS:
        raise errors.unknown("schedule.unit", config.unit, UNITS)
    by_epoch = config.unit == "epoch"
    per_epoch = 1 if by_epoch else steps_per_epoch
    warmup = config.warmup_epochs * per_epoch
    length = (config.decay_epochs or epochs - config.warmup_epochs) * per_epoch

    def curve(t: jax.Array) -> jax.Array:
        if config.name == "cosine":
            return config.min_lr + (lr - config.min_lr) * 0.5 * (1 + jnp.cos(jnp.pi * t / length))
        if config.name == "linear":
            return lr + (config.min_lr - lr) * jnp.clip(t / length, 0, 1)
        if config.name == "exponential":
            return lr * config.gamma ** (t / per_epoch)
        if config.name == "step":
            passed = sum((t >= m * per_epoch).astype(jnp.float32) for m in config.milestones)
            return jnp.asarray(lr * config.gamma**passed)
        return jnp.full_like(t, lr)

    def rate(step: jax.Array | int) -> jax.Array:
        # Whole numbers: compiled, floor(97 / 97.0) is 0, as XLA multiplies by the reciprocal.
        t = jnp.asarray(step // steps_per_epoch if by_epoch else step, jnp.float32) + ahead
        if not warmup:
            return curve(t)
        last = max(warmup - 1, 1) if config.warmup_inclusive else warmup
        warm = lr * (t / last)
        return jnp.where(t < warmup, warm, curve(t - warmup))

    return rate
