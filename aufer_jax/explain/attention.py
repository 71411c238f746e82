"""Attention of transformers as maps: the last block's, or rolled out through all blocks."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import traverse_util

from aufer_jax.explain.score_cam import token_grid

_NAME = "attention"  # under which networks keep it


def attention_weights(
    model: nn.Module, variables: Mapping[str, Any], x: jax.Array
) -> dict[str, jax.Array]:
    """The attention [B, heads, N, N] (queries, then keys) of every block, in the order of the blocks.

    Networks keep it aside only when it is asked for; one without attention gives an empty dict.
    """

    @jax.jit
    def kept(variables: Mapping[str, Any], x: jax.Array) -> Any:
        return model.apply(variables, x, train=False, mutable=["intermediates"])[1]

    flat: dict[Any, Any] = traverse_util.flatten_dict(dict(kept(variables, x)))
    found = {"/".join(path[1:-1]): kept_[0] for path, kept_ in flat.items() if path[-1] == _NAME}
    return {name: found[name] for name in sorted(found, key=_natural)}


def _natural(name: str) -> list[tuple[int, str]]:
    """Sorts blocks_2 before blocks_10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]


def mean_attention(weights: Mapping[str, jax.Array]) -> dict[str, jax.Array]:
    """The mean over heads [B, N, N] of the last block of every stage, by the block's name.

    A stage ends where the number of tokens changes.
    """
    last = {block.shape[-1]: name for name, block in weights.items()}
    return {name: weights[name].mean(1) for name in last.values()}


def rollout(weights: Sequence[jax.Array]) -> jax.Array:
    """[B, N, N]: attention followed through blocks of one stage (Abnar and Zuidema 2020).

    Half of what a token is passes a block by, on the skip connection.
    """
    same = jnp.eye(weights[0].shape[-1])
    total = 0.5 * weights[0].mean(1) + 0.5 * same
    for block in weights[1:]:
        total = (0.5 * block.mean(1) + 0.5 * same) @ total
    return total


def token_map(matrix: jax.Array, grid: tuple[int, int] | None = None, token: int = 0) -> jax.Array:
    """[B, N, N] -> [B, h, w]: how much a class token reads of each cell of the grid.

    Without a class token, the mean over what all tokens read.
    """
    height, width = grid or token_grid(matrix.shape[-1])
    extra = matrix.shape[-1] - height * width
    read = matrix[:, token] if extra else matrix.mean(1)
    return read[:, extra:].reshape(-1, height, width)
