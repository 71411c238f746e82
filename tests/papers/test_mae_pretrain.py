"""Masked pre-training: its masks, its loss, its run, and its way into fine-tuning."""

import dataclasses
import functools
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import places
import pytest
import torch_files
import toy
import toydata
from flax import traverse_util

from aufer_jax import models, weights
from aufer_jax.data import loader, mixture, sampling, views
from aufer_jax.models import mae_dfer_pretrain as pretrain
from aufer_jax.papers.mae_dfer import method
from aufer_jax.report import figures
from aufer_jax.train import base, checkpoints, experiment, initial, loop, setup
from aufer_jax.train import config as config_lib
from aufer_jax.weights import loading

KEY = jax.random.key(5)
SIZES = {"dim": 16, "depth": 1, "decoder_dim": 12, "region": (2, 2, 2)}


def config(**overrides):
    """Clips of 8 frames of 32 x 32 pixels: a grid of 4 x 4 x 4 tokens, one visible in each window."""
    values = config_lib.load(f"{places.ROOT}/configs/mae_pretrain.py")
    values.model = config_lib.model("mae_dfer_pretrain_small", token_order="corrected", **SIZES)
    values.data.size = 32
    values.data.batch_size = values.data.eval_batch_size = 8
    values.schedule.name = "constant"
    values.train.epochs = 2
    for key, value in overrides.items():
        config_lib.set_value(values, key.replace("__", "."), value)
    return values


def parts_of(run, model="mae_dfer_pretrain_small"):
    spec = views.Spec(size=32, aus=toydata.AUS, clip=sampling.Sampling(8), augment=run.augment)
    return setup.Parts(
        model=setup.create_model(dict(run.model), num_classes=0, aus=()),
        preprocess=models.architecture(model).preprocess,
        dtype=jnp.float32,
        spec=spec,
        expressions=(),
    )


def task(run, count=16):
    parts, source = parts_of(run), toydata.clip_source(count)
    train = mixture.Part(source, parts.spec)
    still = dataclasses.replace(parts.spec, train=False)
    return base.Task(
        method=method.method(parts, run.loss),
        description="toy clips",
        train=train,
        evaluation=lambda split: mixture.Part(source, still),
        evaluation_splits=("test",),
        expressions=(),
        aus=toydata.AUS,
        steps_per_epoch=count // run.data.batch_size,
        example=next(
            loader.train_batches(train, batch_size=run.data.batch_size, seed=0, threads=0)
        ),
    )


@functools.cache
def assembled(devices=1, **overrides):
    run = config_lib.check(config(**overrides))
    return experiment.assemble(run, task(run), jax.devices()[:devices])


def train(built, steps, state=None):
    """State and loss of each step, from a state or from scratch."""
    start = 0 if state is None else int(state.step)
    stream = loader.train_batches(built.task.train, batch_size=8, seed=0, start=start, threads=0)
    state, found = state or built.initial_state(), []
    for _ in range(steps):
        state, logged = built.train_step(state, built.devices.put_batch(next(stream)))
        found.append(jax.device_get(logged["sums"]))
    return state, found


def masks(model):
    return jax.jit(functools.partial(method.draw_visible, model))


# --- masks --------------------------------------------------------------------------------------


