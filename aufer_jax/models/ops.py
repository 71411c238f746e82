"""Convolution of any rank, lowered the way the backend runs fastest; all lowerings agree to rounding.

XLA's CPU backend is slow at depth-wise and 3-D convolutions and at the gradients of 1x1 ones. There
a depth-wise one becomes shifted multiply-adds, one whose windows do not overlap a matrix product;
the 3-D ones and the others' gradients are in `ops_cpu`.
"""

import contextlib
import contextvars
import functools
import math
from collections.abc import Iterator, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from aufer_jax.models import ops_cpu

Padding = Sequence[tuple[int, int]]
_PLATFORM: contextvars.ContextVar[str | None] = contextvars.ContextVar("platform", default=None)


@contextlib.contextmanager
def traced_for(platform: str) -> Iterator[None]:
    """Traces convolutions and pooling for "cpu", "cuda", "tpu" or "onnx", whatever this machine has.

    For programs that run elsewhere; for "cuda" and "tpu" they are as they are defined, and can be counted.
    """
    token = _PLATFORM.set(platform)
    try:
        yield
    finally:
        _PLATFORM.reset(token)


def platform() -> str:
    """That convolutions are traced for: what `traced_for` says, or that of JAX's default device."""
    device = jax.config.jax_default_device  # pyright: ignore[reportAttributeAccessIssue]
    default = getattr(device, "platform", device) or jax.default_backend()
    return _PLATFORM.get() or default


def for_cpu() -> bool:
    """Whether to lower for XLA's CPU backend."""
    return platform() == "cpu"


def for_onnx() -> bool:
    """Whether a converter to ONNX traces, which knows fewer operations."""
    return _PLATFORM.get() == "onnx"


