"""The training state: everything a step changes."""

from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax

from aufer_jax.train.base import Batch, Method


@flax.struct.dataclass
class TrainState:
    """All that a step changes."""

    step: jax.Array
    params: Any
    model_state: Any  # collections beside the parameters: batch statistics
    opt_state: Any
    ema: Any  # moving average of the parameters, or an empty dict

    def evaluated(self) -> Any:
        """The parameters that validation and prediction use."""
        return self.ema or self.params


def create(
    method: Method, tx: optax.GradientTransformation, key: jax.Array, batch: Batch, *, ema: bool
) -> TrainState:
    """A state with random initial values."""
    variables = method.init(key, batch)
    return from_variables(variables, tx, ema=ema)


def from_variables(variables: dict, tx: optax.GradientTransformation, *, ema: bool) -> TrainState:
    """A state at step 0 with these values."""
    params = variables["params"]
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        model_state={name: value for name, value in variables.items() if name != "params"},
        opt_state=tx.init(params),
        ema=jax.tree.map(jnp.copy, params) if ema else {},
    )
