"""The contract between the engine and what it trains, and the forward pass all methods share."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from aufer_jax import errors, losses, parallel
from aufer_jax.data import mixture
from aufer_jax.data.views import Spec
from aufer_jax.models.registry import Preprocess

Batch = Mapping[str, jax.Array]
Sums = dict[str, tuple[jax.Array, jax.Array]]


@dataclasses.dataclass(frozen=True)
class Method:
    """What is trained, as pure functions; the engine knows a paper through this alone.

    `init(key, batch) -> variables` with `params` and the model's other collections.
    `loss(params, model_state, batch, key) -> (loss, (new_model_state, sums))`: this share of the batch's
    part of the mean loss (the parts of all devices add up to it), and sums to log: each entry is
    {name: (numerator, count)}. The key is the step's, the same on all devices; `forward` makes it each
    device's own.
    `predict(params, model_state, batch) -> outputs` for evaluation, as `metrics.counts` reads them.
    """

    init: Callable[[jax.Array, Batch], dict[str, Any]]
    loss: Callable[[Any, Any, Batch, jax.Array], tuple[jax.Array, tuple[Any, Sums]]]
    predict: Callable[[Any, Any, Batch], dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Labels:
    """What a network has to know of its run's data; the workdir keeps it as `labels.json`."""

    kind: str  # "image" or "clip"
    expressions: tuple[str, ...]
    aus: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Inference:
    """What a trained method applies to pixels; building it opens no data.

    `predict(params, model_state, batch) -> outputs` is the method's. Without model and preprocessing there
    are no attention maps.
    """

    predict: Callable[[Any, Any, Batch], dict[str, Any]]
    spec: Spec  # of the rows it reads
    evaluation: Callable[[str], mixture.Part] | None = None  # of a split, as in `Task`
    evaluation_splits: Callable[[], tuple[str, ...]] = tuple
    model: nn.Module | None = None
    preprocess: Preprocess | None = None


def normalise(image: jax.Array, preprocess: Preprocess) -> jax.Array:
    """uint8 pixels [..., 3] in RGB -> what the network's weights expect, float32."""
    x = image.astype(jnp.float32)
    if preprocess.order == "BGR":
        x = x[..., ::-1]
    return (x * preprocess.scale - jnp.asarray(preprocess.mean)) / jnp.asarray(preprocess.std)


def cast(tree: Any, dtype: Any) -> Any:
    """Floating leaves in `dtype`, the rest as they are."""
    return jax.tree.map(
        lambda x: x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x, tree
    )


def forward(
    model: nn.Module,
    params: Any,
    model_state: Any,
    x: jax.Array,
    *,
    key: jax.Array | None = None,
    dtype: Any = jnp.float32,
    **inputs: Any,
) -> tuple[dict[str, jax.Array], Any]:
    """Applies the model, computing in `dtype`; with a key it trains and returns the new model state.

    Parameters and `x` are cast, outputs come back in float32, running statistics stay in float32.
    What the model reads beside `x` goes to it by name, as it is.
    """
    variables = {"params": cast(params, dtype), **model_state}
    x = x.astype(dtype)
    if key is None:
        outputs = model.apply(variables, x, train=False, **inputs)
        return cast(outputs, jnp.float32), model_state
    rngs = {"dropout": parallel.device_key(key)}
    outputs, new_state = model.apply(
        variables, x, train=True, rngs=rngs, mutable=list(model_state), **inputs
    )
    return cast(outputs, jnp.float32), new_state


def init(
    model: nn.Module, field: str, key: jax.Array, batch: Batch, **inputs: Any
) -> dict[str, Any]:
    """Variables of a model that reads `field` of the batch and `inputs`; what it sows is left out."""
    x = batch[field][:1].astype(jnp.float32)
    variables = model.init({"params": key, "dropout": key}, x, train=False, **inputs)
    return {name: variables[name] for name in ("params", "batch_stats") if name in variables}


