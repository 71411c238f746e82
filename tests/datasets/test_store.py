"""Records on disk: in the order in which TFDS would have written them, in files of bounded length."""

import threading
import time
import unittest.mock

import numpy as np
import pytest
import tensorflow_datasets as tfds
import toydata
from tensorflow_datasets.core import hashing

from aufer_jax.datasets import catalog, store
from aufer_jax.errors import UserError

KEYS = [*(f"faces/face{i}.jpg" for i in range(40)), "größe.png", "a\\b"]


@pytest.mark.parametrize("split", ["train", "fold1_validation"])
def test_the_order_is_that_of_tfds(split):
    theirs = hashing.Hasher(split)
    order = sorted(range(len(KEYS)), key=lambda place: theirs.hash_key(KEYS[place]))
    assert store.hashed_order(split, KEYS) == order
    assert order != list(range(len(KEYS)))


def written(place, count=11):
    info = toydata.info(splits={"train": count, "test": 2})
    rows = {split: list(map(toydata.image_record, range(n))) for split, n in info.splits.items()}
    store.write_records(info, place, rows)
    source = store.ArrayRecordSource(info, place, "train")
    return [source[i] for i in range(len(source))]


def test_long_splits_are_several_files(tmp_path, monkeypatch):
    one = written(store.folder(tmp_path / "one"))
    monkeypatch.setitem(store.PIECE, "image", 4)
    place = store.folder(tmp_path / "many")
    many = written(place)
    assert len(list(place.glob("faces-train.array_record-*-of-00003"))) == 3
    assert [record["key"] for record in one] == [record["key"] for record in many]
    for a, b in zip(one, many, strict=True):
        np.testing.assert_equal(a, b)
    info = tfds.builder_from_directory(str(place)).info
    assert info.splits["train"].shard_lengths == [4, 4, 3] and info.version == "1.0.0"


def test_very_long_splits_are_a_bounded_number_of_files(tmp_path, monkeypatch):
    monkeypatch.setitem(store.PIECE, "image", 2)
    monkeypatch.setattr(store, "FILES", 3)
    place = store.folder(tmp_path)
    assert len(written(place)) == 11
    info = tfds.builder_from_directory(str(place)).info
    assert info.splits["train"].shard_lengths == [4, 4, 3]
    assert info.splits["test"].shard_lengths == [2]


def test_too_few_files_are_no_damage(tmp_path, monkeypatch):
    place = store.folder(tmp_path)
    written(place)
    source = store.ArrayRecordSource(toydata.info(), place, "train")
    error = RuntimeError(f"open() failed: Too many open files; opening {place}")
    files = unittest.mock.MagicMock()
    files.__len__.return_value, files.__getitem__.side_effect = 11, error
    monkeypatch.setattr(source, "_files", files)
    with pytest.raises(UserError, match="ulimit -n 8192"):
        source[3]


def test_a_key_is_given_once(tmp_path):
    row = toydata.image_record(0)
    with pytest.raises(ValueError, match="2 records in train, 1 keys"):
        store.write_records(toydata.info(), store.folder(tmp_path), {"train": [row, row]})


def test_sets_of_older_versions_are_read(tmp_path):
    """Their card of the records named the class that had written them."""
    written(store.folder(tmp_path / "mine/abc"))
    catalog.publish(toydata.info("mine", splits={"train": 11, "test": 2}), tmp_path / "mine", "abc")
    card = tmp_path / "mine/dataset.json"
    card.write_text(card.read_text().replace('"kind":', '"builder": "some.module:Faces", "kind":'))
    assert len(catalog.source("mine", "train[:5]+test", tmp_path)) == 7


def test_one_at_a_time_holds_a_lock(tmp_path):
    log = []

    def hold():
        with store.locked(tmp_path / ".lock"):
            log.append("in")
            time.sleep(0.1)
            log.append("out")

    both = [threading.Thread(target=hold) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join(10)
    assert log == ["in", "out", "in", "out"]
