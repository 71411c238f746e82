"""The pre-norm transformer block of AU-ViT, with a linear or a convolutional feed-forward."""

import math
from collections.abc import Callable

import jax
from flax import linen as nn

from aufer_jax.errors import UserError
from aufer_jax.models.layers import (
    Attention,
    BatchNorm,
    Conv,
    DropPath,
    LayerNorm,
    Mlp,
    gelu,
    torch_kernel_init,
)


class ConvFFN(nn.Module):
    """Conv-FFN: tokens [B, n * n, C] as an n x n map through 1x1, depth-wise 3x3 and 1x1 convolutions."""

    hidden: int

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        b, n, c = x.shape
        side = math.isqrt(n)
        if side * side != n:
            raise UserError(f"the Conv-FFN needs a square map of tokens, got {n} tokens")
        y = Conv(self.hidden, (1, 1), name="fc1")(x.reshape(b, side, side, c))
        y = gelu(BatchNorm(name="bn1")(y, train))
        y = Conv(self.hidden, (3, 3), padding=1, groups=self.hidden, name="dwconv")(y)
        y = gelu(BatchNorm(name="bn2")(y, train))
        y = BatchNorm(name="bn3")(Conv(c, (1, 1), name="fc2")(y), train)
        return y.reshape(b, n, c)


class Block(nn.Module):
    """x + attention(norm(x)), then x + feed-forward(norm(x)), on tokens [B, N, C]."""

    heads: int
    mlp_ratio: float = 4.0
    conv_ffn: bool = False
    attention_dropout: float = 0.0
    drop_path: float = 0.0
    kernel_init: Callable = torch_kernel_init
    bias_init: Callable | None = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        width = x.shape[-1]
        if width % self.heads:
            raise UserError(f"heads: {self.heads} do not divide the width {width}")
        init = {"kernel_init": self.kernel_init, "bias_init": self.bias_init}
        attention = Attention(
            self.heads,
            width // self.heads,
            attention_dropout=self.attention_dropout,
            name="attn",
            **init,
        )
        hidden = int(width * self.mlp_ratio)
        if self.conv_ffn:
            feed_forward = ConvFFN(hidden, name="mlp")
        else:
            feed_forward = Mlp(hidden, name="mlp", **init)
        drop = DropPath(self.drop_path)
        x = x + drop(attention(LayerNorm(epsilon=1e-6, name="norm1")(x), train), train)
        return x + drop(feed_forward(LayerNorm(epsilon=1e-6, name="norm2")(x), train), train)
