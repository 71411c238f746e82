"""How the architectures look under their published names: for naming the one that a checkpoint is of.

`write()` writes `layouts.json`, to be called when an architecture changes: tracing them all takes half a
minute, which is too long for a message about a wrong name.
"""

import base64
import functools
import json
import pathlib
import zlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from aufer_jax import models
from aufer_jax.weights import keymap

PREFIXES = ("model.", "net.", "encoder.", "backbone.", "_orig_mod.")
TABLE = pathlib.Path(__file__).with_name("layouts.json")


def shapes(name: str, model: nn.Module) -> dict:
    """The shapes of a module's variables; nothing is computed."""
    return dict(jax.eval_shape(functools.partial(init, name, model), jax.random.key(0)))


def init(name: str, model: nn.Module, key: jax.Array) -> dict:
    """The variables of a model with random initial values."""
    entry = models.architecture(name)
    frame = (entry.preprocess.size, entry.preprocess.size, 3)
    x = jnp.zeros((1, *frame) if entry.input == "image" else (1, entry.preprocess.frames, *frame))
    return dict(model.init({"params": key, "dropout": key}, x))


def torch_shape(path: tuple[str, ...], place: Any) -> tuple[int, ...]:
    """The shape that PyTorch keeps a parameter of ours in."""
    return keymap.from_layout(np.broadcast_to(np.int8(0), place.shape), path[-1]).shape


def stripped(tensors: Mapping[str, np.ndarray]) -> dict[str, dict[str, str]]:
    """Prefix -> {key without it: key}, for no prefix and for those that wrappers leave on the keys."""
    tables = {}
    for outer in ("", "module."):
        for inner in ("", *PREFIXES):
            if any(key.startswith(outer + inner) for key in tensors):
                tables[outer + inner] = {
                    key.removeprefix(outer).removeprefix(inner): key for key in tensors
                }
    return tables


def closest(tensors: Mapping[str, np.ndarray]) -> str | None:
    """The registered name whose keys and shapes are most like the checkpoint's, if any is at all."""
    variants = [
        {_mark(short, tensors[key].shape) for short, key in table.items()}
        for table in stripped(tensors).values()
    ]
    score, found, known = 0.1, None, table()
    for name in models.names():
        marks = known[name] if name in known else layout(name)
        alike = max(len(marks & variant) / len(marks | variant) for variant in variants)
        if alike > score:
            score, found = alike, name
    return found


@functools.cache
def layout(name: str) -> frozenset[int]:
    """Marks of the keys and shapes of an architecture's state dict."""
    rules = models.architecture(name).torch_keys
    flat = keymap.flat(shapes(name, models.create(name)))
    return frozenset(
        _mark(keymap.torch_key(path[1:], rules), torch_shape(path, place))
        for path, place in flat.items()
    )


def _mark(key: str, shape: tuple[int, ...]) -> int:
    return zlib.crc32(f"{key} {list(shape)}".encode())


@functools.cache
def table() -> dict[str, frozenset[int]]:
    """The layouts of our own architectures, as written."""
    held = json.loads(TABLE.read_text())
    return {
        name: frozenset(np.frombuffer(base64.b64decode(text), "<u4").tolist())
        for name, text in held.items()
    }


def write() -> None:
    """Writes the table of all models' layouts anew."""
    held = {name: np.array(sorted(layout(name)), "<u4").tobytes() for name in models.names()}
    lines = {name: base64.b64encode(data).decode() for name, data in sorted(held.items())}
    TABLE.write_text(json.dumps(lines, indent=1) + "\n")
