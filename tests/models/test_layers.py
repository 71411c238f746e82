"""Layers and lowerings against NumPy, hand-worked numbers and the plain XLA operation."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aufer_jax import parallel
from aufer_jax.models import layers, ops

KEY = jax.random.key(0)


def _numbers(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


# --- Convolution -------------------------------------------------------------------------------

CONVOLUTIONS = {  # x, kernel, strides, padding, groups
    "depthwise": ((2, 7, 9, 6), (3, 3, 1, 6), (1, 1), ((1, 1), (1, 1)), 6),
    "depthwise strided, two outputs a channel": (
        (2, 8, 7, 4),
        (3, 3, 1, 8),
        (2, 2),
        ((1, 1), (1, 1)),
        4,
    ),
    "depthwise, uneven": ((2, 9, 8, 4), (3, 2, 1, 12), (2, 1), ((0, 1), (2, 0)), 4),
    "depthwise clip": ((2, 4, 6, 5, 3), (3, 3, 3, 1, 3), (2, 1, 2), ((1, 1), (1, 1), (0, 2)), 3),
    "depthwise signal": ((2, 9, 3), (3, 1, 3), (1,), ((1, 1),), 3),
    "pointwise": ((2, 7, 8, 5), (1, 1, 5, 4), (2, 2), ((0, 0),) * 2, 1),
    "patches": ((2, 17, 16, 3), (4, 4, 3, 5), (4, 4), ((0, 0),) * 2, 1),
    "tubelets": ((2, 5, 9, 8, 3), (2, 4, 4, 3, 5), (2, 4, 4), ((0, 0),) * 3, 1),
    "clip": ((2, 5, 9, 8, 3), (3, 3, 3, 3, 5), (2, 1, 2), ((1, 1), (1, 1), (0, 1)), 1),
    "image": ((2, 9, 8, 4), (3, 3, 4, 6), (2, 2), ((1, 1), (1, 1)), 1),
    "grouped": ((2, 9, 8, 4), (3, 3, 2, 6), (1, 1), ((1, 1), (1, 1)), 2),
}


@pytest.mark.parametrize("case", CONVOLUTIONS)
def test_lowering_is_the_convolution(case):
    x_shape, kernel_shape, strides, padding, groups = CONVOLUTIONS[case]
    space = "DHW"[-(len(x_shape) - 2) :]
    numbers = (f"N{space}C", f"{space}IO", f"N{space}C")

    def plain(x, kernel):
        return jax.lax.conv_general_dilated(
            x, kernel, strides, padding, dimension_numbers=numbers, feature_group_count=groups
        )

    def ours(x, kernel):
        return ops.conv(x, kernel, strides, padding, groups)

    x, kernel = _numbers(*x_shape), _numbers(*kernel_shape, seed=1)
    y, pullback = jax.vjp(plain, x, kernel)
    dy = _numbers(*y.shape, seed=2)
    got, our_pullback = jax.vjp(ours, x, kernel)
    for ours_is, expected in zip((got, *our_pullback(dy)), (y, *pullback(dy)), strict=True):
        np.testing.assert_allclose(ours_is, expected, atol=1e-4)


def test_matmul_keeps_leading_axes():
    x, kernel = _numbers(2, 3, 4, 5), _numbers(5, 6, seed=1)
    np.testing.assert_allclose(ops.matmul(x, kernel), x @ kernel, atol=1e-5)


def test_conv_layer_by_hand():
    variables = {"params": {"kernel": np.ones((2, 2, 1, 1), np.float32), "bias": np.array([0.5])}}
    x = np.arange(9, dtype=np.float32).reshape(1, 3, 3, 1)
    y = layers.Conv(1, (2, 2), 1, ((1, 0), (0, 0))).apply(variables, x)
    np.testing.assert_allclose(y[0, ..., 0], [[1.5, 3.5], [8.5, 12.5], [20.5, 24.5]])


def test_initial_values_are_pytorchs():
    params = layers.Linear(2000).init(KEY, jnp.zeros((1, 48)))["params"]
    bound = 1 / np.sqrt(48)  # uniform on +-1/sqrt(fan in), kernel and bias
    for value in params.values():
        assert np.abs(value).max() <= bound
        assert np.std(value) == pytest.approx(bound / np.sqrt(3), rel=0.05)


# --- Pooling -----------------------------------------------------------------------------------


def test_max_pool_ceil_mode_takes_the_rest():
    row = jnp.arange(6.0).reshape(1, 1, 6, 1)
    pool = functools.partial(layers.max_pool, row, (1, 3), (1, 2))
    np.testing.assert_array_equal(pool()[0, 0, :, 0], [2, 4])
    np.testing.assert_array_equal(pool(ceil_mode=True)[0, 0, :, 0], [2, 4, 5])


def test_max_pool_ceil_mode_drops_a_window_that_begins_outside():
    row = jnp.arange(4.0).reshape(1, 1, 4, 1)
    pooled = layers.max_pool(row, (1, 1), (1, 3), ceil_mode=True)
    np.testing.assert_array_equal(pooled[0, 0, :, 0], [0, 3])
    padded = layers.max_pool(row, (1, 2), (1, 2), ((0, 0), (1, 1)), ceil_mode=True)
    np.testing.assert_array_equal(padded[0, 0, :, 0], [0, 2, 3])


def test_max_pool_pads_with_less_than_anything():
    x = -jnp.ones((1, 2, 2, 1))
    pooled = layers.max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))
    np.testing.assert_array_equal(pooled, -jnp.ones((1, 1, 1, 1)))


# --- Norms -------------------------------------------------------------------------------------


def _batch_norm_step(running, x, momentum=0.1):
    """One step by PyTorch's rule: output, running mean, running variance (unbiased)."""
    mean, var = x.mean(0), x.var(0)
    unbiased = var * len(x) / (len(x) - 1)
    new = [
        (1 - momentum) * old + momentum * now
        for old, now in zip(running, (mean, unbiased), strict=True)
    ]
    return (x - mean) / np.sqrt(var + 1e-5), new


