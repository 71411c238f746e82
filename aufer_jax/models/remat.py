"""Rematerialisation: what a block computes again in the backward pass, in place of keeping it until then.

A network makes the blocks that it repeats through `rematerialised`. The training step says while it is traced
what they keep (`train.remat`); elsewhere, and by default, they are left as they are.
"""

import contextlib
import contextvars
import dataclasses
import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import jax
from flax import linen as nn

from aufer_jax.errors import UserError

# Nothing is computed again; all of a block but its input; all but what its products give.
KINDS = ("", "blocks", "dots")
Target = TypeVar("Target", bound=Callable)


@dataclasses.dataclass
class _Wish:
    kind: str
    met: bool = False  # a block has been made that does so


_WISH: contextvars.ContextVar[_Wish | None] = contextvars.ContextVar("remat", default=None)


@contextlib.contextmanager
def traced_with(kind: str) -> Iterator[None]:
    """What blocks keep of what is traced within, one of `KINDS`; a network without any is refused."""
    wish = _Wish(kind)
    token = _WISH.set(wish)
    try:
        yield
    finally:
        _WISH.reset(token)
    if kind and not wish.met:
        raise UserError(f"train.remat: {kind!r}, but this network has no blocks that it repeats")


def rematerialised(block: Target, static: tuple[str, ...] = ("train",)) -> Target:
    """A class of blocks, or a method of a module, that keeps what the running trace wishes.

    Names, initial values, random numbers and statistics stay the same. `static` names the arguments that are
    no arrays.
    """
    wish = _WISH.get()
    if wish is None or not wish.kind:
        return block
    wish.met = True
    return _lifted(block, wish.kind, static)


@functools.cache
def _lifted(block: Any, kind: str, static: tuple[str, ...]) -> Any:
    call = block.__call__ if isinstance(block, type) else block
    names = list(inspect.signature(call).parameters)
    places = tuple(names.index(name) for name in static if name in names)
    return nn.remat(block, static_argnums=places, policy=_products if kind == "dots" else None)


def _products(primitive: Any, *given: Any, **params: Any) -> bool:
    """What products with weights give; those of attention, as large as tokens squared, are computed again."""
    dots = jax.checkpoint_policies.dots_with_no_batch_dims_saveable
    return primitive.name == "conv_general_dilated" or dots(primitive, *given, **params)
