"""The networks that come with the package, and how a run becomes one."""

import dataclasses
import importlib.util
import json

import finished
import numpy as np
import places
import pytest
import skimage.data

from aufer_jax import cli, errors, facs, weights
from aufer_jax.runs import Predictor, shipping
from aufer_jax.runs.calibration import Calibration
from aufer_jax.weights import shipped

PORTRAIT = skimage.data.astronaut()


@pytest.fixture(scope="module", params=shipped.NAMES)
def network(request):
    return Predictor.load(request.param)


@pytest.fixture(scope="module")
def found(network):
    return network.predict(PORTRAIT)


def test_a_smiling_portrait(network, found):
    assert found.rows == 1 and found["label"][0] == "happiness"
    assert sum(found[name][0] for name in network.expressions) == pytest.approx(1, abs=1e-5)
    assert set(network.expressions) == set(facs.EXPRESSIONS[:7])
    assert set(facs.OPENFACE_18) <= set(network.aus)
    for au in network.aus:
        label = facs.AUS[au].label
        assert 0 <= found[label][0] <= 1 and 0 <= found[f"{label}_intensity"][0] <= 5
    # She shows her teeth, and looks neither sad nor at the floor.
    assert found["AU12_intensity"][0] > 1.5 > found["AU15_intensity"][0]
    assert found["AU12"][0] > 0.5 > found["AU45"][0]
    assert min(found["AU12_left"][0], found["AU12_right"][0]) > 3


def test_against_a_person_at_rest(network, found):
    same = network.predict(PORTRAIT, neutral=[PORTRAIT, PORTRAIT[:, ::-1]])
    assert same["AU12_left"][0] < 1 and same["AU12_intensity"][0] < found["AU12_intensity"][0]
    assert same["AU12"][0] < found["AU12"][0]
    np.testing.assert_array_equal(same["happiness"], found["happiness"])
    with pytest.raises(errors.UserError, match="neutral: no face is found"):
        network.predict(PORTRAIT, neutral=np.full((64, 64, 3), 99, np.uint8))


def test_without_landmarks_and_blendshapes_it_says_something(network):
    outputs = network(np.full((1, 112, 112, 3), 127, np.uint8))
    assert np.isfinite(outputs["expression"]).all() and np.isfinite(outputs["au"]).all()


def test_they_are_small_and_training_can_begin_with_them():
    files = [shipped.place(name) / "weights.safetensors" for name in shipped.NAMES]
    assert sum(file.stat().st_size for file in files) < 4e6
    for name in shipped.NAMES:
        _, report = weights.load(name, "auvit_small")
        assert len(report.loaded) > 50 and {k.split(".")[0] for k in report.dropped} <= {"vit"}
        assert all("geometry" in key or "mesh_head" in key for key in report.dropped), report
    assert str(shipped.place("./small")) == "small"  # a folder of one's own


def test_the_command_takes_small_unless_told(tmp_path, capfd):
    import cv2

    cv2.imwrite(str(tmp_path / "a.png"), PORTRAIT[..., ::-1])
    words = ["predict", str(tmp_path / "a.png"), "--neutral", str(tmp_path / "a.png")]
    assert cli.main([*words, "--out", str(tmp_path / "t.jsonl")]) == 0
    row = json.loads((tmp_path / "t.jsonl").read_text())
    assert row["label"] == "happiness" and row["AU12_left"] == 0
    capfd.readouterr()


# --- From a run ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("shipped")
    tiny = {"model.geometry": True, "data.au_labels": "intensity", "data.aus": "common_13"}
    with pytest.MonkeyPatch.context() as patch:
        finished.memory_catalog(patch)
        finished.save(folder / "run", finished.images("auvit", **tiny))
        yield folder


