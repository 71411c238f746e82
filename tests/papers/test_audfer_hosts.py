"""Every host of AU-DFER through the engine: jit and pmap alike, a resumed run the same, losses fall."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_hosts
import toy
import toydata
import toymodels
from flax import traverse_util

from aufer_jax import models
from aufer_jax.data import records
from aufer_jax.models import encoders, fru_adapter, s2d
from aufer_jax.papers.audfer.recipes import encoders as encoder_recipes
from aufer_jax.train import config as config_lib
from aufer_jax.train import experiment, optimizer
from aufer_jax.weights import loading

PEERS = ("ec_stfl", "stt", "dpcnet", "nr_dfernet")
TERMS = ("ecstfl", "compact", "paths", "views")
# With which a loss falls in a few steps.
PLAIN = {
    "loss.mix": 0.0, "augment.rand_ops": 0, "augment.flip": 0.0,
    "schedule.name": "constant", "schedule.warmup_epochs": 0.0,
}  # fmt: skip


@pytest.fixture(autouse=True)
def clips(memory_catalog):
    """The dataset "toyclips" in memory."""
    info = toydata.info("toyclips", records.CLIP, splits={"train": 16, "validation": 8, "test": 8})
    rows = records.MemorySource(info, [toydata.clip_record(i) for i in range(16)])
    memory_catalog("toyclips", rows)


def built(host, parallel, **changes):
    config = config_lib.load(f"configs/audfer.py:toyclips,host={host},recipe=small")
    values = {
        "data.batch_size": 8, "data.eval_batch_size": 8, "data.threads": 1, "train.epochs": 12,
        "optimizer.lr": 4e-3, "train.log_every": 100, "train.parallel": parallel, "loss.mix": 1.0,
        "augment.rand_ops": 2, **tiny_hosts.values(host), **changes,
    }  # fmt: skip
    with config.unlocked():
        for key, value in values.items():
            config_lib.set_value(config, key, value)
    return experiment.build(config_lib.check(config), jax.devices()[:4])


def begin(run):
    """A state to begin with that takes nothing to compile."""
    blank = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), run.target)
    return blank.replace(
        params=toymodels.filled(run.target.params),
        model_state=toymodels.filled(run.target.model_state),
    )


@pytest.mark.slow
@pytest.mark.parametrize("host", tiny_hosts.HOSTS)
def test_hosts_learn_alike_by_jit_and_pmap_and_go_on_where_they_stopped(host, tmp_path):
    """Mixing and RandAugment included, but for those whose loss shall fall without."""
    if len(jax.devices()) < 4:
        pytest.skip("needs four devices")
    changes = PLAIN if host in PEERS else {}
    run = built(host, "pmap", **changes)
    start = begin(run)

    def begun():
        return run.devices.put_state(start)

    logged = toy.resumed(run, begun, tmp_path)
    for line in logged:
        losses = {name: total / max(count, 1) for name, (total, count) in line["sums"].items()}
        weights = {t: getattr(run.run.loss, t) for t in TERMS}
        terms = (w * losses[f"{t}_loss"] for t, w in weights.items() if w)
        taught = losses["expression_loss"] + sum(terms)
        assert losses["loss"] == pytest.approx(0.75 * taught + 0.25 * losses["au_loss"], rel=1e-4)
    _, by_jit = toy.steps(built(host, "jit", **changes), 1, state=begun())
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), by_jit[0], logged[0]
    )
    if "data.size" in tiny_hosts.CLIPS.get(host, {}):
        return  # of larger clips many steps take long
    _, logged = toy.steps(run, 24, state=begun())
    loss = [np.divide(*line["sums"]["loss"]).item() for line in logged]
    assert np.mean(loss[-8:]) < np.mean(loss[:8])


# Host -> what is frozen, and names in all that is not.
PARTS = {
    "s2d": (s2d.FROZEN, s2d.TRAINED),
    "fru_adapter": (fru_adapter.FROZEN, fru_adapter.TRAINED),
    "clip": (encoders.FROZEN, encoders.TRAINED),
}


@pytest.mark.slow
@pytest.mark.parametrize("host", PARTS)
def test_a_part_stays_as_it_is(host):
    frozen, names = PARTS[host]
    constant = {
        "schedule.name": "constant", "schedule.warmup_epochs": 0.0, "optimizer.weight_decay": 0.0,
    }  # fmt: skip
    own = {"model.landmarks": "mobilefacenet"} if host == "s2d" else {}
    run = built(host, "jit", **{"optimizer.freeze": frozen}, **own, **constant)
    start = begin(run)
    after, _ = toy.steps(run, 1, state=run.devices.put_state(start))
    flat = traverse_util.flatten_dict(jax.device_get(after.params))
    for path, before in traverse_util.flatten_dict(start.params).items():
        now = flat[path]
        trained = any(name in "/".join(path) for name in names)
        unread = path[0] == "prompt_norms_1"  # the last one, see models.s2d
        assert np.array_equal(now, before) == (unread or not trained), path


def recipe(text):
    return config_lib.check(config_lib.load(f"configs/audfer.py:{text}"))


def test_recipe_of_svfap():
    run = recipe("dfew,host=svfap,fold=1")
    assert (run.data.size, run.data.frames, run.data.frame_step) == (160, 16, 4)
    assert (run.data.batch_size, run.data.test_clips, run.train.epochs) == (64, 2, 100)
    assert (run.optimizer.lr, run.schedule.min_lr) == (2.5e-4, 2.5e-7)
    assert (run.loss.mix, run.loss.label_smoothing, run.schedule.warmup_epochs) == (1.0, 0.1, 5)
    assert recipe("ferv39k,host=svfap").data.frame_step == 1
    released = recipe("dfew,host=svfap,recipe=released").loss
    assert (released.shift, released.positive_weights) == ("half_range", "released")


def test_layer_groups_of_svfap():
    """Group 0 is the embedding, i + 1 block i, 22 the rest, what joins times among it."""
    run = recipe("dfew,host=svfap")
    shapes = loading.shapes("svfap", models.create("svfap"))["params"]
    params = jax.tree.map(lambda p: jnp.ones(1), shapes)
    options = dataclasses.replace(run.optimizer, name="sgd", momentum=0.0, weight_decay=0.0)
    tx = optimizer.create(options, lambda step: 1.0, params)
    result, _ = tx.update(params, tx.init(params), params)
    rates = {name: -jax.tree.leaves(tree)[0][0] for name, tree in result["encoder"].items()}
    assert rates.pop("patch_embed_proj") == pytest.approx(0.75**22)
    for name, rate in rates.items():
        block = name.removeprefix("blocks_")
        expected = 0.75 ** (21 - int(block)) if block.isdigit() else 1.0
        assert rate == pytest.approx(expected), name
    assert result["head"]["kernel"][0] == result["fc_norm"]["scale"][0] == -1


def test_recipe_of_fru_adapter():
    run = recipe("dfew,host=fru_adapter,fold=1")
    assert (run.data.size, run.data.frames, run.data.frame_step) == (224, 16, 4)
    assert (run.data.batch_size, run.optimizer.lr, run.schedule.min_lr) == (20, 1e-3, 1e-4)
    assert (run.loss.mix, run.loss.label_smoothing, run.optimizer.weight_decay) == (0, 0, 0.05)
    assert run.optimizer.freeze == fru_adapter.FROZEN and run.train.epochs == 100
    assert recipe("ferv39k,host=fru_adapter").data.frame_step == 1


@pytest.mark.parametrize("host", encoder_recipes.NETWORKS)
def test_recipes_of_encoders(host):
    run = recipe(f"dfew,host={host},fold=1")
    family = host.partition("_")[0]
    assert run.model["name"] == family and run.optimizer.freeze == encoders.FROZEN
    clips = family in ("videomae", "vjepa2")
    assert run.model["temporal"] == ("mean" if clips else "attention")
    assert run.data.size == (256 if family == "vjepa2" else 224)
    assert run.data.size % run.model.get("patch", 16) == 0 and run.data.frame_step == 4
    assert recipe(f"ferv39k,host={host}").data.frame_step == 1


def test_recipe_of_s2d():
    run = recipe("dfew,host=s2d,fold=1")
    assert (run.model["name"], run.data.size, run.data.frame_step) == ("s2d_mobilefacenet", 224, 1)
    assert (run.data.batch_size, run.optimizer.lr, run.schedule.min_lr) == (16, 2e-5, 6.25e-8)
    assert (run.schedule.warmup_epochs, run.optimizer.layer_decay, run.loss.sdl) == (2, 1, "none")
    assert run.optimizer.freeze == s2d.FROZEN and run.model["head_dropout"] == 0.5
    run = recipe("ferv39k,host=s2d")
    assert (run.loss.mix, run.loss.label_smoothing, run.model["head_dropout"]) == (0, 0, 0)
    assert (run.loss.sdl, run.loss.sdl_queue, run.loss.sdl_neighbours) == ("corrected", 16, 2)
    released = recipe("ferv39k,host=s2d,recipe=released").loss
    assert (released.sdl, released.sdl_update_epochs) == ("released", 100)
