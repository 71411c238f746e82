"""One network and one server for all tests of this folder."""

import cv2
import numpy as np
import pytest
import serving
import skimage.data

from aufer_jax import synth
from aufer_jax.runs import Predictor
from aufer_jax.synth.expressions import COMMON

PORTRAIT = np.ascontiguousarray(skimage.data.astronaut()[:256, 80:336])


def png(image):
    return cv2.imencode(".png", image[..., ::-1])[1].tobytes()


@pytest.fixture(scope="session")
def portrait():
    """The smiling face of skimage's astronaut, and the bytes of its file."""
    return PORTRAIT, png(PORTRAIT)


@pytest.fixture(scope="session")
def drawn():
    """Frames of one drawn person, who smiles more and more."""
    who = synth.sample_identity(np.random.default_rng(7))
    end = synth.face.au_vector(COMMON["happiness"][0][1])
    return [
        synth.render(who, end * share, synth.Camera(), size=192, seed=1, frame=t).image
        for t, share in enumerate(np.linspace(0, 1, 8))
    ]


@pytest.fixture(scope="session")
def clip(drawn, tmp_path_factory):
    """The path of a clip of them, two seconds long, which browsers can play."""
    path = tmp_path_factory.mktemp("clips") / "smile.webm"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"VP80"), 4, (192, 192))
    for image in drawn:
        writer.write(image[..., ::-1])
    writer.release()
    return path


@pytest.fixture(scope="session")
def network():
    return Predictor.load("clean")


@pytest.fixture(scope="session")
def server(network):
    with serving.served(network, body=2, frames=6) as client:
        yield client
