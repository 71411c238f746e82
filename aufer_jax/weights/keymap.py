"""PyTorch state dict <-> our variables, by the one naming rule and an architecture's few exceptions."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from flax import traverse_util

from aufer_jax.errors import UserError

_LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "slope": "weight",
    "mean": "running_mean",
    "var": "running_var",
}
_TRANSPOSED = ("kernel",)


def torch_key(path: tuple[str, ...], rules: Iterable[tuple[str, str]] = ()) -> str:
    """Path of a leaf below its collection -> the key a published checkpoint stores it under.

    >>> torch_key(("layer1_0", "conv1", "kernel"))
    'layer1.0.conv1.weight'
    """
    *modules, leaf = path
    joined = "/".join((*modules, _LEAVES.get(leaf, leaf)))
    for pattern, replacement in rules:
        renamed, hits = re.subn(pattern, replacement, joined)
        if hits:
            joined = renamed
            break
    return re.sub(r"_(\d+)(?=[/_]|$)", r".\1", joined).replace("/", ".").replace("~", "_")


def to_layout(value: np.ndarray, leaf: str) -> np.ndarray:
    """PyTorch's layout of a leaf -> ours: [O, I, *window] -> [*window, I, O] for kernels."""
    if leaf in _TRANSPOSED:
        return np.transpose(value, (*range(2, value.ndim), 1, 0))
    return value


def from_layout(value: np.ndarray, leaf: str) -> np.ndarray:
    """The inverse of `to_layout`."""
    if leaf in _TRANSPOSED:
        return np.transpose(value, (value.ndim - 1, value.ndim - 2, *range(value.ndim - 2)))
    return value


def flat(variables: Mapping) -> dict[tuple[str, ...], Any]:
    """Variables -> {(collection, *modules, leaf): value}, for parameters and batch statistics."""
    kept = {name: variables[name] for name in ("params", "batch_stats") if name in variables}
    return traverse_util.flatten_dict(kept)


def from_torch(
    state_dict: Mapping[str, np.ndarray], template: Mapping, rules: Iterable[tuple[str, str]] = ()
) -> tuple[dict, list[str], list[str]]:
    """Fills `template` (variables, or their shapes) from a state dict of exactly fitting shapes.

    Returns the variables, the template's keys that the state dict lacks (left as in the template), and
    the state dict's keys that nothing took.
    """
    rules = tuple(rules)
    filled, missing = {}, []
    left = {key for key in state_dict if not key.endswith("num_batches_tracked")}
    for path, value in flat(template).items():
        key = torch_key(path[1:], rules)
        if key not in state_dict:
            missing.append(key)
            filled[path] = value
            continue
        array = to_layout(np.asarray(state_dict[key]), path[-1])
        if array.shape != tuple(value.shape):
            raise UserError(
                f"{key}: shape {array.shape} in the checkpoint, {value.shape} in the model"
            )
        filled[path] = np.asarray(array, np.float32)
        left.discard(key)
    return traverse_util.unflatten_dict(filled), missing, sorted(left)


def to_torch(variables: Mapping, rules: Iterable[tuple[str, str]] = ()) -> dict[str, np.ndarray]:
    """Our variables -> a state dict in PyTorch's names and layout."""
    rules = tuple(rules)
    return {
        torch_key(path[1:], rules): from_layout(np.asarray(value), path[-1])
        for path, value in flat(variables).items()
    }
