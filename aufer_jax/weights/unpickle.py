"""Reads PyTorch checkpoints and NumPy pickles without PyTorch and without running what they hold.

A pickle is a program that may call anything importable. Here it may name what builds tensors, arrays
and plain containers and nothing else, and each of those names stands for a function of this file. What
a file makes is bounded by its size: `pickles` runs the opcodes, here arrays and copies are counted.
"""

import io
import math
import pathlib
import re
import stat
import struct
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import ml_dtypes
import numpy as np

from aufer_jax.errors import UserError
from aufer_jax.sources import archives
from aufer_jax.weights.pickles import Filled, Inert, Name, Reader, pairs

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

_FREE, _TIMES = 2**26, 8  # bytes of arrays and copies: so many, and so many times the file's own
_ITEM = 64  # bytes that an item of a copied list is counted as
_MOST_AXES = 32
_ORDERS = {b"little": "little", b"big": "big"}
_MOST_TEXT = 300  # of a message: parts of it may be the file's


class _Type:
    """A number type named in a checkpoint."""

    def __init__(self, dtype: np.dtype):
        self.dtype = dtype


class _Storage:
    """Bytes that tensors are views of."""

    def __init__(self, data: bytes | memoryview, dtype: np.dtype, swap: bool = False):
        self.data, self.dtype, self.swap = data, dtype, swap

    def view(self, dtype: np.dtype, offset: int, size: tuple, stride: tuple) -> np.ndarray:
        """A copy of the tensor; nothing outside the storage is ever read."""
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


class _Dtype(Filled):
    """A NumPy type named in a pickle; numbers and strings only, so that no bytes become pointers."""

    def __init__(self, name: Any, *_: Any):
        if not isinstance(name, str) or not re.fullmatch(r"[<>|=]?[biufcSU]\d{1,9}", name):
            raise UserError("an array of another type; only numbers and strings are read")
        self.dtype = np.dtype(name)

    def fill(self, state: Any) -> "_Dtype":
        if type(state) is not tuple or any(state[2:5]):
            raise UserError("a structured array; only numbers and strings are read")
        if state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])
        return self


class _Array(Filled):
    """A NumPy array whose content follows in its state."""

    def __init__(self, made: "_Made"):
        self.made = made

    def fill(self, state: Any) -> np.ndarray:
        if type(state) is not tuple or len(state) != 5:
            raise UserError("an array with a state that is not its own")
        _, shape, dtype, fortran, raw = state
        return self.made.from_buffer(raw, dtype, shape, "F" if fortran else "C")


