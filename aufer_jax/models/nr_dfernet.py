"""NR-DFERNet: what changes between frames beside what is in them, a class token made of the frames, a filter.

Built from the paper's text; docs/audfer.md says which choices are ours.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

from aufer_jax.errors import UserError
from aufer_jax.models.former_dfer import Layer
from aufer_jax.models.heads import heads
from aufer_jax.models.layers import BatchNorm, Conv, max_pool
from aufer_jax.models.registry import Architecture, Preprocess, register
from aufer_jax.models.remat import rematerialised
from aufer_jax.models.resnet import BasicBlock

_normal = nn.initializers.normal(1.0)
_kaiming_fan_out = nn.initializers.variance_scaling(2.0, "fan_out", "normal")


class DynamicStaticFusion(nn.Module):
    """Maps [B, T, h, w, C] of frames -> the sum of a dynamic and a static branch [B, T - 1, h', w', C].

    The dynamic branch reads each frame's difference to the next; the static one the frame, as tokens.
    """

    blocks: int
    depth: int
    heads: int
    head_dim: int
    hidden: int

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        batch, frames, *shape = x.shape
        channels = shape[-1]
        change = (x[:, 1:] - x[:, :-1]).reshape(-1, *shape)
        for i in range(self.blocks):
            block = rematerialised(BasicBlock)(channels, 1 if i else 2, name=f"d_branch_{i}")
            change = block(change, train)
        still = Conv(
            channels,
            (3, 3),
            2,
            1,
            bias=False,
            kernel_init=_kaiming_fan_out,
            name="patch_embedding_0",
        )(x[:, :-1].reshape(-1, *shape))
        still = jax.nn.relu(BatchNorm(name="patch_embedding_1")(still, train))
        tokens = still.reshape(still.shape[0], -1, channels)
        position = self.param("pos_embedding_static", _normal, (1, *tokens.shape[1:]))
        tokens = tokens + position.astype(x.dtype)
        for i in range(self.depth):
            layer = rematerialised(Layer)(
                self.heads, self.head_dim, self.hidden, name=f"s_branch_{i}"
            )
            tokens, _ = layer(tokens, train)
        fused = change + tokens.reshape(change.shape)
        return fused.reshape(batch, frames - 1, *fused.shape[1:])


class Temporal(nn.Module):
    """Frames [B, n, d], n up to `frames`, behind their dynamic class token -> the token [B, d]."""

    frames: int
    depth: int
    heads: int
    head_dim: int
    hidden: int

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        x = with_class_token(x)
        shape = (1, 1 + self.frames, x.shape[-1])
        position = self.param("temporal_pos_embedding", _normal, shape)
        x = x + position[:, : x.shape[1]].astype(x.dtype)
        for i in range(self.depth):
            layer = rematerialised(Layer)(
                self.heads, self.head_dim, self.hidden, name=f"layers_{i}"
            )
            x, _ = layer(x, train)
        return x[:, 0]


class NRDFERNet(nn.Module):
    """Clips [B, T, H, W, 3] -> heads over the dynamic class token; T, H and W are fixed by the weights.

    In evaluation `snippets` [B, S, num_classes] are the logits of short windows of the clip; those that
    are sure of an expression and of no neutral one keep neutral from being the clip's answer.
    """

    num_classes: int = 7
    num_aus: int | None = None
    neutral: int | None = None  # the class of neutral faces; None: no filter
    votes: int = 1  # snippets that the filter needs; 0: no filter
    sure: float = 0.75  # the least probability of a snippet's expression
    not_neutral: float = 0.03  # the largest of its neutral class
    snippet: int = 3  # frames of it
    snippet_step: int = 2  # frames from one to the next
    width: int = 64  # of the stem and the first stage; doubled at every later stage
    layers: Sequence[int] = (1, 1, 1)
    dynamic_blocks: int = 3
    s_depth: int = 2
    s_heads: int = 4
    s_head_dim: int = 32
    s_hidden: int = 256
    t_depth: int = 2
    t_heads: int = 4
    t_head_dim: int = 32
    t_hidden: int = 512

    @nn.compact
    def __call__(self, x: jax.Array, train: bool = False) -> dict[str, jax.Array]:
        batch, frames = x.shape[:2]
        if frames <= self.snippet:
            raise UserError(f"frames: {frames} given, a snippet and its differences need more")
        x = self._spatial(x.reshape(-1, *x.shape[2:]), train)
        fusion = DynamicStaticFusion(
            self.dynamic_blocks, self.s_depth, self.s_heads, self.s_head_dim, self.s_hidden,
            name="fusion",
        )  # fmt: skip
        x = fusion(x.reshape(batch, frames, *x.shape[1:]), train)
        out = {"fused": x}
        x = x.reshape(batch, frames - 1, -1)
        temporal = Temporal(
            frames - 1, self.t_depth, self.t_heads, self.t_head_dim, self.t_hidden,
            name="temporal_transformer",
        )  # fmt: skip
        tokens = temporal(x, train)[:, None]
        neutral = self.neutral if self.votes and not train else None
        if neutral is not None:
            short = windows(x, self.snippet, self.snippet_step)
            short = temporal(short.reshape(-1, *short.shape[2:]), train)
            tokens = jnp.concatenate([tokens, short.reshape(batch, -1, short.shape[-1])], axis=1)
        every = heads(tokens, self.num_classes, self.num_aus)
        out |= {name: value[:, 0] for name, value in every.items()}
        if neutral is not None:
            out["snippets"] = every["expression"][:, 1:]
            out["expression"] = snippet_filter(
                out["expression"], out["snippets"], neutral,
                votes=self.votes, sure=self.sure, not_neutral=self.not_neutral,
            )  # fmt: skip
        return out

    def _spatial(self, x: jax.Array, train: bool) -> jax.Array:
        """Frames [N, H, W, 3] -> maps of a sixteenth of the side."""

        def conv(x: jax.Array, stride: int, name: str) -> jax.Array:
            init = _kaiming_fan_out
            return Conv(self.width, (3, 3), stride, 1, bias=False, kernel_init=init, name=name)(x)

        x = jax.nn.relu(BatchNorm(name="conv1_1")(conv(x, 2, "conv1_0"), train))
        x = jax.nn.relu(BatchNorm(name="bn1")(conv(x, 1, "conv1_3"), train))
        x = max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1)))
        for stage, count in enumerate(self.layers):
            for i in range(count):
                stride = 2 if stage and not i else 1
                block = rematerialised(BasicBlock)(
                    self.width * 2**stage, stride, name=f"layer{stage + 1}_{i}"
                )
                x = block(x, train)
        return x


def with_class_token(frames: jax.Array) -> jax.Array:
    """Frames [B, n, d] behind the dynamic class token, their mean: [B, 1 + n, d].

    >>> with_class_token(jnp.array([[[1.0], [3.0]]])).tolist()
    [[[2.0], [1.0], [3.0]]]
    """
    return jnp.concatenate([frames.mean(1, keepdims=True), frames], axis=1)


def windows(frames: jax.Array, length: int, step: int) -> jax.Array:
    """Every window of `length` frames, `step` apart, that lies in [B, n, d]: [B, S, length, d].

    >>> windows(jnp.arange(7.0).reshape(1, 7, 1), 3, 2)[0, ..., 0].tolist()
    [[0.0, 1.0, 2.0], [2.0, 3.0, 4.0], [4.0, 5.0, 6.0]]
    """
    starts = range(0, frames.shape[1] - length + 1, step)
    return jnp.stack([frames[:, i : i + length] for i in starts], axis=1)


def snippet_filter(
    logits: jax.Array,
    snippets: jax.Array,
    neutral: int,
    *,
    votes: int = 1,
    sure: float = 0.75,
    not_neutral: float = 0.03,
) -> jax.Array:
    """Logits [B, C] whose neutral class is below all others where enough snippets [B, S, C] speak against it.

    A snippet does if the probability of an expression is above `sure`, of neutral at most `not_neutral`.
    """
    p = jax.nn.softmax(snippets.astype(jnp.float32))
    against = (p[..., neutral] <= not_neutral) & (p.max(-1) > sure)
    lowest = (logits.min(-1, keepdims=True) - 1).astype(logits.dtype)
    ruled_out = jnp.arange(logits.shape[-1]) == neutral
    ruled_out &= (against.sum(-1) >= votes)[:, None]
    return jnp.where(ruled_out, lowest, logits)


register(
    "nr_dfernet",
    Architecture(
        NRDFERNet,
        Preprocess(112, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), frames=16),
        input="clip",
    ),
)
