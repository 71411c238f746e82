"""One training step and one evaluation step, pure; `devices` compiles them with jit or with pmap."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from aufer_jax import parallel
from aufer_jax.models import remat
from aufer_jax.train import optimizer
from aufer_jax.train.base import Batch, Method
from aufer_jax.train.state import TrainState


@dataclasses.dataclass(frozen=True)
class StepOptions:
    """What a training step is compiled with."""

    accumulate: int = 1  # parts in which a batch is processed, with one update for all
    period: int = 1  # rows after which target and auxiliary rows repeat their pattern
    ema_decay: float = 0.0  # 0: no moving average
    evaluation_mode: bool = False  # BatchNorm by its running statistics, no dropout
    freeze: tuple[str, ...] = ()  # name patterns of parameters that stay as they are
    remat: str = ""  # what blocks compute again, one of `remat.KINDS`


def train_step(
    state: TrainState,
    batch: Batch,
    seed: jax.Array,
    *,
    method: Method,
    tx: optax.GradientTransformation,
    options: StepOptions,
    split: parallel.Split,
) -> tuple[TrainState, dict[str, Any]]:
    """Takes one step; the state's buffers may be donated.

    Args:
      state: the state before.
      batch: arrays with the batch in front: the global batch, or under `split.axis` the device's share.
      seed: the data of the key that all of the run's keys come from.
      method, tx, options, split: static.

    Returns:
      The state after, and {"sums": {name: (numerator, count)}, "norms": {...}} over the whole batch.
    """
    key = jax.random.fold_in(jax.random.wrap_key_data(seed), state.step)
    with parallel.batch_split(split), remat.traced_with(options.remat):
        grads, model_state, sums = _gradients(state, batch, key, method, options)
        grads, sums = parallel.psum((grads, sums))
    updates, opt_state = tx.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    norms = {
        "gradients": optax.global_norm(grads),
        "parameters": optax.global_norm(params),
        "updates": optax.global_norm(updates),
    }
    ema = state.ema
    if options.ema_decay:
        ema = optax.incremental_update(params, state.ema, 1 - options.ema_decay)
    new = TrainState(
        step=state.step + 1, params=params, model_state=model_state, opt_state=opt_state, ema=ema
    )
    return new, {"sums": sums, "norms": norms}


def _gradients(
    state: TrainState, batch: Batch, key: jax.Array, method: Method, options: StepOptions
) -> tuple[Any, Any, Any]:
    """Gradients of this share's loss, the model state after it, and sums to log."""

    def loss(params: Any, *rest: Any) -> Any:
        return method.loss(optimizer.held(params, options.freeze), *rest)

    if parallel.split().mesh is not None:
        again = jax.checkpoint_policies.save_anything_except_these_names(parallel.GATHERED)
        loss = jax.checkpoint(loss, policy=again)  # pyright: ignore[reportPrivateImportUsage]
    differentiate = jax.value_and_grad(loss, has_aux=True)
    accumulate = options.accumulate
    if options.evaluation_mode:
        differentiate = functools.partial(_without_key, differentiate)
    if accumulate == 1:
        (_, (model_state, sums)), grads = differentiate(state.params, state.model_state, batch, key)
        return grads, model_state, sums

    def cut(x: jax.Array) -> jax.Array:
        """Every accumulate-th pattern of rows: each part has its rows on every device, in ratio."""
        parts = jnp.moveaxis(x.reshape(-1, accumulate, options.period, *x.shape[1:]), 1, 0)
        return parts.reshape(accumulate, -1, *x.shape[1:])

    parts = jax.tree.map(cut, batch)

    def one(carry: Any, part: tuple) -> tuple[Any, Any]:
        model_state, total = carry
        rows, part_key = part
        (_, (model_state, sums)), grads = differentiate(state.params, model_state, rows, part_key)
        return (model_state, jax.tree.map(jnp.add, total, grads)), sums

    zeros = jax.tree.map(jnp.zeros_like, state.params)
    keys = jax.random.split(key, accumulate)
    (model_state, grads), sums = jax.lax.scan(one, (state.model_state, zeros), (parts, keys))
    grads = jax.tree.map(lambda g: g / accumulate, grads)
    return grads, model_state, jax.tree.map(lambda s: s.sum(0), sums)


def _without_key(differentiate: Callable, params: Any, model_state: Any, batch: Batch, key: Any):
    """Methods compute in evaluation mode when they get no key."""
    del key
    return differentiate(params, model_state, batch, None)


def eval_step(
    params: Any,
    model_state: Any,
    batch: Batch,
    *,
    predict: Callable[[Any, Any, Batch], dict],
    counts: Callable[[dict, Batch], Any],
    split: parallel.Split,
) -> Any:
    """Counts of one batch (see `evaluate.metrics.counts`), summed over the whole batch."""
    with parallel.batch_split(split):
        return parallel.psum(counts(predict(params, model_state, batch), batch))
