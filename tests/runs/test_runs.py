"""Finished runs of every method and kind of network: predicted with, evaluated, explained, mapped."""

import json
import os
import subprocess
import sys

import finished
import jax
import numpy as np
import places
import pytest
import safetensors.numpy
import tiny_hosts
import toydata

from aufer_jax import explain, models, runs, weights
from aufer_jax.data import batches
from aufer_jax.datasets import catalog
from aufer_jax.explain import embed
from aufer_jax.knowledge import frame_scores
from aufer_jax.runs import Predictor
from aufer_jax.runs import predictor as predictor_lib

ONE = jax.devices()[:1]


@pytest.fixture(autouse=True)
def sources(monkeypatch):
    return finished.memory_catalog(monkeypatch)


def pixels(predictor, rows):
    """The records of the test split as the network reads them."""
    part = predictor.split("test")
    found, _ = batches.assemble([batches.Row(part, row, None) for row in rows], part.spec)
    return found


def confusion(found):
    matrix = np.zeros((3, 3), int)
    np.add.at(matrix, (found["label"], found["expression"].argmax(-1)), 1)
    return matrix.tolist()


def check_predictions(predictor, trained, aus):
    """The outputs agree with what training's own evaluation counts, and with each other."""
    assert predictor.expressions == toydata.EXPRESSIONS
    assert len(predictor.aus) == aus
    found = predictor.collect("test", ["expression", "features"])
    assert confusion(found) == trained["confusion"] and len(found["row"]) == 6
    batch = pixels(predictor, (4, 1, 0))
    outputs = predictor(batch[predictor.kind], batch["landmarks"])
    assert outputs.keys() == predictor.shapes.keys()
    for name in ("expression", "features"):
        expected = found[name][[4, 1, 0]]
        np.testing.assert_allclose(outputs[name], expected, rtol=1e-4, atol=1e-5)
    e = np.exp(outputs["expression"] - outputs["expression"].max(-1, keepdims=True))
    np.testing.assert_allclose(
        outputs["expression_probability"], e / e.sum(-1, keepdims=True), rtol=1e-5, atol=1e-6
    )
    if aus:
        expected = 1 / (1 + np.exp(-outputs["au"]))
        np.testing.assert_allclose(outputs["au_probability"], expected, rtol=1e-5)
        assert outputs["au"].shape == (3, aus)
    else:
        assert "au" not in outputs


def check_map(workdir, predictor):
    """t-SNE reads the features of the rows chosen."""
    read = embed.read(workdir, "test", 5, 0)
    rows = read["row"]
    assert len(rows) == 5 and (np.diff(rows) > 0).all()
    everything = predictor.collect("test", ["features"])
    np.testing.assert_array_equal(read["id"], everything["id"][rows])
    expected = everything["features"][rows]
    np.testing.assert_allclose(read["features"], expected, rtol=1e-4, atol=1e-5)


def slow_but(names, quick):
    return [name if name in quick else pytest.param(name, marks=pytest.mark.slow) for name in names]


@pytest.mark.parametrize("name", slow_but(finished.IMAGES, ("mvfer", "auvit-token")))
def test_runs_on_images(name, tmp_path, capsys):
    run, state = finished.save(tmp_path / "run", finished.images(name))
    trained = run.evaluate(state, "test")
    assert runs.evaluate(tmp_path / "run", devices=ONE) == {"test": trained}
    assert (
        f"best state, step 0: test: accuracy {trained['accuracy']:.4f}" in capsys.readouterr().out
    )
    predictor = Predictor.load(tmp_path / "run")
    transformer = name.startswith("auvit")
    check_predictions(predictor, trained, 21 if name == "auvit-token" else 0)
    check_map(tmp_path / "run", predictor)
    explained = explain.explain([tmp_path / "run"], count=2, top=2)
    drawn = {path.name for path in (tmp_path / "run" / "explain").glob("*.png")}
    assert drawn == {"score_cam.png", "attention.png"} if transformer else {"score_cam.png"}
    assert len(explained["runs"]["run"]["predicted"]) == 2
    for block in predictor.attention(pixels(predictor, (0, 1, 2))["image"]).values():
        assert len(block) == 3
        np.testing.assert_allclose(block.sum(-1), 1, rtol=1e-5)


@pytest.mark.parametrize("host", slow_but(tiny_hosts.KINDS, ("r3d18",)))
def test_runs_on_clips(host, tmp_path, sources):
    run, state = finished.save(tmp_path / "run", finished.clips(host))
    trained = run.evaluate(state, "test")
    assert runs.evaluate(tmp_path / "run", devices=ONE) == {"test": trained}
    predictor = Predictor.load(tmp_path / "run")
    check_predictions(predictor, trained, 21)
    check_map(tmp_path / "run", predictor)
    with pytest.raises(ValueError, match=r"reads clips; images are explained$"):
        explain.explain([tmp_path / "run"])
    record = sources["toyclips"][0]
    scored = frame_scores.Host(tmp_path / "run", "repeat").scores(record, "happiness")
    sources["toyclips"].records[0] = record | {
        "frames": record["frames"][2:3], "au": record["au"][2:3], "landmarks": record["landmarks"][2:3],
    }  # fmt: skip
    still = predictor.collect("test", ["expression_probability"], [0])["expression_probability"]
    assert scored.shape == (6,) and scored[2] == pytest.approx(still[0, 1], rel=1e-4)


