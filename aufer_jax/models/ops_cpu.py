"""What XLA's CPU backend is slow at, done otherwise: clips, weights' gradients, max pooling.

Measured on one core against XLA's own: a 3x3x3 convolution of 56x56 clips 5.3 times faster, with its
gradients 4.6 times; a 3x3 kernel's gradient there 1.6 times, one of 256 channels on 14x14 maps 2.3 times (1.7
on two cores); a 3x3x3 max pooling with its gradient 6.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

Padding = Sequence[tuple[int, int]]

# Winograd's minimal filtering of 4 (2) outputs of a 3-tap filter with 6 (4) products instead of 12 (6):
# inputs, taps and products are mixed by the three matrices.
_WINOGRAD = {
    2: (
        ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1)),
        ((1, 0, 0), (1 / 2, 1 / 2, 1 / 2), (1 / 2, -1 / 2, 1 / 2), (0, 0, 1)),
        ((1, 1, 1, 0), (0, 1, -1, -1)),
    ),
    4: (
        (
            (4, 0, -5, 0, 1, 0),
            (0, -4, -4, 1, 1, 0),
            (0, 4, -4, -1, 1, 0),
            (0, -2, -1, 2, 1, 0),
            (0, 2, -1, -2, 1, 0),
            (0, 4, 0, -5, 0, 1),
        ),
        (
            (1 / 4, 0, 0),
            (-1 / 6, -1 / 6, -1 / 6),
            (-1 / 6, 1 / 6, -1 / 6),
            (1 / 24, 1 / 12, 1 / 6),
            (1 / 24, -1 / 12, 1 / 6),
            (0, 0, 1),
        ),
        ((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1)),
    ),
}


def conv3d(
    x: jax.Array, kernel: jax.Array, strides: Sequence[int], padding: Padding, conv2d: Callable
) -> jax.Array:
    """x [B, T, H, W, C] * kernel [kt, kh, kw, C, O] through `conv2d` with frames in the batch."""
    kt, channels = kernel.shape[0], kernel.shape[3]
    batch, frames, height, width, _ = x.shape
    stride, before, after = strides[0], *padding[0]
    times = (frames + before + after - kt) // stride + 1

    def planes(x, kernel):
        y = conv2d(x.reshape(-1, *x.shape[2:]), kernel, strides[1:], padding[1:])
        return y.reshape(batch, -1, *y.shape[1:])

    if kt == 1 and before == after == 0:
        return planes(x[:, ::stride], kernel[0])
    # A batch of any size (a symbol, in exported programs) is not counted on to be small.
    few = isinstance(batch, int) and batch * height * width * frames < 2 * channels
    if channels < 16 or (stride == 1 and few):
        return _concatenated(planes, x, kernel, stride, before, after, times)
    if (kt, stride) == (3, 1) and times > 1:
        return _winograd(planes, x, kernel, before, times)
    return _summed(planes, x, kernel, stride, before, times)


def _concatenated(planes, x, kernel, stride, before, after, times):
    """The frames of each window side by side on channels."""
    kt = len(kernel)
    x = jnp.pad(x, [(0, 0), (before, after), (0, 0), (0, 0), (0, 0)])
    reach = (times - 1) * stride + 1
    x = jnp.concatenate([x[:, i : i + reach : stride] for i in range(kt)], axis=-1)
    kernel = jnp.moveaxis(kernel, 0, 2)
    return planes(x, kernel.reshape(*kernel.shape[:2], -1, kernel.shape[-1]))


def _summed(planes, x, kernel, stride, before, times):
    """Every frame once with all taps that it meets, as channels of the output; then shifted sums."""
    kt, out = len(kernel), kernel.shape[-1]
    total: Any = 0
    for phase in range(stride):
        taps = [i for i in range(kt) if (i - before - phase) % stride == 0]
        if not taps or phase >= x.shape[1]:
            continue
        part = planes(x[:, phase::stride], jnp.concatenate([kernel[i] for i in taps], axis=-1))
        for j, i in enumerate(taps):
            shift = (i - before - phase) // stride
            edges = [(0, 0, 0)] * x.ndim
            edges[1] = (-shift, times - part.shape[1] + shift, 0)
            term = part[..., j * out : (j + 1) * out]
            total = total + lax.pad(term, jnp.zeros((), x.dtype), edges)
    return total


def _winograd(planes, x, kernel, before, times):
    """Three taps a frame apart, the products of Winograd's scheme being 2-D convolutions."""
    size = 4 if times > 2 else 2
    tiles = -(-times // size)
    after = size * tiles + 2 - before - x.shape[1]
    x = jnp.pad(x, [(0, 0), (before, after), (0, 0), (0, 0), (0, 0)])
    reach = (tiles - 1) * size + 1
    of_inputs, of_taps, of_products = _WINOGRAD[size]
    inputs = _mixed(of_inputs, [x[:, i : i + reach : size] for i in range(size + 2)])
    products = [planes(*pair) for pair in zip(inputs, _mixed(of_taps, kernel), strict=True)]
    y = jnp.stack(_mixed(of_products, products), axis=2)
    return y.reshape(x.shape[0], -1, *y.shape[3:])[:, :times]


def _mixed(matrix, arrays):
    return [
        functools.reduce(jnp.add, [c * a for c, a in zip(row, arrays, strict=True) if c])
        for row in matrix
    ]


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def conv2d(
    x: jax.Array, kernel: jax.Array, strides: tuple[int, int], padding: tuple[tuple[int, int], ...]
) -> jax.Array:
    """x [B, H, W, C] * kernel [kh, kw, C, O]; the kernel's gradient as products with patches."""
    return _conv2d_xla(x, kernel, strides, padding)


def _conv2d_xla(x, kernel, strides, padding):
    numbers = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=numbers)


