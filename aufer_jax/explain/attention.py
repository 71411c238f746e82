"""Attention of transformers as maps: the last block's, or rolled out through all blocks."""

from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp

from aufer_jax.explain.score_cam import token_grid


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
