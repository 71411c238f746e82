"""Checkpoint files in PyTorch's two formats, written without PyTorch.

Stand-ins named like PyTorch's own functions and storage types make `pickle` write their names.
"""

import collections
import pickle
import struct
import sys
import types
import zipfile

import numpy as np

KINDS = {
    "float32": "Float",
    "float64": "Double",
    "float16": "Half",
    "bfloat16": "BFloat16",
    "int64": "Long",
    "int32": "Int",
    "int16": "Short",
    "int8": "Char",
    "uint8": "Byte",
    "bool": "Bool",
    "complex64": "ComplexFloat",
    "complex128": "ComplexDouble",
}


def _named(module: str, name: str):
    def function(*_): ...

    function.__module__, function.__qualname__, function.__name__ = module, name, name
    return function


_UTILS = {
    name: _named("torch._utils", name) for name in ("_rebuild_tensor_v2", "_rebuild_parameter")
}
_TYPES = {
    f"{kind}Storage": type(f"{kind}Storage", (), {"__module__": "torch"}) for kind in KINDS.values()
}


def install(monkeypatch) -> None:
    """Makes the stand-ins importable under PyTorch's names while a test runs."""
    for module, members in (("torch", _TYPES), ("torch._utils", _UTILS)):
        stand_in = types.ModuleType(module)
        stand_in.__dict__.update(members)
        monkeypatch.setitem(sys.modules, module, stand_in)


class Storage:
    """A flat array that tensors share."""

    def __init__(self, values: np.ndarray):
        self.values = np.ascontiguousarray(values).reshape(-1)


class Tensor:
    """A view of a storage; sizes and strides in elements."""

    def __init__(self, storage: Storage, offset: int, size: tuple, stride: tuple):
        self.arguments = (storage, offset, size, stride, False, collections.OrderedDict())

    def __reduce__(self):
        return _UTILS["_rebuild_tensor_v2"], self.arguments


class Parameter:
    def __init__(self, tensor: Tensor):
        self.tensor = tensor

    def __reduce__(self):
        return _UTILS["_rebuild_parameter"], (self.tensor, True, collections.OrderedDict())


def tensor(array: np.ndarray) -> Tensor:
    """A whole array as a tensor with a storage of its own."""
    array = np.asarray(array)
    stride = tuple(int(np.prod(array.shape[i + 1 :])) for i in range(array.ndim))
    return Tensor(Storage(array), 0, array.shape, stride)


def state_dict(arrays) -> collections.OrderedDict:
    """With what PyTorch hangs on a state dict: its attribute `_metadata`."""
    found = collections.OrderedDict((key, tensor(value)) for key, value in arrays.items())
    found._metadata = collections.OrderedDict({"": {"version": 1}})  # type: ignore[attr-defined]
    return found


class _Pickler(pickle.Pickler):
    """`tail` is what the older format adds to a storage's persistent id."""

    def __init__(self, file, tail=()):
        super().__init__(file, protocol=2)
        self.tail, self.storages = tail, []

    def persistent_id(self, obj):
        if not isinstance(obj, Storage):
            return None
        if obj not in self.storages:
            self.storages.append(obj)
        kind = _TYPES[f"{KINDS[obj.values.dtype.name]}Storage"]
        return ("storage", kind, str(self.storages.index(obj)), "cpu", obj.values.size, *self.tail)


def save_zip(path, obj, byteorder: str = "little") -> None:
    with zipfile.ZipFile(path, "w") as archive:
        with archive.open("archive/data.pkl", "w") as file:
            pickler = _Pickler(file)
            pickler.dump(obj)
        archive.writestr("archive/byteorder", byteorder)
        archive.writestr("archive/version", "3\n")
        for i, storage in enumerate(pickler.storages):
            values = storage.values
            data = values.tobytes() if byteorder == "little" else values.byteswap().tobytes()
            archive.writestr(f"archive/data/{i}", data)


def save_legacy(path, obj) -> None:
    with open(path, "wb") as file:
        for part in (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True}):
            pickle.dump(part, file, protocol=2)
        pickler = _Pickler(file, tail=(None,))
        pickler.dump(obj)
        keys = [str(i) for i in range(len(pickler.storages))]
        pickle.dump(keys, file, protocol=2)
        for storage in pickler.storages:
            file.write(struct.pack("<q", storage.values.size) + storage.values.tobytes())


def save_python2(path, arrays) -> None:
    """A dict of float32 arrays as Python 2 pickled it, opcode by opcode."""
    with open(path, "wb") as file:
        file.write(b"\x80\x02}(")
        for key, value in arrays.items():
            raw = np.asarray(value, "<f4").tobytes()
            shape = b"".join(b"J" + struct.pack("<i", n) for n in np.shape(value))
            file.write(b"U" + bytes([len(key)]) + key.encode())
            file.write(b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR")
            file.write(b"(K\x01(" + shape + b"tcnumpy\ndtype\n(U\x02f4K\x00K\x01tR")
            file.write(b"(K\x03U\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89")
            file.write(b"T" + struct.pack("<i", len(raw)) + raw + b"tb")
        file.write(b"u.")


class Recorder:
    """Of a training script."""

    def __init__(self):
        self.losses = [1.0]
