"""Layers with PyTorch's arithmetic and initial values, channels last; the blocks of every network here.

Parameters are float32; a layer computes in the type of its input, statistics and softmax in float32.
Names of modules mirror the published checkpoints' keys (`layer1_0/conv1` for `layer1.0.conv1`), leaves
are `kernel`, `bias`, `scale`, `slope`, and `mean`, `var` in the collection `batch_stats`.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from aufer_jax import parallel
from aufer_jax.errors import UserError
from aufer_jax.models import ops, ops_cpu
from aufer_jax.models.attention import attend

# PyTorch's default: Kaiming's uniform one with a = sqrt 5.
torch_kernel_init = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


def torch_bias_init(fan_in: int) -> Callable:
    """PyTorch's initial biases: uniform within 1 / sqrt(fan_in).

    >>> key = jax.random.key(0)
    >>> bool(jnp.abs(torch_bias_init(4)(key, (100,))).max() < 0.5)
    True
    """
    bound = 1 / math.sqrt(fan_in)
    return lambda key, shape, dtype=jnp.float32: jax.random.uniform(
        key, shape, dtype, -bound, bound
    )


def gelu(x: jax.Array) -> jax.Array:
    """The exact GELU by erf, as PyTorch has it; `jax.nn.gelu` takes the slower way over erfc."""
    return x * (jax.lax.erf(x * math.sqrt(0.5)) + 1) * 0.5


def _tuple(value: Any, rank: int) -> tuple:
    return (value,) * rank if isinstance(value, int) else tuple(value)


class Linear(nn.Module):
    """[..., C] -> [..., features]."""

    features: int
    bias: bool = True
    kernel_init: Callable = torch_kernel_init
    bias_init: Callable | None = None  # None: PyTorch's uniform

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        fan_in = x.shape[-1]
        kernel = self.param("kernel", self.kernel_init, (fan_in, self.features))
        y = ops.matmul(x, kernel.astype(x.dtype))
        if self.bias:
            init = self.bias_init or torch_bias_init(fan_in)
            y = y + self.param("bias", init, (self.features,)).astype(x.dtype)
        return y


def class_maps(x: jax.Array, head: Linear) -> jax.Array:
    """[B, h, w, C] -> [B, h, w, n]: what each cell adds to the n logits of a head on the mean of x.

    Without the bias, and without a gradient into the head.
    """
    kernel = jax.lax.stop_gradient(head.variables["params"]["kernel"])
    return x @ kernel.astype(x.dtype)


class Conv(nn.Module):
    """[B, *space, C] -> [B, *space', features]; rank 1 to 3 from the length of `kernel_size`."""

    features: int
    kernel_size: Sequence[int]
    strides: int | Sequence[int] = 1
    padding: int | Sequence[int | tuple[int, int]] = 0
    groups: int = 1
    bias: bool = True
    kernel_init: Callable = torch_kernel_init
    bias_init: Callable | None = None

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        if not jnp.issubdtype(x.dtype, jnp.floating):
            raise UserError(
                f"image: {x.dtype} numbers; a network reads normalised float32 (train.base.normalise), "
                "runs.Predictor takes uint8 pixels"
            )
        rank = len(self.kernel_size)
        channels = x.shape[-1] // self.groups
        kernel = self.param(
            "kernel", self.kernel_init, (*self.kernel_size, channels, self.features)
        )
        pairs = [(p, p) if isinstance(p, int) else p for p in _tuple(self.padding, rank)]
        y = ops.conv(x, kernel.astype(x.dtype), _tuple(self.strides, rank), pairs, self.groups)
        if self.bias:
            init = self.bias_init or torch_bias_init(channels * math.prod(self.kernel_size))
            y = y + self.param("bias", init, (self.features,)).astype(x.dtype)
        return y


class BatchNorm(nn.Module):
    """PyTorch's: new = (1 - momentum) * old + momentum * batch, running variance unbiased.

    Statistics span the whole batch on all devices, or its parts as `parallel.Split` says; running
    statistics are then the mean over the parts.
    """

    momentum: float = 0.1
    eps: float = 1e-5
    affine: bool = True
    scale_init: Callable = nn.initializers.ones

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        channels = x.shape[-1]
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, channels, jnp.float32)
        running_var = self.variable("batch_stats", "var", jnp.ones, channels, jnp.float32)
        if train:
            x32 = x.astype(jnp.float32)
            mean, var, count = _batch_statistics(x32)
            if not self.is_initializing():
                unbiased = var * (count / max(count - 1, 1))
                keep = 1 - self.momentum
                new_mean = parallel.pmean(mean.reshape(-1, channels).mean(0))
                new_var = parallel.pmean(unbiased.reshape(-1, channels).mean(0))
                running_mean.value = keep * running_mean.value + self.momentum * new_mean
                running_var.value = keep * running_var.value + self.momentum * new_var
        else:
            mean, var = running_mean.value, running_var.value
        factor = jax.lax.rsqrt(var + self.eps)
        shift = -mean * factor
        if self.affine:
            scale = self.param("scale", self.scale_init, (channels,)).astype(jnp.float32)
            bias = self.param("bias", nn.initializers.zeros, (channels,)).astype(jnp.float32)
            factor, shift = factor * scale, shift * scale + bias
        if factor.ndim == 1:
            return (x * factor + shift).astype(x.dtype)
        grouped = x.reshape(factor.shape[0], -1, *x.shape[1:])  # statistics [G, 1, ..., C]
        return (grouped * factor + shift).astype(x.dtype).reshape(x.shape)


