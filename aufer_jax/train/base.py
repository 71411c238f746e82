"""The contract between the engine and what it trains, and the forward pass all methods share."""

import dataclasses
import functools
import importlib.metadata
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn

from aufer_jax import errors, parallel
from aufer_jax.data import framing, mixture
from aufer_jax.data.views import Spec
from aufer_jax.models.registry import Preprocess
from aufer_jax.train import schedules
from aufer_jax.train.run import Run

Batch = Mapping[str, jax.Array]
Sums = dict[str, tuple[jax.Array, jax.Array]]
Outputs = dict[str, jax.Array]  # of a model, by name
Variables = Mapping[str, Any]  # nested: parameters, or a model's other collections
Options = TypeVar("Options")


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

    init: Callable[[jax.Array, Batch], dict[str, Variables]]
    loss: Callable[
        [Variables, Variables, Batch, jax.Array], tuple[jax.Array, tuple[Variables, Sums]]
    ]
    predict: Callable[[Variables, Variables, Batch], dict[str, Any]]


@dataclasses.dataclass(frozen=True)
class Labels:
    """What a network has to know of its run's data; the workdir keeps it as `labels.json`."""

    kind: str  # "image" or "clip"
    expressions: tuple[str, ...]
    aus: tuple[int, ...]
    margin: float = 0.0  # around the faces, see `data.framing`


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


def shapes(batch: Mapping[str, Any]) -> dict[str, jax.ShapeDtypeStruct]:
    """Those of a batch's arrays, and their types."""
    return {name: jax.ShapeDtypeStruct(x.shape, x.dtype) for name, x in batch.items()}


def normalise(image: jax.Array, preprocess: Preprocess) -> jax.Array:
    """uint8 pixels [..., 3] in RGB -> what the network's weights expect, float32."""
    x = image.astype(jnp.float32)
    if preprocess.order == "BGR":
        x = x[..., ::-1]
    return (x * preprocess.scale - jnp.asarray(preprocess.mean)) / jnp.asarray(preprocess.std)


def cast(tree: Any, dtype: jax.typing.DTypeLike) -> Any:
    """Floating leaves in `dtype`, the rest as they are."""
    return jax.tree.map(
        lambda x: x.astype(dtype) if jnp.issubdtype(x.dtype, jnp.floating) else x, tree
    )


def forward(
    model: nn.Module,
    params: Variables,
    model_state: Variables,
    x: jax.Array,
    *,
    key: jax.Array | None = None,
    dtype: jax.typing.DTypeLike = jnp.float32,
    **inputs: Any,
) -> tuple[Outputs, Variables]:
    """Applies the model, computing in `dtype`; with a key it trains and returns the new model state.

    Parameters and `x` are cast, outputs come back in float32, running statistics stay in float32.
    What the model reads beside `x` goes to it by name, as it is.
    """
    variables = {"params": parallel.whole(cast(params, dtype)), **model_state}
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
) -> dict[str, Variables]:
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


def labelled(batch: Batch) -> jax.Array:
    """bool [B]: rows that can be read and have an expression."""
    return batch["mask"] & (batch["expression"] >= 0)


def accuracy(logits: jax.Array, batch: Batch) -> tuple[jax.Array, jax.Array]:
    """(sum, count) of the rows whose largest logit is their expression's, to log it."""
    correct = jnp.argmax(logits, axis=-1) == batch["expression"]
    return summed(correct.astype(jnp.float32), labelled(batch))


def scores(logits: jax.Array, batch: Batch, expressions: Sequence[str]) -> Sums:
    """The accuracy, and as recalls those of the rows of each class, to log them."""
    recalls = {}
    for index, name in enumerate(expressions):
        of_class = {**batch, "mask": batch["mask"] & (batch["expression"] == index)}
        recalls[f"recall/{name}"] = accuracy(logits, of_class)
    return {"accuracy": accuracy(logits, batch), **recalls}


@dataclasses.dataclass(frozen=True)
class Task:
    """A method and the data it is trained and evaluated on."""

    method: Method
    description: str  # one line: what is trained on what
    train: mixture.Part | mixture.Mixed
    evaluation: Callable[[str], mixture.Part]  # of a split
    evaluation_splits: tuple[
        str, ...
    ]  # reported at the end; "validation" is evaluated during training
    expressions: tuple[str, ...]
    aus: tuple[int, ...]
    steps_per_epoch: int
    example: dict[str, np.ndarray]  # a batch of zeros
    rate: schedules.Rate | None = None  # a learning rate of its own, not the configured one
    # The step from which training computes in evaluation mode: BatchNorm frozen, no dropout.
    evaluation_mode_from: int | None = None

    @property
    def annotated_aus(self) -> tuple[int, ...]:
        """The AUs for which some of the training data have labels."""
        parts = self.train.parts if isinstance(self.train, mixture.Mixed) else (self.train,)
        known = {au for part in parts if part.aus for au in part.source.info.aus}
        return tuple(au for au in self.aus if au in known)

    @functools.cached_property
    def labels(self) -> Labels:
        """Kind of input, classes, AUs and margin, as a run keeps them."""
        target = self.train.parts[0] if isinstance(self.train, mixture.Mixed) else self.train
        margin = 0.0 if target.spec.align else framing.margin(target.source)
        kind = "clip" if "clip" in self.example else "image"
        return Labels(kind, self.expressions, self.aus, margin)

    @property
    def inference(self) -> Inference:
        """How the task's method is applied."""
        spec = self.evaluation("validation").spec
        return Inference(self.method.predict, spec, self.evaluation, lambda: self.evaluation_splits)


# --- The methods by name ------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Registered:
    """What a method registers under its name."""

    options: type  # the dataclass of its own options: the section `loss` of a config
    build: Callable[[Run], Task]  # of a checked configuration
    inference: Callable[[Run, Labels], Inference] | None


_METHODS: dict[str, Registered] = {}
# Entry points of other packages: the name of a method = the module that registers it.
GROUP = "aufer_jax.methods"


def register(
    name: str,
    options: type[Options],
    build: Callable[[Run[Options]], Task],
    inference: Callable[[Run[Options], Labels], Inference] | None = None,
) -> None:
    """Makes a method known; `method: NAME` in a config means it from now on.

    Without `inference` a finished run is applied through its task, which opens the data.
    """
    _METHODS[name] = Registered(options, build, inference)


def registered(name: str) -> Registered:
    """A method of ours, of the caller's, or of an installed package that offers it as an entry point."""
    if name not in _METHODS:
        for entry in importlib.metadata.entry_points(group=GROUP, name=name):
            entry.load()
    if name not in _METHODS:
        raise errors.unknown("method", name, names())
    return _METHODS[name]


def names() -> tuple[str, ...]:
    """Every registered method and every one that a package offers."""
    offered = (entry.name for entry in importlib.metadata.entry_points(group=GROUP))
    return tuple(dict.fromkeys([*_METHODS, *offered]))


def build(run: Run) -> Task:
    """The task of a checked configuration."""
    return registered(run.method).build(run)


def inference(run: Run, labels: Labels) -> Inference:
    """What a run's finished method applies to pixels."""
    build_inference = registered(run.method).inference
    return build_inference(run, labels) if build_inference else build(run).inference
