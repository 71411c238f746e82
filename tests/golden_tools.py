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


def subsampling(descriptions: Mapping[str, object]) -> dict[str, tuple[slice, ...]]:
    """What part of each output a fixture stores, by what it says of them.

    That is "... taken [:, ::4, ::8]", "... slice [:, :6]", "... same subsampling" or "slices" (as the
    output before), or else all of it.
    """
    parts, last = {}, ()
    for name, description in descriptions.items():
        match = re.search(r"(?:taken|slice) \[([^\]]*)\]", str(description))
        if match:
            bounds = [part.strip().split(":") for part in match[1].split(",")]
            last = tuple(slice(*(int(n) if n else None for n in bound)) for bound in bounds)
        same = re.search(r"same (subsampling|slices)", str(description))
        parts[name] = last if match or same else ()
    return parts
