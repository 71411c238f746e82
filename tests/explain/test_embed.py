"""Features of runs as maps of the same samples."""

import json

import finished
import numpy as np
import pytest
import toydata
from matplotlib.image import imread
from sklearn import metrics

from aufer_jax.explain import embed
from aufer_jax.runs import Predictor


@pytest.fixture
def sources(monkeypatch):
    return finished.memory_catalog(monkeypatch, 21)


@pytest.fixture
def workdirs(tmp_path, sources):
    """Two runs of different weights."""
    for seed in (0, 1):
        finished.save(tmp_path / f"run{seed}", finished.images("auvit-vit", seed=seed))
    return [tmp_path / "run0", tmp_path / "run1"]


def test_two_runs_are_mapped_on_the_same_samples(workdirs, tmp_path):
    found = embed.embed(workdirs, count=20, perplexity=5, out=tmp_path / "out")
    assert found["samples"] == 20 and list(found["runs"]) == ["run0", "run1"]
    assert imread(tmp_path / "out" / "tsne.png").std() > 0.05
    assert json.loads((tmp_path / "out" / "tsne.json").read_text()) == found

    read = embed.read(workdirs[0], "test", 20, 0)
    score = metrics.silhouette_score(read["features"], read["label"])
    assert found["runs"]["run0"]["silhouette_features"] == pytest.approx(score, abs=1e-5)
    everything = Predictor.load(workdirs[0]).collect("test", ["features"])
    rows = read["row"]
    assert len(set(rows)) == 20
    for name in ("id", "label"):
        np.testing.assert_array_equal(read[name], everything[name][rows])
    expected = everything["features"][rows]
    np.testing.assert_allclose(read["features"], expected, rtol=1e-4, atol=1e-5)


def test_few_samples_have_a_perplexity_that_fits(workdirs, tmp_path, capsys):
    found = embed.embed(workdirs[:1], count=13, perplexity=30, out=tmp_path / "out")
    assert found["perplexity"] == 4
    assert "perplexity: 4 in place of 30, for 13 samples" in capsys.readouterr().out


def test_records_with_problems_are_told_from_those_left_out(workdirs, sources, capsys):
    sources["toyfaces"].records[3]["image"] = b"broken"
    sources["toyfaces"].records[7]["expression"] = np.int32(-1)
    assert embed.read(workdirs[0], "test", 30, 0)["row"].tolist() == [
        row for row in range(21) if row not in (3, 7)
    ]
    told = capsys.readouterr().out
    assert "records with problems: 1 x broken image\n" in told
    assert "2 left out: without an expression, or not readable" in told


@pytest.fixture
def taught(tmp_path, sources):
    """A run with an auxiliary dataset without a test split, and with a class of its own."""
    records = [toydata.image_record(40 + i, expression=i % 2) for i in range(12)]
    records[0] = toydata.image_record(40, expression=-1)
    info = toydata.info("toyaux", expressions=("contempt", "anger"), splits={"train": 12})
    sources["toyaux"] = toydata.records.MemorySource(info, records)
    config = finished.images("auvit-vit")
    config.data.aux = ("toyaux",)
    config.data.batch_size = 5
    finished.save(tmp_path / "run", config)
    return tmp_path / "run"


def test_auxiliary_datasets_are_mapped_with_the_target(taught):
    found = embed.with_auxiliaries(taught, "test", 20, 0)
    assert found["datasets"] == ("toyfaces", "toyaux")
    assert np.bincount(found["dataset"]).tolist() == [10, 10]  # as many of each, 20 in all
    aux = found["label"][found["dataset"] == 1]
    assert set(aux) == {-1, toydata.EXPRESSIONS.index("anger")}  # by name; others are unknown
    expected = Predictor.load(taught).collect("test", ["features"])
    rows = np.isin(expected["id"], found["id"][:10])
    np.testing.assert_allclose(found["features"][:10], expected["features"][rows], atol=1e-5)


def test_panels_by_expression_and_by_dataset():
    label, dataset = np.array([0, 1, -1, 0, 1, -1]), np.array([0, 0, 0, 1, 1, 1])
    found = {
        "features": np.arange(12.0).reshape(6, 2), "label": label, "names": ("fear", "anger"),
        "dataset": dataset, "datasets": ("mine", "theirs"),
    }  # fmt: skip
    drawn = embed.by_dataset(found["features"], found)
    legends = [[text.get_text() for text in axes.get_legend().texts] for axes in drawn.axes]
    assert legends == [["unknown", "fear", "anger"], ["mine", "theirs"]]
    counts = [[len(dots.get_offsets()) for dots in axes.collections] for axes in drawn.axes]
    assert counts == [[2, 2, 2], [0, 3, 3]]
    score = metrics.silhouette_score(found["features"], dataset)
    assert f"silhouette {score:.3f} of the features" in drawn.axes[1].get_title()
