"""SVFAP, S2D and MobileFaceNet: what their parts do, options that unseen checkpoints have, mistakes."""

import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toymodels

from aufer_jax import models, weights
from aufer_jax.models import s2d, svfap
from aufer_jax.train import optimizer
from aufer_jax.weights import keymap, loading

KEY = jax.random.key(0)
RNGS = {"params": KEY, "dropout": jax.random.key(1)}


def clips(name, batch=2, frames=None):
    expects = models.architecture(name).preprocess
    shape = (batch, frames or expects.frames, expects.size, expects.size, 3)
    return jax.random.normal(jax.random.key(2), shape)


@functools.cache
def small(name, frames=None, **options):
    """A small model, its variables with norms and adapters at work, and its clips."""
    model, x = models.create(name, **options), clips(name, frames=frames)
    return model, toymodels.filled(jax.eval_shape(model.init, RNGS, x)), x


# --- SVFAP --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("depths", "tokens", "kernel", "frames"),
    [((1,), (8,), 2, 4), ((1, 1), (3,), 2, 6), ((1, 2, 1), (4, 2), 2, 8), ((1, 1), (2,), 3, 14)],
)
def test_stages_of_svfap(depths, tokens, kernel, frames):
    options = {"stage_depths": depths, "bottleneck_tokens": tokens, "temporal_kernel": kernel}
    model = models.create("svfap_small", **options)
    out, _ = jax.eval_shape(model.init_with_output, RNGS, clips("svfap_small", frames=frames))
    times, tokens = frames // 2, tokens * (len(depths) - 1 if len(tokens) == 1 else 1)
    assert out["stage1"].shape == (2, times * 16, 32)
    for k in range(2, len(depths) + 1):
        times //= kernel
        assert out[f"bottleneck{k}"].shape == (2, times * tokens[k - 2], 32)
        assert out[f"temporal{k}"].shape == (2 * 16, times, 32)
        assert out[f"stage{k}"].shape == (2, times * 16, 32)  # full resolution again
        narrow = (times * tokens[k - 2]) if depths[k - 1] > 1 else times * 16
        assert out[f"stage{k}_first"].shape == (2, narrow, 32)
    assert f"stage{len(depths) + 1}" not in out


def test_times_are_joined_place_by_place():
    class Join(svfap.nn.Module):
        @svfap.nn.compact
        def __call__(self, x):
            return svfap.join_times(x, 5, 2, "temporal")[0]

    x = np.random.default_rng(0).normal(size=(2, 5 * 3, 4)).astype(np.float32)
    variables = Join().init(KEY, x)
    kernel, bias = (np.asarray(variables["params"]["temporal"][k]) for k in ("kernel", "bias"))
    ours = np.asarray(Join().apply(variables, x)).reshape(2, 2, 3, 4)  # the fifth time is left over
    grid = x.reshape(2, 5, 3, 4)
    for t in range(2):
        by_hand = sum(grid[:, 2 * t + i] @ kernel[i] for i in range(2)) + bias
        np.testing.assert_allclose(ours[:, t], by_hand, rtol=1e-5, atol=1e-5)


def test_bottleneck_tokens_are_means_of_their_own_time():
    pool = svfap.Bottleneck(times=2, tokens=3, hidden=4)
    x = jax.random.normal(KEY, (1, 2 * 5, 6))
    variables = pool.init(KEY, x, False)
    whole = pool.apply(variables, x, False)
    changed = pool.apply(variables, x.at[:, 5:].set(0.0), False)
    np.testing.assert_array_equal(whole[:, :3], changed[:, :3])
    np.testing.assert_array_equal(changed[:, 3:], 0.0)
    same = pool.apply(variables, jnp.ones((1, 10, 6)), False)
    np.testing.assert_allclose(same, 1.0, rtol=1e-6)  # weights sum to 1


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stage_depths": (2, 0)}, "stage_depths"),
        ({"stage_depths": (1, 1, 1, 1)}, r"temporal_kernel: 2 .* 4 times"),
        ({"stage_depths": (1, 1, 1), "bottleneck_tokens": (1, 2, 3)}, "bottleneck_tokens"),
        ({"heads": 5}, "heads: 5"),
        ({"patch": 7}, "multiple of 7"),
    ],
)
def test_mistakes_in_svfap_are_named(options, message):
    model = models.create("svfap_small", **options)
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(model.init, RNGS, clips("svfap_small"))


# --- S2D ----------------------------------------------------------------------------------------


