"""Reads PyTorch checkpoints and NumPy pickles without PyTorch and without running what they hold.

A pickle is a program that may call anything importable. Here it may name what builds tensors, arrays
and plain containers and nothing else, and each of those names stands for a function of this file.
"""

import collections
import io
import pathlib
import pickle
import re
import struct
import sys
import zipfile
from collections.abc import Callable, Iterable
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np

from aufer_jax.errors import UserError

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001

_DTYPES: dict[str, Any] = {
    **{
        name: np.dtype(name)
        for kind in ("int", "uint")
        for name in (f"{kind}8", f"{kind}16", f"{kind}32", f"{kind}64")
    },
    **{name: np.dtype(name) for name in ("bool", "float16", "float32", "float64")},
    **{name: np.dtype(name) for name in ("complex64", "complex128")},
    **{
        name: np.dtype(getattr(ml_dtypes, name))
        for name in (
            "bfloat16",
            "float8_e4m3fn",
            "float8_e4m3fnuz",
            "float8_e5m2",
            "float8_e5m2fnuz",
        )
    },
}
_STORAGES = {
    "Float": "float32",
    "Double": "float64",
    "Half": "float16",
    "BFloat16": "bfloat16",
    "Long": "int64",
    "Int": "int32",
    "Short": "int16",
    "Char": "int8",
    "Byte": "uint8",
    "Bool": "bool",
    "ComplexFloat": "complex64",
    "ComplexDouble": "complex128",
    "Untyped": "uint8",
}
# Of these a training script's extras are made; they are read past, never imported.
INERT = ("__main__.*", "argparse.Namespace", "pathlib.PosixPath", "pathlib.WindowsPath")


class Inert:
    """Stands for an object of the training script; accepts whatever fills it and keeps nothing."""

    def __new__(cls, *_, **__):
        return super().__new__(cls)

    def __init__(self, *_, **__) -> None: ...

    def __setstate__(self, _) -> None: ...

    def __setitem__(self, *_) -> None: ...

    def append(self, _) -> None: ...

    def extend(self, _) -> None: ...

    def add(self, _) -> None: ...


class _Storage:
    """Bytes that tensors are views of."""

    def __init__(self, data: bytes, dtype: np.dtype, swap: bool = False):
        self.data, self.dtype, self.swap = data, dtype, swap

    def view(self, dtype: np.dtype, offset: int, size: tuple, stride: tuple) -> np.ndarray:
        """A copy of the tensor; nothing outside the storage is ever read."""
        numbers = (offset, *size, *stride)
        if len(size) != len(stride) or not all(type(n) is int and n >= 0 for n in numbers):
            raise UserError(f"a tensor with offset {offset}, size {size}, stride {stride}")
        unit = np.dtype(f"u{dtype.itemsize // (2 if dtype.kind == 'c' else 1)}")
        per = dtype.itemsize // unit.itemsize
        count = len(self.data) // dtype.itemsize
        last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        empty = 0 in size
        if not empty and last >= count:
            raise UserError(f"a tensor reaches element {last} of a storage of {count}")
        if empty:
            return np.empty(size, dtype)
        flat = np.frombuffer(self.data, unit, count * per)[offset * per :]
        strides = [step * dtype.itemsize for step in stride] + [unit.itemsize]
        units = np.lib.stride_tricks.as_strided(flat, (*size, per), strides, writeable=False)
        units = units.copy()
        if self.swap:
            units.byteswap(inplace=True)
        return units.view(dtype).reshape(size)


class _Dtype:
    """A NumPy type named in a pickle; numbers and strings only, so that no bytes become pointers."""

    def __init__(self, name: Any, *_: Any):
        if not isinstance(name, str) or not re.fullmatch(r"[<>|=]?[biufcSU]\d+", name):
            raise UserError(f"an array of type {name!r}; only numbers and strings are read")
        self.dtype = np.dtype(name)

    def __setstate__(self, state: tuple) -> None:
        if any(state[2:5]):
            raise UserError("a structured array; only numbers and strings are read")
        if state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])


