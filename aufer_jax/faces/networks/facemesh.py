"""FaceMesh v2: 478 points in three dimensions of the face that fills a picture.

Grishchenko et al., "Attention Mesh: High-fidelity Face Mesh Prediction in Real-time", 2020, describe its
forerunner; the points are those of MediaPipe's canonical face, then five of each iris.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

from aufer_jax.geometry.landmarks import MESH_FEATURES
from aufer_jax.models.layers import Conv, PReLU, max_pool

SIZE = 256  # height and width of the picture
POINTS = 478


class Block(nn.Module):
    """[B, H, W, C] -> [B, H', W', channels]: narrow, depth-wise, wide again, beside the input."""

    channels: int
    narrow: int
    halve: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        window = (2, 2) if self.halve else (1, 1)
        y = PReLU(name="act1")(Conv(self.narrow, window, window, name="narrow")(x))
        y = Conv(
            self.narrow, (3, 3), 1, 1, groups=self.narrow, bias=False, name="depthwise"
        )(y)  # fmt: skip
        y = Conv(self.channels, (1, 1), name="widen")(y)
        if self.halve:
            x = max_pool(x, window, window)
        x = jnp.pad(x, [(0, 0)] * 3 + [(0, self.channels - x.shape[-1])])
        return PReLU(name="act2")(x + y)


class FaceMesh(nn.Module):
    """Faces [B, 256, 256, 3], RGB from 0 to 1 -> `mesh` [B, 478, 3], `face` and `tongue` [B],
    `features` [B, 512].

    The mesh is in pixels of the picture, depth growing away from the viewer. `face`: logit of whether there
    is one; `tongue`: logit of whether it is shown. `features`: the last map, from which all are read.
    """

    channels: Sequence[int] = (
        16,
        32,
        64,
        128,
        128,
        128,
        128,
    )  # of the stages; each halves the last
    narrow: Sequence[int] = (8, 16, 32, 64, 64, 64, 64)
    blocks: Sequence[int] = (4, 5, 5, 5, 5, 5, 5)

    @nn.compact
    def __call__(self, x: jax.Array) -> dict[str, jax.Array]:
        x = Conv(self.channels[0], (3, 3), 2, [(0, 1)] * 2, name="stem")(x)
        x = PReLU(name="stem_act")(x)
        stages = zip(self.channels, self.narrow, self.blocks, strict=True)
        for stage, (channels, narrow, blocks) in enumerate(stages):
            for i in range(blocks):
                halve = stage > 0 and i == 0
                x = Block(channels, narrow, halve, name=f"stage{stage}_{i}")(x)

        def read(name: str, values: int) -> jax.Array:
            return Conv(values, x.shape[1:3], name=name)(x)[:, 0, 0]

        tongue, face, mesh = read("tongue", 1), read("face", 1), read("mesh", 3 * POINTS)
        mesh = mesh.reshape(-1, POINTS, 3)
        features = x.reshape(-1, MESH_FEATURES)
        return {"tongue": tongue[:, 0], "face": face[:, 0], "mesh": mesh, "features": features}
