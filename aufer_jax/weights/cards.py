"""Converted weights: a folder with `weights.safetensors` and `card.json`, which says what they are.

The card holds the architecture with its options, what its input must look like, the checkpoint's file
name and hash, and the report of the conversion.
"""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import safetensors.numpy
from flax import linen as nn

from aufer_jax import models
from aufer_jax.errors import UserError
from aufer_jax.weights import keymap, layouts, loading


def convert(
    checkpoint: str | pathlib.Path,
    name: str,
    out: str | pathlib.Path,
    inert: Iterable[str] = (),
    overwrite: bool = False,
    **options: Any,
) -> loading.Report:
    """Writes a checkpoint's weights for the architecture `name` into the folder `out`.

    Several files with commas between them fill the parts of one network, see `loading.places`.

    `options` are the architecture's; the numbers of classes and AUs default to the checkpoint's. Weights
    that are in the folder already stay there unless `overwrite` says so.
    """
    out = pathlib.Path(out)
    there = [name for name in (loading.CONVERTED, loading.CARD) if (out / name).exists()]
    if there and not overwrite:
        raise UserError(
            f"out: {out} holds {there[0]} already; name another folder, or overwrite it"
        )
    files = loading.places(checkpoint)
    tensors = [loading.read(file, inert) for file in files]
    options = head_sizes(tensors[0], name) | options
    variables, reports = {}, []
    model = models.create(name, **options)
    for file, held in zip(files, tensors, strict=True):
        try:
            variables, report = loading.from_torch(held, name, variables or model)
        except ValueError as error:
            raise UserError(f"{file}: {error}") from error
        reports.append(report)
    report = loading.joined(reports)
    entry = models.architecture(name)
    card = {
        "format": loading.FORMAT,
        "model": name,
        "options": options,
        "input": entry.input,
        "preprocess": dataclasses.asdict(entry.preprocess),
        "source": {
            "file": ", ".join(pathlib.Path(file).name for file in files),
            "sha256": ", ".join(map(_sha256, files)),
        },
        "report": dataclasses.asdict(report),
    }
    write(out, variables, card)
    return report


def write(
    out: pathlib.Path,
    variables: Mapping[str, Any],
    card: Mapping[str, Any],
    dtype: type[np.floating] = np.float32,
) -> None:
    """The folder that `load_converted` reads; `card` has what that needs."""
    out.mkdir(parents=True, exist_ok=True)
    leaves = keymap.flat(variables).items()
    flat = {"/".join(path): np.ascontiguousarray(value, dtype) for path, value in leaves}
    data = safetensors.numpy.save(flat, metadata={"model": card["model"]})
    _write(out / loading.CONVERTED, data)
    _write(out / loading.CARD, (json.dumps(card, indent=2) + "\n").encode())


def _write(path: pathlib.Path, data: bytes) -> None:
    """The whole file or none, with the rights that new files have."""
    part = path.with_name(f"{path.name}.part")
    part.write_bytes(data)
    part.replace(path)


def load_converted(folder: str | pathlib.Path) -> tuple[nn.Module, dict, dict[str, Any]]:
    """The module, its variables and the card that `convert` wrote."""
    folder = pathlib.Path(folder)
    card = loading.card(folder)
    model = models.create(card["model"], **{k: _frozen(v) for k, v in card["options"].items()})
    tensors, _ = loading.read_safetensors(folder / loading.CONVERTED)
    whole = {name: np.asarray(value, np.float32) for name, value in tensors.items()}
    return model, loading.nested(whole), card


def head_sizes(tensors: loading.Tensors, name: str) -> dict[str, int]:
    """The numbers of classes and AUs that a checkpoint's heads have."""
    rules = models.architecture(name).torch_keys
    tables, sizes = list(layouts.stripped(tensors).values()), {}
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