@pytest.mark.slow
def test_a_run_on_clips_that_reads_their_landmarks(tmp_path, sources):
    rng = np.random.default_rng(0)
    for i, record in enumerate(sources["toyclips"].records):
        points = toydata.FACE_LANDMARKS * 32 / 112 + rng.normal(0, 1, (6, 68, 2))
        sources["toyclips"].records[i] = record | {"landmarks": np.float32(points)}
    run, state = finished.save(tmp_path / "run", finished.clips("s2d-mesh"))
    trained = run.evaluate(state, "test")
    assert runs.evaluate(tmp_path / "run", devices=ONE) == {"test": trained}
    predictor = Predictor.load(tmp_path / "run")
    assert predictor.inputs == ("clip", "id", "landmarks")
    check_predictions(predictor, trained, 21)
    batch = pixels(predictor, (0, 1))
    seen, unseen = predictor(batch["clip"], batch["landmarks"]), predictor(batch["clip"])
    assert not np.allclose(seen["expression"], unseen["expression"])


def test_pre_training(tmp_path):
    run, state = finished.save(tmp_path / "run", finished.pretraining())
    trained = run.evaluate(state, "test")
    assert runs.evaluate(tmp_path / "run", devices=ONE) == {"test": trained}
    predictor = Predictor.load(tmp_path / "run")
    losses = predictor(np.zeros((2, 8, 32, 32, 3), np.uint8))["losses"]
    assert losses["loss"].shape == (2,)
    for use in (
        lambda: explain.explain([tmp_path / "run"]),
        lambda: embed.embed([tmp_path / "run"]),
        lambda: frame_scores.Host(tmp_path / "run", "repeat"),
    ):
        with pytest.raises(ValueError, match=r"'run' has no expression classes, .*'mae_pretrain'$"):
            use()


# --- Loading ------------------------------------------------------------------------------------


def test_a_run_is_applied_without_its_data(tmp_path, monkeypatch):
    finished.save(tmp_path / "run", finished.images("auvit-vit"))
    image = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), np.uint8)
    expected = Predictor.load(tmp_path / "run")(image)
    labels = json.loads((tmp_path / "run" / "labels.json").read_text())
    assert labels["kind"] == "image" and labels["expressions"] == list(toydata.EXPRESSIONS)

    # A workdir of an earlier version asks the catalog.
    (tmp_path / "run" / "labels.json").rename(tmp_path / "labels.json")
    old = Predictor.load(tmp_path / "run")
    (tmp_path / "labels.json").rename(tmp_path / "run" / "labels.json")

    def gone(*args, **kwargs):
        raise AssertionError("the data are asked for")

    monkeypatch.setattr(catalog, "info", gone)
    monkeypatch.setattr(catalog, "source", gone)
    moved = Predictor.load(tmp_path / "run")
    assert moved.labels == old.labels
    for predictor in (moved, old):
        jax.tree.map(np.testing.assert_array_equal, predictor(image), expected)


def test_a_run_of_four_devices_is_read_on_one(tmp_path):
    if len(jax.devices()) < 4:
        pytest.skip("needs four devices")
    _, state = finished.save(tmp_path / "run", finished.images("auvit-vit"), devices=4)
    code = (
        "import jax, sys; from aufer_jax.train import checkpoints;"
        "found = checkpoints.Reader(sys.argv[1]).variables();"
        "print(len(jax.devices()), sum(x.sum() for x in jax.tree.leaves(found['params'])))"
    )
    env = os.environ | {"XLA_FLAGS": places.xla_flags(), "PYTHONPATH": str(places.ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "run"], env=env, capture_output=True, text=True
    )
    devices, total = done.stdout.split()
    expected = sum(x.sum() for x in jax.tree.leaves(jax.device_get(state.params)))
    assert devices == "1" and float(total) == pytest.approx(float(expected), rel=1e-6)


def test_evaluation_on_four_devices(tmp_path):
    if len(jax.devices()) < 4:
        pytest.skip("needs four devices")
    run, state = finished.save(tmp_path / "run", finished.images("auvit-vit"))
    one, four = run.evaluate(state, "test"), runs.evaluate(tmp_path / "run")["test"]
    assert one["confusion"] == four["confusion"]
    assert one["loss"] == pytest.approx(four["loss"], rel=1e-6)