class _Made:
    """What the names of a file stand for; counts the bytes that they make."""

    def __init__(self, size: int, inert: Iterable[str]):
        self._left = _FREE + _TIMES * size
        self._inert = tuple(inert)
        self._known: Mapping[str, Any] = {
            **{full: Name(full, getattr(self, name)) for full, name in _FUNCTIONS.items()},
            **{full: Name(full, function) for full, function in _STAND_INS.items()},
            **_TYPES,
        }

    def named(self, full: str) -> Any:
        if full in self._known:
            return self._known[full]
        if full in self._inert or f"{full.rpartition('.')[0]}.*" in self._inert:
            return Name(full, Inert)
        full = full[:_MOST_TEXT]
        raise UserError(
            f"refused: the pickle names {full!r}, and only tensors, arrays and plain containers are read;"
            f" if the checkpoint is one you trust, inert=({full!r},) reads past such objects without"
            " importing them"
        )

    def _spend(self, count: int) -> None:
        self._left -= count
        if self._left < 0:
            raise UserError("it makes far more data than it holds")

    def array(self, *_: Any) -> _Array:
        return _Array(self)

    def from_buffer(self, raw: Any, dtype: Any, shape: Any, order: Any) -> np.ndarray:
        shape, data = _axes(shape), _bytes(raw)
        if not isinstance(dtype, _Dtype):
            raise UserError("an array without a type")
        self._spend(len(data))
        flat = np.frombuffer(data, dtype.dtype).copy()
        return flat.reshape(shape[::-1]).T if order == "F" else flat.reshape(shape)

    def scalar(self, dtype: Any, raw: Any) -> Any:
        if not isinstance(dtype, _Dtype) or len(raw) != dtype.dtype.itemsize:
            raise UserError("a number of another size than its type")
        self._spend(len(raw))
        return np.frombuffer(_bytes(raw), dtype.dtype)[0]

    def encode(self, text: Any, codec: Any) -> bytes:
        if type(text) is not str or codec != "latin1":
            raise UserError("bytes in another codec than latin1")
        self._spend(len(text))
        return text.encode(codec)

    def tensor(self, storage: Any, offset: Any, size: Any, stride: Any, *_: Any) -> Any:
        return storage and self._view(storage, storage.dtype, offset, size, stride)

    def tensor_of_type(
        self, storage: Any, offset: Any, size: Any, stride: Any, _, __, of: Any, *___: Any
    ) -> Any:
        if not isinstance(of, _Type):
            raise UserError("a tensor without a type")
        return storage and self._view(storage, of.dtype, offset, size, stride)

    def _view(
        self, storage: Any, dtype: np.dtype, offset: Any, size: Any, stride: Any
    ) -> np.ndarray:
        size, stride = _axes(size), _axes(stride)
        if not isinstance(storage, _Storage) or not _is_count(offset) or len(size) != len(stride):
            raise UserError("a tensor with offset, size and stride that are none")
        self._spend(math.prod(size) * dtype.itemsize)
        return storage.view(dtype, offset, size, stride)

    def as_list(self, items: Any = ()) -> list:
        if type(items) not in (list, tuple, set, frozenset):
            raise UserError("a list of what is no list")
        self._spend(_ITEM * len(items))
        return list(items)

    def as_tuple(self, items: Any = ()) -> tuple:
        return tuple(self.as_list(items))

    def as_set(self, items: Any = ()) -> set:
        return set(pairs((item, None) for item in self.as_list(items)))

    def as_dict(self, items: Any = ()) -> dict:
        items = items.items() if isinstance(items, dict) else self.as_list(items)
        self._spend(_ITEM * len(items))
        return pairs(items)

    def as_default_dict(self, _: Any = None, items: Any = ()) -> dict:
        return self.as_dict(items)


_FUNCTIONS = {
    "collections.OrderedDict": "as_dict",
    "collections.defaultdict": "as_default_dict",
    "collections.Counter": "as_dict",
    "torch._utils._rebuild_tensor": "tensor",
    "torch._utils._rebuild_tensor_v2": "tensor",
    "torch._utils._rebuild_tensor_v3": "tensor_of_type",
    "torch.Size": "as_tuple",
    "_codecs.encode": "encode",
    **{
        f"{module}.{name}": function
        for module in ("builtins", "__builtin__")
        for name, function in (
            ("dict", "as_dict"),
            ("list", "as_list"),
            ("set", "as_set"),
            ("tuple", "as_tuple"),
        )
    },
    **{
        f"numpy.{core}.{name}": function
        for core in ("core", "_core")
        for name, function in (
            ("multiarray._reconstruct", "array"),
            ("multiarray.scalar", "scalar"),
            ("numeric._frombuffer", "from_buffer"),
        )
    },
}
_STAND_INS: dict[str, Callable | None] = {
    "torch._utils._rebuild_parameter": lambda data, *_: data,
    "torch.device": Inert,
    "numpy.ndarray": None,  # only ever named beside `_reconstruct`
    "numpy.dtype": _Dtype,
}
_TYPES = {
    **{
        f"{module}.{name}Storage": _Type(_DTYPES[dtype])
        for module in ("torch", "torch.cuda", "torch.storage")
        for name, dtype in _STORAGES.items()
    },
    **{f"torch.{name}": _Type(dtype) for name, dtype in _DTYPES.items()},
}


def _is_count(number: Any) -> bool:
    return type(number) is int and 0 <= number < 2**63


def _axes(numbers: Any) -> tuple[int, ...]:
    if type(numbers) is not tuple or len(numbers) > _MOST_AXES or not all(map(_is_count, numbers)):
        raise UserError("a tensor or an array with sizes that are none")
    return numbers


def _bytes(raw: Any) -> bytes | bytearray:
    if isinstance(raw, str):
        return raw.encode("latin1")
    if not isinstance(raw, bytes | bytearray):
        raise UserError("an array whose content is not bytes")
    return raw


