"""The three networks against LiteRT's outputs, and the reader of their files.

`--face-golden FILE` names any other file of that layout: for each of the networks `NAME/input` and
`NAME/output/...`, with any number of pictures.
"""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import places
import pytest
from flax import linen as nn

from aufer_jax.faces import networks
from aufer_jax.models.layers import Linear
from aufer_jax.weights import tflite

MODELS = places.ROOT.parent / "shared" / "face_models"
SHIPPED = places.GOLDEN / "face_networks.npz"  # of noise, and of points alone

# Network -> what its input is divided by and what is then added; its outputs there, and here.
LAYOUT = {
    "face_detector": (127.5, -1, {"regressors": "boxes", "classificators": "scores"}),
    "face_landmarks_detector": (255, 0, {"Identity": "mesh", "Identity_1": "face", "Identity_2": "tongue"}),
    "face_blendshapes": (1, 0, {"coefficients": "coefficients"}),
}  # fmt: skip
SIGMOIDS = ("tongue", "coefficients")  # there after the sigmoid, here before


def outputs(name, x):
    network, variables = networks.load(name)
    found = jax.jit(network.apply)(variables, x)
    return found if isinstance(found, dict) else {"coefficients": found}


@pytest.mark.parametrize("name", LAYOUT)
@pytest.mark.parametrize("which", ["shipped", "whole"])
def test_face_golden(name, which, pytestconfig):
    given = pytestconfig.getoption("--face-golden")
    path = SHIPPED if which == "shipped" else pathlib.Path(given or MODELS / "golden.npz")
    if not given and not path.exists():
        pytest.skip(f"{path} is not there; name one with --face-golden")
    scale, shift, read = LAYOUT[name]
    golden = np.load(path)
    x = golden[f"{name}/input"].astype(np.float32) / np.float32(scale) + shift
    found = outputs(name, x)
    for theirs, ours in read.items():
        wanted = np.float32(golden[f"{name}/output/{theirs}"])
        value = jax.nn.sigmoid(found[ours]) if ours in SIGMOIDS else found[ours]
        off = np.abs(np.asarray(value).reshape(wanted.shape) - wanted).max()
        assert off < 1e-3 * np.abs(wanted).max(), theirs


@pytest.mark.parametrize("name", LAYOUT)
def test_weights_are_those_of_the_published_files(name, tmp_path):
    if not MODELS.exists():
        pytest.skip(f"{MODELS} is not there")
    networks.convert(MODELS, tmp_path, [name])
    file = f"{name}.safetensors"
    shipped = places.ROOT / "aufer_jax/faces/data" / file
    assert (tmp_path / file).read_bytes() == shipped.read_bytes()


def test_what_ships_says_where_it_comes_from():
    card = networks.card()
    assert set(card["networks"]) == set(LAYOUT)
    assert card["source"]["licence"] == "Apache-2.0"
    notice = (places.ROOT / "aufer_jax/faces/data/NOTICE").read_text()
    for word in ("MediaPipe", "Google", "Apache", card["source"]["sha256"]):
        assert word in notice
    with pytest.raises(ValueError, match=r"network: 'face_detectr' is not known; .*detector'\?"):
        networks.load("face_detectr")


def test_layers_are_mapped_in_the_order_of_execution(tmp_path):
    path = tmp_path / "x.tflite"
    path.write_bytes(b"no network")
    with pytest.raises(ValueError, match=r"x.tflite is not a TensorFlow Lite file"):
        tflite.read(path)
    kernel = np.arange(6, dtype=np.float16).reshape(2, 1, 1, 3)
    dequantize, convolution = tflite.Operator(6, (1,), (3,)), tflite.Operator(3, (0, 3, 2), (4,))
    constants = {1: kernel, 2: np.array([7, 8], np.float32)}
    graph = tflite.Graph((dequantize, convolution), constants)
    x = jax.ShapeDtypeStruct((1, 3), jnp.float32)
    leaves = tflite.parameters(graph, nn.Sequential([Linear(2)]), x)
    np.testing.assert_array_equal(leaves["layers_0", "kernel"], [[0, 3], [1, 4], [2, 5]])
    np.testing.assert_array_equal(leaves["layers_0", "bias"], [7, 8])
    with pytest.raises(ValueError, match=r"bias: \(2,\) in the file, \(4,\) here"):
        tflite.parameters(graph, nn.Sequential([Linear(4)]), x)
    with pytest.raises(ValueError, match=r"layers_0: the file has a bias, the network none"):
        tflite.parameters(graph, nn.Sequential([Linear(2, bias=False)]), x)
    with pytest.raises(ValueError, match=r"the file has 1 layers, the network 2"):
        tflite.parameters(graph, nn.Sequential([Linear(2), Linear(2)]), x)


def test_the_mesh_is_read_from_the_features():
    found = outputs("face_landmarks_detector", np.full((1, 256, 256, 3), 0.5, np.float32))
    head = networks.load("face_landmarks_detector")[1]["params"]["mesh"]
    read = found["features"] @ head["kernel"].reshape(512, -1) + head["bias"]
    np.testing.assert_allclose(read.reshape(1, 478, 3), found["mesh"], rtol=1e-4, atol=1e-3)
