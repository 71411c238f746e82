"""t-SNE and silhouettes of points whose classes are known, and the command on runs."""

import functools
import importlib
import json
import sys

import jax
import numpy as np
import pytest
import toy
from matplotlib.image import imread
from sklearn import manifold, metrics
from threadpoolctl import threadpool_limits

from aufer_jax.errors import UserError
from aufer_jax.explain import embed, tsne
from aufer_jax.train import checkpoints, experiment, logs, loop
from aufer_jax.train import workdir as workdir_lib


@pytest.fixture(autouse=True)
def one_core():
    """Several add up in any order, and wait for each other where they are shared."""
    with threadpool_limits(1):
        yield


@functools.cache
def blobs(count=90, apart=6.0):
    """Four classes in ten dimensions, two of which overlap."""
    rng = np.random.default_rng(0)
    middles = rng.normal(size=(4, 10)) * apart / 3
    middles[3] = middles[2] + 0.5
    labels = np.arange(count) % 4
    return middles[labels] + rng.normal(size=(count, 10)), labels


def test_classes_that_lie_apart_do_so_in_the_map():
    x, labels = blobs()
    mapped = tsne.tsne(x, perplexity=12)
    assert mapped.shape == (90, 2)
    assert manifold.trustworthiness(x, mapped, n_neighbors=8) > 0.9
    apart = labels < 2  # the other two overlap
    assert tsne.silhouette(mapped[apart], labels[apart]) > 0.5
    assert tsne.silhouette(mapped[~apart], labels[~apart]) < 0.3


def test_nothing_is_random():
    x = blobs(40)[0]
    np.testing.assert_array_equal(tsne.tsne(x, perplexity=5), tsne.tsne(x, perplexity=5))


def test_a_silhouette_by_hand():
    """Of 0 and 1 against 3 and a class of one, 9: each (b - a) / max(a, b)."""
    x, labels = np.array([[0.0], [1.0], [3.0], [5.0], [9.0]]), np.array([0, 0, 1, 1, 2])
    expected = [(4 - 1) / 4, (3 - 1) / 3, (2.5 - 2) / 2.5, (4 - 2) / 4, 0]
    assert tsne.silhouette(x, labels) == pytest.approx(np.mean(expected))
    with pytest.raises(ValueError, match="1 classes of 5 points"):
        tsne.silhouette(x, np.zeros(5))
    with pytest.raises(ValueError, match="5 classes of 5 points"):
        tsne.silhouette(x, np.arange(5))


@pytest.mark.parametrize(
    "x", [np.arange(5.0)[:, None], np.zeros((5, 3)), np.eye(5)[:, :1] * np.ones(3)]
)
def test_few_points_of_few_dimensions_are_mapped(x):
    assert np.isfinite(tsne.tsne(x, perplexity=2)).all()


def test_a_perplexity_needs_more_points():
    with pytest.raises(ValueError, match="perplexity: 30"):
        tsne.tsne(np.zeros((5, 3)))


def test_without_scikit_learn_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "sklearn", None)
    monkeypatch.delitem(sys.modules, tsne.__name__)
    with pytest.raises(UserError, match=r"pip install 'aufer-jax\[analysis\]'"):
        importlib.import_module(tsne.__name__)


# --- runs ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Two untrained toy runs of different seeds."""
    folder = tmp_path_factory.mktemp("runs")
    for seed in (0, 1):
        config = toy.config(seed=seed)
        run = toy.config_lib.check(config)
        saver = checkpoints.Checkpoints(folder / f"run{seed}")
        state = experiment.assemble(run, toy.task(run)).initial_state()
        saver.save(1, state, {}, kind="best")
        saver.wait()
        saver.close()
        values = json.loads(config.to_json_best_effort())
        logs.write_json(folder / f"run{seed}" / "config.json", values)
    return [folder / "run0", folder / "run1"]


@pytest.fixture
def workdirs(saved, monkeypatch):
    monkeypatch.setattr(experiment, "build", lambda run: experiment.assemble(run, toy.task(run)))
    return saved


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
