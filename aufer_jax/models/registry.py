"""The table of architectures: name -> how to build it, what its input must look like, its key map."""

import dataclasses
import importlib.metadata
from collections.abc import Mapping
from typing import Any

from flax import linen as nn

from aufer_jax import errors


@dataclasses.dataclass(frozen=True)
class Preprocess:
    """What a network's weights expect: size, value range, mean and deviation per channel."""

    size: int
    mean: tuple[float, ...] = (0.5, 0.5, 0.5)
    std: tuple[float, ...] = (0.5, 0.5, 0.5)
    scale: float = 1 / 255  # pixel values are multiplied by this before mean and deviation
    order: str = "RGB"
    frames: int | None = None  # clips: frames a clip has


@dataclasses.dataclass(frozen=True)
class Architecture:
    """One row of the table.

    `build(**options)` returns the module. `torch_keys` are (pattern, replacement) pairs tried in order
    on a parameter's path joined by "/" (leaf included); where none matches, "/" and a number after "_"
    become "." (`layer1_0/conv1/kernel` -> `layer1.0.conv1.weight`); "~" in a replacement is a "_" that stays.
    `unused` are patterns of checkpoint keys that the reference stores and never reads, `renamed` (pattern,
    replacement) pairs for keys of checkpoints that it begins with.
    """

    build: type[nn.Module]
    preprocess: Preprocess
    input: str = "image"  # or "clip"
    torch_keys: tuple[tuple[str, str], ...] = ()
    unused: tuple[str, ...] = ()
    renamed: tuple[tuple[str, str], ...] = ()
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)  # of a named variant


_TABLE: dict[str, Architecture] = {}
# Entry points of other packages: the name of a model = the module that registers it.
GROUP = "aufer_jax.models"


def register(name: str, architecture: Architecture) -> None:
    """Makes an architecture known under a name."""
    if name in _TABLE:
        raise ValueError(f"model {name!r} is registered twice")
    _TABLE[name] = architecture


def unregister(name: str) -> None:
    """Takes an architecture out of the table."""
    del _TABLE[name]


def names() -> tuple[str, ...]:
    """Every registered architecture and every one that a package offers.

    >>> "auvit_paper" in names()
    True
    """
    offered = {entry.name for entry in importlib.metadata.entry_points(group=GROUP)}
    return tuple(sorted(_TABLE.keys() | offered))


def architecture(name: str) -> Architecture:
    """A model of ours, of the caller's, or of an installed package that offers it as an entry point.

    >>> architecture("r3d18").input, architecture("r3d18").preprocess.frames
    ('clip', 16)
    """
    if name not in _TABLE:
        for entry in importlib.metadata.entry_points(group=GROUP, name=name):
            entry.load()
    if name not in _TABLE:
        raise errors.unknown("model", name, names())
    return _TABLE[name]


def options(name: str) -> tuple[str, ...]:
    """The names of a model's options.

    >>> "num_classes" in options("resnet18")
    True
    """
    build = architecture(name).build
    return tuple(f.name for f in dataclasses.fields(build) if f.name not in ("parent", "name"))


def create(name: str, **chosen: Any) -> nn.Module:
    """Builds a model: `create("auvit_paper", num_classes=8)`; an unknown option names the right ones.

    >>> import jax
    >>> model = create("resnet_small", num_classes=3)
    >>> image = jax.ShapeDtypeStruct((2, 64, 64, 3), "float32")
    >>> outputs, _ = jax.eval_shape(model.init_with_output, jax.random.key(0), image)
    >>> outputs["expression"].shape
    (2, 3)
    """
    entry = architecture(name)
    permitted = options(name)
    for key in chosen:
        if key not in permitted:
            raise errors.unknown(f"option of model {name!r}", key, permitted)
    return entry.build(**{**entry.options, **chosen})
