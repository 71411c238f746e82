"""The tables of what a run says of every record."""

import csv

import finished
import jax
import pytest

from aufer_jax.runs import Predictor, predictions


@pytest.fixture(autouse=True)
def sources(monkeypatch):
    return finished.memory_catalog(monkeypatch)


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("name", ["mvfer", "auvit-token"])  # without and with AUs
def test_every_record_has_a_row_that_agrees_with_the_confusion_matrix(tmp_path, name):
    built, state = finished.save(tmp_path, finished.images(name))
    paths = predictions.write(tmp_path)
    assert {path.name for path in paths} == {
        f"predictions_{split}_best.csv" for split in built.task.evaluation_splits
    }
    rows = read(tmp_path / "predictions_test_best.csv")
    trained = built.evaluate(state, "test")["confusion"]
    names = Predictor.load(tmp_path).expressions
    counted = [
        [sum((r["label"], r["predicted"]) == (a, b) for r in rows) for b in names] for a in names
    ]
    assert counted == trained
    assert len({row["file"] for row in rows}) == len(rows) == 6
    for row in rows:
        values = [float(row[name]) for name in names]
        assert sum(values) == pytest.approx(1, abs=1e-4)
        assert names[values.index(max(values))] == row["predicted"]
    aus = [column for column in rows[0] if column.startswith("AU")]
    assert len(aus) == (len(Predictor.load(tmp_path).aus))
    found = predictions.right(tmp_path / "predictions_test_best.csv")
    assert sum(found.values()) == sum(trained[i][i] for i in range(len(names)))


def test_the_last_state_has_a_table_of_its_own(tmp_path):
    built, state = finished.save(tmp_path, finished.images("mvfer"))
    changed = state.replace(params=jax.tree.map(lambda x: -x, state.params))
    saver = finished.checkpoints.Checkpoints(tmp_path)
    saver.save(1, changed, {})
    saver.wait()
    saver.close()
    assert len(predictions.write(tmp_path)) == 2 * len(built.task.evaluation_splits)
    best, last = (read(tmp_path / f"predictions_test_{s}.csv") for s in ("best", "last"))
    assert [row["file"] for row in best] == [row["file"] for row in last]
    assert best != last
    assert [path.name for path in predictions.write(tmp_path, ["last"])] == [
        f"predictions_{split}_last.csv" for split in built.task.evaluation_splits
    ]


def test_pre_training_has_none(tmp_path):
    finished.save(tmp_path, finished.pretraining())
    assert predictions.write(tmp_path) == []
