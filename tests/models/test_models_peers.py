"""NR-DFERNet, STT and DPCNet: their parts against NumPy, what their options do, mistakes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_hosts

from aufer_jax import models
from aufer_jax.models import dpcnet, nr_dfernet

KEY = jax.random.key(0)
RNGS = {"params": KEY, "dropout": jax.random.key(1)}
CLIPS = np.random.default_rng(0).random((2, 8, 16, 16, 3), np.float32)


@functools.cache
def small(host, **options):
    """A tiny model, its applications in evaluation, and its variables."""
    model = models.create(host, **tiny_hosts.TINY[host], num_classes=3, num_aus=4, **options)
    return model, jax.jit(model.apply), jax.jit(model.init)(RNGS, CLIPS)


def without_au(params):
    return {name: value for name, value in params.items() if name != "fc_au"}


@pytest.mark.parametrize("host", ["stt", "dpcnet", "nr_dfernet"])
def test_an_au_head_changes_no_expression(host):
    model, apply, variables = small(host)
    whole, alone = apply(variables, CLIPS), model.copy(num_aus=None)
    params = without_au(variables["params"])
    assert params.keys() != variables["params"].keys()
    out = jax.jit(alone.apply)({**variables, "params": params}, CLIPS)
    np.testing.assert_array_equal(out["expression"], whole["expression"])
    assert whole["au"].shape == (2, 4) and "au" not in out


# --- NR-DFERNet ---------------------------------------------------------------------------------


def normed(x, weights):
    x = x - x.mean(-1, keepdims=True)
    return (
        x / np.sqrt(np.square(x).mean(-1, keepdims=True) + 1e-5) * weights["scale"]
        + weights["bias"]
    )


def softmax(z):
    p = np.exp(z - z.max(-1, keepdims=True))
    return p / p.sum(-1, keepdims=True)


def test_the_dynamic_class_token_against_numpy():
    """It begins as the mean of the frames and reads them through one layer of one head."""
    frames = np.random.default_rng(1).normal(size=(2, 5, 4)).astype(np.float32)
    temporal = nr_dfernet.Temporal(frames=6, depth=1, heads=1, head_dim=3, hidden=7)
    shapes = jax.eval_shape(functools.partial(temporal.init, train=False), KEY, frames)
    draw = np.random.default_rng(2).normal
    params = jax.tree.map(lambda leaf: draw(size=leaf.shape).astype(np.float32), shapes)["params"]
    given = jax.jit(lambda p, x: temporal.apply({"params": p}, x, False))(params, frames)

    layer = params["layers_0"]
    x = np.concatenate([frames.mean(1, keepdims=True), frames], 1)
    x = x + params["temporal_pos_embedding"][:, :6]
    q, k, v = np.split(normed(x, layer["norm1"]) @ layer["attn"]["qkv"]["kernel"], 3, axis=-1)
    attended = softmax(q @ k.swapaxes(1, 2) / np.sqrt(3)) @ v
    x = x + attended @ layer["attn"]["proj"]["kernel"] + layer["attn"]["proj"]["bias"]
    fc1, fc2 = layer["mlp"]["fc1"], layer["mlp"]["fc2"]
    y = normed(x, layer["norm2"]) @ fc1["kernel"] + fc1["bias"]
    y = 0.5 * y * (1 + np.tanh(np.sqrt(2 / np.pi) * (y + 0.044715 * y**3)))
    x = x + y @ fc2["kernel"] + fc2["bias"]
    np.testing.assert_allclose(given, x[:, 0], rtol=2e-4, atol=2e-4)


def filtered(logits, snippets, neutral, votes, sure, not_neutral):
    """The filter clip by clip and snippet by snippet."""
    logits = logits.copy()
    for clip, rows in zip(logits, snippets, strict=True):
        found = 0
        for p in softmax(rows):
            found += bool(p[neutral] <= not_neutral and p.max() > sure)
        if found >= votes:
            clip[neutral] = clip.min() - 1
    return logits


@pytest.mark.parametrize(("votes", "sure", "not_neutral"), [(1, 0.75, 0.03), (2, 0.6, 0.1)])
def test_the_snippet_filter_against_numpy(votes, sure, not_neutral):
    rng = np.random.default_rng(3)
    logits = rng.normal(size=(40, 5)).astype(np.float32)
    snippets = rng.normal(scale=2, size=(40, 4, 5)).astype(np.float32)
    chosen = {"votes": votes, "sure": sure, "not_neutral": not_neutral}
    expected = filtered(logits, snippets, 2, **chosen)
    changed = (expected != logits).any(-1)
    assert 5 < changed.sum() < 35
    given = nr_dfernet.snippet_filter(jnp.asarray(logits), jnp.asarray(snippets), 2, **chosen)
    np.testing.assert_allclose(given, expected, rtol=1e-6)
    assert not (np.argmax(given, -1)[changed] == 2).any()


def test_the_snippet_filter_by_hand():
    """Neutral is class 0; a snippet of 96, 2 and 2 hundredths is sure of an expression, and so on."""
    clip = jnp.array([[3.0, 1.0, 2.0]])
    for p, ruled_out in (
        ([0.02, 0.96, 0.02], True),
        ([0.04, 0.94, 0.02], False),  # neutral is not unlikely enough
        ([0.02, 0.70, 0.28], False),  # no expression is sure enough
        ([0.96, 0.02, 0.02], False),
    ):
        snippets = jnp.log(jnp.array([[p, [0.4, 0.3, 0.3]]]))
        given = nr_dfernet.snippet_filter(clip, snippets, 0)
        np.testing.assert_allclose(given, [[0.0, 1.0, 2.0] if ruled_out else [3.0, 1.0, 2.0]])


def test_the_filter_is_of_evaluation_and_of_a_known_neutral_class():
    _, apply, variables = small("nr_dfernet", neutral=1, sure=0.0, not_neutral=1.0)
    given = apply(variables, CLIPS)
    assert given["snippets"].shape == (
        2,
        3,
        3,
    )  # frames 0 to 2, 2 to 4, 4 to 6 of seven differences
    assert (given["expression"].argmin(-1) == 1).all()
    model, apply, _ = small("nr_dfernet")
    plain = apply(variables, CLIPS)
    assert "snippets" not in plain
    np.testing.assert_allclose(given["expression"][:, ::2], plain["expression"][:, ::2], rtol=1e-5)
    train = functools.partial(model.copy(neutral=1).init_with_output, train=True)
    assert "snippets" not in jax.eval_shape(train, RNGS, CLIPS)[0]


def test_still_clips_have_nothing_dynamic():
    """Of frames that are all alike the dynamic branch sees zeros, so every fused map is the same."""
    _, apply, variables = small("nr_dfernet")
    fused = apply(variables, np.repeat(CLIPS[:, :1], 8, 1))["fused"]
    np.testing.assert_allclose(fused, np.repeat(fused[:, :1], 7, 1), atol=1e-5)
    moving = apply(variables, CLIPS)["fused"]
    assert np.ptp(moving, axis=1).max() > 0.1


# --- STT, DPCNet --------------------------------------------------------------------------------


def test_orders_of_attention_differ_and_need_the_same_weights():
    model, apply, variables = small("stt")
    parallel = jax.jit(model.copy(order="parallel").apply)(variables, CLIPS)
    serial = apply(variables, CLIPS)
    assert serial["tokens"].shape == (2, 8, 16, 4)
    assert not np.allclose(serial["tokens"], parallel["tokens"])


def test_paths_and_views_are_what_the_answer_is_made_of():
    _, apply, variables = small("dpcnet")
    out = apply(variables, CLIPS)
    np.testing.assert_allclose(out["paths"].mean(1), out["expression"], rtol=1e-5)
    np.testing.assert_allclose(out["views"].mean(1), out["features"], rtol=1e-5)
    swapped = CLIPS.copy()
    swapped[:, ::2], swapped[:, 1::2] = CLIPS[:, 1::2], CLIPS[:, ::2]
    np.testing.assert_allclose(
        apply(variables, swapped)["views"], out["views"][:, ::-1], rtol=1e-4, atol=1e-6
    )


def test_excitation_by_hand():
    """Without weights every place and frame has half of the maps added to them, every channel half."""
    x = np.random.default_rng(5).random((1, 2, 3, 3, 4), np.float32)
    for module, expected in (
        (dpcnet.SpatialFrameExcitation(2), x * 1.25),
        (dpcnet.ChannelTemporalAggregation(2), x.mean((1, 2, 3)) / 2),
    ):
        zeros = jax.tree.map(
            lambda leaf: np.zeros(leaf.shape, np.float32), jax.eval_shape(module.init, KEY, x)
        )
        np.testing.assert_allclose(module.apply(zeros, x), expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("host", "options", "frames", "message"),
    [
        ("stt", {"order": "paralel"}, 8, "order: 'paralel' .* 'parallel'"),
        ("dpcnet", {"views": 3}, 8, "frames: 8 given.* 3 views"),
        ("nr_dfernet", {}, 3, "frames: 3 given"),
    ],
)
def test_mistakes_are_named(host, options, frames, message):
    model = models.create(host, **tiny_hosts.TINY[host], **options)
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(model.init, RNGS, CLIPS[:, :frames])