def conv(
    x: jax.Array, kernel: jax.Array, strides: Sequence[int], padding: Padding, groups: int = 1
) -> jax.Array:
    """x [B, *space, C] * kernel [*window, C/groups, O] -> [B, *space', O], 1 to 3 dimensions."""
    if not for_cpu():
        if x.ndim == 5 and groups == 1 and for_onnx():
            return ops_cpu.conv3d(x, kernel, strides, padding, _conv_xla)
        return _conv_xla(x, kernel, strides, padding, groups)
    window = kernel.shape[:-2]
    padded = any(map(any, padding))
    if groups == 1 and not padded and math.prod(window) == 1:
        return _conv_pointwise(x, kernel, strides)
    if groups == 1 and not padded and tuple(strides) == window:
        return _conv_patches(x, kernel)
    if groups > 1 and groups == x.shape[-1]:
        # Each input channel yields kernel.shape[-1] / groups consecutive outputs.
        repeated = jnp.repeat(x, kernel.shape[-1] // groups, axis=-1)
        return _conv_depthwise_shifts(repeated, kernel, tuple(strides), tuple(padding))
    if x.ndim == 5 and groups == 1:
        return ops_cpu.conv3d(x, kernel, strides, padding, conv)
    if x.ndim == 4 and groups == 1:
        return ops_cpu.conv2d(x, kernel, tuple(strides), tuple(padding))
    return _conv_xla(x, kernel, strides, padding, groups)


def matmul(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """x [..., C] @ kernel [C, O], flattened to two dimensions: half the time backwards on a CPU."""
    return (x.reshape(-1, x.shape[-1]) @ kernel).reshape(*x.shape[:-1], kernel.shape[-1])


def _conv_xla(x, kernel, strides, padding, groups=1):
    space = "DHW"[-(x.ndim - 2) :]
    numbers = (f"N{space}C", f"{space}IO", f"N{space}C")
    return lax.conv_general_dilated(
        x, kernel, strides, padding, dimension_numbers=numbers, feature_group_count=groups
    )


def _conv_pointwise(x, kernel, strides):
    x = x[(slice(None), *(slice(None, None, s) for s in strides))]
    return matmul(x, kernel.reshape(kernel.shape[-2:]))


def _conv_patches(x, kernel):
    """Windows side by side: every one is a row of a matrix product."""
    *window, channels, out = kernel.shape
    counts = [n // k for n, k in zip(x.shape[1:-1], window, strict=True)]
    x = x[(slice(None), *(slice(n * k) for n, k in zip(counts, window, strict=True)))]
    split = [size for pair in zip(counts, window, strict=True) for size in pair]
    x = x.reshape(x.shape[0], *split, channels)
    rank = len(window)
    x = x.transpose(0, *range(1, 2 * rank, 2), *range(2, 2 * rank + 1, 2), 2 * rank + 1)
    return matmul(x.reshape(x.shape[0], *counts, -1), kernel.reshape(-1, out))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _conv_depthwise_shifts(x, kernel, strides, padding):
    """Where no gradient is asked for: one pass over x, half the time of the loop below."""
    x = lax.optimization_barrier(jnp.pad(x, [(0, 0), *padding, (0, 0)]))
    cells = kernel.reshape(-1, kernel.shape[-1])
    parts = [_shifted(x, offset, kernel, strides) for offset in np.ndindex(*kernel.shape[:-2])]
    total = functools.reduce(jnp.add, map(jnp.multiply, parts, cells))
    return lax.optimization_barrier(total)


def _depthwise_loop(x, kernel, strides, padding):
    # Loops, here and below, are walls between XLA's fusions: without them it computes the layer
    # again in every reader, and fuses reductions that stand side by side into far slower code.
    x = jnp.pad(x, [(0, 0), *padding, (0, 0)])
    offsets = _offsets(kernel)
    cells = jnp.asarray(kernel).reshape(-1, kernel.shape[-1])

    def add(i, total):
        return total + _shifted(x, offsets[i], kernel, strides) * cells[i]

    shape = jax.eval_shape(lambda: _shifted(x, offsets[0], kernel, strides))
    return lax.fori_loop(0, len(cells), add, jnp.zeros(shape.shape, x.dtype))


def _offsets(kernel):
    return jnp.asarray(list(np.ndindex(*kernel.shape[:-2])))


def _shifted(x, offset, kernel, strides):
    """What the window's cell at `offset` meets in a padded x, over all places of the window."""
    sizes = [
        (n - k) // s * s + 1
        for n, k, s in zip(x.shape[1:-1], kernel.shape[:-2], strides, strict=True)
    ]
    part = lax.dynamic_slice(x, (0, *offset, 0), (x.shape[0], *sizes, x.shape[-1]))
    return part[(slice(None), *(slice(None, None, s) for s in strides))]


def _depthwise_forward(x, kernel, strides, padding):
    return _depthwise_loop(x, kernel, strides, padding), (x, kernel)


def _depthwise_backward(strides, padding, residuals, dy):
    x, kernel = residuals
    window = kernel.shape[:-2]
    # The gradient of x: dy spread out by the strides, correlated with the mirrored kernel.
    spread = [
        (k - 1 - low, n + low - (m - 1) * s - 1, s - 1)
        for n, m, k, s, (low, _) in zip(
            x.shape[1:-1], dy.shape[1:-1], window, strides, padding, strict=True
        )
    ]
    spread_dy = lax.pad(dy, jnp.zeros((), dy.dtype), [(0, 0, 0), *spread, (0, 0, 0)])
    mirrored = jnp.flip(kernel, range(len(window)))
    ones, none = (1,) * len(window), ((0, 0),) * len(window)
    dx = _depthwise_loop(spread_dy, mirrored, ones, none)

    x = jnp.pad(x, [(0, 0), *padding, (0, 0)])
    reduced = tuple(range(dy.ndim - 1))
    dkernel = lax.map(
        lambda offset: (_shifted(x, offset, kernel, strides) * dy).sum(reduced), _offsets(kernel)
    )
    return dx, dkernel.reshape(kernel.shape)


_conv_depthwise_shifts.defvjp(_depthwise_forward, _depthwise_backward)
