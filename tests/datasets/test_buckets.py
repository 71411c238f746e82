import numpy as np
import pytest
import toydata

from aufer_jax.datasets import buckets, store

SIZES = {"train": 60, "test": 3}


class Toy(store.Builder):
    name = "toy"

    def records(self, split):
        for i in range(SIZES[split]):
            yield toydata.image_record(i)


def keys_and_images(folder):
    info = toydata.info(splits=SIZES)
    builder = store.prepare(lambda: Toy(info, folder))
    source = store.ArrayRecordSource(info, builder, "train")
    found = [source[i] for i in range(len(source))]
    return [record["key"] for record in found], [record["image"] for record in found]


def test_files_change_nothing(tmp_path, monkeypatch):
    in_memory = keys_and_images(tmp_path / "memory")
    small = buckets.used
    monkeypatch.setattr(buckets, "used", lambda: small(memory=1000))
    assert keys_and_images(tmp_path / "files") == in_memory
    assert sorted(in_memory[0]) == sorted(f"face{i}" for i in range(SIZES["train"]))
    assert not list((tmp_path / "files").rglob("*.tmp"))


def test_a_bucket_gives_back_what_it_was_given(tmp_path):
    bucket = buckets.Bucket(tmp_path / "one")
    assert list(bucket.read_values()) == []
    given = [(2**128 - 1, b""), (0, b"abc"), (7, np.random.default_rng(0).bytes(5000))]
    for key, data in given:
        bucket.add(key, data)
    assert list(bucket.read_values()) == given
    assert (len(bucket), bucket.size) == (3, 5003)
    bucket.del_file()
    assert not list(tmp_path.iterdir())


def test_tfds_has_its_own_back():
    from tensorflow_datasets.core import shuffle

    own = shuffle._Bucket
    with pytest.raises(KeyError), buckets.used():
        assert shuffle._Bucket is buckets.Bucket
        raise KeyError
    assert shuffle._Bucket is own
