"""PyTorch's LSTM: gates in the order i, f, g, o, two biases, stacked layers, one or two directions."""

import functools
import math

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax


class LSTM(nn.Module):
    """[B, T, C] -> the last layer's state at every step [B, T, hidden], or forward | backward."""

    hidden: int
    layers: int = 1
    bidirectional: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for layer in range(self.layers):
            states = [self._direction(x, f"l{layer}", reverse=False)]
            if self.bidirectional:
                states.append(self._direction(x, f"l{layer}_reverse", reverse=True))
            x = jnp.concatenate(states, axis=-1)
        return x

    def _direction(self, x: jax.Array, suffix: str, reverse: bool) -> jax.Array:
        """Weights lie as PyTorch stores them, [4 * hidden, C]."""
        bound, rows = 1 / math.sqrt(self.hidden), 4 * self.hidden

        def weight(name, *shape):
            draw = functools.partial(jax.random.uniform, minval=-bound, maxval=bound)
            return self.param(f"{name}_{suffix}", draw, shape).astype(x.dtype)

        w_ih, w_hh = weight("weight_ih", rows, x.shape[-1]), weight("weight_hh", rows, self.hidden)
        bias = weight("bias_ih", rows) + weight("bias_hh", rows)

        def step(carry, from_input):
            h, c = carry
            i, f, g, o = jnp.split(from_input + h @ w_hh.T, 4, axis=-1)
            c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
            h = jax.nn.sigmoid(o) * jnp.tanh(c)
            return (h, c), h

        zeros = jnp.zeros((x.shape[0], self.hidden), x.dtype)
        inputs = jnp.swapaxes(x @ w_ih.T + bias, 0, 1)
        # Turned around, not scanned backwards, which ONNX converters lack.
        _, states = lax.scan(step, (zeros, zeros), jnp.flip(inputs, 0) if reverse else inputs)
        states = jnp.flip(states, 0) if reverse else states
        return jnp.swapaxes(states, 0, 1)