def test_batch_norm_after_two_steps():
    first, second = _numbers(12, 5) * 3 + 1, _numbers(12, 5, seed=1) - 2
    norm = layers.BatchNorm()
    variables = norm.init(KEY, first, True)
    np.testing.assert_array_equal(variables["batch_stats"]["mean"], np.zeros(5))
    running = [np.zeros(5), np.ones(5)]
    for x in (first, second):
        y, state = norm.apply(variables, x, True, mutable=["batch_stats"])
        expected, running = _batch_norm_step(running, x)
        np.testing.assert_allclose(y, expected, atol=1e-5)
        variables = variables | state
    np.testing.assert_allclose(variables["batch_stats"]["mean"], running[0], rtol=1e-5)
    np.testing.assert_allclose(variables["batch_stats"]["var"], running[1], rtol=1e-5)
    evaluated = norm.apply(variables, first, False)
    expected = (first - running[0]) / np.sqrt(running[1] + 1e-5)
    np.testing.assert_allclose(evaluated, expected, rtol=1e-4, atol=1e-5)


def test_batch_norm_in_groups_is_each_part_alone():
    x = _numbers(8, 3, 3, 4) * 2 + 1
    norm = layers.BatchNorm()
    variables = norm.init(KEY, x, True)
    with parallel.batch_split(parallel.Split(stat_groups=2)):
        y, state = norm.apply(variables, x, True, mutable=["batch_stats"])
    parts = [norm.apply(variables, part, True, mutable=["batch_stats"]) for part in (x[:4], x[4:])]
    np.testing.assert_allclose(y, np.concatenate([part[0] for part in parts]), atol=1e-5)
    for name in ("mean", "var"):
        mean = sum(part[1]["batch_stats"][name] for part in parts) / 2
        np.testing.assert_allclose(state["batch_stats"][name], mean, rtol=1e-5)


@pytest.mark.parametrize("sync", [True, False])
def test_batch_norm_over_devices(sync):
    """Shares of a mapped batch: the whole batch's statistics, or every share's own."""
    x = _numbers(4, 2, 3) * 2 + 1  # [devices, share, channels]
    norm = layers.BatchNorm()
    variables = norm.init(KEY, x[0], True)

    def share(x):
        with parallel.batch_split(parallel.Split(axis="d", sync_stats=sync)):
            return norm.apply(variables, x, True, mutable=["batch_stats"])

    y, state = jax.vmap(share, axis_name="d")(x)
    groups = 1 if sync else 4
    with parallel.batch_split(parallel.Split(stat_groups=groups)):
        expected, wanted = norm.apply(variables, x.reshape(8, 3), True, mutable=["batch_stats"])
    np.testing.assert_allclose(y.reshape(8, 3), expected, atol=1e-5)
    for name in ("mean", "var"):
        one = state["batch_stats"][name][0]
        np.testing.assert_allclose(one, wanted["batch_stats"][name], rtol=1e-5)


def test_batch_norm_of_a_single_value_is_finite():
    norm = layers.BatchNorm()
    x = np.ones((1, 3), np.float32)
    y, state = norm.apply(norm.init(KEY, x, True), x, True, mutable=["batch_stats"])
    np.testing.assert_array_equal(y, np.zeros((1, 3)))
    assert np.isfinite(state["batch_stats"]["var"]).all()


def test_layer_norm_over_all_tokens():
    x = _numbers(2, 4, 3) * 5 + 2
    norm = layers.LayerNorm(1e-5, axes=(1, 2))
    variables = norm.init(KEY, x)
    assert variables["params"]["scale"].shape == (4, 3)
    mean, var = x.mean((1, 2), keepdims=True), x.var((1, 2), keepdims=True)
    np.testing.assert_allclose(
        norm.apply(variables, x), (x - mean) / np.sqrt(var + 1e-5), atol=1e-5
    )