def _conv2d_forward(x, kernel, strides, padding):
    return conv2d(x, kernel, strides, padding), (x, kernel)


def _conv2d_backward(strides, padding, residuals, dy):
    x, kernel = residuals
    (dx,) = jax.linear_transpose(lambda x: _conv2d_xla(x, kernel, strides, padding), x)(dy)
    places = dy.shape[1] * dy.shape[2]
    if places < 100 or (places < 400 and kernel.size < 2**17):  # XLA's own is as fast
        of_kernel = functools.partial(_conv2d_xla, x, strides=strides, padding=padding)
        (dkernel,) = jax.linear_transpose(of_kernel, kernel)(dy)
    else:
        dkernel = _kernel_gradient(x, dy, kernel.shape, strides, padding).astype(kernel.dtype)
    return dx, dkernel


conv2d.defvjp(_conv2d_forward, _conv2d_backward)


def _kernel_gradient(x, dy, shape, strides, padding):
    """Strip by strip, a few output rows whose patches stay in the cache."""
    (kh, kw, channels, out), (sh, sw) = shape, strides
    batch, height, width, _ = dy.shape
    fitting = max(2**19 // (width * kh * kw * channels), 1)
    rows = max(n for n in range(1, height + 1) if height % n == 0 and n <= fitting)
    strips = height // rows
    x = jnp.pad(x, [(0, 0), *padding, (0, 0)])
    reach_h, reach_w = (rows - 1) * sh + 1, (width - 1) * sw + 1

    def add(total, i):
        image, strip = i // strips, i % strips
        window = (1, reach_h + kh - 1, x.shape[2], channels)
        part = lax.dynamic_slice(x, (image, strip * rows * sh, 0, 0), window)[0]
        patches = [
            part[a : a + reach_h : sh, b : b + reach_w : sw] for a in range(kh) for b in range(kw)
        ]
        patches = jnp.concatenate(patches, axis=-1).reshape(rows * width, -1)
        dy_part = lax.dynamic_slice(dy, (image, strip * rows, 0, 0), (1, rows, width, out))
        dy_part = dy_part.reshape(rows * width, out)
        return total + jnp.matmul(patches.T, dy_part, preferred_element_type=jnp.float32), None

    total = jnp.zeros((kh * kw * channels, out), jnp.float32)
    total, _ = lax.scan(add, total, jnp.arange(batch * strips))
    return total.reshape(shape)


def max_pool(
    x: jax.Array, window: Sequence[int], strides: Sequence[int], padding: Padding
) -> jax.Array:
    """Max pooling axis by axis; of equal values the first has the gradient, as in PyTorch."""
    for axis in reversed(range(len(window))):
        if window[axis] > 1 or strides[axis] > 1:
            x = _max_along(x, axis + 1, window[axis], strides[axis], tuple(padding[axis]))
    return x


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3, 4))
def _max_along(x, axis, size, stride, padding):
    return functools.reduce(jnp.maximum, _shifts(x, axis, size, stride, padding))


def _shifts(x, axis, size, stride, padding):
    edges = [(0, 0)] * x.ndim
    edges[axis] = padding
    x = jnp.pad(x, edges, constant_values=-math.inf)
    reach = (x.shape[axis] - size) // stride * stride + 1
    return [lax.slice_in_dim(x, i, i + reach, stride, axis) for i in range(size)]


def _max_forward(x, axis, size, stride, padding):
    y = _max_along(x, axis, size, stride, padding)
    return y, (x, y)


def _max_backward(axis, size, stride, padding, residuals, dy):
    x, y = residuals
    free = jnp.ones(y.shape, bool)
    total, zero = 0, jnp.zeros((), dy.dtype)
    for i, part in enumerate(_shifts(x, axis, size, stride, padding)):
        hit = free & (part == y)
        free &= ~hit
        low = i - padding[0]
        edges = [(0, 0, 0)] * x.ndim
        spread = (dy.shape[axis] - 1) * stride + 1
        edges[axis] = (low, x.shape[axis] - low - spread, stride - 1)
        total = total + lax.pad(jnp.where(hit, dy, zero), zero, edges)
    return (total,)


_max_along.defvjp(_max_forward, _max_backward)