class _Array:
    """A NumPy array being unpickled; `_finish` puts its value in its place."""

    value: np.ndarray

    def __setstate__(self, state: tuple) -> None:
        _, shape, dtype, fortran, raw = state
        self.value = _from_buffer(raw, dtype, shape, "F" if fortran else "C").value

    def __init__(self, *_: Any): ...


def _bytes(raw: Any) -> bytes:
    return raw.encode("latin1") if isinstance(raw, str) else bytes(raw)


def _from_buffer(raw: Any, dtype: _Dtype, shape: tuple, order: str) -> _Array:
    array, flat = _Array(), np.frombuffer(_bytes(raw), dtype.dtype).copy()
    array.value = flat.reshape(shape[::-1]).T if order == "F" else flat.reshape(shape)
    return array


def _scalar(dtype: _Dtype, raw: Any) -> Any:
    return np.frombuffer(_bytes(raw), dtype.dtype)[0]


def _encode(text: str, codec: str) -> bytes:
    if codec != "latin1":
        raise UserError(f"bytes in the codec {codec!r}; only latin1 is read")
    return text.encode(codec)


def _tensor(storage: _Storage | None, offset: int, size: tuple, stride: tuple, *_: Any) -> Any:
    return None if storage is None else storage.view(storage.dtype, offset, size, stride)


def _tensor_of_dtype(
    storage: _Storage | None, offset: int, size: tuple, stride: tuple, _, __, dtype, *___: Any
) -> Any:
    return None if storage is None else storage.view(dtype, offset, size, stride)


def _parameter(data: Any, *_: Any) -> Any:
    return data


_PERMITTED: dict[str, Any] = {
    "collections.OrderedDict": collections.OrderedDict,
    "collections.defaultdict": collections.defaultdict,
    "collections.Counter": dict,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _tensor_of_dtype,
    "torch._utils._rebuild_parameter": _parameter,
    "torch.Size": tuple,
    "torch.device": Inert,
    "_codecs.encode": _encode,
    "numpy.ndarray": _Array,
    "numpy.dtype": _Dtype,
    **{
        f"{module}.{name}": value
        for module in ("builtins", "__builtin__")
        for name, value in (("dict", dict), ("list", list), ("set", set), ("tuple", tuple))
    },
    **{
        f"numpy.{core}.{name}": value
        for core in ("core", "_core")
        for name, value in (
            ("multiarray._reconstruct", _Array),
            ("multiarray.scalar", _scalar),
            ("numeric._frombuffer", _from_buffer),
        )
    },
    **{
        f"{module}.{name}Storage": _DTYPES[dtype]
        for module in ("torch", "torch.cuda", "torch.storage")
        for name, dtype in _STORAGES.items()
    },
    **{f"torch.{name}": dtype for name, dtype in _DTYPES.items()},
}


class _Unpickler(pickle.Unpickler):
    """`storage(key, dtype, count, view)` answers the persistent ids of tensors' storages."""

    def __init__(self, file: BinaryIO, inert: Iterable[str], storage: Callable | None = None):
        super().__init__(file, encoding="latin1")
        self._inert, self._storage = tuple(inert), storage

    def find_class(self, module: str, name: str) -> Any:
        full = f"{module}.{name}"
        if full in _PERMITTED:
            return _PERMITTED[full]
        if full in self._inert or f"{module}.*" in self._inert:
            return Inert
        raise UserError(
            f"refused: the pickle names {full}, and only tensors, arrays and plain containers are read;"
            f" if the checkpoint is one you trust, inert=({full!r},) reads past such objects without"
            " importing them"
        )

    def persistent_load(self, pid: Any) -> Any:
        if self._storage is None or not isinstance(pid, tuple) or pid[0] != "storage":
            raise UserError(f"the pickle refers to {pid!r}, which is not the storage of a tensor")
        _, dtype, key, _, count, *view = pid
        if not isinstance(dtype, np.dtype):
            raise UserError(f"storage {key!r} has the type {dtype!r}")
        return self._storage(key, dtype, count, view[0] if view else None)


