"""Damaged datasets, prepared and drawn: one line with the file, and drawn ones are drawn again."""

import json

import finished
import pytest
import toydata

from aufer_jax.data import loader, views
from aufer_jax.datasets import catalog, store, synthetic
from aufer_jax.errors import UserError
from aufer_jax.train import base
from aufer_jax.train import config as config_lib


@pytest.fixture
def place(tmp_path):
    info = toydata.info(splits={"train": 6, "test": 2})
    rows = {
        "train": [toydata.image_record(i, image=toydata.encode(toydata.picture(i, 24))) for i in range(6)],
        "test": [toydata.image_record(i) for i in (7, 8)],
    }  # fmt: skip
    folder = store.folder(tmp_path / "set")
    store.write_records(info, folder, rows)
    return folder


def records(place):
    return place / "faces-train.array_record-00000-of-00001"


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def flip(path, at=200):
    held = bytearray(path.read_bytes())
    held[at] ^= 16
    path.write_bytes(held)


DAMAGES = {
    "records cut": lambda p: cut(records(p)),
    "records gone": lambda p: records(p).unlink(),
    "records empty": lambda p: records(p).write_bytes(b""),
    "features gone": lambda p: (p / "features.json").unlink(),
    "features changed": lambda p: flip(p / "features.json", 100),
    "description changed": lambda p: flip(p / "dataset_info.json", 100),
    "checksums damaged": lambda p: (p / store.SUMS).write_text("[3"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_shows_when_a_dataset_is_opened(place, name):
    assert store.damage(place, whole=True) == ""
    DAMAGES[name](place)
    with pytest.raises(UserError, match=r"dataset toy: damaged: .*aufer data remove toy") as error:
        store.ArrayRecordSource(toydata.info(), place, "train")
    assert str(place) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_record_ends_training_in_one_line(place, workers):
    flip(records(place), records(place).stat().st_size // 2)
    source = store.ArrayRecordSource(toydata.info(), place, "train")
    spec = views.Spec(size=24, aus=toydata.AUS)
    batches = loader.train_batches(source, spec, batch_size=6, seed=0, threads=0, workers=workers)
    with pytest.raises(UserError, match=r"array_record.*, record \d of the split"):
        next(batches)
    batches.close()


def test_a_dataset_of_an_earlier_version_is_taken(place):
    (place / store.SUMS).unlink()
    assert store.damage(place, whole=True) == ""
    assert len(store.ArrayRecordSource(toydata.info(), place, "test")) == 2


def test_a_drawn_set_that_is_damaged_is_drawn_again(tmp_path, caplog):
    sizes = {"train": 2, "validation": 1, "test": 1, "occluded": 1}
    first = catalog.source("synth_a", "train", tmp_path, sizes=sizes)[0]
    (folder,) = tmp_path.glob("*/synth/*/")
    assert json.loads((folder / store.SUMS).read_text())
    flip(next(folder.glob("*train*")))
    synthetic._damage.cache_clear()
    again = catalog.source("synth_a", "train", tmp_path, sizes=sizes)[0]
    assert again["image"] == first["image"] and again["key"] == first["key"]
    assert store.damage(folder, whole=True) == ""


def test_a_missing_test_split_shows_before_training(monkeypatch):
    sources = finished.memory_catalog(monkeypatch)

    def source(name, split, *_, **__):
        if split == "test":
            raise UserError("dataset toyfaces: damaged: test")
        return sources[name]

    monkeypatch.setattr(catalog, "source", source)
    with pytest.raises(UserError, match="damaged: test"):
        base.build(config_lib.check(finished.images("mvfer")))