def average_views(outputs: dict[str, jax.Array], views: int) -> dict[str, jax.Array]:
    """Outputs of B * views rows -> those of B records, by the mean of the views' probabilities.

    `expression` and `au` are logits of the mean probability, `features` the mean; others are left out.
    """

    def log_mean(log_p: jax.Array) -> jax.Array:
        rows = log_p.reshape(-1, views, *log_p.shape[1:])
        return jax.nn.logsumexp(rows, axis=1) - jnp.log(views)

    averaged = {"expression": log_mean(jax.nn.log_softmax(outputs["expression"]))}
    if "au" in outputs:
        on, off = (log_mean(jax.nn.log_sigmoid(sign * outputs["au"])) for sign in (1, -1))
        averaged["au"] = on - off
    if "features" in outputs:
        features = outputs["features"]
        averaged["features"] = features.reshape(-1, views, features.shape[-1]).mean(1)
    return averaged


def summed(values: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(sum, count) of the values under a mask, to log their mean over an epoch."""
    return jnp.sum(jnp.where(mask, values, 0.0)), jnp.sum(mask, dtype=jnp.float32)


def shared(total: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(value, count) to log a loss of which each device holds a share."""
    return total, jnp.float32(1.0) / parallel.psum(1)


def correct(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """1.0 where the largest logit is the label's."""
    return (jnp.argmax(logits, axis=-1) == labels).astype(jnp.float32)


def expression_loss(
    logits: jax.Array, batch: Batch, *, smoothing: float = 0.0, labels: str = "majority"
) -> tuple[jax.Array, jax.Array]:
    """The expression loss [B] of logits [B, C], and which rows [B] have an expression to learn.

    Args:
      logits: of any view.
      batch: its `expression`, or its `expression_target` unless labels are by majority.
      smoothing: share of a label that is spread over all classes; not for "multi_target".
      labels: what the rows' votes became, one of `votes.LABELS`.
    """
    if labels == "majority":
        known = batch["expression"] >= 0
        loss = losses.cross_entropy(logits, batch["expression"], smoothing=smoothing)
    else:
        target = batch["expression_target"]
        known = jnp.any(target > 0, axis=-1)
        if labels == "multi_target":
            loss = losses.multi_target(logits, target)
        else:
            loss = losses.cross_entropy(logits, target, smoothing=smoothing)
    return loss, batch["mask"] & known


@dataclasses.dataclass(frozen=True)
class Task:
    """A method and the data it is trained and evaluated on."""

    method: Method
    description: str  # one line: what is trained on what
    train: mixture.Part | mixture.Mixed
    evaluation: Callable[[str], mixture.Part]  # of a split
    evaluation_splits: tuple[str, ...]  # reported in the end; "validation" is looked at in training
    expressions: tuple[str, ...]
    aus: tuple[int, ...]
    steps_per_epoch: int
    example: dict[str, np.ndarray]  # a batch of zeros

    @property
    def labels(self) -> Labels:
        return Labels("clip" if "clip" in self.example else "image", self.expressions, self.aus)

    @property
    def inference(self) -> Inference:
        spec = self.evaluation("validation").spec
        return Inference(self.method.predict, spec, self.evaluation, lambda: self.evaluation_splits)


# --- The methods by name ------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Registered:
    options: type  # the dataclass of its own options: the section `loss` of a config
    build: Callable[[Any], Task]  # of a checked configuration
    inference: Callable[[Any, Labels], Inference] | None


_METHODS: dict[str, Registered] = {}


def register(
    name: str,
    options: type,
    build: Callable[[Any], Task],
    inference: Callable[[Any, Labels], Inference] | None = None,
) -> None:
    """Makes a method known; `method: NAME` in a config means it from now on.

    Without `inference` a finished run is applied through its task, which opens the data.
    """
    _METHODS[name] = Registered(options, build, inference)


def registered(name: str) -> Registered:
    if name not in _METHODS:
        raise errors.unknown("method", name, _METHODS)
    return _METHODS[name]


def names() -> tuple[str, ...]:
    return tuple(_METHODS)


def build(run: Any) -> Task:
    """The task of a checked configuration."""
    return registered(run.method).build(run)


def inference(run: Any, labels: Labels) -> Inference:
    """What a run's finished method applies to pixels."""
    build_inference = registered(run.method).inference
    return build_inference(run, labels) if build_inference else build(run).inference
