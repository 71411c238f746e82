"""Softmax attention among tokens, in the form that runs best where it runs; all agree to rounding."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from aufer_jax.models import ops

LONG = 256  # from so many keys on, the weights are worth not being kept


def attend(
    module: nn.Module, q: jax.Array, k: jax.Array, v: jax.Array, dropout: float = 0.0
) -> jax.Array:
    """Queries [B, heads, N, D], keys and values [B, heads, M, D] -> [B, heads, N, D].

    Called inside a module's compact method, which keeps its weights as the intermediate `attention` where
    that is asked for; `dropout` is that of the weights.
    """
    drop = nn.Dropout(dropout, deterministic=not dropout)
    if not dropout and not module.is_mutable_collection("intermediates"):
        if _fused(q, k):
            return _cudnn(q, k, v)
        if ops.for_cpu() and k.shape[2] >= LONG:
            return _frugal(q * q.shape[-1] ** -0.5, k, v)
    weights = _weights(q * q.shape[-1] ** -0.5, k)
    module.sow("intermediates", "attention", weights)
    return _weigh(drop(weights), v)


def _weights(q: jax.Array, k: jax.Array) -> jax.Array:
    logits = jnp.einsum("bhqd,bhkd->bhqk", q, k)
    return jax.nn.softmax(logits.astype(jnp.float32)).astype(logits.dtype)


def _weigh(weights: jax.Array, v: jax.Array) -> jax.Array:
    return jnp.einsum("bhqk,bhkd->bhqd", weights, v)


@jax.custom_vjp
def _frugal(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
    """Attention of scaled queries whose backward pass makes the weights again, one head after another.

    A third of the memory of a training step, in no more time: on a CPU new memory costs as much as a product.
    """
    return _weigh(_weights(q, k), v)


def _frugal_forward(q, k, v):
    y = _frugal(q, k, v)
    return y, (q, k, v, y)


def _frugal_backward(kept, dy):
    def one_head(arrays):
        q, k, v, y, dy = arrays
        weights = jax.nn.softmax((q @ k.T).astype(jnp.float32))
        dv = weights.astype(q.dtype).T @ dy
        dots = (dy.astype(jnp.float32) * y).sum(-1, keepdims=True)
        dlogits = (weights * (dy @ v.T - dots)).astype(q.dtype)
        return dlogits @ k, dlogits.T @ q, dv

    heads = (x.reshape(-1, *x.shape[2:]) for x in (*kept, dy))
    gradients = jax.lax.map(one_head, tuple(heads))
    return tuple(x.reshape(of.shape) for x, of in zip(gradients, kept[:3], strict=True))


_frugal.defvjp(_frugal_forward, _frugal_backward)


def _fused(q: jax.Array, k: jax.Array) -> bool:
    """Whether cuDNN's one kernel is to be had: in 16 bits, on a GPU that is here.

    What is traced for another machine, whose platform has the name "cuda", does without.
    """
    fits = q.dtype in (jnp.bfloat16, jnp.float16) and q.shape[-1] % 8 == 0 and q.shape[-1] <= 128
    if not fits or k.shape[2] < LONG or ops.platform() != "gpu":
        return False
    capability = getattr(jax.devices()[0], "compute_capability", "")
    return capability.replace(".", "").isdigit() and float(capability) >= 8  # not so AMD's names


def _cudnn(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
    """By the kernel, which trains on even numbers of tokens only: to an odd one another is added."""
    queries, keys = q.shape[2], k.shape[2]
    lengths: dict[str, Any] = {}
    if queries % 2 or keys % 2:
        counts = {"query_seq_lengths": queries, "key_value_seq_lengths": keys}
        lengths = {name: jnp.full(q.shape[0], n, jnp.int32) for name, n in counts.items()}
    q, k, v = (jnp.pad(x, [(0, 0), (0, 0), (0, x.shape[2] % 2), (0, 0)]) for x in (q, k, v))
    q, k, v = (x.transpose(0, 2, 1, 3) for x in (q, k, v))
    y = jax.nn.dot_product_attention(q, k, v, implementation="cudnn", **lengths)
    return y.transpose(0, 2, 1, 3)[:, :, :queries]
