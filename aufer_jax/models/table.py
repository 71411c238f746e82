"""Every architecture in a line: input, exact number of parameters, multiply-adds of a forward pass."""

import functools
import math
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from aufer_jax.models import ops, registry


def parameters(
    name: str, model: nn.Module | None = None, size: int | None = None, frames: int | None = None
) -> int:
    """Trained numbers of an architecture, or a model of it with other options; nothing is computed.

    `size` and `frames` are the input's, in place of the architecture's own.
    """
    _, variables = _trace(
        registry.create(name) if model is None else model, example(name, size, frames)
    )
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(variables["params"]))


def macs(
    name: str, model: nn.Module | None = None, size: int | None = None, frames: int | None = None
) -> int:
    """Multiply-adds of one image or clip through an architecture, or a model of it with other options.

    `size` and `frames` are the input's, in place of the architecture's own.

    Counts convolutions (the padding at image edges included) and matrix products, as PyTorch's counters
    do; a floating-point operation count is twice that. Nothing is
    computed.
    """
    jaxpr, _ = _trace(
        registry.create(name) if model is None else model, example(name, size, frames)
    )
    return sum(products(jaxpr))


def example(name: str, size: int | None = None, frames: int | None = None) -> jax.ShapeDtypeStruct:
    """The shape of one input of an architecture, or of one with another size or number of frames."""
    own = registry.architecture(name).preprocess
    side = size or own.size
    clip = () if own.frames is None else (frames or own.frames,)
    return jax.ShapeDtypeStruct((1, *clip, side, side, 3), jnp.float32)


@functools.lru_cache(maxsize=2)
def _trace(model: nn.Module, x: jax.ShapeDtypeStruct) -> tuple[Any, Any]:
    """A first forward pass as a traced function, and the shapes of its variables.

    It draws the initial values too, which takes no products.
    """
    key = jax.eval_shape(lambda: jax.random.key(0))
    with ops.traced_for("tpu"):
        traced, shapes = jax.make_jaxpr(model.init_with_output, return_shape=True)(
            {"params": key, "dropout": key}, x
        )
    return traced.jaxpr, shapes[1]


def products(jaxpr: Any) -> Iterator[int]:
    """Multiply-adds of every convolution and matrix product of a traced function."""
    for step in jaxpr.eqns:
        outputs = math.prod(step.outvars[0].aval.shape) if step.outvars else 0
        kind = step.primitive.name
        if kind == "dot_general":
            (summed, _), _ = step.params["dimension_numbers"]
            yield outputs * math.prod(step.invars[0].aval.shape[axis] for axis in summed)
        elif kind == "conv_general_dilated":
            kernel = step.invars[1].aval.shape
            every = math.prod(kernel) // kernel[step.params["dimension_numbers"].rhs_spec[0]]
            # Of inputs spread out by zeros, as strides' gradients have them, the zeros do not count.
            yield outputs * every // math.prod(step.params["lhs_dilation"])
        elif kind == "while" and any(True for inner in _inner(step) for _ in products(inner)):
            raise ValueError("a loop of unknown length: its products cannot be counted")
        elif kind == "cond":
            yield max(sum(products(branch)) for branch in _inner(step))
        else:
            times = step.params["length"] if kind == "scan" else 1
            yield times * sum(sum(products(inner)) for inner in _inner(step))


def moved(jaxpr: Any) -> int:
    """Numbers that a traced function's products and reductions read and write, weights included.

    About what goes through a chip's memory, if all else is computed on the way.
    """
    total = 0
    for step in jaxpr.eqns:
        kind = step.primitive.name
        if kind in ("dot_general", "conv_general_dilated"):
            total += sum(math.prod(v.aval.shape) for v in (*step.invars, *step.outvars))
        elif kind.startswith("reduce_") and step.invars:
            total += max(math.prod(v.aval.shape) for v in step.invars)
        times = step.params["length"] if kind == "scan" else 1
        total += times * sum(map(moved, _inner(step)))
    return total


# What XLA computes where it is read, so that it takes no memory.
_FREE = frozenset({
    "broadcast_in_dim", "convert_element_type", "copy", "expand_dims", "iota", "reshape", "squeeze",
    "transpose",
})  # fmt: skip


def live_bytes(jaxpr: Any) -> int:
    """About how many bytes a traced function holds at most beside what it is given.

    Its operations one after another, each result kept until it is last read. XLA orders and fuses them
    otherwise: this is an estimate, without compiling.
    """
    variables = [[v for v in step.invars if not hasattr(v, "val")] for step in jaxpr.eqns]
    last = {v: i for i, read in enumerate(variables) for v in read}
    last |= {v: len(jaxpr.eqns) for v in jaxpr.outvars if not hasattr(v, "val")}
    held: dict[Any, int] = {}
    now = most = 0
    for i, step in enumerate(jaxpr.eqns):
        inside = max((live_bytes(inner) for inner in _inner(step)), default=0)
        for v in step.outvars:
            if v in last and step.primitive.name not in _FREE:
                held[v] = math.prod(v.aval.shape) * getattr(v.aval.dtype, "itemsize", 8)
                now += held[v]
        most = max(most, now + inside)
        now -= sum(held.pop(v, 0) for v in set(variables[i]) if last[v] == i)
    return most


def _inner(step: Any) -> Iterator[Any]:
    """The traced functions inside a step: of a loop, a branch, a function with its own gradient."""
    for value in step.params.values():
        for part in value if isinstance(value, (tuple, list)) else (value,):
            part = getattr(part, "jaxpr", part)
            if hasattr(part, "eqns"):
                yield part


def markdown() -> Iterator[str]:
    """The table of docs/models.md, line by line, which takes a while."""
    yield "| name | input | network | GMAC | parameters |"
    yield "|---|---|---|---|---|"
    for name in registry.names():
        entry = registry.architecture(name)
        size = entry.preprocess.size
        frames = f"{entry.preprocess.frames} x " if entry.input == "clip" else ""
        yield (
            f"| `{name}` | {frames}{size} x {size} | `{entry.build.__name__}` "
            f"| {macs(name) / 1e9:.4g} | {parameters(name):,} |"
        )
