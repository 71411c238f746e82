import json
import pathlib
import pickle
import subprocess
import sys

import numpy as np
import pytest
import tensorflow_datasets as tfds
import toydata

from aufer_jax import data, datasets, sources, synth
from aufer_jax.data import records
from aufer_jax.datasets import catalog, store, synthetic


def toy_records(info):
    make = toydata.image_record if info.kind == records.IMAGE else toydata.clip_record
    return {split: list(map(make, range(count))) for split, count in info.splits.items()}


def same(record, expected):
    assert record.keys() == expected.keys()
    for name in expected:
        np.testing.assert_array_equal(record[name], expected[name], err_msg=name)


def by_key(source):
    return {source[i]["key"]: source[i] for i in range(len(source))}


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    info, place = toydata.info(), store.folder(tmp_path_factory.mktemp("toy"), "toy")
    store.write_records(info, place, toy_records(info))
    return place


def test_image_records_come_back_as_written(toy):
    source = store.ArrayRecordSource(toydata.info(), toy, "train")
    found = by_key(source)
    assert len(source) == len(found) == 20
    for i in range(20):
        same(found[f"face{i}"], toydata.image_record(i))
    with pytest.raises(IndexError):
        source[20]


def test_clip_records_come_back_as_written(tmp_path):
    info, place = toydata.info("toy_clips", records.CLIP), store.folder(tmp_path)
    store.write_records(info, place, toy_records(info))
    found = by_key(store.ArrayRecordSource(info, place, "test"))
    for i in range(5):
        same(found[f"clip{i}"], toydata.clip_record(i))


def test_tfds_reads_the_same_files(toy):
    builder = tfds.builder_from_directory(str(toy))
    example = builder.as_data_source("test")[0]
    ours = store.ArrayRecordSource(toydata.info(), toy, "test")[0]
    assert example["image"].shape == (112, 112, 3)
    np.testing.assert_array_equal(example["landmarks"], ours["landmarks"])
    assert builder.info.metadata["expressions"] == list(toydata.EXPRESSIONS)
    assert builder.info.splits["train"].num_examples == 20


def test_a_piece_of_a_split_and_a_pickled_source(toy):
    whole = store.ArrayRecordSource(toydata.info(), toy, "train")
    piece = store.ArrayRecordSource(toydata.info(), toy, "train[5:9]")
    assert [piece[i]["key"] for i in range(len(piece))] == [whole[i]["key"] for i in range(5, 9)]
    same(pickle.loads(pickle.dumps(piece))[3], piece[3])


def test_what_a_dataset_does_not_give_is_unknown():
    bare = {"key": "a", "image": b"", "au": [0, 1], "au_known": [True, False]}
    record = records.complete(bare, records.IMAGE)
    assert record["expression"] == -1 and np.isnan(record["landmarks"]).all()
    assert np.isnan(record["blendshapes"]).all()
    assert (record["subject"], record["note"]) == ("", "")


def test_half_a_dataset_is_never_taken_for_a_whole_one(tmp_path):
    info, place = toydata.info(), store.folder(tmp_path)
    rows = toy_records(info)

    def failing(pieces):
        for piece in pieces:
            if piece.split == "test":
                raise OSError("disk is gone")
            store.write_piece(info, piece.path, map(rows[piece.split].__getitem__, piece.places))

    keys = {split: [row["key"] for row in mine] for split, mine in rows.items()}
    with pytest.raises(OSError, match="disk is gone"):
        store.write(info, place, keys, failing)
    assert not place.exists()
    store.write_records(info, place, rows)
    assert len(store.ArrayRecordSource(info, place, "test")) == 5
    assert {path.name for path in place.parent.iterdir()} == {"1.0.0"}


PREPARE = """
import sys
from aufer_jax.datasets import catalog
sizes = {"train": 3, "validation": 1, "test": 1, "occluded": 1}
source = catalog.source("synth_a", "train", sys.argv[1], sizes=sizes, size=32)
print(len(source), sorted(m for m in ("jax", "tensorflow", "grain") if m in sys.modules))
"""


