"""S2D's loss beside the expression loss: a soft target from clips of every class that look alike.

Per class a queue keeps the features and class probabilities of the clips seen last. A clip's soft target is
the mean of the probabilities of its nearest neighbours in every queue, weighted by their similarity.
"""

import dataclasses

import jax
import jax.numpy as jnp
import optax

from aufer_jax import errors, parallel

FORMS = ("none", "corrected", "released")
STATE = "sdl"  # the collection that holds the queues, beside the batch statistics
# From these epochs on the loss has these weights.
WEIGHTS = ((30, 0.01), (50, 0.1), (60, 0.5), (80, 1.0))

Queues = dict[str, jax.Array]


@dataclasses.dataclass(frozen=True)
class Options:
    """The part of AU-DFER's section `loss` that is S2D's loss."""

    # "none"; "corrected": queues begin empty and take every clip; "released": they begin with random
    # numbers and take clips only in epochs that are multiples of `sdl_update_epochs`, which in the only
    # script that has this loss none is.
    sdl: str = "none"
    sdl_queue: int = 16  # clips a class
    sdl_neighbours: int = 2  # of each class
    sdl_start: int = 21  # epoch from which there are a loss and new clips in the queues
    sdl_update_epochs: int = 1

    def __post_init__(self):
        if self.sdl not in FORMS:
            raise errors.unknown("loss.sdl", self.sdl, FORMS)
        for key in ("sdl_queue", "sdl_neighbours", "sdl_update_epochs"):
            if getattr(self, key) < 1:
                raise errors.UserError(f"loss.{key}: {getattr(self, key)} must be 1 or more")
        if self.sdl_neighbours > self.sdl_queue:
            raise errors.UserError(
                f"loss.sdl_neighbours: {self.sdl_neighbours} of a queue of {self.sdl_queue}"
            )


def create(key: jax.Array, classes: int, width: int, options: Options) -> Queues:
    """Queues of features [C, S, d] and probabilities [C, S, C], and the count of steps taken."""
    shapes = {
        "features": (classes, options.sdl_queue, width),
        "probabilities": (classes, options.sdl_queue, classes),
    }
    if options.sdl == "released":
        keys = jax.random.split(key)
        values = [
            jax.random.uniform(k, shape) for k, shape in zip(keys, shapes.values(), strict=True)
        ]
    else:
        values = map(jnp.zeros, shapes.values())
    return dict(zip(shapes, values, strict=True), steps=jnp.zeros((), jnp.int32))


def weight(epoch: jax.Array, start: int = 21) -> jax.Array:
    """The loss's weight in an epoch, counted from 0.

    >>> [round(float(weight(jnp.int32(epoch))), 2) for epoch in (20, 30, 55, 99)]
    [0.0, 0.01, 0.1, 1.0]
    """
    value = jnp.float32(0)
    for first, step in WEIGHTS:
        value = jnp.where(epoch >= first, step, value)
    return jnp.where(epoch >= start, value, 0.0)


def targets(queues: Queues, features: jax.Array, options: Options) -> tuple[jax.Array, jax.Array]:
    """Soft targets [B, C] of features [B, d], and the rows that have one.

    In the form "corrected" empty places and neighbours that are unlike count nothing.
    """
    held, probabilities = queues["features"], queues["probabilities"]
    alike = jnp.einsum("bd,csd->bcs", _unit(features), _unit(held))
    if options.sdl == "corrected":
        alike = jnp.where(probabilities.sum(-1) > 0, jnp.maximum(alike, 0.0), 0.0)
    nearest, place = jax.lax.top_k(alike, options.sdl_neighbours)  # [B, C, k]
    chosen = probabilities[jnp.arange(len(held))[:, None], place]  # [B, C, k, C]
    total = nearest.sum((1, 2))
    known = jnp.abs(total) > 1e-6
    soft = jnp.einsum("bck,bckn->bn", nearest, chosen) / jnp.where(known, total, 1.0)[:, None]
    return jax.lax.stop_gradient(soft), known


def loss(logits: jax.Array, soft: jax.Array) -> jax.Array:
    """Binary cross-entropy [B] of logits [B, C] against soft targets, the mean over classes."""
    return optax.sigmoid_binary_cross_entropy(logits, soft).mean(-1)


def push(queues: Queues, features: jax.Array, logits: jax.Array, label: jax.Array) -> Queues:
    """Queues after these rows of all devices, in their order; a row with the label -1 goes nowhere."""
    rows = (features, jax.nn.softmax(logits), label)
    rows = jax.tree.map(lambda x: parallel.gather(jax.lax.stop_gradient(x)), rows)

    def one(held: tuple, row: tuple) -> tuple[tuple, None]:
        *values, to = row
        there = jnp.maximum(to, 0)

        def shifted(queue: jax.Array, value: jax.Array) -> jax.Array:
            moved = jnp.concatenate([queue[there, 1:], value[None].astype(queue.dtype)])
            return queue.at[there].set(jnp.where(to >= 0, moved, queue[there]))

        return tuple(shifted(q, v) for q, v in zip(held, values, strict=True)), None

    (held, probabilities), _ = jax.lax.scan(
        one, (queues["features"], queues["probabilities"]), rows
    )
    return {**queues, "features": held, "probabilities": probabilities}


def after(
    queues: Queues,
    outputs: dict[str, jax.Array],
    label: jax.Array,
    epoch: jax.Array,
    options: Options,
) -> Queues:
    """Queues after a step with these outputs, whose clips were not mixed."""
    due = epoch >= options.sdl_start
    if options.sdl == "released":
        due &= epoch % options.sdl_update_epochs == 0
    label = jnp.where(due, label, -1)
    new = push(queues, outputs["features"], outputs["expression"], label)
    return {**new, "steps": queues["steps"] + 1}


def _unit(x: jax.Array) -> jax.Array:
    return x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), 1e-12)
