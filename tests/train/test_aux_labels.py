"""Expressions of auxiliary faces from a table: who teaches what, and tables that do not fit."""

import csv
import json

import finished
import pytest
import toydata

from aufer_jax.data import loader, records
from aufer_jax.papers.auvit import method
from aufer_jax.reproduce import label
from aufer_jax.train import aux_labels
from aufer_jax.train import config as config_lib

# Ten are angry, five happy, one has a class that the target lacks, one has none, three are not there.
SAID = ["anger"] * 10 + ["Happy"] * 5 + ["sulking", ""]


@pytest.fixture
def helper(memory_catalog):
    """An auxiliary dataset without expressions, and a target."""
    faces = [toydata.image_record(i, key=f"h{i}", expression=-1) for i in range(20)]
    source = records.MemorySource(toydata.info("helper", expressions=()), faces)
    memory_catalog("helper", source)
    memory_catalog("target", toydata.images(20, "target"))
    return source


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "said.csv"
    rows = [f"h{i},neutral,{said}" for i, said in enumerate(SAID)]
    path.write_text("\n".join(["file,label,predicted", *rows]))
    return path


def run(path=""):
    config = config_lib.load("configs/auvit.py:target,aux=helper,recipe=small")
    config.data.batch_size, config.data.aux_expressions = 20, True
    config.data.aux_labels = str(path)
    return config_lib.check(config)


def test_faces_teach_the_classes_that_a_table_gives_them(helper, table):
    named = aux_labels.labelled(helper, table)
    assert named.info.expressions == ("Happy", "anger", "sulking") and len(named) == 20
    assert [named[i]["expression"] for i in (0, 10, 15, 16, 19)] == [1, 0, 2, -1, -1]
    task = method.build(run(table))
    batches = loader.train_batches(task.train, batch_size=20, seed=0, threads=0)
    taught = [said for _ in range(5) for said in next(batches)["expression"][4::5]]  # four to one
    assert sorted(taught) == [-1] * 5 + [1] * 5 + [2] * 10  # neutral, happiness, anger


def test_a_table_saved_by_a_spreadsheet_is_read(helper, table):
    table.write_text(table.read_text(), encoding="utf-8-sig")
    assert aux_labels.read(table)["h0"] == "anger"


def test_own_labels_count_and_a_table_is_needed_where_there_are_none(memory_catalog, helper, table):
    with pytest.raises(ValueError, match=r"'helper' has no expression labels; data\.aux_labels"):
        method.build(run())
    memory_catalog("helper", toydata.images(20, "helper"))
    task = method.build(run(table))
    batch = next(loader.train_batches(task.train, batch_size=20, seed=0, threads=0))
    assert (batch["expression"] >= 0).all()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("file,label\nface0,anger", "names no record of helper, such as 'h0'"),
        ("name,label\nh0,anger", "needs a column file or key"),
        ("", "needs a column"),
    ],
)
def test_a_table_that_does_not_fit_is_named(helper, table, text, words):
    table.write_text(text)
    with pytest.raises(ValueError, match=words):
        method.build(run(table))
    table.unlink()
    with pytest.raises(ValueError, match=r"data\.aux_labels: No such file"):
        method.build(run(table))


def test_a_finished_run_names_the_faces_of_a_dataset(tmp_path, monkeypatch):
    finished.memory_catalog(monkeypatch)
    finished.save(tmp_path / "run", finished.images("auvit-token"))
    path = tmp_path / "labels.csv"
    assert label.main(str(tmp_path / "run"), "toyfaces", str(path)) == 0
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    classes = json.loads((tmp_path / "run" / "labels.json").read_text())["expressions"]
    assert rows and {row["predicted"] for row in rows} <= set(classes)
    assert aux_labels.read(path) == {row["file"]: row["predicted"] for row in rows}
