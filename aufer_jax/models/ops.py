"""Convolution of any rank, lowered the way the backend runs fastest; all lowerings agree to rounding.

XLA's CPU backend is slow at depth-wise and 3-D convolutions and at the gradients of 1x1 ones. There
a depth-wise one becomes shifted multiply-adds, a 3-D one a 2-D convolution over the frames of each
window concatenated on channels, and one with a window of a single cell a matrix product.
"""

import functools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

Padding = Sequence[tuple[int, int]]


def conv(
    x: jax.Array, kernel: jax.Array, strides: Sequence[int], padding: Padding, groups: int = 1
) -> jax.Array:
    """x [B, *space, C] * kernel [*window, C/groups, O] -> [B, *space', O], 1 to 3 dimensions."""
    if jax.default_backend() != "cpu":
        return _conv_xla(x, kernel, strides, padding, groups)
    if math.prod(kernel.shape[:-2]) == 1 and groups == 1 and not any(map(any, padding)):
        return _conv_pointwise(x, kernel, strides)
    if groups > 1 and groups == x.shape[-1]:
        return _conv_depthwise_shifts(x, kernel, tuple(strides), tuple(padding))
    if x.ndim == 5 and groups == 1:
        return _conv3d_as_2d(x, kernel, strides, padding)
    return _conv_xla(x, kernel, strides, padding, groups)


def _conv_xla(x, kernel, strides, padding, groups):
    space = "DHW"[-(x.ndim - 2) :]
    numbers = (f"N{space}C", f"{space}IO", f"N{space}C")
    return lax.conv_general_dilated(
        x, kernel, strides, padding, dimension_numbers=numbers, feature_group_count=groups
    )


def matmul(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """x [..., C] @ kernel [C, O], flattened to two dimensions: half the time backwards on a CPU."""
    return (x.reshape(-1, x.shape[-1]) @ kernel).reshape(*x.shape[:-1], kernel.shape[-1])


def _conv_pointwise(x, kernel, strides):
    x = x[(slice(None), *(slice(None, None, s) for s in strides))]
    return matmul(x, kernel.reshape(kernel.shape[-2:]))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def _conv_depthwise_shifts(x, kernel, strides, padding):
    *window, _, out = kernel.shape
    multiplier = out // x.shape[-1]
    x = jnp.pad(x, [(0, 0), *padding, (0, 0)])
    total = None
    for offset in np.ndindex(*window):
        part = _shifted(x, offset, window, strides)
        if multiplier > 1:  # each input channel yields `multiplier` consecutive outputs
            part = jnp.repeat(part, multiplier, axis=-1)
        term = part * kernel[offset][0]
        total = term if total is None else total + term
    return total


def _shifted(x, offset, window, strides):
    """The cells of a padded x that the window's cell at `offset` meets; offsets may be traced."""
    sizes = [(n - k) // s * s + 1 for n, k, s in zip(x.shape[1:-1], window, strides, strict=True)]
    part = lax.dynamic_slice(x, (0, *offset, 0), (x.shape[0], *sizes, x.shape[-1]))
    return part[(slice(None), *(slice(None, None, s) for s in strides))]


def _depthwise_forward(x, kernel, strides, padding):
    return _conv_depthwise_shifts(x, kernel, strides, padding), (x, kernel)


def _depthwise_backward(strides, padding, residuals, dy):
    x, kernel = residuals
    shifts = _conv_depthwise_shifts.fun
    dx = jax.vjp(lambda x: shifts(x, kernel, strides, padding), x)[1](dy)[0]
    *window, _, out = kernel.shape
    x = jnp.pad(x, [(0, 0), *padding, (0, 0)])
    multiplier = out // x.shape[-1]

    def one_cell(offset):
        part = _shifted(x, tuple(offset), window, strides)
        if multiplier > 1:
            part = jnp.repeat(part, multiplier, axis=-1)
        return (part * dy).sum(range(dy.ndim - 1))

    # One after the other: XLA fuses reductions that stand side by side into a much slower loop.
    offsets = np.array(list(np.ndindex(*window)))
    return dx, lax.map(one_cell, offsets).reshape(kernel.shape)


_conv_depthwise_shifts.defvjp(_depthwise_forward, _depthwise_backward)


def _conv3d_as_2d(x, kernel, strides, padding):
    kt, kh, kw, channels, out = kernel.shape
    x = jnp.pad(x, [(0, 0), padding[0], (0, 0), (0, 0), (0, 0)])
    batch, frames = x.shape[:2]
    times = (frames - kt) // strides[0] + 1
    shifted = [
        lax.slice_in_dim(x, t, t + (times - 1) * strides[0] + 1, strides[0], axis=1)
        for t in range(kt)
    ]
    x = jnp.concatenate(shifted, axis=-1) if kt > 1 else shifted[0]
    x = x.reshape(batch * times, *x.shape[2:])
    kernel = jnp.moveaxis(kernel, 0, 2).reshape(kh, kw, kt * channels, out)
    y = _conv_xla(x, kernel, strides[1:], padding[1:], 1)
    return y.reshape(batch, times, *y.shape[1:])