def test_a_mask_follows_from_key_and_record():
    run = config_lib.check(config())
    model = parts_of(run).model
    ids = np.array([3, 2**63 - 7, 3, 11])

    def draw(seed, ids):
        batch = {"clip": jnp.zeros((len(ids), 8, 32, 32, 3)), "id": jnp.asarray(ids % 2**31)}
        return np.asarray(masks(model)(jax.random.key(seed), batch))

    visible = draw(0, ids)
    assert visible.shape == (4, 16)  # 4 times x 4 windows x 1 of 4 cells
    np.testing.assert_array_equal(visible[0], visible[2])
    np.testing.assert_array_equal(draw(0, ids[::-1]), visible[::-1])  # wherever the row is
    assert (visible[0] != visible[3]).any() and (visible[0] != draw(1, ids)[0]).any()
    cells = visible.reshape(4, 4, 4) - 16 * np.arange(4)[:, None]
    assert (cells == cells[:, :1]).all()  # the same at all times: tubes
    y, x = np.divmod(cells[:, 0], 4)
    assert all(sorted(row) == [0, 1, 2, 3] for row in y // 2 * 2 + x // 2)  # one in every window


def test_tube_masks_have_no_windows():
    values = config(model__masking="tube", model__token_order="reference")
    model = parts_of(config_lib.check(values)).model
    batch = {"clip": jnp.zeros((64, 8, 32, 32, 3)), "id": jnp.arange(64)}
    visible = np.asarray(masks(model)(jax.random.key(0), batch))
    y, x = np.divmod(visible[:, :4], 4)
    windows = np.sort(y // 2 * 2 + x // 2)
    assert visible.shape == (64, 16) and (windows != np.arange(4)).any()


# --- loss ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("weight", [0.5, 0.3])
def test_loss_is_that_of_the_hidden_tokens(weight):
    """Against NumPy, token by token: with 0.5 one mean over all values, as published."""
    built = assembled(loss__motion_weight=weight)
    batch = dict(built.task.example)
    batch["mask"] = np.arange(8) < 3
    variables = jax.device_get(jax.jit(built.task.method.init)(jax.random.key(1), batch))
    key = jax.random.key(5)
    total, (_, sums) = jax.jit(built.task.method.loss)(variables["params"], {}, batch, key)

    model = parts_of(built.run).model
    visible = masks(model)(key, batch)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    x = ((batch["clip"] / 255 - mean) / std).astype(np.float32)
    out = jax.jit(model.apply)(variables, x, visible=visible)
    rebuilt, masked = np.asarray(out["reconstruction"]), np.asarray(out["masked"])
    errors = []
    for row in range(3):
        for place, token in enumerate(masked[row]):
            t, y, x_ = np.unravel_index(token, (4, 4, 4))
            pixels = batch["clip"][row, 2 * t : 2 * t + 2, 8 * y : 8 * y + 8, 8 * x_ : 8 * x_ + 8]
            pixels = pixels / 255.0
            flat = pixels.reshape(-1, 3)
            pixels = (pixels - flat.mean(0)) / (flat.std(0, ddof=1) + 1e-6)
            target = np.stack([pixels[0], pixels[1] - pixels[0]])
            errors.append(np.square(target.reshape(2, -1) - rebuilt[row, place].reshape(2, -1)))
    appearance, motion = np.array(errors).mean((0, 2))
    np.testing.assert_allclose(total, (1 - weight) * appearance + weight * motion, rtol=1e-4)
    np.testing.assert_allclose(sums["appearance_loss"][0] / 3, appearance, rtol=1e-4)
    np.testing.assert_allclose(sums["motion_loss"][0] / 3, motion, rtol=1e-4)
    if weight == 0.5:
        np.testing.assert_allclose(total, np.mean(errors), rtol=1e-4)


# --- runs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["jit", "pmap"])
def test_four_devices_hide_and_learn_what_one_does(mode):
    alone, many = assembled(), assembled(4, train__parallel=mode)
    for ours, theirs in zip(train(alone, 2)[1], train(many, 2)[1], strict=True):
        for name in ("loss", "appearance_loss", "motion_loss"):
            a, b = (sums[name][0] / sums[name][1] for sums in (ours, theirs))
            np.testing.assert_allclose(a, b, rtol=2e-5)
    if mode == "pmap":
        return
    state = alone.initial_state()
    values = [built.evaluate(built.initial_state(), "validation") for built in (alone, many)]
    assert set(values[0]) == {"loss", "appearance_loss", "motion_loss"}
    assert values[0] == pytest.approx(values[1], rel=2e-5)
    assert alone.evaluate(state, "validation") == values[0]  # the masks are always the same


def test_loss_falls_and_a_restored_run_is_the_same(tmp_path):
    built = assembled()
    state, _ = train(built, 2)
    saver = checkpoints.Checkpoints(tmp_path)
    saver.save(2, state, {})
    saver.wait()
    saver.close()
    before = built.evaluate(built.initial_state(), "validation")["loss"]
    state, through = train(built, 20, state)
    restored, _ = checkpoints.Reader(tmp_path).restore(built.target, built.devices.replicated)
    again, resumed = train(built, 20, restored)
    assert through == resumed
    jax.tree.map(np.testing.assert_array_equal, state.params, again.params)
    assert built.evaluate(state, "validation")["loss"] < 0.97 * before


def test_weight_decay_leaves_out_what_the_published_run_does():
    """One-dimensional parameters and the mask token; not the region tokens."""
    run = config_lib.check(config_lib.load(f"{places.ROOT}/configs/mae_pretrain.py:voxceleb2"))
    shapes = loading.shapes("mae_dfer_pretrain", models.create("mae_dfer_pretrain"))
    flat: dict[str, Any] = traverse_util.flatten_dict(shapes["params"], sep="/")
    left_out = {p for p in flat if any(re.search(x, p) for x in run.optimizer.no_decay)}
    assert left_out == {p for p, x in flat.items() if len(x.shape) == 1} | {"mask_token"}
    assert run.optimizer.lr == pytest.approx(1.875e-4)
    assert run.schedule.min_lr == pytest.approx(6.25e-6)


def test_the_small_recipe_fits_the_host_of_audfer():
    ours, theirs = (
        config_lib.load(f"{places.ROOT}/configs/{name}")
        for name in ("mae_pretrain.py", "audfer.py:host=mae_dfer")
    )
    for name in ("region", "patch", "tubelet", "dim", "depth", "heads", "mlp_ratio"):
        assert ours.model[name] == theirs.model[name], name
    assert (ours.data.size, ours.data.frames) == (theirs.data.size, theirs.data.frames)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"train__best_metric": "uar"}, r"train\.best_metric: 'uar'; pre-training needs 'loss'"),
        ({"loss__motion_weight": 1.5}, "motion_weight: 1.5 must be"),
        ({"data__target": "synth_a"}, "holds images, method 'mae_pretrain' takes clips"),
    ],
)
def test_mistakes_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        base.build(config_lib.check(config(**change)))