def test_converted_weights(tmp_path):
    """As PyTorch's keys come in, so the network predicts; classes are numbered unless the card names them."""
    options = {"layers": (1, 1), "width": 8}
    model = models.create("resnet_small", num_classes=4, **options)
    preprocess = models.architecture("resnet_small").preprocess
    size = preprocess.size
    image = np.random.default_rng(0).integers(0, 256, (2, size, size, 3), np.uint8)
    x = (image / 255 - np.array(preprocess.mean)) / np.array(preprocess.std)
    key = {"params": jax.random.key(0), "dropout": jax.random.key(0)}
    variables = finished.drawn(jax.eval_shape(model.init, key, x))
    expected = jax.jit(model.apply)(variables, x.astype(np.float32))
    file, tensors = tmp_path / "weights.safetensors", weights.to_torch(variables, "resnet_small")
    tensors = {name: np.ascontiguousarray(value) for name, value in tensors.items()}
    safetensors.numpy.save_file(tensors, file)
    weights.convert(file, "resnet_small", tmp_path / "out", **options)

    predictor = Predictor.load(tmp_path / "out")
    assert predictor.expressions == ("0", "1", "2", "3")
    assert (predictor.kind, predictor.size, predictor.frames) == ("image", size, None)
    found = predictor(image)
    np.testing.assert_allclose(found["expression"], expected["expression"], rtol=1e-4, atol=1e-5)
    assert found["expression_probability"].sum(-1) == pytest.approx(1)
    card = tmp_path / "out" / "card.json"
    named = json.loads(card.read_text()) | {"expressions": ["a", "b", "c", "d"]}
    card.write_text(json.dumps(named))
    assert Predictor.load(tmp_path / "out").expressions == ("a", "b", "c", "d")
    with pytest.raises(ValueError, match="'out' are converted weights"):
        explain.explain([tmp_path / "out"])
    with pytest.raises(ValueError, match="holds converted weights"):
        runs.evaluate(tmp_path / "out")


def test_nothing_to_load(tmp_path):
    with pytest.raises(ValueError, match="holds no run"):
        Predictor.load(tmp_path)
    finished.save(tmp_path / "run", finished.images("auvit-vit"))
    (tmp_path / "run" / "checkpoints").rename(tmp_path / "away")
    with pytest.raises(ValueError, match="holds no checkpoint; train first"):
        Predictor.load(tmp_path / "run")


# --- Shapes -------------------------------------------------------------------------------------


def mean_colour(kind="image", size=8, traced=None):
    """A predictor whose logits are the mean of each channel, and one row of tokens for each image."""

    def predict(params, model_state, batch):
        if traced is not None:
            traced.append(batch[kind].shape)
        x = batch[kind].astype(np.float32)
        means = x.mean(tuple(range(1, x.ndim - 1)))
        return {"expression": means * params["scale"], "twice": means.repeat(2, 0)}

    spec = finished.spec(size, clip=2 if kind == "clip" else None)
    inference = predictor_lib.base.Inference(predict, spec)
    labels = predictor_lib.base.Labels(kind, ("red", "green", "blue"), ())
    return Predictor("colours", inference, labels, {"scale": np.float32(2)}, {})


def test_one_program_for_each_bucket():
    traced = []
    predictor = mean_colour(traced=traced)
    rng = np.random.default_rng(0)
    for rows in (1, 2, 3, 5, 4, 16, 1, 0, 70):
        image = rng.integers(0, 256, (rows, 8, 8, 3), np.uint8)
        found = predictor(image)
        means = image.mean((1, 2)).reshape(rows, 3)
        np.testing.assert_allclose(found["expression"], 2 * means, rtol=1e-5)
        np.testing.assert_allclose(found["twice"], means.repeat(2, 0), rtol=1e-5)
        if rows == 5:
            assert {shape[0] for shape in traced} == {1, 4, 16} and len(traced) == 3
    assert sorted(shape[0] for shape in traced) == [1, 4, 16, 64]


def test_clips_of_any_number():
    predictor = mean_colour("clip")
    clip = np.random.default_rng(0).integers(0, 256, (18, 4, 8, 8, 3), np.uint8)
    found = predictor(clip)["expression"]
    np.testing.assert_allclose(found, 2 * clip.mean((1, 2, 3)), rtol=1e-5)


@pytest.mark.parametrize(
    "kind, shape, dtype, message",
    [
        ("image", (1, 8, 8, 3), np.float32, r"float32 .*they must be uint8 \[B, 8, 8, 3\]"),
        ("image", (8, 8, 3), np.uint8, r"\[8, 8, 3\]"),
        ("image", (1, 8, 9, 3), np.uint8, r"\[1, 8, 9, 3\]"),
        ("image", (1, 2, 8, 8, 3), np.uint8, r"\[1, 2, 8, 8, 3\]"),
        ("clip", (1, 8, 8, 3), np.uint8, r"they must be uint8 \[B, T, 8, 8, 3\]"),
        ("clip", (1, 3, 8, 8, 3), np.uint8, "clips of 3 frames, they must have 2 or a multiple"),
    ],
)
def test_other_pixels_are_refused(kind, shape, dtype, message):
    with pytest.raises(ValueError, match=message):
        mean_colour(kind)(np.zeros(shape, dtype))
