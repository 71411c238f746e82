"""Clip networks: counts, heads, training of tiny ones, dropout, initial values, clip lengths, LSTM, DMIN."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from aufer_jax import models
from aufer_jax.models.i3d import same_padding
from aufer_jax.models.lstm import LSTM
from aufer_jax.models.m3dfel import DMIN

COUNTS = {
    "r3d18": (400, 33_371_472),
    "r2plus1d18": (400, 31_505_325),
    "mc3_18": (400, 11_695_440),
    "r3d_small": (7, 457_591),
    "c3d": (7, 78_029_959),
    "c3d_sports1m": (487, 79_991_015),
    "i3d": (400, 12_697_264),
    "p3d63": (7, 24_939_975),
    "p3d131": (7, 47_283_143),
    "p3d199": (7, 65_686_983),
    "resnet18_lstm": (7, 17_388_871),
    "resnet18_lstm_basic": (7, 13_046_343),
    "m3dfel": (7, 46_823_384),
}

# Options that make a network tiny, and a clip [T, H, W] for it.
_STAGES = {"layers": (1, 1), "widths": (4, 6)}
_LSTM = {"layers": (1, 1), "width": 4, "hidden": 6, "lstm_layers": 2}
TINY = {
    "r3d_small": ({"widths": (4, 4, 4, 4)}, (8, 33, 32)),
    "r2plus1d18": ({"convs": ("2plus1d",) * 2, **_STAGES}, (5, 17, 16)),
    "mc3_18": ({"convs": ("3d", "2d"), **_STAGES}, (4, 15, 16)),
    "c3d": ({"width": 2, "hidden": 8, "dropout": 0.0}, (16, 32, 32)),
    "c3d_sports1m": ({"width": 2, "hidden": 8, "num_classes": 7, "dropout": 0.0}, (16, 33, 32)),
    "i3d": ({"width": 1 / 16, "dropout": 0.0}, (9, 34, 32)),
    "p3d63": ({"layers": (1, 1, 1, 1), "width": 2, "dropout": 0.0}, (16, 33, 32)),
    "resnet18_lstm": (_LSTM, (3, 33, 32)),
    "resnet18_lstm_basic": (_LSTM, (3, 32, 31)),
    "m3dfel": (
        {"layers": (1, 1), "widths": (4, 6), "hidden": 8, "attention_heads": 2},
        (8, 16, 17),
    ),
}


KEY = jax.random.key(0, impl="rbg")  # its draws compile quickly
quick_jit = functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})


def shapes(name, clip=None, **options):
    """Shapes of the variables for a clip [T, H, W], the network's own by default."""
    size = models.architecture(name).preprocess
    x = jax.ShapeDtypeStruct((1, *(clip or (size.frames, size.size, size.size)), 3), "float32")
    return jax.eval_shape(models.create(name, **options).init, KEY, x)


def count(tree):
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))


