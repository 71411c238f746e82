"""What is said of a finished run: recalls, rivals, tables and mistakes; on its own and on other datasets."""

import csv
import dataclasses
import json

import cv2
import finished
import numpy as np
import pytest
import toydata

from aufer_jax import runs
from aufer_jax.data import records
from aufer_jax.errors import UserError
from aufer_jax.runs import Predictor, conclusion, mistakes, predictions


def read(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A run of random weights on 24 faces: all its splits are these."""
    with pytest.MonkeyPatch.context() as patch:
        sources = finished.memory_catalog(patch, 24)
        other = dataclasses.replace(
            sources["toyfaces"].info, name="other", expressions=("anger", "pride", "neutral")
        )
        sources["other"] = records.MemorySource(other, [toydata.image_record(i) for i in range(9)])
        folder = tmp_path_factory.mktemp("run")
        finished.save(folder, finished.images("mvfer"))
        yield folder


def test_a_run_is_compared_with_simple_guesses(place, capsys):
    metrics = runs.evaluate(place, judge=True)["test"]
    said = capsys.readouterr().out
    told = json.loads((place / "conclusion.json").read_text())
    assert told["uar"] == pytest.approx(metrics["uar"])
    rivals = told["rivals"]
    always = rivals["always saying neutral"]  # 8 of each class: the first is the most frequent
    assert (always["accuracy"], always["uar"]) == pytest.approx((1 / 3, 1 / 3))
    shapes = rivals["logistic regression on landmarks"]
    assert always["ahead"][0] == pytest.approx(metrics["uar"] - 1 / 3)
    assert shapes["ahead"][0] == pytest.approx(metrics["uar"] - shapes["uar"])
    assert "test recall: neutral 0." in said or "test recall: neutral 1." in said
    assert "of 8, anger" in said
    assert "better than always saying neutral: " in said
    rows = read(place / "predictions.csv")
    assert np.mean([r["label"] == r["predicted"] for r in rows]) == pytest.approx(
        metrics["accuracy"]
    )
    assert cv2.imread(str(place / "mistakes.png")).shape[1] > 1000
    assert runs.conclude(place) == told["lines"]  # kept


def test_another_dataset_is_evaluated_by_the_names_of_its_classes(place, capsys):
    found = runs.evaluate(place, data="other", judge=True)["train+validation+test"]
    assert "other" not in Predictor.load(place).name
    rows = read(place / "predictions_other_train_validation_test.csv")
    # face i has label i % 3: anger, pride (which the run does not know), neutral.
    assert [row["label"] for row in rows] == ["anger", "", "neutral"] * 3
    assert sum(map(sum, found["confusion"])) == 6
    assert "better than always saying neutral: " in capsys.readouterr().out
    only = runs.evaluate(place, data="other", split="validation")
    assert list(only) == ["validation"]


def test_a_dataset_of_the_other_kind_is_refused(place):
    with pytest.raises(UserError, match="data: 'toyclips' holds clips"):
        runs.evaluate(place, data="toyclips")


def test_the_worst_mistakes_come_first():
    sure = np.array([[0.1, 0.9], [0.4, 0.6], [0.2, 0.8], [0.3, 0.7]])
    found = predictions.Predictions(
        ("a", "b"), (), np.arange(4), list("wxyz"), np.array([0, 0, 0, 1]), sure, np.zeros((4, 0))
    )
    assert mistakes.worst(found, 0).tolist() == [0, 2, 1]
    assert mistakes.worst(found, 1).tolist() == []


@pytest.mark.parametrize(
    ("ahead", "word"),
    [((0.2, 0.1, 0.3), "yes"), ((0.1, -0.1, 0.3), "no, it may"), ((-0.1, -0.2, 0.1), "no (")],
)
def test_better_means_more_than_chance(ahead, word):
    assert conclusion.Rival("x", 0.5, 0.5, ahead).verdict.startswith(word)
