"""Features of runs as maps of the same samples."""

import json

import finished
import numpy as np
import pytest
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
