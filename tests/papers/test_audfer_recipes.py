"""AU-DFER's recipes: what each sets, which are chosen by themselves, and what the AU head costs."""

import math

import jax
import jax.numpy as jnp
import pytest
import tiny_hosts

from aufer_jax import models
from aufer_jax.train import config as config_lib

RECIPES = ("small", "paper", "released", "sane")


@pytest.mark.parametrize("host", tiny_hosts.HOSTS)
@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_is_valid(host, recipe):
    for dataset in ("dfew", "ferv39k", "mafw"):
        text = f"configs/audfer.py:{dataset},host={host},recipe={recipe},fold=1"
        run = config_lib.check(config_lib.load(text))
        assert run.data.target == dataset and run.data.fold == 1
        assert run.data.aus == "openface_18" and run.loss.au_weight == 0.25
        chosen = {"small": "validation", "sane": "validation"}.get(recipe, "test")
        assert run.train.validation_split == chosen


def recipe(text):
    return config_lib.check(config_lib.load(f"configs/audfer.py:{text}"))


def test_recipe_of_m3dfel():
    paper, released = (recipe(f"dfew,host=m3dfel,recipe={name}") for name in ("paper", "released"))
    for run in (paper, released):
        assert (run.data.size, run.data.frames, run.data.batch_size) == (112, 16, 64)
        assert (run.optimizer.lr, run.optimizer.weight_decay, run.schedule.min_lr) == (
            5e-4, 0.05, 5e-6,
        )  # fmt: skip
        assert (run.augment.hue, run.augment.brightness, run.augment.crop) == (0.4, 0.4, (0.08, 1))
        assert run.train.epochs == 100 and run.loss.label_smoothing == 0.1
    assert (paper.loss.shift, released.loss.shift) == ("midrange", "half_range")
    assert released.loss.slips == ("test_jitter", "running_clock", "late_rate")
    assert paper.loss.slips == recipe("dfew,host=m3dfel,recipe=sane").loss.slips == ()
    assert released.train.best_metric == "war_plus_uar"


def test_recipe_of_mae_dfer_follows_the_dataset():
    dfew, ferv39k = (recipe(f"{name},host=mae_dfer,recipe=paper") for name in ("dfew", "ferv39k"))
    assert (dfew.data.frame_step, ferv39k.data.frame_step) == (4, 1)
    assert (dfew.optimizer.lr, ferv39k.optimizer.lr) == (3.75e-4, 4.6875e-4)
    assert dfew.schedule.min_lr == 3.75e-7
    mix = (dfew.loss.mix, dfew.loss.mixup, dfew.loss.cutmix, dfew.loss.mix_switch)
    assert mix == (1.0, 0.8, 1.0, 0.5)
    assert dfew.data.test_clips == 2 and len(dfew.optimizer.layers) == 17
    borrowed = recipe("toyclips,host=mae_dfer,dataset=ferv39k,recipe=paper")
    assert borrowed.data.target == "toyclips" and borrowed.data.frame_step == 1


def test_recipe_of_former_dfer():
    run = recipe("dfew,host=former_dfer,recipe=paper")
    assert (run.optimizer.name, run.optimizer.lr, run.optimizer.weight_decay) == ("sgd", 0.01, 1e-4)
    assert (run.schedule.milestones, run.loss.label_smoothing) == ((40, 80), 0)


def test_targets_and_their_default_recipes():
    assert recipe("").data.target == "synth_clips" and recipe("").data.size == 64
    assert recipe("dataset=dfew").data.target == "dfew" and recipe("dfew").model["name"] == "m3dfel"
    assert recipe("synth_clips,au=none").loss.au_weight == 0
    with pytest.raises(
        ValueError, match=r"host of recipe paper: 'm3dfell' .* Did you mean 'm3dfel'"
    ):
        recipe("dfew,host=m3dfell,recipe=paper")
    with pytest.raises(
        ValueError, match=r"config argument recipe: 'papre' .* Did you mean 'paper'"
    ):
        recipe("dfew,recipe=papre")


def parameters(name, num_aus, frames, size, **options):
    model = models.create(name, num_aus=num_aus, **options)
    x = jax.ShapeDtypeStruct((1, frames, size, size, 3), jnp.float32)
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(0)}
    shapes = jax.eval_shape(model.init, keys, x)["params"]
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes))


@pytest.mark.parametrize(
    ("name", "size", "added"),
    [("m3dfel", 112, 18450), ("former_dfer", 112, 9234), ("mae_dfer", 160, 9234)],
)
def test_the_au_head_adds_18_times_the_feature_and_one(name, size, added):
    assert parameters(name, 18, 16, size) - parameters(name, 0, 16, size) == added
