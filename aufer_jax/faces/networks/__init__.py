"""The three networks of the face chain, with the weights that come with this package."""

import functools
import importlib.resources
import json
import os
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy
from flax import linen as nn
from flax import traverse_util

from aufer_jax.errors import unknown
from aufer_jax.faces.networks import blazeface, blendshapes, facemesh
from aufer_jax.faces.networks.blazeface import BlazeFace
from aufer_jax.faces.networks.blendshapes import Blendshapes
from aufer_jax.faces.networks.facemesh import FaceMesh
from aufer_jax.weights import tflite

__all__ = ["BlazeFace", "Blendshapes", "FaceMesh", "card", "convert", "load"]

# Name -> the network and the shape of one input.
NETWORKS: dict[str, tuple[type[nn.Module], tuple[int, ...]]] = {
    "face_detector": (BlazeFace, (blazeface.SIZE, blazeface.SIZE, 3)),
    "face_landmarks_detector": (FaceMesh, (facemesh.SIZE, facemesh.SIZE, 3)),
    "face_blendshapes": (Blendshapes, (len(blendshapes.POINTS), 2)),
}
_DATA = importlib.resources.files("aufer_jax.faces") / "data"


@functools.cache
def load(name: str) -> tuple[Any, dict[str, Any]]:
    """The module of the network `name` and its variables, float32."""
    if name not in NETWORKS:
        raise unknown("network", name, NETWORKS)
    flat = safetensors.numpy.load((_DATA / f"{name}.safetensors").read_bytes())
    leaves = {tuple(key.split("/")): np.float32(value) for key, value in flat.items()}
    return NETWORKS[name][0](), {"params": traverse_util.unflatten_dict(leaves)}


def card() -> dict[str, Any]:
    """What the weights are and where they came from."""
    return json.loads((_DATA / "card.json").read_text())


def convert(source: str | os.PathLike, out: str | os.PathLike, names: Sequence[str] = ()) -> None:
    """Writes the weights of MediaPipe's .tflite files in the folder `source` as this package has them."""
    for name in names or NETWORKS:
        network, shape = NETWORKS[name]
        x = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
        graph = tflite.read(pathlib.Path(source) / f"{name}.tflite")
        leaves = tflite.parameters(graph, network(), x)
        flat = {
            "/".join(path): np.ascontiguousarray(value, np.float16)
            for path, value in leaves.items()
        }
        safetensors.numpy.save_file(flat, pathlib.Path(out) / f"{name}.safetensors")
