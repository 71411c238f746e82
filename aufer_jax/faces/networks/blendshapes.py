"""52 blendshape coefficients, what the face does, told from 146 points of its mesh: an MLP-mixer.

Tolstikhin et al., "MLP-Mixer: An all-MLP Architecture for Vision", 2021; the coefficients are those of
ARKit without the tongue, after one for the neutral face.
"""

import functools

import jax
import jax.numpy as jnp
from flax import linen as nn

from aufer_jax import facs
from aufer_jax.models.layers import LayerNorm, Linear

# Which of the mesh's 478 points are read.
POINTS = (
    *(0, 1, 4, 5, 6, 7, 8, 10, 13, 14, 17, 21, 33, 37, 39, 40, 46, 52, 53, 54, 55, 58, 61, 63, 65),
    *(66, 67, 70, 78, 80, 81, 82, 84, 87, 88, 91, 93, 95, 103, 105, 107, 109, 127, 132, 133, 136),
    *(144, 145, 146, 148, 149, 150, 152, 153, 154, 155, 157, 158, 159, 160, 161, 162, 163, 168),
    *(172, 173, 176, 178, 181, 185, 191, 195, 197, 234, 246, 249, 251, 263, 267, 269, 270, 276),
    *(282, 283, 284, 285, 288, 291, 293, 295, 296, 297, 300, 308, 310, 311, 312, 314, 317, 318),
    *(321, 323, 324, 332, 334, 336, 338, 356, 361, 362, 365, 373, 374, 375, 377, 378, 379, 380),
    *(381, 382, 384, 385, 386, 387, 388, 389, 390, 397, 398, 400, 402, 405, 409, 415, 454, 466),
    *(468, 469, 470, 471, 472, 473, 474, 475, 476, 477),
)

_norm = functools.partial(LayerNorm, epsilon=1e-6)


class ClassToken(nn.Module):
    """[B, N, C] -> [B, 1 + N, C]: a learned token before the others."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        token = self.param("token", nn.initializers.normal(0.02), (1, x.shape[-1]))
        return jnp.concatenate([jnp.broadcast_to(token, (len(x), *token.shape)), x], axis=1)


class Mixer(nn.Module):
    """Tokens [B, N, C]: a feed-forward net over the tokens, then one over the channels."""

    tokens: int
    channels: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        y = _norm(name="norm1")(x).swapaxes(1, 2)
        y = Linear(x.shape[1], name="tokens2")(nn.relu(Linear(self.tokens, name="tokens1")(y)))
        x = x + y.swapaxes(1, 2)
        y = _norm(name="norm2")(x)
        y = nn.relu(Linear(self.channels, name="channels1")(y))
        return x + Linear(x.shape[2], name="channels2")(y)


class Blendshapes(nn.Module):
    """Points [B, 146, 2] of the mesh in pixels, upright -> logits [B, 52] of the coefficients.

    Place and size of the face do not matter.
    """

    tokens: int = 96
    width: int = 64
    depth: int = 4
    hidden: tuple[int, int] = (384, 256)

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = x - x.mean(1, keepdims=True)
        x = 0.5 * x / jnp.linalg.norm(x, axis=-1, keepdims=True).mean(1, keepdims=True)
        x = Linear(self.tokens, name="mix")(x.swapaxes(1, 2)).swapaxes(1, 2)
        x = ClassToken(name="class_token")(Linear(self.width, name="embed")(x))
        for i in range(self.depth):
            x = Mixer(*self.hidden, name=f"block_{i}")(x)
        return Linear(len(facs.BLENDSHAPES), name="head")(x[:, 0])
