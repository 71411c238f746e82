"""Every dataset's files go through prepare, a step of training and an evaluation, with tiny networks."""

from typing import Any

import clip_datasets_source as clips
import clips_source
import datasets_source as images
import faces_source as faces
import jax
import numpy as np
import places
import pytest
import toymodels
from flax import linen as nn

from aufer_jax.datasets import catalog, prepare
from aufer_jax.models.heads import heads
from aufer_jax.models.registry import Architecture, Preprocess
from aufer_jax.train import config as config_lib
from aufer_jax.train import experiment


class MeanColour(nn.Module):
    """The mean colour of an image or a clip, and the shared heads: compiles in a second."""

    num_classes: int = 7
    num_aus: int | None = None

    @nn.compact
    def __call__(self, x, train=False):
        return heads(x.mean(tuple(range(1, x.ndim - 1))), self.num_classes, self.num_aus)


@pytest.fixture(scope="module", autouse=True)
def small_models():
    with toymodels.registered(
        mean_colour=Architecture(MeanColour, Preprocess(16)),
        mean_colour_clip=Architecture(MeanColour, Preprocess(16, frames=2), input="clip"),
    ):
        yield


SMALL = {
    "data.size": 16, "data.batch_size": 2, "data.eval_batch_size": 8, "data.threads": 1,
    "train.epochs": 1, "schedule.warmup_epochs": 0.0, "optimizer.lr": 0.01,
}  # fmt: skip


def own_images(folder):
    faces.class_folders(folder, 20)


def own_clips(folder):
    for split, count in (("train", 6), ("test", 2)):
        for i in range(count):
            clips_source.folder(folder / split / ("happy", "sad")[i % 2] / f"c{i}", 3, first=i)


def with_rafdb(make):
    """A source that teaches AUs only; the expressions are RAF-DB's."""

    def both(folder):
        make(folder)
        images.rafdb(folder.parent / "rafdb")

    return both


# Dataset -> its files, options of its preparation, test records, classes. The counts are those of the
# fabricated files: RAF-DB's list has 14 test images, FERPlus's two with a majority,
# AffectNet's eight, one of them contempt; RAVDESS's actors 1 to 4 have 41 clips.
IMAGES: dict[str, tuple[Any, dict[str, Any], int, int]] = {
    "folder": (own_images, {"name": "mine"}, 4, 7),
    "rafdb": (images.rafdb, {}, 14, 7),
    "ferplus": (lambda d: images.ferplus(d, "tables"), {}, 2, 8),
    "affectnet7": (lambda d: images.affectnet(d, "small"), {}, 7, 7),
    "affectnet8": (lambda d: images.affectnet(d, "full"), {}, 8, 8),
    "affectnetplus": (images.affectnetplus, {"validation": 0.25}, 8, 8),
}
AUXILIARY: dict[str, tuple[Any, dict[str, Any], int]] = {
    "rafau": (with_rafdb(lambda d: images.rafau(d, 12)), {"validation": 0}, 21),
    "emotionet": (with_rafdb(lambda d: images.emotionet(d, "table")), {"validation": 0}, 17),
}
CLIPS: dict[str, tuple[Any, dict[str, Any], int, int]] = {
    "clips": (own_clips, {"name": "mine", "validation": 0.2}, 2, 2),
    "dfew": (clips.dfew, {"validation": 0.2}, 7, 7),
    "ferv39k": (lambda d: clips.ferv39k(d, "official"), {}, 7, 7),
    "mafw": (clips.mafw, {"validation": 0.2}, 11, 11),
    "mafw7": (clips.mafw, {"validation": 0.2}, 7, 7),
    "ravdess": (clips.ravdess, {"validation": 0.2}, 41, 8),
    "affwild2": (clips.affwild2, {"validation": 0.2, "shortest": 1}, 2, 7),
}


def test_no_dataset_is_forgotten():
    assert {*IMAGES, *AUXILIARY, *CLIPS} == set(catalog.cards())


