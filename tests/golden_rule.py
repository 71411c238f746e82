"""The rule behind every golden fixture: a key's name, its shape and a seed give its values.

NAME.json holds the layout of a published checkpoint (`tensors`: [[key, shape], ...]), the `model`, its
`config`, the `seed` and the shapes of the `inputs`. NAME.npz holds what the PyTorch reference, in float32
on a CPU, gave for them. No weights are stored: they are made again here, under the published names.
"""

import json
import pathlib
import zlib

import numpy as np


def tensor(key: str, shape: list[int], seed: int) -> np.ndarray:
    """The values of one entry of the state dict, in PyTorch's layout."""
    leaf = key.rpartition(".")[2]
    if leaf == "num_batches_tracked":
        return np.zeros(shape, np.int64)
    rng = np.random.default_rng([seed, zlib.crc32(key.encode())])
    if leaf == "running_var":
        values = rng.uniform(0.5, 1.5, shape)
    elif leaf == "running_mean":
        values = 0.1 * rng.standard_normal(shape)
    elif leaf.startswith("weight") and len(shape) > 1:
        values = rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
    elif leaf.startswith("weight"):  # scales of norms, slopes of PReLUs
        values = rng.uniform(0.2, 1.2, shape)
    elif leaf.startswith("bias"):
        values = 0.05 * rng.standard_normal(shape)
    else:  # position embeddings, tokens, layer scales
        values = 0.2 * rng.standard_normal(shape)
    return np.asarray(values, np.float32)


def array(name: str, shape: list[int], seed: int) -> np.ndarray:
    """The values of one input."""
    rng = np.random.default_rng([seed, zlib.crc32(name.encode()), 1])
    return rng.standard_normal(shape).astype(np.float32)


def load(path: str | pathlib.Path) -> dict:
    """The fixture as a dict: `outputs` are the stored arrays, `descriptions` what the file says of them."""
    path = pathlib.Path(path)
    fixture = json.loads(path.with_suffix(".json").read_text())
    fixture["descriptions"] = fixture["outputs"]
    with np.load(path.with_suffix(".npz")) as arrays:
        fixture["outputs"] = dict(arrays)
    return fixture


def state_dict(fixture: dict) -> dict[str, np.ndarray]:
    return {key: tensor(key, shape, fixture["seed"]) for key, shape in fixture["tensors"]}


def inputs(fixture: dict) -> dict[str, np.ndarray]:
    """Made by the rule, but for what the fixture gives among its stored arrays."""
    made = {name: array(name, shape, fixture["seed"]) for name, shape in fixture["inputs"].items()}
    return made | {name: fixture["outputs"][name] for name in fixture.get("given", ())}
