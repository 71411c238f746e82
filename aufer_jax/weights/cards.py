"""Converted weights: a folder with `weights.safetensors` and `card.json`, which says what they are.

The card holds the architecture with its options, what its input must look like, the checkpoint's file
name and hash, and the report of the conversion.
"""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Iterable
from typing import Any

import numpy as np
import safetensors.numpy
from flax import linen as nn
from flax import traverse_util

from aufer_jax import models
from aufer_jax.errors import UserError
from aufer_jax.weights import keymap, loading

FORMAT = 1


def convert(
    checkpoint: str | pathlib.Path,
    name: str,
    out: str | pathlib.Path,
    inert: Iterable[str] = (),
    **options: Any,
) -> loading.Report:
    """Writes a checkpoint's weights for the architecture `name` into the folder `out`.

    `options` are the architecture's; the numbers of classes and AUs default to the checkpoint's.
    """
    tensors = loading.read(checkpoint, inert)
    options = head_sizes(tensors, name) | options
    model = models.create(name, **options)
    try:
        variables, report = loading.from_torch(tensors, name, model)
    except ValueError as error:
        raise UserError(f"{checkpoint}: {error}") from error
    entry = models.architecture(name)
    card = {
        "format": FORMAT,
        "model": name,
        "options": options,
        "input": entry.input,
        "preprocess": dataclasses.asdict(entry.preprocess),
        "source": {"file": pathlib.Path(checkpoint).name, "sha256": _sha256(checkpoint)},
        "report": dataclasses.asdict(report),
    }
    out = pathlib.Path(out)
    out.mkdir(parents=True, exist_ok=True)
    flat = {"/".join(path): np.ascontiguousarray(v) for path, v in keymap.flat(variables).items()}
    safetensors.numpy.save_file(flat, out / "weights.safetensors")
    (out / "card.json").write_text(json.dumps(card, indent=2) + "\n")
    return report


def load_converted(folder: str | pathlib.Path) -> tuple[nn.Module, dict, dict[str, Any]]:
    """The module, its variables and the card that `convert` wrote."""
    folder = pathlib.Path(folder)
    if not (folder / "card.json").is_file():
        raise UserError(f"{folder}: no card.json; name a folder that `convert` wrote")
    card = json.loads((folder / "card.json").read_text())
    if card.get("format") != FORMAT:
        raise UserError(f"{folder}: card of format {card.get('format')!r}; only {FORMAT} is read")
    model = models.create(card["model"], **{k: _frozen(v) for k, v in card["options"].items()})
    flat = safetensors.numpy.load_file(folder / "weights.safetensors")
    variables = traverse_util.unflatten_dict({tuple(k.split("/")): v for k, v in flat.items()})
    return model, variables, card


def head_sizes(tensors: loading.Tensors, name: str) -> dict[str, int]:
    """The numbers of classes and AUs that a checkpoint's heads have."""
    rules = models.architecture(name).torch_keys
    tables, sizes = list(loading.stripped(tensors).values()), {}
    for path, option in loading.head_leaves(name).items():
        key = keymap.torch_key(path[1:], rules)
        found = next((table[key] for table in tables if key in table), None)
        if option != "aus" and path[-1] == "bias" and found is not None:
            sizes[option] = len(tensors[found])
    return sizes


def _frozen(value: Any) -> Any:
    return tuple(_frozen(item) for item in value) if isinstance(value, list) else value


def _sha256(path: str | pathlib.Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