def test_a_run_becomes_a_folder_that_says_the_same(trained):
    calibration = shipping.ship(trained / "run", trained / "out")
    run, ours = Predictor.load(trained / "run"), Predictor.load(trained / "out")
    assert (ours.expressions, ours.aus, ours.size) == (run.expressions, run.aus, run.size)
    assert ours.calibration.temperature == calibration.temperature
    stored = (trained / "out" / "weights.safetensors").read_bytes()
    assert b"F16" in stored[:4000] and b"F32" not in stored[:4000]
    # All splits of these records are alike, a third of each class.
    shares = {"neutral": 2, "happiness": 1, "anger": 1}
    told = shipping.calibrate(run, shares)
    np.testing.assert_allclose(told.shift, np.log([1.5, 0.75, 0.75]), rtol=1e-6)
    batch = np.full((1, run.size, run.size, 3), 90, np.uint8)
    plain, moved = ours(batch), dataclasses.replace(ours, calibration=told)(batch)
    odds = moved["expression_probability"] / plain["expression_probability"]
    np.testing.assert_allclose(odds[0, 0] / odds[0, 1:], 2, rtol=1e-3)
    with pytest.raises(errors.UserError, match="are converted weights"):
        shipping.ship(trained / "out", trained / "again")


def test_a_second_opinion_is_of_the_mesh(trained, monkeypatch):
    sources = finished.memory_catalog(monkeypatch)
    network = Predictor.load(trained / "run")
    with pytest.raises(errors.UserError, match="toyfaces has no mesh features"):
        shipping.with_second_opinion(network, 1.0)
    rng, rows = np.random.default_rng(0), sources["toyfaces"].records
    told = rng.normal(0, 0.1, (len(rows), 512)).astype(np.float32) + 20
    told[range(len(rows)), [row["expression"] for row in rows]] += 1
    for row, features in zip(rows[1:], told[1:], strict=True):  # of the first they are unknown
        row["mesh_features"] = features
    both = shipping.with_second_opinion(Predictor.load(trained / "run"), 20.0)
    pixels = rng.integers(0, 255, (len(rows), network.size, network.size, 3)).astype(np.uint8)
    said = both(pixels, mesh_features=told)["expression"].argmax(1)
    assert said[1:].tolist() == [int(row["expression"]) for row in rows[1:]]
    np.testing.assert_allclose(both(pixels)["expression"], network(pixels)["expression"], atol=1e-5)
    shipping.ship(trained / "run", trained / "second", second=20.0)
    ours = Predictor.load(trained / "second")
    assert ours(pixels, mesh_features=told)["expression"].argmax(1).tolist() == said.tolist()


def test_calibration_finds_what_logits_were_scaled_by():
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2, (4000, 3))
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    labels = (p.cumsum(1) > rng.random((4000, 1))).argmax(1)
    assert shipping.temperature(3 * logits, labels) == pytest.approx(3, rel=0.1)
    truth = 1 / (1 + np.exp(-(0.5 * logits[:, 0] - 1)))
    slope, offset = shipping.platt(logits[:, 0], truth > rng.random(4000))
    assert slope == pytest.approx(0.5, abs=0.1) and offset == pytest.approx(-1, abs=0.15)


def test_a_face_at_rest_moves_logits_to_the_usual_rest():
    usual = Calibration(slope=[2.0, 1.0], offset=[1.0, 0.0], rest=[-3.0, -2.0], intensities=True)
    person = np.array([[-1.0, -2.0], [-1.0, -2.5], [0.0, -1.0]], np.float32)
    moved = person + usual.at_rest(person)
    np.testing.assert_allclose(np.median(moved, 0), [-3, -2])
    np.testing.assert_allclose(
        usual.intensity(moved)[0], [5 / (1 + np.e**3), 5 / (1 + np.e**2)], 1e-5
    )
    np.testing.assert_allclose(
        usual.presence(moved)[0], [1 / (1 + np.e**5), 1 / (1 + np.e**2)], 1e-5
    )


def test_their_card_has_the_figures_that_were_measured():
    script = places.ROOT / "benchmarks" / "shipped.py"
    spec = importlib.util.spec_from_file_location("benchmark_shipped", script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    card = module.CARD.read_text()
    assert module.with_figures(card) == card
    for name in shipped.NAMES:
        assert f"\n| `{name}` | " in card