def randn(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def drawn(shapes):
    """Variables of these shapes: norms that do nothing, everything else normal by fan in."""

    def leaf(path, shape):
        kind = path[-1].key
        if kind in ("scale", "var"):
            return np.ones(shape.shape, np.float32)
        if kind in ("mean", "bias"):
            return np.zeros(shape.shape, np.float32)
        return randn(*shape.shape) / math.sqrt(math.prod(shape.shape[:-1]))

    return jax.tree.map_with_path(leaf, shapes)


@functools.cache
def tiny(name, **changes):
    """A tiny model with both heads, its variables and clips, and its compiled application."""
    options, clip = TINY[name]
    options = {"num_aus": 5, **options, **changes}
    model = models.create(name, **options)
    variables, x = drawn(shapes(name, clip, **options)), randn(2, *clip, 3)
    return variables, x, quick_jit(model.apply, static_argnames=("train", "mutable")), model


@pytest.mark.parametrize("name", COUNTS)
def test_parameter_count(name):
    classes, expected = COUNTS[name]
    assert count(shapes(name, num_classes=classes)["params"]) == expected


@pytest.mark.parametrize(("name", "width"), [("m3dfel_au", 1024), ("r3d18", 512), ("i3d", 1024)])
def test_au_head_is_all_that_num_aus_adds(name, width):
    with_aus = shapes(name, num_aus=18)["params"]
    without = shapes(name, num_aus=None)["params"]
    assert with_aus.keys() - without.keys() == {"fc_au"}
    assert count(with_aus) - count(without) == 18 * (width + 1)


@pytest.mark.parametrize("name", TINY)
def test_training_reaches_every_parameter(name):
    variables, x, _, model = tiny(name)

    @quick_jit
    def step(variables, x):
        def loss(params):
            outputs, state = model.apply(
                variables | {"params": params}, x, train=True, mutable=["batch_stats"]
            )
            return sum(jnp.square(outputs[key] - 1).sum() for key in ("expression", "au")), state

        return jax.grad(loss, has_aux=True)(variables["params"])

    gradients, state = step(variables, x)
    for path, gradient in jax.tree.leaves_with_path(gradients):
        key = jax.tree_util.keystr(path, simple=True, separator="/")
        assert np.isfinite(gradient).all(), key
        # BatchNorm takes a bias before it away: its gradient is rounding.
        if not (name == "c3d" and key.startswith("conv") and key.endswith("bias")):
            assert np.abs(gradient).max() > 1e-7, key
    moved = jax.tree.map(
        lambda new, old: bool((new != old).any()),
        state.get("batch_stats", {}),
        variables.get("batch_stats", {}),
    )
    assert all(jax.tree.leaves(moved))
    assert bool(moved) == (name != "c3d_sports1m")


@pytest.mark.parametrize("name", TINY)
def test_batch_of_one_is_a_row_of_the_batch(name):
    variables, x, apply, _ = tiny(name)
    both, one = apply(variables, x), apply(variables, x[:1])
    for key, value in one.items():
        rows = both[key][: len(value)]
        np.testing.assert_allclose(value, rows, rtol=1e-4, atol=1e-5 * np.abs(rows).max())
    assert one["expression"].shape == (1, 7) and one["au"].shape == (1, 5)
    assert one["features"].ndim == 2


@pytest.mark.parametrize("name", ["r3d_small", "m3dfel_small"])
def test_small_hosts(name):
    model, x = models.create(name, num_aus=18), jnp.zeros((2, 8, 64, 64, 3))
    outputs, variables = jax.eval_shape(model.init_with_output, KEY, x)
    assert outputs["expression"].shape == (2, 7)
    assert outputs["au"].shape == (2, 18)
    assert 200_000 < count(variables["params"]) < 500_000


@pytest.mark.parametrize("name", ["c3d", "p3d63"])
def test_dropout_is_before_the_head_and_halves(name):
    width = {"c3d": {"hidden": 512}, "p3d63": {"width": 32}}[name]
    variables, x, apply, _ = tiny(name, dropout=0.5, **width)
    if name == "c3d":  # fc7 gives ones whatever the first dropout leaves it
        fc7 = variables["params"]["fc7"]
        variables["params"]["fc7"] = {"kernel": 0 * fc7["kernel"], "bias": 1 + fc7["bias"]}
    options = {"train": True, "mutable": "batch_stats", "rngs": {"dropout": KEY}}
    dropped = apply(variables, x, **options)[0]["features"]
    whole = tiny(name, **width)[2](variables, x, **options)[0]["features"]
    kept = dropped[whole > 0] != 0
    assert 0.4 < kept.mean() < 0.6
    # Two programs round in their own ways.
    twice = 2 * whole[whole > 0][kept]
    np.testing.assert_allclose(dropped[whole > 0][kept], twice, rtol=1e-5, atol=1e-4)


def test_initial_values():
    small = models.create("r3d_small", layers=(1,), convs=("3d",), widths=(64,))
    params = quick_jit(small.init)(KEY, jnp.zeros((1, 2, 8, 8, 3)))["params"]
    assert not params["fc"]["bias"].any()
    assert params["fc"]["kernel"].std() == pytest.approx(0.01, rel=0.15)
    kernel = params["layer1_0"]["conv2_0"]["kernel"]  # Kaiming's by fan out, 27 * 64
    assert kernel.std() == pytest.approx(math.sqrt(2 / (27 * 64)), rel=0.02)
    p3d = models.create("p3d63", layers=(1, 1, 1, 1), width=8)
    params = quick_jit(p3d.init)(KEY, jnp.zeros((1, 16, 8, 8, 3)))["params"]
    # The reference counts 1 * 7 * 8 for a window of 1x7x7.
    assert params["conv1_custom"]["kernel"].std() == pytest.approx(math.sqrt(2 / 56), rel=0.08)


@pytest.mark.parametrize(
    ("size", "window", "stride", "expected"),
    [
        (16, 7, 2, (2, 3)),
        (15, 7, 2, (3, 3)),
        (112, 3, 2, (0, 1)),
        (7, 2, 2, (0, 1)),
        (9, 1, 1, (0, 0)),
    ],
)
def test_i3d_padding(size, window, stride, expected):
    assert same_padding((size,), (window,), (stride,)) == [expected]


def test_i3d_means_over_a_long_clip():
    variables, _, apply, _ = tiny("i3d")
    outputs = apply(variables, randn(1, 32, 32, 32, 3))
    assert outputs["logits"].shape == (1, 3, 1, 1, 7)
    np.testing.assert_allclose(
        outputs["expression"], outputs["logits"].mean((1, 2, 3)), rtol=1e-5, atol=1e-6
    )


def test_p3d_clip_lengths():
    variables, _, _, model = tiny("p3d63")
    outputs = jax.eval_shape(model.apply, variables, jnp.zeros((2, 32, 32, 32, 3)))
    assert outputs["layer4"].shape[0] == 4 and outputs["expression"].shape == (2, 7)
    with pytest.raises(ValueError, match="frames: 15 "):
        model.apply(variables, jnp.zeros((2, 15, 32, 32, 3)))


def test_bad_options_are_named():
    with pytest.raises(ValueError, match=r"structures: 'D'.* A, B, C"):
        shapes("p3d63", structures=("A", "D"))
    with pytest.raises(ValueError, match=r"convs: '2d\+1'.*2plus1d"):
        shapes("r3d18", convs=("2d+1",) * 4)
    with pytest.raises(ValueError, match=r"frames: 4 given, .* instance_length 4, at least 8"):
        shapes("m3dfel", clip=(4, 16, 16))
    with pytest.raises(ValueError, match="frames: 10 given"):
        shapes("m3dfel", clip=(10, 16, 16))


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def lstm_by_hand(x, params, suffix, reverse):
    """PyTorch's recurrence over [B, T, C], step by step."""
    w_ih, w_hh, b_ih, b_hh = (
        np.asarray(params[f"{kind}_{suffix}"], np.float64)
        for kind in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    )
    hidden = w_hh.shape[1]
    h = c = np.zeros((len(x), hidden))
    states = np.zeros((*x.shape[:2], hidden))
    steps = range(x.shape[1])
    for t in reversed(steps) if reverse else steps:
        gates = x[:, t] @ w_ih.T + b_ih + h @ w_hh.T + b_hh
        i, f, g, o = (gates[:, n * hidden : (n + 1) * hidden] for n in range(4))
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
        h = sigmoid(o) * np.tanh(c)
        states[:, t] = h
    return states


@pytest.mark.parametrize("bidirectional", [False, True])
def test_lstm(bidirectional):
    model, x = LSTM(4, layers=2, bidirectional=bidirectional), randn(3, 5, 6)
    variables = quick_jit(model.init)(KEY, x)
    params, expected = variables["params"], x.astype(np.float64)
    assert all(np.abs(value).max() <= 0.5 for value in params.values())
    for layer in range(2):
        states = [lstm_by_hand(expected, params, f"l{layer}", reverse=False)]
        if bidirectional:
            states.append(lstm_by_hand(expected, params, f"l{layer}_reverse", reverse=True))
        expected = np.concatenate(states, -1)
    np.testing.assert_allclose(quick_jit(model.apply)(variables, x), expected, rtol=1e-5, atol=1e-6)


def test_dmin_mixes_both_statistics():
    x = randn(2, 3, 5)
    variables = jax.tree.map(
        lambda leaf: jnp.asarray(randn(*leaf.shape, seed=3)), DMIN().init(KEY, x)
    )
    params = {name: np.asarray(value) for name, value in variables["params"].items()}
    a, b = (np.exp(params[k]) / np.exp(params[k]).sum() for k in ("mean_weight", "var_weight"))
    for sample, ours in zip(x, DMIN().apply(variables, x), strict=True):
        mean_in, var_in = sample.mean(0), sample.var(0, ddof=1)
        mean_ln = mean_in.mean()
        var_ln = (var_in + mean_in**2).mean() - mean_ln**2
        y = sample - (a[0] * mean_in + a[1] * mean_ln)
        y = y / np.sqrt(b[0] * var_in + b[1] * var_ln + 1e-5)
        y = y * params["scale"][0, :, 0] + params["bias"][0, :, 0]
        np.testing.assert_allclose(ours, y, rtol=1e-4, atol=1e-5)
