"""The optax chain of a run: clipping, weight decay, the rule, layer-wise rates, freezing by name."""

import dataclasses
import re
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import traverse_util

from aufer_jax import errors

NAMES = ("adam", "adamw", "sgd")


@dataclasses.dataclass(frozen=True)
class Optimizer:
    """`adam` and `sgd` add weight decay to the gradient (L2), `adamw` decays apart from it."""

    name: str = "adamw"
    lr: float = 1e-3
    betas: tuple[float, float] = (0.9, 0.999)
    momentum: float = 0.9  # sgd
    nesterov: bool = False  # sgd
    weight_decay: float = 0.0
    no_decay: tuple[str, ...] = ()  # name patterns of parameters without weight decay
    decay_vectors: bool = True  # False: none on biases, scales and others of one axis
    clip_norm: float = 0.0  # 0: no clipping
    freeze: tuple[str, ...] = ()  # name patterns of parameters that stay as they are
    layer_decay: float = 1.0  # rate factor from each layer of `layers` to the one before it
    layers: tuple[str, ...] = ()  # name patterns, input to output; what matches none is the output


def create(
    config: Optimizer, rate: Callable[[Any], jax.Array], params: Any
) -> optax.GradientTransformation:
    """The chain for these parameters; `rate` is a schedule from `schedules.create`."""
    if config.name not in NAMES:
        raise errors.unknown("optimizer.name", config.name, NAMES)
    paths = ["/".join(path) for path in traverse_util.flatten_dict(params)]
    for key in ("no_decay", "freeze", "layers"):
        for pattern in getattr(config, key):
            if not any(re.search(pattern, path) for path in paths):
                tops = sorted({path.split("/")[0] for path in paths})
                raise errors.unknown(f"optimizer.{key}", pattern, tops)
    decay = _decay(config, params)
    rule = {
        "adam": [*decay, optax.scale_by_adam(*config.betas)],
        "adamw": [optax.scale_by_adam(*config.betas), *decay],
        "sgd": [*decay, optax.trace(config.momentum, config.nesterov)],
    }[config.name]
    chain = [optax.clip_by_global_norm(config.clip_norm)] if config.clip_norm else []
    chain += rule
    if config.layer_decay != 1.0:
        chain.append(_layer_wise(config.layer_decay, config.layers))
    chain.append(optax.scale_by_learning_rate(rate))
    tx = optax.chain(*chain)
    if not config.freeze:
        return tx
    return optax.partition(
        {"trained": tx, "frozen": optax.set_to_zero()},
        lambda tree: _by_name(
            tree, lambda path: "frozen" if _matches(path, config.freeze) else "trained"
        ),
    )


def held(params: Any, freeze: Sequence[str]) -> Any:
    """The parameters, those that stay as they are cut off from gradients, which then cost nothing."""
    if not freeze:
        return params
    frozen = _by_name(params, lambda path: _matches(path, freeze))
    return jax.tree.map(lambda x, stays: jax.lax.stop_gradient(x) if stays else x, params, frozen)


def _matches(path: str, patterns: Sequence[str]) -> bool:
    return any(re.search(pattern, path) for pattern in patterns)


def _by_name(tree: Any, function: Callable[[str], Any]) -> Any:
    flat = traverse_util.flatten_dict(tree)
    return traverse_util.unflatten_dict({path: function("/".join(path)) for path in flat})


def _decay(config: Optimizer, params: Any) -> list[optax.GradientTransformation]:
    if not config.weight_decay:
        return []
    mask = _by_name(params, lambda path: not _matches(path, config.no_decay))
    if not config.decay_vectors:
        mask = jax.tree.map(lambda keep, leaf: keep and jnp.ndim(leaf) > 1, mask, params)
    return [optax.add_decayed_weights(config.weight_decay, mask)]


def _layer_wise(decay: float, layers: Sequence[str]) -> optax.GradientTransformation:
    """Scales each layer's update by decay ** (layers between it and the output)."""

    def factor(path: str) -> float:
        for index, pattern in enumerate(layers):
            if re.search(pattern, path):
                return decay ** (len(layers) - index)
        return 1.0

    def update(updates: Any, params: Any = None) -> Any:
        del params
        return jax.tree_util.tree_map_with_path(
            lambda path, u: u * factor("/".join(step.key for step in path)), updates
        )

    return optax.stateless(update)