def test_layer_norm_keeps_a_large_mean_apart_from_a_small_variance():
    x = np.array([[1000.0, 1001.0, 1002.0]], np.float32)
    norm = layers.LayerNorm(1e-6)
    y = norm.apply(norm.init(KEY, x), x)
    np.testing.assert_allclose(y, [[-np.sqrt(1.5), 0, np.sqrt(1.5)]], atol=1e-4)


# --- Activations, dropping, attention ----------------------------------------------------------


def test_gelu_is_exact():
    values = layers.gelu(jnp.array([-1.0, 0.0, 1.0, 2.0]))
    np.testing.assert_allclose(values, [-0.15865525, 0, 0.84134475, 1.95449974], atol=1e-6)


def test_prelu_has_a_slope_per_channel():
    prelu = layers.PReLU()
    x = jnp.array([[-2.0, -2.0], [3.0, 0.0]])
    np.testing.assert_array_equal(prelu.init(KEY, x)["params"]["slope"], [0.25, 0.25])
    y = prelu.apply({"params": {"slope": jnp.array([0.5, 2.0])}}, x)
    np.testing.assert_array_equal(y, [[-1, -4], [3, 0]])


def test_drop_path_drops_whole_samples_and_keeps_the_mean():
    x = jnp.ones((4000, 2, 3))
    y = layers.DropPath(0.25).apply({}, x, True, rngs={"dropout": KEY})
    kept = y[:, 0, 0] > 0
    assert (y == jnp.where(kept, 1 / 0.75, 0)[:, None, None]).all()
    assert kept.mean() == pytest.approx(0.75, abs=0.02)
    np.testing.assert_array_equal(layers.DropPath(0.25).apply({}, x, False), x)


def test_attention_against_numpy():
    heads, head_dim, x = 2, 3, _numbers(2, 5, 4)
    attention = layers.Attention(heads, head_dim)
    variables = attention.init(KEY, x, False)
    params = jax.tree.map(np.asarray, variables["params"])
    qkv = x @ params["qkv"]["kernel"] + params["qkv"]["bias"]
    out = np.zeros((2, 5, heads * head_dim), np.float32)
    for h in range(heads):
        q, k, v = (qkv[..., i * 6 + h * 3 : i * 6 + h * 3 + 3] for i in range(3))
        weights = np.exp(q @ k.swapaxes(1, 2) / np.sqrt(head_dim))
        out[..., h * 3 : h * 3 + 3] = weights / weights.sum(-1, keepdims=True) @ v
    expected = out @ params["proj"]["kernel"] + params["proj"]["bias"]
    y, state = attention.apply(variables, x, False, mutable=["intermediates"])
    np.testing.assert_allclose(y, expected, atol=1e-5)
    (weights,) = state["intermediates"]["attention"]
    np.testing.assert_allclose(weights.sum(-1), np.ones((2, heads, 5)), atol=1e-6)


def test_class_maps_explain_the_logits_without_moving_the_head():
    class Head(nn.Module):
        @nn.compact
        def __call__(self, x):
            head = layers.Linear(3, name="fc")
            return head(x.mean((1, 2))), layers.class_maps(x, head)

    x = _numbers(2, 4, 5, 6)
    variables = Head().init(KEY, x)
    logits, maps = Head().apply(variables, x)
    bias = variables["params"]["fc"]["bias"]
    np.testing.assert_allclose(maps.mean((1, 2)) + bias, logits, atol=1e-5)
    gradient = jax.grad(lambda v: Head().apply(v, x)[1].sum())(variables)
    assert not np.any(gradient["params"]["fc"]["kernel"])


@pytest.mark.parametrize(
    "layer",
    [
        layers.Linear(4),
        layers.Conv(4, (3, 3), 1, 1),
        layers.Conv(4, (3, 3), 1, 1, groups=4),
        layers.LayerNorm(1e-6),
        layers.PReLU(),
        layers.BatchNorm(),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_computes_in_the_type_of_its_input(layer):
    x = jnp.zeros((2, 5, 5, 4), jnp.bfloat16)
    train = (True,) if isinstance(layer, layers.BatchNorm) else ()
    y, variables = layer.init_with_output(KEY, x, *train)
    assert y.dtype == jnp.bfloat16
    assert all(value.dtype == jnp.float32 for value in jax.tree.leaves(variables))


def test_raw_pixels_are_refused():
    """A network given uint8 would compute with numbers of 0 to 255, and say nothing."""
    conv = layers.Conv(4, (3, 3))
    pixels = jax.ShapeDtypeStruct((1, 8, 8, 3), jnp.uint8)
    with pytest.raises(
        ValueError, match="image: uint8 numbers; a network reads normalised float32"
    ):
        jax.eval_shape(conv.init, jax.random.key(0), pixels)
