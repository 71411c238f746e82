"""MV-FER as it trains: whole steps of a small network with every switch, and on four devices."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toydata
from mvfer_source import CLASSES, NO_LANDMARKS, PLAIN, SIZE

from aufer_jax.data import loader, mixture, views
from aufer_jax.papers.mvfer import method
from aufer_jax.train import base, experiment, setup
from aufer_jax.train import config as config_lib


def run_of(heatmap=None, train=None, **loss):
    config = config_lib.default("mvfer")
    config.model = config_lib.model(
        "resnet18", layers=(1,), width=4, stem_kernel=5, stem_stride=4, stem_pool=False
    )
    config.data.size = SIZE
    config.data.batch_size = config.data.eval_batch_size = 8
    config.loss.update(loss)
    config.heatmap.update(heatmap or {})
    config.train.update(train or {})
    return config_lib.check(config)


def built(run, devices=1):
    """The experiment of a run on made-up faces, two of which have no landmarks."""
    source = toydata.images(16)
    for i in NO_LANDMARKS:
        source.records[i]["landmarks"][:] = np.nan
    parts = setup.Parts(
        model=setup.create_model(run.model, num_classes=CLASSES, aus=toydata.AUS),
        preprocess=PLAIN,
        dtype=jnp.dtype(run.train.compute_dtype),
        spec=views.Spec(
            size=SIZE, aus=toydata.AUS, views=run.loss.loaded(train=True), erase=run.erase
        ),
        expressions=toydata.EXPRESSIONS,
    )
    parts = method.network(run, parts)
    part = mixture.Part(source, parts.spec)
    task = base.Task(
        method=method.method(parts, run.loss),
        description="toy",
        train=part,
        evaluation=lambda split: mixture.Part(
            source, dataclasses.replace(parts.spec, train=False, views=run.loss.loaded(train=False))
        ),
        evaluation_splits=("test",),
        expressions=toydata.EXPRESSIONS,
        aus=toydata.AUS,
        steps_per_epoch=2,
        example=next(loader.train_batches(part, batch_size=8, seed=0, threads=0)),
    )
    return experiment.assemble(run, task, jax.devices()[:devices])


def steps(ready, count=2):
    stream = loader.train_batches(ready.task.train, batch_size=8, seed=0, threads=0)
    state, logged = ready.initial_state(), []
    for _ in range(count):
        state, line = ready.train_step(state, ready.devices.put_batch(next(stream)))
        logged.append(jax.device_get(line["sums"]))
    return state, logged


SWITCHES = [  # beside the default, which trains on one device and on four below
    {"inference": "all", "expression": "focal"},
    {"heatmap_role": "view", "heatmap": {"size": 12, "aus": (1, 12)}, "consistency": "cam+js"},
    {"heatmap_role": "supervise", "heatmap": {"per_au": True}, "align_loss": "mse"},
    {"heatmap_role": "supervise", "align_loss": "std_cosine"},
    {"heatmap_role": "encoder", "consistency": "js", "label_smoothing": 0.1},
    {"heatmap_role": "encoder", "heatmap": {"per_au": True}, "inference": "flip",
     "forward": "separate", "statistics": "first", "mix": 1.0},
    {"heatmap_role": "none", "consistency": "none", "ce_views": (1,)},
    {"heatmap_scale": 0.5, "mix": 1.0},
    {"align_loss": "none", "consistency": "none", "ce_views": (1, 3)},
]  # fmt: skip


@pytest.mark.parametrize(
    "switches", SWITCHES, ids=lambda s: ",".join(f"{k}={v}" for k, v in s.items())
)
def test_every_switch_trains_and_predicts(switches):
    ready = built(run_of(**switches))
    state, logged = steps(ready)
    for line in logged:
        for name, (total, count) in line.items():
            assert np.isfinite(total) and count > 0, name
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(jax.device_get(state.params)))
    if switches.get("inference") or switches.get("heatmap_role") == "encoder":
        assert 0 <= ready.evaluate(state, "test")["accuracy"] <= 1


def test_switches_cover_every_choice():
    for key, permitted in method.CHOICES.items():
        used = {switches.get(key) for switches in SWITCHES} | {getattr(method.Options(), key)}
        assert used - {None} == set(permitted), key


@pytest.fixture(scope="module")
def one():
    return steps(built(run_of()))


@pytest.mark.parametrize("mode", ["jit", "pmap"])
def test_four_devices_train_like_one(mode, one):
    many = steps(built(run_of(train={"parallel": mode}), devices=4))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
        (one[1], jax.device_get(one[0].model_state)),
        (many[1], jax.device_get(many[0].model_state)),
    )
