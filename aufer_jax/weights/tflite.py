"""Parameters of networks in TensorFlow Lite's files (.tflite) -> a module that computes the same layers.

The files are FlatBuffers; the few tables that matter are walked here, so that neither TensorFlow nor the
flatbuffers package is needed. Field numbers and codes are those of the published schema.
"""

import dataclasses
import os
import pathlib
import struct
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from flax import linen as nn

from aufer_jax.errors import UserError
from aufer_jax.weights import keymap

Leaves = dict[str, np.ndarray]

_TYPES = {0: "<f4", 1: "<f2", 2: "<i4", 3: "u1", 4: "<i8", 6: "?", 7: "<i2", 9: "i1"}
_DEQUANTIZE = 6

# Code of an operator that may have parameters -> the leaves of our layer from its constants.
_LAYERS: dict[int, Callable[..., Leaves]] = {
    2: lambda token: {"token": token},  # concatenation
    3: lambda kernel, bias: {"kernel": kernel.transpose(1, 2, 3, 0), "bias": bias},  # convolution
    4: lambda kernel, bias: {"kernel": kernel.transpose(1, 2, 0, 3), "bias": bias},  # depth-wise
    18: lambda scale: {"scale": scale},  # product
    54: lambda slope: {"slope": slope.ravel()},  # PReLU
}


@dataclasses.dataclass(frozen=True)
class Operator:
    """One step of a network: the code of what it does, and the numbers of its tensors."""

    code: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Graph:
    """Operators in the order of execution, and the tensors that are constant by their numbers."""

    operators: tuple[Operator, ...]
    constants: dict[int, np.ndarray]


def read(path: str | os.PathLike) -> Graph:
    """The network in a file."""
    data = pathlib.Path(path).read_bytes()
    if data[4:8] != b"TFL3":
        raise UserError(f"{path} is not a TensorFlow Lite file")
    model = _Table(data, struct.unpack_from("<I", data)[0])
    graphs = model.tables(2)
    if len(graphs) != 1:
        raise UserError(f"{path} has {len(graphs)} networks, permitted is one")
    buffers = [table.raw(0) for table in model.tables(4)]
    codes = [max(table.scalar(0, "b"), table.scalar(3, "i")) for table in model.tables(1)]
    operators = [
        Operator(codes[table.scalar(0, "I")], table.numbers(1), table.numbers(2))
        for table in graphs[0].tables(3)
    ]
    constants = {
        number: np.frombuffer(held, _TYPES[table.scalar(1, "b")]).reshape(table.numbers(0))
        for number, table in enumerate(graphs[0].tables(0))
        if (held := buffers[table.scalar(2, "I")])
    }
    return Graph(tuple(operators), constants)


def layers(graph: Graph) -> list[Leaves]:
    """The parameters of each layer that has some, in the order of execution and in our layout."""
    constants, found = dict(graph.constants), []
    for operator in graph.operators:
        held = [constants[i] for i in operator.inputs if i in constants]
        if operator.code == _DEQUANTIZE and held:
            constants[operator.outputs[0]] = held[0].astype(np.float32)
        elif operator.code in _LAYERS and held and held[0].ndim:
            found.append(_LAYERS[operator.code](*held))
    return found


def parameters(
    graph: Graph, module: nn.Module, x: jax.ShapeDtypeStruct
) -> dict[tuple[str, ...], np.ndarray]:
    """The leaves {path: value} of a module that computes the same layers in the same order.

    Biases that only one of the two has must be zero.
    """
    wanted, held = _shapes(module, x), layers(graph)
    if len(held) != len(wanted):
        raise UserError(f"the file has {len(held)} layers, the network {len(wanted)}")
    filled = {}
    for (path, shapes), values in zip(wanted.items(), held, strict=True):
        where = "/".join(path)
        values = {"bias": np.zeros(shapes.get("bias", ()), np.float32)} | values
        if "bias" not in shapes and values.pop("bias").any():
            raise UserError(f"{where}: the file has a bias, the network none")
        if set(values) != set(shapes):
            raise UserError(f"{where}: the file has {set(values)}, the network {set(shapes)}")
        for leaf, shape in shapes.items():
            if _squeezed(values[leaf].shape) != _squeezed(shape):
                raise UserError(f"{where}/{leaf}: {values[leaf].shape} in the file, {shape} here")
            filled[*path, leaf] = values[leaf].reshape(shape)
    return filled


def _shapes(
    module: nn.Module, x: jax.ShapeDtypeStruct
) -> dict[tuple[str, ...], dict[str, tuple[int, ...]]]:
    """The shapes of each layer's leaves by its path, layers in the order of execution."""
    found: dict[tuple[str, ...], dict[str, tuple[int, ...]]] = {}

    def note(call, args, kwargs, context):
        found.setdefault(context.module.path, {})
        return call(*args, **kwargs)

    with nn.intercept_methods(note):
        variables = jax.eval_shape(module.init, jax.random.key(0), x)
    for (_, *path, leaf), place in keymap.flat(dict(variables)).items():
        found[tuple(path)][leaf] = place.shape
    return {path: leaves for path, leaves in found.items() if leaves}


def _squeezed(shape: tuple[int, ...]) -> list[int]:
    return [size for size in shape if size > 1]


@dataclasses.dataclass(frozen=True)
class _Table:
    """A FlatBuffers table in `data` at `start`, read by the numbers of its fields."""

    data: bytes
    start: int

    def scalar(self, field: int, form: str) -> Any:
        place = self._place(field)
        return self._read(form, place) if place else 0

    def tables(self, field: int) -> "list[_Table]":
        return [_Table(self.data, self._behind(place)) for place in self._places(field, 4)]

    def numbers(self, field: int) -> tuple[int, ...]:
        return tuple(self._read("i", place) for place in self._places(field, 4))

    def raw(self, field: int) -> bytes:
        places = self._places(field, 1)
        return self.data[places.start : places.stop]

    def _read(self, form: str, place: int) -> Any:
        return struct.unpack_from(f"<{form}", self.data, place)[0]

    def _behind(self, place: int) -> int:
        """Where the offset that is written at `place` leads."""
        return place + self._read("I", place)

    def _place(self, field: int) -> int:
        """Where a field's value is written; 0 if the table lacks it."""
        layout = self.start - self._read("i", self.start)
        entry = 4 + 2 * field
        offset = self._read("H", layout + entry) if entry < self._read("H", layout) else 0
        return self.start + offset if offset else 0

    def _places(self, field: int, size: int) -> range:
        """Where the items of a vector begin."""
        place = self._place(field)
        if not place:
            return range(0)
        begin = self._behind(place)
        return range(begin + 4, begin + 4 + size * self._read("I", begin), size)
