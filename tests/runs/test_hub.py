"""Runs as small folders, and the hub's mixin on them: what is saved predicts the same and says what it is."""

import json
import pathlib
import shutil
import sys

import finished
import jax
import numpy as np
import pytest

from aufer_jax import errors
from aufer_jax.runs import Predictor, packing


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "auvit"
    with pytest.MonkeyPatch.context() as patch:
        finished.memory_catalog(patch)
        finished.save(folder, finished.images("auvit-token", **{"data.dir": "/home/someone"}))
    summary = {"test_best": {"accuracy": 0.8125, "uar": 0.75, "au_f1": 0.5}, "steps": 3}
    (folder / "summary.json").write_text(json.dumps(summary))
    return folder


@pytest.fixture
def hub():
    pytest.importorskip("huggingface_hub", reason="pip install 'aufer-jax[hub]'")
    from aufer_jax.runs import hub

    return hub


def same(found, expected):
    assert found.labels == expected.labels and (found.state, found.step) == ("best", 0)
    pixels = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), np.uint8)
    jax.tree.map(np.testing.assert_array_equal, found(pixels), expected(pixels))


def test_a_packed_run_is_read_as_a_run(run, tmp_path):
    expected = Predictor.load(run)
    variables = {"params": expected.params, **expected.model_state}
    packing.write(tmp_path, run, expected.labels, variables, expected.state, expected.step)
    assert {path.name for path in tmp_path.iterdir()} == {
        "config.json", "labels.json", "model.safetensors", "summary.json",
    }  # fmt: skip
    assert "someone" in (run / "config.json").read_text()
    assert "someone" not in (tmp_path / "config.json").read_text()
    same(Predictor.load(tmp_path), expected)
    (tmp_path / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(errors.UserError, match=r"model\.safetensors: not a whole safetensors file"):
        Predictor.load(tmp_path)


def test_without_the_extra_it_is_said_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    monkeypatch.delitem(sys.modules, "aufer_jax.runs.hub", raising=False)
    with pytest.raises(errors.UserError, match=r"pip install 'aufer-jax\[hub\]'"):
        import aufer_jax.runs.hub  # noqa: F401


def test_a_run_is_saved_and_loaded(hub, run, tmp_path):
    hub.HubPredictor.load(run).save_pretrained(tmp_path / "shared")
    expected = Predictor.load(run)
    loaded = hub.HubPredictor.from_pretrained(tmp_path / "shared")
    assert loaded.name == "shared" and isinstance(loaded, Predictor)
    same(loaded, expected)
    same(Predictor.load(tmp_path / "shared"), expected)
    said = (tmp_path / "shared" / "README.md").read_text()
    for part in (
        "library_name: aufer_jax", "# auvit", "| expressions | neutral, happiness, anger |",
        "| trained on | toyfaces |", "- test split: accuracy 81.2 %, UAR 75.0 %, AU F1 50.0 %",
        'from_pretrained("auvit")', "article 5(1)(f)",
    ):  # fmt: skip
        assert part in said
    loaded.save_pretrained(tmp_path / "again")
    same(Predictor.load(tmp_path / "again"), expected)


def test_a_run_is_pushed_and_fetched(hub, run, tmp_path, monkeypatch):
    """The two calls that reach the network, answered by a folder."""
    there = tmp_path / "hub" / "me" / "auvit"

    class Api:
        def __init__(self, token=None):
            pass

        def create_repo(self, repo_id, **_):
            return type("Url", (), {"repo_id": repo_id})

        def upload_folder(self, *, folder_path, repo_id, **_):
            shutil.copytree(folder_path, tmp_path / "hub" / repo_id)
            return repo_id

    import huggingface_hub.hub_mixin

    monkeypatch.setattr(huggingface_hub.hub_mixin, "HfApi", Api)
    monkeypatch.setattr(
        huggingface_hub.hub_mixin, "hf_hub_download", lambda **k: there / k["filename"]
    )
    monkeypatch.setattr(
        hub, "snapshot_download", lambda repo_id, **_: str(tmp_path / "hub" / repo_id)
    )
    assert hub.HubPredictor.load(run).push_to_hub("me/auvit") == "me/auvit"
    monkeypatch.chdir(tmp_path)
    found = hub.HubPredictor.from_pretrained("me/auvit")
    assert found.name == "auvit" and found.folder == pathlib.Path(there)
    same(found, Predictor.load(run))


def test_converted_weights_are_saved_too(hub, tmp_path):
    finished.converted(tmp_path / "out")
    hub.HubPredictor.load(tmp_path / "out").save_pretrained(tmp_path / "shared")
    found = hub.HubPredictor.from_pretrained(tmp_path / "shared")
    expected = Predictor.load(tmp_path / "out")
    jax.tree.map(np.testing.assert_array_equal, found.params, expected.params)
    assert found.labels == expected.labels and found.run is None


def test_a_network_that_comes_with_the_package_is_saved(hub, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    hub.HubPredictor.load("clean").save_pretrained(tmp_path / "shared")
    found, expected = Predictor.load(tmp_path / "shared"), Predictor.load("clean")
    jax.tree.map(np.testing.assert_array_equal, found.params, expected.params)
