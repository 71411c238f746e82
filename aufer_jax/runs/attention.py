"""The attention that a transformer keeps aside when it is asked to."""

import re
from collections.abc import Mapping
from typing import Any

import jax
from flax import linen as nn
from flax import traverse_util

_NAME = "attention"  # under which networks keep it


def attention_weights(
    model: nn.Module, variables: Mapping[str, Any], x: jax.Array
) -> dict[str, jax.Array]:
    """The attention [B, heads, N, N] (queries, then keys) of every block, in the order of the blocks.

    A network without attention gives an empty dict.
    """

    @jax.jit
    def kept(variables: Mapping[str, Any], x: jax.Array) -> Any:
        return model.apply(variables, x, train=False, mutable=["intermediates"])[1]

    flat: dict[Any, Any] = traverse_util.flatten_dict(dict(kept(variables, x)))
    found = {"/".join(path[1:-1]): kept_[0] for path, kept_ in flat.items() if path[-1] == _NAME}
    return {name: found[name] for name in sorted(found, key=natural)}


def natural(name: str) -> list[tuple[int, str]]:
    """Sorts blocks_2 before blocks_10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]
