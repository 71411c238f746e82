"""Attention among many tokens: the frugal form and the fused one do what the plain one does."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from aufer_jax.models import attention, ops


class Attends(nn.Module):
    """Nothing but attention."""

    dropout: float = 0.0

    @nn.compact
    def __call__(self, q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
        return attention.attend(self, q, k, v, self.dropout)


def arrays(queries=3, keys=300, heads=2, depth=8, dtype=jnp.float32):
    """Queries, keys, values, and a gradient of what comes out."""
    rng = np.random.default_rng(0)
    shapes = [(2, heads, n, depth) for n in (queries, keys, keys, queries)]
    return [jnp.asarray(rng.normal(size=shape), dtype) for shape in shapes]


def by_hand(q, k, v, dy):
    """What comes out, and the three gradients, in float64."""
    q, k, v, dy = (np.asarray(x, np.float64) for x in (q, k, v, dy))
    scale = q.shape[-1] ** -0.5
    weights = np.exp(scale * q @ k.swapaxes(2, 3))
    weights /= weights.sum(-1, keepdims=True)
    dweights = dy @ v.swapaxes(2, 3)
    dlogits = weights * (dweights - (weights * dweights).sum(-1, keepdims=True))
    dq, dk = scale * dlogits @ k, scale * dlogits.swapaxes(2, 3) @ q
    return weights @ v, dq, dk, weights.swapaxes(2, 3) @ dy


def step(q, k, v, dy):
    """What comes out, and the three gradients."""
    y, back = jax.vjp(lambda *x: Attends().apply({}, *x), q, k, v)
    return y, *back(dy)


@pytest.mark.parametrize("keys", [20, attention.LONG + 44])
def test_values_and_gradients(keys):
    given = arrays(keys=keys)
    for ours, true in zip(step(*given), by_hand(*given), strict=True):
        np.testing.assert_allclose(ours, true, atol=2e-6)


def test_sixteen_bits():
    given = arrays(dtype=jnp.bfloat16)
    for ours, true in zip(step(*given), by_hand(*given), strict=True):
        assert ours.dtype == jnp.bfloat16
        np.testing.assert_allclose(
            np.asarray(ours, np.float64), true, atol=0.02 * np.abs(true).max()
        )


def test_keeps_its_weights_where_it_is_asked():
    q, k, v, dy = arrays()
    y, kept = Attends().apply({}, q, k, v, mutable=["intermediates"])
    (weights,) = kept["intermediates"]["attention"]
    np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-5)
    np.testing.assert_allclose(y, by_hand(q, k, v, dy)[0], atol=2e-6)


def test_dropout_drops_weights():
    q, k, v, _ = arrays(queries=200)
    ones = jnp.ones_like(v)
    rng = {"dropout": jax.random.key(0)}
    sums = Attends(0.5).apply({}, q, k, ones, rngs=rng)[..., 0]
    assert np.std(sums) > 0.01
    np.testing.assert_allclose(sums.mean(), 1, atol=0.02)


def test_takes_less_memory():
    q, k, v, _ = arrays(queries=400, keys=400, heads=8)

    def layers(q, k, v):
        for _ in range(6):
            q = q + Attends().apply({}, q, k, v)
        return q.sum()

    def temporary(call):
        return jax.jit(jax.grad(call)).lower(q, k, v).compile().memory_analysis().temp_size_in_bytes

    frugal = temporary(layers)
    with ops.traced_for("cuda"):  # the plain form
        plain = temporary(lambda *x: layers(*x))  # traced again
    assert frugal < plain / 3


@pytest.fixture
def gpu(monkeypatch):
    """What is traced here takes this machine for one with a GPU, whose age is to be set."""
    found = types.SimpleNamespace(compute_capability="9.0")
    monkeypatch.setattr(attention.jax, "devices", lambda: [found])
    with ops.traced_for("gpu"):  # as a step is for the devices that it runs on
        yield found


def test_fused_on_a_gpu(gpu, monkeypatch):
    """Lowered as there; JAX asks for the version of a library that is not here."""
    from jax._src.cudnn import fused_attention_stablehlo as cudnn

    monkeypatch.setattr(cudnn, "check_cudnn_version", lambda: 91000)
    monkeypatch.setattr(cudnn, "check_compute_capability", lambda _: True)

    def lowered(*given):
        traced = jax.jit(lambda *x: step(*x)).trace(*given)
        return traced.lower(lowering_platforms=("cuda",)).as_text()

    long = arrays(dtype=jnp.bfloat16)
    assert "fmhaSoftmaxBackward" in lowered(*long)
    assert "fmha" not in lowered(*arrays(keys=20, dtype=jnp.bfloat16))
    assert "fmha" not in lowered(*arrays())
    with ops.traced_for("cuda"):  # what is exported has no calls of a library
        assert "fmha" not in lowered(*long)
    for old_or_other in ("7.5", "gfx90a"):
        gpu.compute_capability = old_or_other
        assert "fmha" not in lowered(*long)


@pytest.mark.parametrize("queries, keys", [(4, 300), (3, 300), (4, 301), (301, 301)])
def test_odd_numbers_for_the_kernel(gpu, monkeypatch, queries, keys):
    given = arrays(queries, keys, dtype=jnp.bfloat16)
    real = jax.nn.dot_product_attention

    def kernel(q, k, v, implementation, **lengths):
        assert implementation == "cudnn" and q.shape[1] % 2 == k.shape[1] % 2 == 0
        return real(q, k, v, implementation="xla", **lengths)

    monkeypatch.setattr(attention.jax.nn, "dot_product_attention", kernel)
    for ours, true in zip(step(*given), by_hand(*given), strict=True):
        assert ours.shape == true.shape
        np.testing.assert_allclose(
            np.asarray(ours, np.float64), true, atol=0.02 * np.abs(true).max()
        )