def test_frames_of_s2d_see_each_other_through_adapters_alone():
    model, variables, x = small("s2d_small")
    given = jnp.zeros((8, 4, 4, 8))
    run = jax.jit(functools.partial(model.apply, landmark_features=given))
    out, moved = run(variables, x), run(variables, x.at[:, 0].add(1.0))
    change = np.abs(moved["last"] - out["last"]).reshape(2, 4, -1).max(-1)
    assert (change > 1e-6).all()

    def cut(path, leaf):  # the temporal adapters give their biases whatever they see
        return jnp.zeros_like(leaf) if re.search(r"T_Adapter.*D_fc2.*kernel", str(path)) else leaf

    cut_off = jax.tree_util.tree_map_with_path(cut, variables)
    out, moved = run(cut_off, x), run(cut_off, x.at[:, 0].add(1.0))
    change = np.abs(moved["last"] - out["last"]).reshape(2, 4, -1).max(-1)
    assert (change[:, 0] > 1e-6).all() and not change[:, 1:].any()


def test_the_fovea_by_hand():
    x = np.random.default_rng(1).normal(size=(1, 2, 2, 1)).astype(np.float32)
    variables = s2d.Fovea().init(KEY, x)
    assert variables["params"]["smooth"].tolist() == [10.0]
    weights_ = np.exp(10 * x) / np.exp(10 * x).sum()
    np.testing.assert_allclose(s2d.Fovea().apply(variables, x), weights_ * x, rtol=1e-4)


def test_frames_are_resized_with_their_corners():
    ramp = np.arange(5.0)[None, :, None, None] + 10 * np.arange(5.0)[None, None, :, None]
    small_ = s2d.resize_corners(jnp.asarray(ramp, jnp.float32), 3, 2)
    np.testing.assert_allclose(small_[0, :, :, 0], [[0, 40], [2, 42], [4, 44]], atol=1e-5)


def test_landmarks_are_drawn_where_they_are():
    points = np.full((2, 68, 2), np.nan, np.float32)
    points[0, 0] = 12.0, 4.0  # x, y: the second token of the first row
    points[0, 67] = 28.0, 28.0
    maps = s2d.drawn(jnp.asarray(points), 32, (4, 4), 34)
    assert maps.shape == (2, 4, 4, 34) and not maps[1].any()
    assert jnp.unravel_index(maps[0, :, :, 0].argmax(), (4, 4)) == (0, 1)
    np.testing.assert_allclose(maps[0, 0, 1, 0], 1.0, rtol=1e-6)
    assert jnp.unravel_index(maps[0, :, :, 33].argmax(), (4, 4)) == (3, 3)
    assert not maps[0, :, :, 1:33].any()


def test_our_own_landmarks_take_the_place_of_the_network():
    model, variables, x = small("s2d_small", landmarks="mesh")
    assert model.geometry
    run = jax.jit(lambda points: model.apply(variables, x, landmarks=points)["expression"])
    nowhere, unknown = jax.jit(model.apply)(variables, x), run(jnp.full((2, 4, 68, 2), jnp.nan))
    np.testing.assert_allclose(nowhere["expression"], unknown, rtol=1e-6)
    nowhere, seen = unknown, run(jnp.full((2, 4, 68, 2), 9.0))
    assert not np.allclose(seen, nowhere)


def test_the_landmark_network_never_learns():
    model, x = models.create("s2d_small", landmarks="mobilefacenet"), clips("s2d_small")
    shapes = jax.eval_shape(model.init, RNGS, x)
    draw = np.random.default_rng(0).uniform
    variables = jax.tree.map(lambda leaf: draw(0.01, 0.1, leaf.shape).astype(np.float32), shapes)

    def loss(params):
        rest = {k: v for k, v in variables.items() if k != "params"}
        out = model.apply({"params": params, **rest}, x, train=True, rngs={"dropout": KEY})
        return out["expression"].sum()

    grads = jax.jit(jax.grad(loss))(variables["params"])
    assert not any(leaf.any() for leaf in jax.tree.leaves(grads["landmark_net"]))
    assert grads["patch_embed_prompt_proj"]["kernel"].any()


def test_what_s2d_trains():
    shapes = loading.shapes("s2d", models.create("s2d_mobilefacenet"))["params"]
    chosen = optimizer.Optimizer(name="sgd", freeze=s2d.FROZEN)
    labels = jax.tree_util.tree_map_with_path(
        lambda path, leaf: bool(re.search(s2d.FROZEN[0], "/".join(k.key for k in path))), shapes
    )
    trained = sum(
        leaf.size
        for leaf, frozen in zip(jax.tree.leaves(shapes), jax.tree.leaves(labels), strict=True)
        if not frozen
    )
    assert round(trained / 1e6, 2) == 9.26
    assert all(jax.tree.leaves(labels["landmark_net"])) and not any(
        jax.tree.leaves(labels["head_fc_cls"])
    )
    tx = jax.eval_shape(optimizer.create(chosen, lambda step: 0.1, shapes).init, shapes)
    assert sum(leaf.size for leaf in jax.tree.leaves(tx)) < trained + 10  # momentum of these alone


