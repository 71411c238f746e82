"""How the batch of the running trace is split, and its parameters, where devices share them.

Under `jit` a batch is one global array and every reduction is global already. Under `pmap` a function
sees its device's share only. The step declares which of the two it is tracing; batch statistics and
masked means ask here. Without a declaration everything below is the identity.
"""

import contextlib
import contextvars
import dataclasses
import functools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import jax
from jax.ad_checkpoint import checkpoint_name
from jax.sharding import AbstractMesh, Mesh, NamedSharding, PartitionSpec

SHARED = "fsdp"  # the mesh's axis over which a state is spread
SMALLEST = 1024  # numbers; of smaller arrays, and of vectors, every device has all
GATHERED = "gathered"  # what `whole` gives: not kept for the backward pass, but gathered again


@dataclasses.dataclass(frozen=True)
class Split:
    """How the batch of the running trace is split over devices."""

    axis: str | None = None  # name of the mapped axis, None where the batch is one global array
    stat_groups: int = 1  # parts of the visible batch that keep batch statistics of their own
    sync_stats: bool = True  # batch statistics span the mapped axis
    mesh: Mesh | AbstractMesh | None = None  # whose devices share parameters, if they do


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


def shares(shape: Sequence[int], count: int) -> PartitionSpec:
    """How an array of a state is spread over the devices that share it: by its longest axis that divides.

    Biases, scales, batch statistics and what is small stay whole. Moments have their parameter's shape,
    so they are spread as it is.

    >>> tuple(shares((3, 3, 256, 512), 4)), tuple(shares((512,), 4))
    ((None, None, None, 'fsdp'), ())
    """
    lengths = [length if length % count == 0 else 0 for length in shape]
    if count == 1 or len(shape) < 2 or math.prod(shape) < SMALLEST or not any(lengths):
        return PartitionSpec()
    axis = lengths.index(max(lengths))
    return PartitionSpec(*(SHARED if i == axis else None for i in range(axis + 1)))


def whole(params: Any) -> Any:
    """Parameters that the devices share, gathered to be computed with; their gradients are shared again."""
    mesh = split().mesh
    return params if mesh is None else jax.tree.map(functools.partial(_whole, mesh), params)


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _whole(mesh: Any, x: jax.Array) -> jax.Array:
    sharding = NamedSharding(mesh, PartitionSpec())
    return checkpoint_name(jax.lax.with_sharding_constraint(x, sharding), GATHERED)


def _whole_forward(mesh: Any, x: jax.Array) -> tuple[jax.Array, None]:
    return _whole(mesh, x), None


def _whole_backward(mesh: Any, _: None, gradient: jax.Array) -> tuple[jax.Array]:
    sharding = NamedSharding(mesh, shares(gradient.shape, mesh.shape[SHARED]))
    return (jax.lax.with_sharding_constraint(gradient, sharding),)


_whole.defvjp(_whole_forward, _whole_backward)
