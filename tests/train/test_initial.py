"""What a run begins with: one checkpoint, or several for the parts of a network."""

import jax
import numpy as np
import pytest
import safetensors.numpy

from aufer_jax import models, weights
from aufer_jax.errors import UserError
from aufer_jax.train import checkpoints, initial
from aufer_jax.train import config as config_lib
from aufer_jax.train.state import TrainState
from aufer_jax.weights import loading


def published(name, seed, **options):
    shapes = loading.shapes(name, models.create(name, **options))
    rng = np.random.default_rng(seed)
    filled = jax.tree.map(lambda p: rng.normal(size=p.shape).astype(np.float32), shapes)
    return weights.to_torch(filled, name)


def run_with(init_from):
    config = config_lib.default("audfer")
    config.data.target = "synth_clips"
    config.model = config_lib.model("s2d_small", landmarks="mobilefacenet")
    config.init_from = init_from
    return config_lib.check(config)


def test_two_checkpoints_fill_the_two_networks_of_s2d(tmp_path):
    images, net = published("s2d_small", 0), published("mobilefacenet", 1, width=4)
    for name, held in (("images", images), ("landmarks", net)):
        whole = {key: np.ascontiguousarray(value) for key, value in held.items()}
        safetensors.numpy.save_file(whole, tmp_path / f"{name}.safetensors")
    model = models.create("s2d_small", landmarks="mobilefacenet")
    initially = jax.tree.map(
        lambda p: np.zeros(p.shape, np.float32), loading.shapes("s2d_small", model)
    )
    initially["queues"] = {"steps": np.zeros(())}
    both = f"{tmp_path}/images.safetensors,{tmp_path}/landmarks.safetensors"
    found = initial.initial_weights(run_with(both), initially)
    assert found["queues"] is initially["queues"]
    stored = weights.to_torch(found, "s2d_small")
    for key, value in images.items():
        np.testing.assert_array_equal(stored[key], value, err_msg=key)
    read = {key for key in stored if key.startswith("landmark_net.")}
    assert len(read) > 100
    for key in read:
        np.testing.assert_array_equal(stored[key], net[key.removeprefix("landmark_net.")])


def test_a_comma_in_a_name_is_no_list(tmp_path):
    place = tmp_path / "a,b.pth"
    assert loading.places(str(place)) == (f"{tmp_path}/a", "b.pth")
    place.write_bytes(b"")
    assert loading.places(str(place)) == (str(place),)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        initial.initial_weights(run_with(f"{tmp_path}/nowhere.pth"), {})


def test_a_run_that_has_not_validated_yet_is_named(tmp_path):
    saver = checkpoints.Checkpoints(tmp_path)
    saver.save(1, TrainState(np.int32(1), {"kernel": np.zeros(2)}, {}, {}, {}), {})
    saver.close()
    with pytest.raises(UserError, match="no best state yet"):
        initial.initial_weights(run_with(str(tmp_path)), {})
    with pytest.raises(UserError, match="no checkpoint of a run"):
        (tmp_path / "empty").mkdir()
        initial.initial_weights(run_with(str(tmp_path / "empty")), {})


def test_two_checkpoints_are_converted_into_one_network(tmp_path):
    images, net = published("s2d_small", 0), published("mobilefacenet", 1, width=4)
    files = tmp_path / "images.safetensors", tmp_path / "landmarks.safetensors"
    for file, held in zip(files, (images, net), strict=True):
        whole = {key: np.ascontiguousarray(value) for key, value in held.items()}
        safetensors.numpy.save_file(whole, file)
    report = weights.convert(
        ",".join(map(str, files)), "s2d_small", tmp_path / "out", landmarks="mobilefacenet"
    )
    assert not report.initial and set(images) <= set(report.loaded)
    assert "output_layer.linear.weight" in report.dropped
    model, variables, card = weights.load_converted(tmp_path / "out")
    assert model.landmarks == "mobilefacenet"
    assert card["source"]["file"] == "images.safetensors, landmarks.safetensors"
    stored = weights.to_torch(variables, "s2d_small")
    for key, value in images.items():
        np.testing.assert_array_equal(stored[key], value, err_msg=key)
    np.testing.assert_array_equal(
        stored["landmark_net.conv1.conv.weight"], net["conv1.conv.weight"]
    )