def test_an_au_head_changes_no_expression():
    for name, given in (
        ("svfap_small", {}),
        ("s2d_small", {"landmark_features": jnp.ones((8, 4, 4, 8))}),
    ):
        model, variables, x = small(name)
        both = models.create(name, num_aus=18)
        added = toymodels.filled(jax.eval_shape(both.init, RNGS, x))["params"]["fc_au"]
        whole = {"params": {**variables["params"], "fc_au": added}}
        out = jax.jit(functools.partial(both.apply, **given))(whole, x)
        alone = jax.jit(functools.partial(model.apply, **given))(variables, x)
        np.testing.assert_array_equal(out["expression"], alone["expression"])
        assert out["au"].shape == (2, 18)


@pytest.mark.parametrize(
    ("options", "given", "message"),
    [
        ({"landmarks": "mash"}, {}, "landmarks: 'mash' .* 'mesh'"),
        ({}, {}, r"landmarks: 'given'.*landmark_features"),
        ({}, {"landmark_features": jnp.zeros((8, 2, 2, 8))}, r"map of \(2, 2\)"),
        ({"adapter_heads": 3}, {}, "adapter_heads: 3"),
        ({"patch": 7}, {}, "multiple of the patch 7"),
    ],
)
def test_mistakes_in_s2d_are_named(options, given, message):
    model, x = models.create("s2d_small", **options), clips("s2d_small")
    variables = {} if options else jax.eval_shape(model.init, RNGS, x)
    with pytest.raises(ValueError, match=message):
        if options:
            jax.eval_shape(model.init, RNGS, x)
        jax.eval_shape(lambda v: model.apply(v, x, **given), variables)


# --- Published checkpoints ------------------------------------------------------------------------


def stored(name, **options):
    """A state dict of random numbers under the published names."""
    variables = loading.shapes(name, models.create(name, **options))
    rng = np.random.default_rng(3)
    filled = jax.tree.map(lambda p: rng.normal(size=p.shape).astype(np.float32), variables)
    return weights.to_torch(filled, name)


def test_published_names():
    keys = stored("mobilefacenet_small", points=3)
    for key in ("conv1.conv.weight", "conv2_dw.bn.running_var", "conv_23.conv_dw.prelu.weight"):
        assert key in keys
    for key in ("conv_3.model.0.project.conv.weight", "conv_6_sep.prelu.weight"):
        assert key in keys
    assert "output_layer.conv_6_dw.conv.weight" in keys and keys["output_layer.bn.bias"].shape == (
        6,
    )
    assert keymap.torch_key(("a_1", "kernel"), [(r"^a_1/", "b~2/")]) == "b_2.weight"


def test_s2d_begins_with_a_network_for_images_and_one_for_landmarks():
    model = models.create("s2d_small", landmarks="mobilefacenet")
    initial = toymodels.filled(jax.eval_shape(model.init, RNGS, clips("s2d_small")))
    images = {
        key.replace("ln_post.", "norm."): value
        for key, value in stored("s2d_small").items()
        if not re.search("prompt|temporal|head", key)
    }
    images = {f"module.{key}": value for key, value in images.items()}
    variables, report = weights.from_torch(images, "s2d_small", initial)
    np.testing.assert_array_equal(
        variables["params"]["ln_post"]["scale"], images["module.norm.weight"]
    )
    assert not report.dropped
    net = stored("mobilefacenet_small", width=4, units=(4, 6, 2))
    both, report = weights.from_torch(net, "s2d_small", variables)
    found = both["params"]["landmark_net"]["conv_23"]["conv"]["conv"]["kernel"]
    np.testing.assert_array_equal(
        keymap.from_layout(np.asarray(found), "kernel"), net["conv_23.conv.conv.weight"]
    )
    np.testing.assert_array_equal(both["params"]["pos_embed"], images["module.pos_embed"])
    assert "output_layer.linear.weight" in report.dropped


def test_positions_in_time_fit_another_number_of_frames():
    longer = jax.eval_shape(models.create("s2d_small").init, RNGS, clips("s2d_small", frames=8))
    held = stored("s2d_small")
    variables, report = weights.from_torch(held, "s2d_small", longer)
    value = variables["params"]["temporal_embedding"]
    assert value.shape == (1, 8, 32) and "temporal_embedding" in report.adapted
    np.testing.assert_allclose(value[0, 0], held["temporal_embedding"][0, 0], rtol=1e-6)
