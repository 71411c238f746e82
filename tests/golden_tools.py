"""What the comparisons with golden fixtures share: filling a model, and the fixtures' sub-sampling."""

import re
from collections.abc import Iterable, Mapping

import jax
import numpy as np
from flax import linen as nn

from aufer_jax.weights import keymap


def fill(
    model: nn.Module,
    state_dict: Mapping[str, np.ndarray],
    *args: jax.Array,
    rules: Iterable[tuple[str, str]] = (),
    unused: Iterable[str] = (),
) -> dict:
    """The model's variables out of a state dict that must fit it exactly, both ways.

    `args` is an example input in our layout; `rules` and `unused` are the architecture's `torch_keys`
    and the patterns of stored keys that nothing reads.
    """
    keys = jax.eval_shape(lambda: jax.random.key(0))
    rngs = {name: keys for name in ("params", "dropout")}
    template = jax.eval_shape(model.init, rngs, *args)
    variables, missing, left = keymap.from_torch(state_dict, template, rules)
    assert not missing, f"not in the checkpoint: {missing}"
    extra = [key for key in left if not any(re.search(pattern, key) for pattern in unused)]
    assert not extra, f"nothing takes {extra}"
    for key, value in keymap.to_torch(variables, rules).items():
        np.testing.assert_array_equal(value, state_dict[key], err_msg=key)
    return variables


def run(model: nn.Module, variables: dict, *args: jax.Array) -> dict[str, np.ndarray]:
    """Evaluation-mode outputs of a compiled forward pass."""
    outputs = jax.jit(lambda v, *a: model.apply(v, *a))(variables, *args)
    return {name: np.asarray(value) for name, value in outputs.items()}


def channels_first(x: np.ndarray) -> np.ndarray:
    return np.moveaxis(x, -1, 1)


def channels_last(x: np.ndarray) -> np.ndarray:
    return np.moveaxis(x, 1, -1)


def taken(x: np.ndarray, description: object) -> np.ndarray:
    """The part of x that a fixture stores, by its description: "... taken [:, ::4, ::8]"."""
    match = re.search(r"taken \[([^\]]*)\]", str(description))
    if match is None:
        return x
    parts = [part.strip().split(":") for part in match[1].split(",")]
    return x[tuple(slice(*(int(n) if n else None for n in part)) for part in parts)]