def trained(text, data_dir, **changes):
    """A step of training of a config; its losses, and the metrics of the test split."""
    config = config_lib.load(f"{places.ROOT}/configs/{text}")
    for key, value in {**SMALL, "data.dir": str(data_dir), **changes}.items():
        with config.unlocked():
            config_lib.set_value(config, key, value)
    ready = experiment.build(config_lib.check(config), jax.devices()[:1])
    state = ready.initial_state()
    before = jax.device_get(state.params)
    with ready.stream(0) as stream:
        state, line = ready.train_step(state, next(stream))
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), before, jax.device_get(state.params))
    assert max(jax.tree.leaves(moved)) > 0
    sums = jax.device_get(line["sums"])
    losses = {name: total / count for name, (total, count) in sums.items() if count}
    return losses, ready.evaluate(state, "test")


def check(losses, test, count, classes):
    assert np.isfinite(losses["loss"])
    matrix = np.array(test["confusion"])
    assert matrix.shape == (classes, classes) and matrix.sum() == count
    assert 0 <= test["accuracy"] <= 1


@pytest.mark.parametrize("dataset", IMAGES)
def test_images(dataset, tmp_path):
    make, options, count, classes = IMAGES[dataset]
    make(tmp_path / "in")
    report = prepare.prepare(dataset, tmp_path / "in", data_dir=tmp_path / "data", **options)
    text = f"auvit.py:{report.name},aux=,recipe=small"
    model = config_lib.model("mean_colour")
    check(*trained(text, tmp_path / "data", model=model), count, classes)


def test_classes_of_ones_own(tmp_path):
    faces.class_folders(tmp_path / "in", 20, lambda i: ("grumpy", "Très bien")[i % 2])
    where = {"name": "mine", "data_dir": tmp_path / "data"}
    prepare.prepare("folder", tmp_path / "in", classes=("all",), **where)
    losses, test = trained(
        "mvfer.py:mine,ablate=base", tmp_path / "data", model=config_lib.model("mean_colour")
    )
    check(losses, test, 4, 2)
    assert {"recall/grumpy", "recall/Très bien"} <= set(test)


def test_clips_with_classes_of_ones_own(tmp_path):
    for i in range(8):
        split = ("train", "test")[i // 6]
        clips_source.folder(tmp_path / "in" / split / ("tick", "tock")[i % 2] / f"c{i}", 3, first=i)
    where = {"name": "mine", "data_dir": tmp_path / "data", "validation": 0.2}
    prepare.prepare("clips", tmp_path / "in", classes=("all",), **where)
    text = "audfer.py:mine,host=mean_colour_clip,recipe=small"
    check(*trained(f"{text},au=none", tmp_path / "data", **{"data.frames": 2}), 2, 2)
    with pytest.raises(ValueError, match=r"says nothing of tick, tock, .*au=none"):
        trained(text, tmp_path / "data", **{"data.frames": 2})


@pytest.mark.parametrize("dataset", AUXILIARY)
def test_images_that_teach_aus(dataset, tmp_path):
    make, options, aus = AUXILIARY[dataset]
    make(tmp_path / "in")
    prepare.prepare("rafdb", tmp_path / "rafdb", data_dir=tmp_path / "data")
    report = prepare.prepare(dataset, tmp_path / "in", data_dir=tmp_path / "data", **options)
    assert len(report.aus) == aus
    changes = {"data.batch_size": 8, "data.ratio": (3, 1), "model": config_lib.model("mean_colour")}
    text = f"auvit.py:rafdb,aux={dataset},recipe=small"
    losses, test = trained(text, tmp_path / "data", **changes)
    check(losses, test, 14, 7)
    assert losses["au_loss"] > 0


@pytest.mark.parametrize("dataset", CLIPS)
def test_clips(dataset, tmp_path):
    make, options, count, classes = CLIPS[dataset]
    make(tmp_path / "in")
    report = prepare.prepare(dataset, tmp_path / "in", data_dir=tmp_path / "data", **options)
    fold = ",fold=1" if "fold1" in report.counts else ""
    text = f"audfer.py:{report.name},host=mean_colour_clip,au=none,recipe=small{fold}"
    check(*trained(text, tmp_path / "data", **{"data.frames": 2}), count, classes)
