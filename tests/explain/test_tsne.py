"""t-SNE and silhouette against scikit-learn, and the command on runs."""

import functools
import importlib
import json

import jax
import numpy as np
import pytest
import toy
from matplotlib.image import imread
from sklearn import manifold, metrics

from aufer_jax.explain import embed, tsne
from aufer_jax.train import checkpoints, experiment, logs, loop
from aufer_jax.train import workdir as workdir_lib


@functools.cache
def blobs(count=90, apart=6.0):
    """Four classes in ten dimensions, two of which overlap."""
    rng = np.random.default_rng(0)
    middles = rng.normal(size=(4, 10)) * apart / 3
    middles[3] = middles[2] + 0.5
    labels = np.arange(count) % 4
    return middles[labels] + rng.normal(size=(count, 10)), labels


@functools.cache
def mapped():
    return tsne.tsne(blobs()[0], perplexity=12, iterations=500)


def test_maps_are_as_trustworthy_as_those_of_scikit_learn():
    x, _ = blobs()
    theirs = manifold.TSNE(
        perplexity=12, method="exact", init="pca", max_iter=500, random_state=0
    ).fit(x)
    ours, other = (
        manifold.trustworthiness(x, y, n_neighbors=8) for y in (mapped(), theirs.embedding_)
    )
    assert ours > 0.9 and ours > other - 0.01
    p = tsne.joint_probabilities(tsne.squared_distances(x), 12)
    assert tsne.divergence(p, mapped()) < 1.02 * theirs.kl_divergence_
    # the loss itself is theirs, on their map
    assert tsne.divergence(p, theirs.embedding_) == pytest.approx(theirs.kl_divergence_, rel=1e-3)


def test_probabilities_have_the_perplexity_asked_for():
    """Against the definition, row by row, on points of which two are the same."""
    x = blobs()[0].copy()
    x[1] = x[0]
    distances, count = tsne.squared_distances(x), len(x)
    p = tsne.joint_probabilities(distances, 5.0)
    np.testing.assert_allclose(p, p.T)
    assert p.sum() == pytest.approx(1, abs=1e-6)
    search = importlib.import_module("sklearn.manifold._utils")._binary_search_perplexity
    theirs = search(distances.astype(np.float32), 5.0, 0)
    np.testing.assert_allclose(p, np.maximum((theirs + theirs.T) / (2 * count), 1e-12), atol=1e-6)


def test_gradient_is_that_of_the_divergence():
    x, rng = blobs()[0][:12], np.random.default_rng(1)
    p = tsne.joint_probabilities(tsne.squared_distances(x), 4)
    y = rng.normal(size=(12, 2))
    gradient = tsne._gradient(p, y)
    for place in [(0, 0), (5, 1), (11, 0)]:
        nudge = np.zeros_like(y)
        nudge[place] = 1e-5
        slope = (tsne.divergence(p, y + nudge) - tsne.divergence(p, y - nudge)) / 2e-5
        assert gradient[place] == pytest.approx(slope, rel=1e-4)


def test_nothing_is_random():
    np.testing.assert_array_equal(mapped(), tsne.tsne(blobs()[0], perplexity=12, iterations=500))


def test_silhouette():
    x, labels = blobs()
    assert tsne.silhouette(x, labels) == pytest.approx(metrics.silhouette_score(x, labels))
    labels = labels.copy()
    labels[0] = 9  # a class of one
    assert tsne.silhouette(x, labels) == pytest.approx(metrics.silhouette_score(x, labels))
    with pytest.raises(ValueError, match="at least two"):
        tsne.silhouette(x, np.zeros(len(x)))


def test_few_points_and_one_dimension():
    assert np.isfinite(tsne.tsne(np.arange(5.0)[:, None], perplexity=2, iterations=300)).all()
    assert np.isfinite(tsne.tsne(np.zeros((5, 3)), perplexity=2, iterations=300)).all()
    with pytest.raises(ValueError, match="perplexity: 30"):
        tsne.tsne(np.zeros((5, 3)))


# --- runs ---------------------------------------------------------------------------------------


@pytest.fixture
def workdirs(tmp_path, monkeypatch):
    """Two untrained toy runs of different seeds."""
    monkeypatch.setattr(experiment, "build", lambda run: experiment.assemble(run, toy.task(run)))
    for seed in (0, 1):
        config = toy.config(seed=seed)
        built = experiment.build(toy.config_lib.check(config))
        folder = tmp_path / f"run{seed}"
        saver = checkpoints.Checkpoints(folder)
        saver.save(1, built.initial_state(), {}, kind="best")
        saver.wait()
        saver.close()
        logs.write_json(folder / "config.json", json.loads(config.to_json_best_effort()))
    return [tmp_path / "run0", tmp_path / "run1"]


def test_two_runs_are_mapped_on_the_same_samples(workdirs, tmp_path):
    found = embed.embed(workdirs, count=20, perplexity=5, out=tmp_path / "out")
    assert found["samples"] == 20 and list(found["runs"]) == ["run0", "run1"]
    assert imread(tmp_path / "out" / "tsne.png").std() > 0.05
    assert json.loads((tmp_path / "out" / "tsne.json").read_text()) == found

    read = embed.read(workdirs[0], "test", 20, 0)
    score = metrics.silhouette_score(read["features"], read["expression"])
    assert found["runs"]["run0"]["silhouette_features"] == pytest.approx(score, abs=1e-5)
    # features as the evaluation of the whole split gives them
    run = toy.config_lib.check(workdir_lib.saved_config(workdirs[0]))
    built, state, _ = loop.best_state(run, workdirs[0])
    part = built.task.evaluation("test")
    from aufer_jax.data import batches

    batch, _ = batches.assemble([batches.Row(part, i, None) for i in range(21)], part.spec)
    outputs = jax.jit(built.task.method.predict)(state.params, state.model_state, batch)
    places = [batch["id"].tolist().index(i) for i in read["id"]]
    assert len(set(places)) == 20
    np.testing.assert_allclose(
        read["features"], np.asarray(outputs["features"])[places], rtol=1e-4, atol=1e-5
    )
    np.testing.assert_array_equal(read["expression"], batch["expression"][places])


def test_records_with_problems_are_told_from_those_left_out(workdirs, monkeypatch, capsys):
    real = embed.batches.assemble

    def assemble(rows, spec):
        batch, _ = real(rows, spec)
        batch["expression"][0] = -1
        return batch, [("short clip", "clip7"), ("no AU labels", "clip7"), ("short clip", "clip8")]

    monkeypatch.setattr(embed.batches, "assemble", assemble)
    assert len(embed.read(workdirs[0], "test", 10, 0)["id"]) == 9
    told = capsys.readouterr().out
    assert "records with problems: 2 x short clip, 1 x no AU labels\n" in told
    assert "1 left out: without an expression, or not readable" in told