def read(path: str | pathlib.Path, inert: Iterable[str] = ()) -> Any:
    """What a `.pth`, `.pt`, `.bin` or `.pkl` file holds, tensors as NumPy arrays.

    Reads PyTorch's zip format, its older one of pickles in a row, and pickles of NumPy arrays, Python
    2's too. Other globals than those of tensors, arrays and plain containers are refused with a
    ValueError; objects of the globals in `inert` ("module.name" or "module.*") become empty `Inert`s.
    """
    path, inert = pathlib.Path(path), (*INERT, *inert)
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode) and not stat.S_ISDIR(status.st_mode):
            raise UserError("not a regular file")
        with path.open("rb") as file:
            head = file.read(512)
            if head.startswith(b"PK\x03\x04"):
                return _read_zip(path, inert)
            if head[257:262] == b"ustar":
                raise UserError("PyTorch's tar format from before 2017; save the file again")
            file.seek(0)
            made = _Made(status.st_size, inert)
            reader = Reader(file, status.st_size, made.named, _no_storage)
            first = reader.load()
            if type(first) is int and first == LEGACY_MAGIC:
                return _read_legacy(reader)
            return first
    except Exception as error:
        if isinstance(error, OSError) and error.filename:  # the file cannot be opened
            raise
        raise UserError(f"{path}: {str(error)[:_MOST_TEXT] or type(error).__name__}") from error


def _no_storage(_: Any) -> Any:
    raise UserError("the pickle refers to a storage, and has none")


def _stored(pid: Any) -> tuple[str, np.dtype, Any]:
    """Key, type and view of the persistent id of a tensor's storage."""
    if type(pid) is not tuple or len(pid) not in (5, 6) or pid[0] != "storage":
        raise UserError("the pickle refers to what is not the storage of a tensor")
    _, of, key, _, _, *view = pid
    if not isinstance(of, _Type) or type(key) is not str:
        raise UserError("a storage without a type or a name")
    return key, of.dtype, view[0] if view else None


def _read_zip(path: pathlib.Path, inert: Iterable[str]) -> Any:
    with archives.opened(path) as archive:
        names = set(archive.namelist())
        roots = [name for name in names if re.fullmatch(r"([^/]+/)?data\.pkl", name)]
        if len(roots) != 1:
            raise UserError("a zip file without exactly one data.pkl, not a PyTorch checkpoint")
        total = archives.checked_total(archive)
        root = roots[0].removesuffix("data.pkl")
        order = archive.read(f"{root}byteorder") if f"{root}byteorder" in names else b"little"
        if order not in _ORDERS:
            raise UserError(f"byteorder {order[:16]!r}; it is 'little' or 'big'")
        swap = _ORDERS[order] != sys.byteorder
        cache: dict[str, bytes] = {}

        def storage(pid: Any) -> _Storage:
            key, dtype, _ = _stored(pid)
            if key not in cache:
                if f"{root}data/{key}" not in names:
                    raise UserError("a storage that the file does not hold")
                cache[key] = archive.read(f"{root}data/{key}")
            return _Storage(cache[key], dtype, swap)

        data, made = archive.read(roots[0]), _Made(total, inert)
        return Reader(io.BytesIO(data), len(data), made.named, storage).load()


def _read_legacy(reader: Reader) -> Any:
    """Protocol, system, object, storage keys, storages; sizes of the last stand in the object alone."""
    protocol = reader.load()
    if protocol != LEGACY_PROTOCOL:
        raise UserError(
            f"another protocol of PyTorch's older format; only {LEGACY_PROTOCOL} is read"
        )
    reader.load()
    start, left = reader.file.tell(), reader.left
    dtypes: dict[str, np.dtype] = {}

    def note(pid: Any) -> None:
        key, dtype, _ = _stored(pid)
        dtypes[key] = dtype

    reader.stored = note
    reader.load()
    storages: dict[str, _Storage] = {}
    for key in reader.load():
        if key not in dtypes:
            raise UserError("a storage of which no tensor is")
        (count,) = struct.unpack("<q", reader.take(8))
        data = reader.take(count * dtypes[key].itemsize)
        storages[key] = _Storage(data, dtypes[key], sys.byteorder == "big")
    reader.file.seek(start)
    reader.left = left

    def storage(pid: Any) -> _Storage:
        key, dtype, view = _stored(pid)
        whole = storages[key]
        if view is None:
            return whole
        _, offset, size = view
        if not _is_count(offset) or not _is_count(size):
            raise UserError("a view of a storage with offset and size that are none")
        part = memoryview(whole.data)[offset * dtype.itemsize : (offset + size) * dtype.itemsize]
        return _Storage(part, dtype, whole.swap)

    reader.stored = storage
    return reader.load()
