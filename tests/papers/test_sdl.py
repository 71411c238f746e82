"""S2D's loss of soft targets: by hand, in an order, over devices, and in a run."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_hosts
import toy
import toydata

from aufer_jax import parallel
from aufer_jax.data import records
from aufer_jax.papers.audfer import sdl
from aufer_jax.train import config as config_lib
from aufer_jax.train import experiment

KEY = jax.random.key(0)


def options(**changes):
    return sdl.Options(**{"sdl": "corrected", "sdl_queue": 3, **changes})


def filled(form="corrected"):
    """Two classes, features of two numbers, a queue of three."""
    features = np.array([[[1, 0], [0, 2], [1, 1]], [[-1, 0], [0, -1], [3, 0]]], np.float32)
    first = np.array([[0.9, 0.6, 0.8], [0.1, 0.2, 0.3]], np.float32)
    return {
        "features": jnp.asarray(features),
        "probabilities": jnp.stack([first, 1 - first], -1),
        "steps": jnp.int32(0),
    }


def test_a_soft_target_by_hand():
    root = 0.5**0.5
    soft, known = sdl.targets(filled(), jnp.array([[5.0, 0.0]]), options())
    # Nearest: (1, 0) and (1, 1) in the first class; (3, 0) in the second, where nothing else is like it.
    expected = (1 * 0.9 + root * 0.8 + 1 * 0.3) / (1 + root + 1)
    np.testing.assert_allclose(soft, [[expected, 1 - expected]], rtol=1e-6)
    assert known.all()
    soft, _ = sdl.targets(filled(), jnp.array([[0.0, -5.0]]), options(sdl="released"))
    # As published, similarities below 0 count too: the nearest two are at 90 degrees and at 135.
    weights, values = np.array([0.0, -root, 1.0, 0.0]), np.array([0.9, 0.8, 0.2, 0.1])
    expected = (weights * values).sum() / weights.sum()
    np.testing.assert_allclose(soft[0, 0], expected, rtol=1e-5)


def test_empty_queues_have_no_target():
    queues = sdl.create(KEY, 7, 5, options())
    soft, known = sdl.targets(queues, jnp.ones((2, 5)), options())
    assert not known.any() and not soft.any()
    queues = sdl.create(KEY, 7, 5, options(sdl="released"))
    assert sdl.targets(queues, jnp.ones((2, 5)), options(sdl="released"))[1].all()
    assert not np.allclose(queues["features"][0, 0], queues["probabilities"][0, 0, :5])


def test_loss_is_the_mean_over_classes():
    logits, soft = np.array([[0.3, -2.0]]), np.array([[0.7, 0.2]])
    p = 1 / (1 + np.exp(-logits))
    by_hand = -(soft * np.log(p) + (1 - soft) * np.log(1 - p)).mean(-1)
    np.testing.assert_allclose(sdl.loss(jnp.asarray(logits), jnp.asarray(soft)), by_hand, rtol=1e-5)


def test_queues_keep_the_last_clips_of_a_class_in_their_order():
    features = jnp.arange(10.0).reshape(5, 2)
    label = jnp.array([0, 1, 0, -1, 0])
    logits = jnp.log(jnp.array([[1.0, 3.0]] * 5))
    after = sdl.push(filled(), features, logits, label)
    np.testing.assert_array_equal(after["features"][0], features[jnp.array([0, 2, 4])])
    np.testing.assert_array_equal(after["features"][1, :2], filled()["features"][1, 1:])
    np.testing.assert_array_equal(after["features"][1, 2], features[1])
    np.testing.assert_allclose(after["probabilities"][0], [[0.25, 0.75]] * 3, rtol=1e-6)


def test_queues_are_the_same_on_every_device():
    if len(jax.devices()) < 2:
        pytest.skip("needs two devices")
    rows = (jnp.arange(8.0).reshape(4, 2), jnp.zeros((4, 2)), jnp.array([0, 1, 0, 0]))

    def share(*rows):
        with parallel.batch_split(parallel.Split(axis="batch")):
            return sdl.push(filled(), *rows)

    split = [x.reshape(2, 2, *x.shape[1:]) for x in rows]
    shares = jax.pmap(share, axis_name="batch", devices=jax.devices()[:2])(*split)
    whole = sdl.push(filled(), *rows)
    for key, value in whole.items():
        for device in range(2):
            np.testing.assert_array_equal(shares[key][device], value, err_msg=key)


@pytest.mark.parametrize(
    ("form", "epoch", "moves"),
    [("corrected", 20, False), ("corrected", 21, True), ("released", 99, False)],
)
def test_when_queues_move(form, epoch, moves):
    outputs = {"features": jnp.ones((1, 2)), "expression": jnp.zeros((1, 2))}
    chosen = options(sdl=form, sdl_update_epochs=100)
    after = sdl.after(filled(), outputs, jnp.array([0]), jnp.int32(epoch), chosen)
    moved = not np.array_equal(after["features"], filled()["features"])
    assert moved == moves and after["steps"] == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sdl": "correct"}, r"loss\.sdl: 'correct' .* Did you mean 'corrected'"),
        ({"sdl_neighbours": 4}, r"loss\.sdl_neighbours: 4 of a queue of 3"),
        ({"sdl_queue": 0}, r"loss\.sdl_queue: 0"),
    ],
)
def test_mistakes_are_named(changes, message):
    with pytest.raises(ValueError, match=message):
        options(**changes)


def run_of(parallelism):
    config = config_lib.load("configs/audfer.py:toyclips,host=r3d18,recipe=small")
    values = {
        "data.batch_size": 8, "data.eval_batch_size": 8, "data.threads": 1, "train.epochs": 2,
        "train.parallel": parallelism, "loss.sdl": "corrected", "loss.sdl_queue": 2,
        "loss.sdl_start": 0, **tiny_hosts.values("r3d18"),
    }  # fmt: skip
    with config.unlocked():
        for key, value in values.items():
            config_lib.set_value(config, key, value)
    return experiment.build(config_lib.check(config), jax.devices()[:2])


def test_a_run_fills_its_queues_and_learns_from_them(memory_catalog, monkeypatch):
    monkeypatch.setattr(sdl, "WEIGHTS", ((1, 1.0),))
    info = toydata.info("toyclips", records.CLIP, splits={"train": 8, "validation": 4, "test": 4})
    rows = records.MemorySource(info, [toydata.clip_record(i) for i in range(8)])
    memory_catalog("toyclips", rows)
    found = {}
    for parallelism in ("jit", "pmap"):
        run = run_of(parallelism)
        state, lines = toy.steps(run, 2)
        queues = jax.device_get(state.model_state["sdl"])
        assert queues["steps"] == 2 and (queues["probabilities"].sum(-1) > 0.99).all()
        losses = [{k: v[0] / max(v[1], 1) for k, v in line["sums"].items()} for line in lines]
        first, second = ((x["loss"], x["expression_loss"], x["au_loss"]) for x in losses)
        assert first[0] == pytest.approx(0.75 * first[1] + 0.25 * first[2], rel=1e-5)
        similar = 0.75 * losses[1]["sdl_loss"]
        assert second[0] == pytest.approx(0.75 * second[1] + 0.25 * second[2] + similar, rel=1e-5)
        found[parallelism] = queues
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4),
        found["jit"], found["pmap"],
    )  # fmt: skip
