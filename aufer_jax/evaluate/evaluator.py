"""Counts of a whole split, batch by batch."""

import functools
from collections.abc import Callable, Iterable
from typing import Any

import jax

from aufer_jax.evaluate import metrics


def evaluate(step: Callable[[Any], Any], batches: Iterable[Any]) -> metrics.Sums:
    """Adds up `step(batch)` over all batches; the devices are waited for once, at the end."""
    return functools.reduce(metrics.add, jax.device_get([step(batch) for batch in batches]))