def test_another_network_is_refused():
    values = config()
    values.model = config_lib.model("mae_dfer_small")
    with pytest.raises(ValueError, match="Did you mean 'mae_dfer_pretrain_small'"):
        base.build(config_lib.check(values))


# --- into fine-tuning ---------------------------------------------------------------------------


def fine_tuning(init_from):
    values = config_lib.default("audfer")
    same = {name: SIZES[name] for name in ("dim", "depth", "region")}
    values.model = config_lib.model("mae_dfer_small", **same)
    values.init_from = str(init_from)
    run = config_lib.check(values)
    model = setup.create_model(dict(run.model), num_classes=7, aus=(1, 2))
    variables = jax.jit(model.init)(jax.random.key(9), jnp.zeros((1, 8, 32, 32, 3)))
    return run, jax.device_get({"params": variables["params"]})


def test_a_run_begins_with_the_encoder_of_its_pre_training(tmp_path, caplog):
    values = config()
    run = config_lib.check(values)
    result = loop.train_and_evaluate(values, tmp_path / "run", task(run))
    assert set(result.summary["test_last"]) == {"loss", "appearance_loss", "motion_loss"}
    assert result.summary["chosen"]["metric"] == "loss"
    figures.write(tmp_path / "run")
    assert (tmp_path / "run" / "figures" / "curves.png").exists()

    learned = checkpoints.Reader(tmp_path / "run").variables()
    torch_files_written(tmp_path / "checkpoint-49.pth", learned)
    for source in (tmp_path / "run", tmp_path / "checkpoint-49.pth"):
        run, fresh = fine_tuning(source)
        caplog.clear()
        with caplog.at_level("INFO"):
            loaded = initial.initial_weights(run, fresh)["params"]
        jax.tree.map(np.testing.assert_array_equal, loaded["encoder"], learned["params"]["encoder"])
        left = [name for name in fresh["params"] if name != "encoder"]
        assert sorted(left) == ["fc_au", "fc_norm", "head"]
        for name in left:
            jax.tree.map(np.testing.assert_array_equal, loaded[name], fresh["params"][name])
        said = caplog.text
        assert "left at the initial value, not in the checkpoint: 6 (" in said
        assert "fc_norm.weight" in said and "head.weight" in said and "dropped" not in said


def torch_files_written(path, variables):
    """A checkpoint as the published code writes it: names without prefix, under `model`."""
    stored = weights.to_torch(variables, "mae_dfer_pretrain_small")
    assert "encoder.blocks.0.first_attn.q.weight" in stored
    with pytest.MonkeyPatch.context() as patch:
        torch_files.install(patch)
        content = {"model": torch_files.state_dict(stored), "epoch": 49, "scaler": {"scale": 1.0}}
        torch_files.save_zip(path, content)


# --- SVFAP ----------------------------------------------------------------------------------------


def svfap(**overrides):
    model = config_lib.model("svfap_pretrain_small", dim=16, stage_depths=(1, 1), decoder_dim=12)
    return config_lib.check(config(model=model, loss__motion=False, **overrides))


def test_svfap_reconstructs_pixels_alone():
    run = svfap()
    parts = parts_of(run, "svfap_pretrain_small")
    x = jax.random.normal(jax.random.key(0), (2, 8, 32, 32, 3))
    variables = jax.jit(parts.model.init)({"params": jax.random.key(1), "dropout": KEY}, x)
    out = parts.model.apply(variables, x, rngs={"dropout": KEY})
    found = method.errors(out, x, parts, run.loss)
    target = pretrain.targets(x, out["masked"], patch=8, motion=False)
    expected = jnp.square(out["reconstruction"] - target).mean((1, 2))
    np.testing.assert_allclose(found["loss"], expected, rtol=1e-5)
    assert found.keys() == {"loss"}


def test_svfap_is_pre_trained_by_the_same_method():
    run = svfap()
    trained = experiment.assemble(run, task(run), jax.devices()[:1])
    _, lines = toy.steps(trained, 2)
    assert all(np.isfinite(line["sums"]["loss"][0]) for line in lines)


def test_configs_of_svfap():
    path = f"{places.ROOT}/configs/mae_pretrain.py"
    run = config_lib.check(config_lib.load(f"{path}:voxceleb2,network=svfap,order=reference"))
    assert (run.optimizer.lr, run.data.batch_size, run.loss.motion) == (3e-4, 256, False)
    assert run.model["context"] == run.model["upsampling"] == "reference"
    small = config_lib.load(f"{path}:network=svfap").model
    tuned = config_lib.load(f"{places.ROOT}/configs/audfer.py:host=svfap").model
    same = ("patch", "dim", "stage_depths", "heads", "bottleneck_tokens", "bottleneck_dim")
    assert {key: small[key] for key in same} == {key: tuned[key] for key in same}
    with pytest.raises(ValueError, match=r"network: 'svafp'.*'svfap'"):
        config_lib.load(f"{path}:network=svafp")
