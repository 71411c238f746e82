"""How the batch of the running trace is split, so that statistics and means can span all of it.

Under `jit` a batch is one global array and every reduction is global already. Under `pmap` a function
sees its device's share only. The step declares which of the two it is tracing; batch statistics and
masked means ask here. Without a declaration everything below is the identity.
"""

import contextlib
import contextvars
import dataclasses
from collections.abc import Iterator
from typing import Any

import jax


@dataclasses.dataclass(frozen=True)
class Split:
    """How the batch of the running trace is split over devices."""

    axis: str | None = None  # name of the mapped axis, None where the batch is one global array
    stat_groups: int = 1  # parts of the visible batch that keep batch statistics of their own
    sync_stats: bool = True  # batch statistics span the mapped axis


_WHOLE = Split()
_SPLIT: contextvars.ContextVar[Split] = contextvars.ContextVar("split")


def split() -> Split:
    """That of the running trace; the whole batch where none is set."""
    return _SPLIT.get(_WHOLE)


@contextlib.contextmanager
def batch_split(value: Split) -> Iterator[None]:
    """Sets how the batch is split, for what is traced within."""
    token = _SPLIT.set(value)
    try:
        yield
    finally:
        _SPLIT.reset(token)


def psum(x: Any) -> Any:
    """Sum over the mapped axis; the identity where there is none."""
    axis = split().axis
    return x if axis is None else jax.lax.psum(x, axis)


def pmean(x: Any) -> Any:
    """Mean over the mapped axis; the identity where there is none."""
    axis = split().axis
    return x if axis is None else jax.lax.pmean(x, axis)


def gather(x: Any) -> Any:
    """The rows of all devices one after the other; the identity where the batch is whole."""
    axis = split().axis
    return x if axis is None else jax.lax.all_gather(x, axis, tiled=True)


def device_key(key: jax.Array) -> jax.Array:
    """A key of the device's own under `pmap`, so that shares of a batch draw different noise."""
    axis = split().axis
    return key if axis is None else jax.random.fold_in(key, jax.lax.axis_index(axis))