def read(path: str | pathlib.Path, inert: Iterable[str] = ()) -> Any:
    """What a `.pth`, `.pt`, `.bin` or `.pkl` file holds, tensors as NumPy arrays.

    Reads PyTorch's zip format, its older one of pickles in a row, and pickles of NumPy arrays, Python
    2's too. Other globals than those of tensors, arrays and plain containers are refused with a
    ValueError; objects of the globals in `inert` ("module.name" or "module.*") become empty `Inert`s.
    """
    path, inert = pathlib.Path(path), (*INERT, *inert)
    try:
        with path.open("rb") as file:
            head = file.read(512)
            if head.startswith(b"PK\x03\x04"):
                return _finish(_read_zip(path, inert))
            if head[257:262] == b"ustar":
                raise UserError("PyTorch's tar format from before 2017; save the file again")
            file.seek(0)
            first = _Unpickler(file, inert).load()
            return _finish(_read_legacy(file, inert) if first == LEGACY_MAGIC else first)
    except OSError:
        raise
    except Exception as error:
        raise UserError(f"{path}: {error or type(error).__name__}") from error


def _read_zip(path: pathlib.Path, inert: Iterable[str]) -> Any:
    with zipfile.ZipFile(path) as archive:
        names = set(archive.namelist())
        roots = [name for name in names if re.fullmatch(r"([^/]+/)?data\.pkl", name)]
        if len(roots) != 1:
            raise UserError("a zip file without exactly one data.pkl, not a PyTorch checkpoint")
        root = roots[0].removesuffix("data.pkl")
        order = archive.read(f"{root}byteorder") if f"{root}byteorder" in names else b"little"
        swap = order.decode() != sys.byteorder
        cache: dict[str, _Storage] = {}

        def storage(key: str, dtype: np.dtype, count: int, _) -> _Storage:
            if key not in cache:
                cache[key] = _Storage(archive.read(f"{root}data/{key}"), dtype, swap)
            return cache[key]

        return _Unpickler(io.BytesIO(archive.read(roots[0])), inert, storage).load()


def _read_legacy(file: BinaryIO, inert: Iterable[str]) -> Any:
    """Protocol, system, object, storage keys, storages; sizes of the last stand in the object alone."""
    protocol = _Unpickler(file, inert).load()
    if protocol != LEGACY_PROTOCOL:
        raise UserError(
            f"protocol {protocol} of PyTorch's older format; only {LEGACY_PROTOCOL} is read"
        )
    _Unpickler(file, inert).load()
    start = file.tell()
    dtypes: dict[str, np.dtype] = {}

    def note(key: str, dtype: np.dtype, count: int, _) -> None:
        dtypes[key] = dtype

    _Unpickler(file, inert, note).load()
    storages = {}
    for key in _Unpickler(file, inert).load():
        (count,) = struct.unpack("<q", file.read(8))
        data = file.read(count * dtypes[key].itemsize)
        storages[key] = _Storage(data, dtypes[key], sys.byteorder == "big")
    file.seek(start)

    def storage(key: str, dtype: np.dtype, count: int, view: tuple | None) -> _Storage:
        whole = storages[key]
        if view is None:
            return whole
        _, offset, size = view
        part = whole.data[offset * dtype.itemsize : (offset + size) * dtype.itemsize]
        return _Storage(part, dtype, whole.swap)

    return _Unpickler(file, inert, storage).load()


def _finish(value: Any) -> Any:
    """Arrays in place of their half-read forms, all over plain containers."""
    done: dict[int, Any] = {}

    def walk(value: Any) -> Any:
        if isinstance(value, _Array):
            return value.value
        if isinstance(value, tuple):
            return tuple(walk(item) for item in value)
        if isinstance(value, list | dict) and id(value) not in done:
            done[id(value)] = value
            for key, item in list(value.items() if isinstance(value, dict) else enumerate(value)):
                value[key] = walk(item)
        return value

    return walk(value)