def _batch_statistics(x: jax.Array) -> tuple[jax.Array, jax.Array, int]:
    """Mean, biased variance ([C], or [G, 1, ..., C] per group) and the count behind each."""
    split = parallel.split()
    groups = split.stat_groups
    grouped = x.reshape(groups, -1, *x.shape[1:]) if groups > 1 else x
    axes = tuple(range(1 if groups > 1 else 0, grouped.ndim - 1))
    reduce = functools.partial(jnp.mean, axis=axes, keepdims=groups > 1)
    synced = parallel.pmean if split.sync_stats else lambda value: value
    mean = synced(reduce(grouped))
    var = synced(reduce(jnp.square(grouped - mean)))
    count = x.size // x.shape[-1] // groups
    if split.axis is not None and split.sync_stats:
        count *= jax.lax.axis_size(split.axis)
    return mean, var, count


class LayerNorm(nn.Module):
    """Mean 0 and variance 1 over `axes` of every sample, then a scale and a shift of that shape."""

    epsilon: float
    axes: Sequence[int] = (-1,)

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = tuple(x.shape[axis] for axis in self.axes)
        scale = self.param("scale", nn.initializers.ones, shape)
        bias = self.param("bias", nn.initializers.zeros, shape)
        x32 = x.astype(jnp.float32)
        centred = x32 - x32.mean(self.axes, keepdims=True)
        var = jnp.square(centred).mean(self.axes, keepdims=True)
        return (centred * jax.lax.rsqrt(var + self.epsilon) * scale + bias).astype(x.dtype)


class PReLU(nn.Module):
    """One slope per channel."""

    initial: float = 0.25

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        slope = self.param("slope", nn.initializers.constant(self.initial), (x.shape[-1],))
        return jnp.where(x >= 0, x, slope.astype(x.dtype) * x)


class DropPath(nn.Module):
    """Stochastic depth: drops the residual branch of whole samples, scales the kept ones up."""

    rate: float

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        if not train or self.rate == 0:
            return x
        keep = 1 - self.rate
        shape = (x.shape[0],) + (1,) * (x.ndim - 1)
        kept = jax.random.bernoulli(self.make_rng("dropout"), keep, shape)
        return jnp.where(kept, x / keep, 0).astype(x.dtype)


class Attention(nn.Module):
    """Multi-head self-attention over tokens [B, N, C]; qkv is laid out as [3, heads, head_dim]."""

    heads: int
    head_dim: int
    qkv_bias: bool = True
    project: bool = True  # a linear layer over the heads side by side
    attention_dropout: float = 0.0
    dropout: float = 0.0
    kernel_init: Callable = torch_kernel_init
    bias_init: Callable | None = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        b, n, c = x.shape
        linear = functools.partial(Linear, kernel_init=self.kernel_init, bias_init=self.bias_init)
        width = self.heads * self.head_dim
        qkv = linear(3 * width, bias=self.qkv_bias, name="qkv")(x)
        # [3, B, heads, N, head_dim]: heads before tokens is four times as fast on a CPU
        q, k, v = qkv.reshape(b, n, 3, self.heads, self.head_dim).transpose(2, 0, 3, 1, 4)
        y = attend(self, q, k, v, self.attention_dropout if train else 0.0)
        y = y.transpose(0, 2, 1, 3).reshape(b, n, width)
        if self.project:
            y = linear(c, name="proj")(y)
        return nn.Dropout(self.dropout, deterministic=not train)(y)


class Mlp(nn.Module):
    """Linear feed-forward: C -> hidden -> C, or `out`, with an exact (erf) GELU."""

    hidden: int
    dropout: float = 0.0
    kernel_init: Callable = torch_kernel_init
    bias_init: Callable | None = None
    out: int | None = None

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        linear = functools.partial(Linear, kernel_init=self.kernel_init, bias_init=self.bias_init)
        drop = nn.Dropout(self.dropout, deterministic=not train)
        y = drop(gelu(linear(self.hidden, name="fc1")(x)))
        return drop(linear(self.out or x.shape[-1], name="fc2")(y))


def max_pool(
    x: jax.Array,
    window: Sequence[int],
    strides: Sequence[int],
    padding: Sequence[tuple[int, int]] | None = None,
    ceil_mode: bool = False,
) -> jax.Array:
    """PyTorch's max pooling; `ceil_mode` lets windows that begin inside run over the far edge."""
    pairs = list(padding or [(0, 0)] * len(window))
    if ceil_mode:
        for i, (n, k, s) in enumerate(zip(x.shape[1:-1], window, strides, strict=True)):
            low, high = pairs[i]
            outputs = -(-(n + low + high - k) // s) + 1
            if (outputs - 1) * s >= n + low:  # PyTorch drops a window that would begin outside
                outputs -= 1
            pairs[i] = (low, max(high, (outputs - 1) * s + k - n - low))
    if ops.for_cpu() or ops.for_onnx():
        return ops_cpu.max_pool(x, window, strides, pairs)
    return nn.max_pool(x, tuple(window), tuple(strides), pairs)  # type: ignore[arg-type]
