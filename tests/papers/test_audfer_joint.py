"""AU-DFER on clips and images in one run: who teaches what, the same on any devices, clips alone judged."""

import jax
import numpy as np
import pytest
import tiny_hosts
import toy
import toydata

from aufer_jax.data import loader, mixture, records
from aufer_jax.papers.audfer import method as audfer
from aufer_jax.papers.audfer import recipes
from aufer_jax.train import base, experiment
from aufer_jax.train import config as config_lib

ORDER = ("anger", "neutral", "happiness")  # of the images' labels


def images(expressions=ORDER):
    return records.MemorySource(
        toydata.info("stills", expressions=expressions, splits={"train": 12}),
        [toydata.image_record(i, image=toydata.encode(np.full((32, 32, 3), 20 * (i % 3), np.uint8)))
         for i in range(12)],
    )  # fmt: skip


@pytest.fixture(autouse=True)
def data(memory_catalog):
    """The datasets "toyclips" and "stills" in memory."""
    info = toydata.info("toyclips", records.CLIP, splits={"train": 16, "validation": 8, "test": 8})
    rows = [toydata.clip_record(i) for i in range(16)]
    for i, row in enumerate(rows):  # a class has a colour of its own, another one than in images
        row["frames"] = [toydata.encode(np.full((32, 32, 3), 255 - 90 * (i % 3), np.uint8))] * 6
    memory_catalog("toyclips", records.MemorySource(info, rows))
    memory_catalog("stills", images())
    return memory_catalog


def configured(host, **changes):
    config = config_lib.load(f"configs/audfer.py:toyclips,host={host},recipe=small,images=stills")
    values = {
        "data.batch_size": 20, "data.eval_batch_size": 8, "data.threads": 1, "train.epochs": 2,
        "train.log_every": 100, "data.align": "", **tiny_hosts.values(host), **changes,
    }  # fmt: skip
    with config.unlocked():
        for key, value in values.items():
            config_lib.set_value(config, key, value)
    return config_lib.check(config)


def test_one_row_in_five_is_an_image_that_teaches_all_it_is_labelled_with():
    task = base.build(configured("r3d18"))
    batch = next(loader.train_batches(task.train, batch_size=20, seed=0, threads=0))
    still = np.arange(20) % 5 == 4
    repeated = (batch["clip"] == batch["clip"][:, :1]).all((1, 2, 3, 4))
    assert repeated[still].all() and batch["clip"].shape[1] == 4
    colour = batch["clip"].mean((1, 2, 3, 4))
    # Classes are anger, neutral, happiness there, and neutral, happiness, anger here.
    assert {(round(c), e) for c, e in zip(colour[still], batch["expression"][still], strict=True)} <= {
        (0, 2), (20, 0), (40, 1),
    }  # fmt: skip
    assert {(round(c), e) for c, e in zip(colour[~still], batch["expression"][~still], strict=True)} == {
        (255, 0), (165, 1), (75, 2),
    }  # fmt: skip
    assert batch["au_known"].any(1).all() and batch["mask"].all()
    assert "expressions and AUs from stills" in task.description and task.steps_per_epoch == 1
    for split in ("validation", "test"):
        assert task.evaluation(split).source.info.name == "toyclips"


def test_the_loss_falls_on_images_and_clips():
    changes = {"optimizer.lr": 0.03, "schedule.name": "constant", "schedule.warmup_epochs": 0.0}
    built = experiment.build(configured("r3d18", **changes), jax.devices()[:1])
    _, logged = toy.steps(built, 20)
    losses = [float(line["sums"]["expression_loss"][0]) / 20 for line in logged]
    assert max(losses[-3:]) < 0.75 * losses[0]


@pytest.mark.slow
def test_jit_and_pmap_train_alike_and_go_on_where_they_stopped(tmp_path):
    """Mixing and adapters over time included: of 20 rows a device has two patterns, one pair of images."""
    if len(jax.devices()) < 2:
        pytest.skip("needs two devices")

    def built(parallel):
        changes = {"train.parallel": parallel, "loss.mix": 1.0, "model.depth": 1}
        return experiment.build(configured("s2d", **changes), jax.devices()[:2])

    run = built("pmap")
    start = jax.device_get(run.initial_state())

    def begun():
        return run.devices.put_state(start)

    logged = toy.resumed(run, begun, tmp_path)
    _, by_jit = toy.steps(built("jit"), 1, state=begun())
    assert by_jit[0]["sums"]["expression_loss"][1] == 20
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), by_jit[0], logged[0]
    )


@pytest.mark.parametrize("host", tiny_hosts.TINY)
def test_every_host_takes_them(host):
    task = base.build(configured(host))
    assert isinstance(task.train, mixture.Mixed) and task.train.ratio == (4, 1)
    assert task.example["clip"].shape[0] == 20


def test_what_cannot_teach_beside_clips_is_said(data):
    with pytest.raises(
        ValueError, match=r"data.aux_expressions: False, but 'stills' teaches nothing"
    ):
        base.build(configured("r3d18", **{"data.aux_expressions": False}))
    data("stills", images(("contempt", "calm", "boredom")))
    with pytest.raises(ValueError, match=r"data.aux: 'stills' has none of the classes neutral"):
        base.build(configured("r3d18"))
    config = config_lib.load("configs/auvit.py:stills,aux=toyclips,recipe=small")
    with pytest.raises(ValueError, match=r"data.aux: 'toyclips' holds clips, not images"):
        base.build(config_lib.check(config))


def test_epochs_of_the_sdl_loss_are_passes_over_the_clips():
    run = configured("s2d", **{"data.batch_size": 10, "loss.sdl": "corrected"})
    assert audfer._tables(run, audfer.parts_of(run)).calls_per_epoch == 2  # 16 clips, 8 a step


@pytest.mark.parametrize("host", recipes.HOSTS)
def test_recipes_keep_their_clips_a_step(host):
    for recipe in ("small", "paper"):
        alone, both = (
            config_lib.check(
                config_lib.load(
                    f"configs/audfer.py:dfew,host={host},recipe={recipe},fold=1{images}"
                )
            ).data
            for images in ("", ",images=affectnet7")
        )
        assert both.target_batch_size == alone.batch_size == alone.target_batch_size
        assert both.batch_size % both.period == 0 and both.aux == ("affectnet7",)
    own = config_lib.load("configs/audfer.py:toyclips,images=stills")
    assert own.data.aux == ("stills",) and own.data.aux_expressions