def test_processes_that_prepare_at_once_agree_and_need_neither_jax_nor_tensorflow(tmp_path):
    command = [sys.executable, "-c", PREPARE, str(tmp_path)]
    pipe = subprocess.PIPE
    both = [subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) for _ in range(2)]
    for process in both:
        out, error = process.communicate(timeout=120)
        assert process.returncode == 0, error
        assert out.strip() == "3 []"
    assert len(list(tmp_path.rglob("*-train.array_record*"))) == 1


def test_nothing_in_the_data_chain_imports_jax():
    rooms = [pathlib.Path(room.__file__).parent for room in (data, datasets, sources, synth)]
    names = [
        f"aufer_jax.{room.name}.{path.stem}"
        for room in rooms
        for path in room.glob("*.py")
        if not path.stem.startswith("__")
    ]
    assert {"aufer_jax.data.loader", "aufer_jax.datasets.synthetic"} <= set(names)
    code = "import sys\n" + "".join(f"import {name}\n" for name in names)
    code += "assert not {'jax', 'tensorflow', 'torch', 'grain'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_drawing_in_processes_gives_the_same_records_in_order():
    job = (records.IMAGE, "synth_b", "test", 32, 3)
    for one, many in zip(
        synthetic.draw(job, range(5)),
        synthetic.draw_in_processes(job, range(5), workers=2),
        strict=True,
    ):
        same(many, one)


def test_a_process_that_dies_is_reported(capfd):
    with pytest.raises(RuntimeError, match="no_such_set has stopped"):
        list(
            synthetic.draw_in_processes(
                (records.IMAGE, "no_such_set", "test", 32, 0), [0, 1], workers=1
            )
        )
    assert "no_such_set" in capfd.readouterr().err


def test_synthetic_sets_are_in_the_catalog(tmp_path):
    assert {"synth_a", "synth_clips"} <= set(catalog.names())
    info = catalog.info("synth_b")
    assert info.kind == "image" and info.expressions[0] == "neutral" and 45 not in info.aus
    sizes = {"train": 2, "validation": 1, "test": 1}
    source = catalog.source("synth_clips", "train", tmp_path, sizes=sizes, size=32)
    record = source[1]
    assert source.info.kind == "clip" and len(source) == 2
    assert record["au"].shape == (len(record["frames"]), len(source.info.aus))
    # Other sizes are other files; the same ones are read again.
    with pytest.raises(ValueError, match="not prepared"):
        catalog.source("synth_clips", "train", tmp_path, prepare=False, size=32)
    again = catalog.source("synth_clips", "train", tmp_path, prepare=False, sizes=sizes, size=32)
    assert len(again) == 2
    # A split that nobody has read is not drawn.
    with pytest.raises(ValueError, match="not prepared"):
        catalog.source("synth_clips", "test", tmp_path, prepare=False, sizes=sizes, size=32)


def test_only_the_annotated_aus_are_kept(tmp_path):
    sizes = {"train": 1, "validation": 1, "test": 1, "occluded": 1}
    source = catalog.source("synth_d", "train", tmp_path, sizes=sizes, size=32)
    record = source[0]
    assert record["au"].shape == record["au_known"].shape == (len(source.info.aus),) == (16,)
    assert record["au_known"].all()
    assert json.loads(record["note"])["true_expression"] in source.info.expressions


def test_a_set_without_expression_labels_has_no_classes():
    assert catalog.info("synth_au").expressions == ()


def test_the_environment_names_the_data_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("AUFER_DATA", str(tmp_path))
    assert catalog.default_data_dir() == tmp_path


def test_wrong_names_are_named():
    with pytest.raises(ValueError, match="'synth_a'"):
        catalog.info("synth_aa")
    with pytest.raises(ValueError, match="Did you mean 'train'"):
        catalog.source("synth_a", "trian")
    with pytest.raises(ValueError, match="'val' is not known"):
        catalog.source("synth_a", "train", sizes={"val": 3})


def test_keys_have_stable_numbers():
    assert records.key_id("face0") == 9221042657785799846
    assert len({records.key_id(f"face{i}") for i in range(1000)}) == 1000
