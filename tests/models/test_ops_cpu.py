"""The CPU lowerings against XLA's own convolution and pooling, values and gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from jax import lax

from aufer_jax.models import ops_cpu

# Clip [B, T, H, W, C], window, strides, padding before and after in time, the same in space.
CASES = {
    "winograd of four": ((2, 5, 6, 7, 16), (3, 3, 3), (1, 1, 1), (1, 1), 1),
    "winograd of two": ((2, 2, 6, 6, 16), (3, 3, 3), (1, 2, 2), (1, 1), 1),
    "winograd, odd padding": ((2, 6, 6, 6, 16), (3, 1, 1), (1, 1, 1), (0, 1), 0),
    "summed, strided": ((2, 7, 6, 6, 16), (3, 3, 3), (2, 2, 2), (1, 1), 1),
    "summed, long window": ((2, 8, 6, 6, 16), (5, 3, 3), (1, 1, 1), (2, 1), 1),
    "summed, one frame": ((2, 1, 6, 6, 16), (3, 3, 3), (2, 2, 2), (1, 1), 1),
    "concatenated": ((1, 6, 9, 9, 3), (3, 7, 7), (2, 4, 4), (1, 1), 3),
    "frames alone": ((2, 4, 6, 6, 16), (1, 3, 3), (2, 2, 2), (0, 0), 1),
}


def randn(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape, np.float32))


def values_and_gradients(function, *args):
    y, transpose = jax.vjp(jax.jit(function), *args)
    return y, *transpose(randn(*y.shape, seed=9))


def assert_same(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-5 * float(jnp.abs(b).max()))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_conv3d(case):
    shape, window, strides, times, space = case
    padding = (times, (space, space), (space, space))
    x, kernel = randn(*shape), randn(*window, shape[-1], 5, seed=1)

    def ours(x, kernel):
        return ops_cpu.conv3d(x, kernel, strides, padding, ops_cpu.conv2d)

    def theirs(x, kernel):
        numbers = ("NDHWC", "DHWIO", "NDHWC")
        return lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=numbers)

    assert_same(values_and_gradients(ours, x, kernel), values_and_gradients(theirs, x, kernel))


@pytest.mark.parametrize("strides", [(1, 1), (2, 1)])
@pytest.mark.parametrize(
    ("shape", "out"), [((40, 22, 4), 2), ((40, 22, 600), 2), ((20, 11, 128), 128)]
)  # of 600 channels a strip is one row; the last map is small, but not its kernel
def test_kernel_gradient_by_strips(strides, shape, out):
    padding = ((1, 1), (0, 2))
    x, kernel = randn(2, *shape), randn(3, 3, shape[-1], out, seed=1)

    def ours(x, kernel):
        return ops_cpu.conv2d(x, kernel, strides, padding)

    def theirs(x, kernel):
        numbers = ("NHWC", "HWIO", "NHWC")
        return lax.conv_general_dilated(x, kernel, strides, padding, dimension_numbers=numbers)

    assert_same(values_and_gradients(ours, x, kernel), values_and_gradients(theirs, x, kernel))


@pytest.mark.parametrize(
    ("shape", "window", "strides", "padding"),
    [
        ((2, 4, 7, 8, 3), (2, 2, 2), (2, 2, 2), ((0, 0), (0, 0), (1, 1))),
        ((2, 4, 7, 9, 3), (3, 3, 3), (1, 1, 1), ((1, 1), (1, 1), (1, 1))),
        ((2, 5, 8, 9, 3), (2, 3, 3), (2, 2, 2), ((0, 0), (1, 1), (0, 1))),
        ((2, 7, 8, 3), (3, 3), (2, 2), ((0, 1), (1, 1))),
    ],
)
def test_max_pool(shape, window, strides, padding):
    x = randn(*shape)
    ours = values_and_gradients(lambda x: ops_cpu.max_pool(x, window, strides, padding), x)
    assert_same(ours, values_and_gradients(lambda x: nn.max_pool(x, window, strides, padding), x))


def test_first_of_equal_maxima_has_the_gradient():
    x = jnp.array([[1.0, 2, 2], [2, 0, 2], [0, 0, 0]])[None, :, :, None]
    expected = np.zeros((3, 3))
    expected[0, 1] = 1  # row by row, as PyTorch goes
    gradient = jax.grad(lambda x: ops_cpu.max_pool(x, (3, 3), (1, 1), ((0, 0), (0, 0))).sum())(x)
    np.testing.assert_array_equal(gradient[0, :, :, 0], expected)


def test_kernel_gradient_is_summed_in_float32():
    x = jnp.ones((1, 64, 64, 1), jnp.bfloat16)
    kernel = jnp.ones((1, 3, 1, 1), jnp.bfloat16)
    gradient = jax.grad(lambda k: ops_cpu.conv2d(x, k, (1, 1), ((0, 0), (0, 0))).sum())(kernel)
    assert gradient.dtype == jnp.bfloat16
    np.testing.assert_array_equal(gradient.astype(jnp.float32), 64 * 62)
