"""Former-DFER and MAE-DFER: counts, orders, stochastic depth, masks, targets, training."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toymodels

from aufer_jax import models
from aufer_jax.models import mae_dfer
from aufer_jax.models import mae_dfer_pretrain as pretrain

SMALL = ("former_dfer_small", "mae_dfer_small", "mae_dfer_pretrain_small")
KEY = jax.random.key(0)
RNGS = {"params": KEY, "dropout": jax.random.key(1)}


def clips(name, batch=2):
    expects = models.architecture(name).preprocess
    shape = (batch, expects.frames, expects.size, expects.size, 3)
    return jax.random.normal(jax.random.key(2), shape)


@functools.cache
def small(name, **options):
    """A small model, its variables and its clips."""
    model, x = models.create(name, **options), clips(name)
    return model, toymodels.filled(jax.eval_shape(model.init, RNGS, x)), x


def shapes(name, **options):
    model = models.create(name, **options)
    return jax.eval_shape(model.init, RNGS, jax.eval_shape(lambda: clips(name)))


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("former_dfer", {}, 18_031_943),
        ("former_dfer", {"num_aus": 18}, 18_031_943 + 18 * 513),
        ("mae_dfer", {}, 84_878_343),
        ("mae_dfer_org", {"num_classes": 11}, 84_880_395),
        ("mae_dfer", {"num_classes": 0, "num_aus": 18}, 84_878_343 + 11 * 513),
        ("mae_dfer_pretrain", {}, 92_760_192),
        ("svfap", {}, 77_635_351),
        ("svfap", {"num_aus": 18}, 77_635_351 + 18 * 513),
        ("s2d", {}, 95_055_571),
        ("s2d", {"num_aus": 18}, 95_055_571 + 18 * 769),
    ],
)
def test_parameter_counts(name, options, expected):
    assert count(shapes(name, **options)["params"]) == expected


def test_former_dfer_parts():
    params = shapes("former_dfer")["params"]
    parts = {name: count(tree) for name, tree in params.items()}
    assert parts == {"s_former": 11_715_392, "t_former": 6_312_960, "fc": 3_591}


def test_sinusoids():
    table = mae_dfer.sinusoids(800, 512)
    assert table.shape == (800, 512)
    np.testing.assert_allclose(table[1, :2], [np.sin(1.0), np.cos(1.0)], rtol=1e-6)
    rate = 10000 ** (-510 / 512)
    np.testing.assert_allclose(
        table[799, 510:], [np.sin(799 * rate), np.cos(799 * rate)], rtol=1e-6
    )


def test_regions_are_row_major_and_so_are_their_tokens():
    grid, region = (4, 4, 6), (2, 2, 3)
    index = jnp.arange(np.prod(grid)).reshape(1, -1, 1)
    regions = np.asarray(mae_dfer.to_regions(index, grid, region))[0, :, :, 0]
    number = 0
    for t in (0, 2):
        for y in (0, 2):
            for x in (0, 3):
                tokens = [
                    ((t + a) * 4 + y + b) * 6 + x + c
                    for a in range(2)
                    for b in range(2)
                    for c in range(3)
                ]
                assert regions[number].tolist() == tokens
                number += 1


def test_readouts():
    outputs = {}
    for readout in mae_dfer.READOUTS:
        model, variables, x = small("mae_dfer_small", readout=readout)
        outputs[readout] = jax.jit(model.apply)(variables, x)
    out = outputs["org"]
    tokens = np.asarray(out["last_local"]).reshape(2, -1, 32).mean(1)
    expected = (tokens - tokens.mean(-1, keepdims=True)) / tokens.std(-1, keepdims=True)
    norm = variables["params"]["fc_norm"]
    expected = expected * norm["scale"] + norm["bias"]
    np.testing.assert_allclose(out["features"], expected, rtol=1e-3, atol=1e-3)
    assert not np.allclose(outputs["region"]["features"], out["features"], atol=1e-2)
    assert not np.allclose(outputs["all"]["features"], out["features"], atol=1e-4)


@pytest.mark.parametrize(("branch", "per_region"), [("first_attn", True), ("third_attn", False)])
def test_stochastic_depth_draws(branch, per_region):
    """With the other branches silent, kept rows gain twice what the branch gives, others nothing."""
    block = mae_dfer.LGIBlock(regions=4, heads=2, drop_path=0.5)
    x = jax.random.normal(KEY, (16 * 4, 3, 8))
    params = block.init(RNGS, x, False)["params"]
    silent = {"first_attn": "proj", "second_attn": "proj", "third_attn": "proj", "mlp": "fc2"}
    for name, layer in silent.items():
        if name != branch:
            params[name][layer] = jax.tree.map(jnp.zeros_like, params[name][layer])
    out, added = jax.jit(lambda p: block.apply({"params": p}, x, True, rngs=RNGS))(params)
    gain = np.asarray((out - x)[:, 1:])
    full = 2 * np.asarray(added[branch]).reshape(64, -1, 8)[:, -2:]
    kept = np.abs(gain).max((1, 2)) > 0
    np.testing.assert_allclose(gain[kept], full[kept], rtol=1e-4, atol=1e-5)
    assert 0 < kept.sum() < 64
    mixed = {len(set(row)) > 1 for row in kept.reshape(16, 4).tolist()}
    assert (True in mixed) == per_region


def test_drop_path_rates_rise_to_the_option(monkeypatch):
    rates = []
    original = mae_dfer.LGIBlock.__call__
    monkeypatch.setattr(
        mae_dfer.LGIBlock,
        "__call__",
        lambda self, *args: rates.append(self.drop_path) or original(self, *args),
    )
    shapes("mae_dfer_small", depth=5)
    np.testing.assert_allclose(rates, [0, 0.025, 0.05, 0.075, 0.1])


def initial(name):
    """Initial parameters; the options make the compiler quick."""
    quick = {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": True}
    init = jax.jit(models.create(name).init, compiler_options=quick)
    return init(RNGS, clips(name, batch=1))["params"]


def test_initial_values():
    params = initial("mae_dfer_small")
    assert np.std(params["head"]["kernel"]) < 3e-5
    assert np.std(params["encoder"]["blocks_0"]["mlp"]["fc1"]["kernel"]) == pytest.approx(
        0.02, rel=0.1
    )
    params = initial("mae_dfer_pretrain_small")
    assert np.abs(params["mask_token"]).max() <= 0.02
    assert np.abs(params["encoder"]["lg_region_tokens"]).max() <= 0.02
    kernel = params["decoder"]["blocks_0"]["attn"]["qkv"]["kernel"]  # 24 -> 72
    assert np.abs(kernel).max() == pytest.approx(np.sqrt(6 / 96), rel=0.02)
    params = initial("former_dfer_small")
    assert np.std(params["s_former"]["pos_embedding"]) == pytest.approx(1.0, rel=0.2)


@pytest.mark.parametrize("name", SMALL)
def test_batch_of_one_and_bfloat16(name):
    model, variables, x = small(name)
    apply = jax.jit(lambda v, x: model.apply(v, x, rngs={"dropout": KEY}))
    full = apply(variables, x[:1])
    low = jax.tree.map(lambda a: a.astype(jnp.bfloat16), (variables["params"], x[:1]))
    half = apply({**variables, "params": low[0]}, low[1])
    last = "reconstruction" if "pretrain" in name else "expression"
    assert full[last].shape[0] == 1
    for key, value in half.items():
        if key != "masked":
            assert value.dtype == jnp.bfloat16, key
    np.testing.assert_allclose(half[last].astype(np.float32), full[last], atol=0.1)


def gradients(name, loss, **options):
    """Gradient and new state of one training step of a small model."""
    model, variables, x = small(name, **options)
    state = {key: value for key, value in variables.items() if key == "batch_stats"}

    def of(params):
        rngs = {"dropout": jax.random.key(3)}
        out, new = model.apply({"params": params, **state}, x, True, rngs=rngs, mutable=list(state))
        return loss(x, out), new

    return *jax.jit(jax.grad(of, has_aux=True))(variables["params"]), state


def untouched(grads):
    flat = jax.tree_util.tree_leaves_with_path(grads)
    assert all(np.isfinite(leaf).all() for _, leaf in flat)
    return {jax.tree_util.keystr(path) for path, leaf in flat if not np.abs(leaf).max() > 0}


def entropy(_, out):
    loss = -jax.nn.log_softmax(out["expression"])[:, 0].mean()
    return loss + jnp.square(out["au"]).mean()


def test_former_dfer_trains_every_parameter():
    grads, new, old = gradients("former_dfer_small", entropy, num_aus=4)
    assert not untouched(grads)
    moved = jax.tree.map(lambda a, b: float(np.abs(a - b).max()), new, old)
    assert min(jax.tree.leaves(moved)) > 0


def test_mae_dfer_trains_every_parameter_it_reads():
    options = {"num_aus": 4, "drop_path": 0.0}
    assert not untouched(gradients("mae_dfer_small", entropy, readout="all", **options)[0])
    # Representatives alone never see what the last block adds to the other tokens.
    left = untouched(gradients("mae_dfer_small", entropy, **options)[0])
    assert left and all("['blocks_1']['third_attn" in path for path in left)


def test_pretraining_trains_every_parameter():
    def loss(x, out):
        target = pretrain.targets(x, out["masked"], patch=8)
        return pretrain.reconstruction_loss(out["reconstruction"], target).mean()

    assert not untouched(gradients("mae_dfer_pretrain_small", loss)[0])


@pytest.mark.parametrize("window", [(5, 10), (5, 5), (10, 10)])
def test_masks_hide_the_same_share_of_every_window_at_all_times(window):
    grid = (3, 10, 10)
    visible = pretrain.part_window_mask(KEY, 4, grid, 0.9, window)
    masked = np.asarray(pretrain.masked_tokens(visible, 300))
    mask = np.ones((4, 300), bool)
    np.put_along_axis(mask, np.asarray(visible), False, axis=1)
    np.testing.assert_array_equal(masked, np.nonzero(mask)[1].reshape(4, -1))
    np.testing.assert_array_equal(pretrain.visible_tokens(mask), visible)
    frames = mask.reshape(4, *grid)
    assert (frames == frames[:, :1]).all()
    wh, ww = window
    share = frames[:, 0].reshape(4, 10 // wh, wh, 10 // ww, ww).sum((2, 4))
    assert (share == int(0.9 * wh * ww)).all()
    assert not (frames[0] == frames[1]).all()


def test_masks_hide_every_cell_alike():
    visible = np.asarray(pretrain.tube_mask(KEY, 4000, (1, 4, 4), 0.75))
    seen = np.bincount(visible.reshape(-1), minlength=16) / 4000
    np.testing.assert_allclose(seen, 0.25, atol=0.03)


def test_orders_of_visible_tokens():
    grid, region = (8, 10, 10), (2, 5, 10)
    visible = pretrain.part_window_mask(KEY, 2, grid, 0.9, (5, 10))
    reference = np.asarray(pretrain.region_order(visible, grid, region, "reference"))
    corrected = np.asarray(pretrain.region_order(visible, grid, region, "corrected"))
    np.testing.assert_array_equal(reference, corrected)  # regions as wide as the frame
    assert (reference == np.arange(80)).mean() == 0.5  # slots 0 2 1 3 of every four
    slots = [*range(5), *range(10, 15), *range(5, 10), *range(15, 20)]
    assert reference[0, :20].tolist() == slots

    region = (2, 5, 5)
    visible = pretrain.part_window_mask(KEY, 2, grid, 0.8, (5, 5))
    order = pretrain.region_order(visible, grid, region, "corrected")
    t, y, x = np.unravel_index(np.take_along_axis(np.asarray(visible), np.asarray(order), 1), grid)
    number = (t // 2 * 2 + y // 5) * 2 + x // 5
    np.testing.assert_array_equal(number, np.tile(np.repeat(np.arange(16), 10), (2, 1)))


@pytest.mark.parametrize("token_order", pretrain.ORDERS)
def test_encoder_order(token_order):
    """With silent blocks the encoder gives the embedded tokens, in region or in index order."""
    options = {"region": (2, 2, 2), "mask_ratio": 0.5, "token_order": token_order}
    model, variables, x = small("mae_dfer_pretrain_small", **options)
    params = jax.tree.map(lambda a: a, variables["params"])
    for block in ("blocks_0", "blocks_1"):
        for name, layer in (("third_attn", "proj"), ("first_attn", "proj"), ("mlp", "fc2")):
            branch = params["encoder"][block][name]
            branch[layer] = jax.tree.map(jnp.zeros_like, branch[layer])
    grid, region = (4, 4, 4), (2, 2, 2)
    visible = pretrain.part_window_mask(KEY, 2, grid, 0.5, (2, 2))
    apply = jax.jit(lambda p: model.apply({"params": p}, x, visible=visible))
    tokens = np.asarray(apply(params)["encoder_out"])
    embedding = params["encoder"]["patch_embed_proj"]
    patches = np.asarray(x).reshape(2, 4, 2, 4, 8, 4, 8, 3).transpose(0, 1, 3, 5, 2, 4, 6, 7)
    expected = patches.reshape(2, 64, -1) @ np.asarray(embedding["kernel"]).reshape(-1, 32)
    expected = expected + np.asarray(embedding["bias"]) + mae_dfer.sinusoids(64, 32)
    expected = np.take_along_axis(expected, np.asarray(visible)[:, :, None], 1)
    if token_order == "reference":
        order = pretrain.region_order(visible, grid, region, "reference")
        expected = np.take_along_axis(expected, np.asarray(order)[:, :, None], 1)
    deviation = np.sqrt(expected.var(-1, keepdims=True) + 1e-6)
    expected = (expected - expected.mean(-1, keepdims=True)) / deviation
    norm = params["encoder_norm"]
    np.testing.assert_allclose(tokens, expected * norm["scale"] + norm["bias"], atol=2e-4)


def test_targets_of_one_token():
    rng = np.random.default_rng(0)
    pixels = rng.uniform(size=(1, 4, 8, 8, 3))
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    clip = jnp.asarray((pixels - mean) / std, jnp.float32)
    masked = jnp.array([[6]])  # grid 2x2x2: time 1, row 1, column 0
    block = pixels[0, 2:4, 4:8, 0:4]
    centred = block - block.mean((0, 1, 2))
    normal = centred / (np.sqrt((centred**2).sum((0, 1, 2)) / 31) + 1e-6)
    target = pretrain.targets(clip, masked, patch=4, motion=False)
    np.testing.assert_allclose(target[0, 0], normal.reshape(-1), atol=1e-4)
    moved = np.stack([normal[0], normal[1] - normal[0]])
    target = pretrain.targets(clip, masked, patch=4)
    np.testing.assert_allclose(target[0, 0], moved.reshape(-1), atol=1e-4)
    target = pretrain.targets(clip, masked, patch=4, motion=False, normalise=False)
    np.testing.assert_allclose(target[0, 0], block.reshape(-1), atol=1e-6)


def test_reconstruction_loss_weighs_appearance_and_motion():
    target = jnp.zeros((1, 2, 4))
    guess = jnp.array([[[1.0, 3.0, 2.0, 0.0], [0.0, 0.0, 4.0, 2.0]]])  # errors 5, 2 and 0, 10
    errors = pretrain.token_errors(guess, target)
    np.testing.assert_allclose(errors, [[[5.0, 2.0], [0.0, 10.0]]])
    np.testing.assert_allclose(pretrain.reconstruction_loss(guess, target), [[3.5, 5.0]])
    weighted = pretrain.reconstruction_loss(guess, target, motion_weight=0.3)
    np.testing.assert_allclose(weighted, [[4.1, 3.0]], rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("mae_dfer_small", {"readout": "regions"}, "readout.*Did you mean 'region'"),
        (
            "mae_dfer_small",
            {"region": (2, 3, 2)},
            r"region: \(2, 3, 2\) does not divide .*\(4, 4, 4\)",
        ),
        ("mae_dfer_small", {"patch": 12}, "H of the clip: 32 is not a multiple of 12"),
        ("mae_dfer_small", {"heads": 5}, "heads: 5 do not divide the width 32"),
        ("mae_dfer_pretrain_small", {"masking": "tubes"}, "masking.*Did you mean 'tube'"),
        ("mae_dfer_pretrain_small", {"mask_ratio": 0.05}, "mask ratio: 0.05 leaves 8 of"),
        ("mae_dfer_pretrain_small", {"token_order": "index"}, "token_order: 'index'"),
        (
            "mae_dfer_pretrain_small",
            {"masking": "tube", "token_order": "corrected"},
            "'tube' leaves regions unequal numbers",
        ),
    ],
)
def test_wrong_options(name, options, message):
    with pytest.raises(ValueError, match=message):
        shapes(name, **options)


def test_masks_must_leave_as_many_in_every_row():
    mask = np.ones((2, 8), bool)
    mask[0, :2] = mask[1, :3] = False
    with pytest.raises(ValueError, match=r"rows leave \[2, 3\]"):
        pretrain.visible_tokens(mask)


def test_former_dfer_other_sizes():
    model = models.create("former_dfer_small")
    x = jnp.zeros((1, 3, 45, 61, 3))
    out = jax.eval_shape(lambda: model.init_with_output(RNGS, x)[0])
    assert out["layer3"].shape == (3, 3, 4, 32)
    assert out["expression"].shape == (1, 7)


def test_former_dfer_projects_its_heads_unless_one_is_as_wide_as_the_tokens():
    """Of 32 channels for a frame's tokens, of 64 for the frames'."""
    params = shapes("former_dfer_small", s_heads=1, s_head_dim=32, t_heads=2, t_head_dim=64)[
        "params"
    ]
    assert set(params["s_former"]["layers_0"]["attn"]) == {"qkv"}
    assert set(params["t_former"]["layers_0"]["attn"]) == {"qkv", "proj"}
