"""What is read of pickles and PyTorch's files, number by number, and what is refused."""

import datetime
import os
import pathlib
import pickle
import zipfile

import ml_dtypes
import numpy as np
import pytest
import torch_files

from aufer_jax import weights
from aufer_jax.weights import unpickle

FORMER = "former_dfer_small"


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch):
    torch_files.install(monkeypatch)


@pytest.mark.parametrize("save", [torch_files.save_zip, torch_files.save_legacy])
def test_views_of_storages(tmp_path, save):
    values = np.arange(30, dtype=np.float32)
    storage = torch_files.Storage(values)
    whole = torch_files.Tensor(storage, 0, (5, 6), (6, 1))
    held = {
        "whole": whole,
        "transposed": torch_files.Tensor(storage, 0, (6, 5), (1, 6)),
        "row": torch_files.Tensor(storage, 12, (6,), (1,)),
        "every other": torch_files.Tensor(storage, 1, (3, 2), (12, 3)),
        "repeated": torch_files.Tensor(storage, 4, (2, 3), (0, 1)),
        "scalar": torch_files.Tensor(storage, 7, (), ()),
        "empty": torch_files.Tensor(storage, 0, (0, 3), (3, 1)),
        "parameter": torch_files.Parameter(whole),
    }
    save(tmp_path / "file.pth", held)
    got = unpickle.read(tmp_path / "file.pth")
    grid = values.reshape(5, 6)
    expected = {
        "whole": grid,
        "transposed": grid.T,
        "row": grid[2],
        "every other": grid[::2, 1::3],
        "repeated": np.stack([values[4:7]] * 2),
        "scalar": values[7],
        "empty": np.zeros((0, 3)),
        "parameter": grid,
    }
    for key, value in expected.items():
        assert got[key].shape == value.shape, key
        np.testing.assert_array_equal(got[key], value, err_msg=key)


@pytest.mark.parametrize("save", [torch_files.save_zip, torch_files.save_legacy])
@pytest.mark.parametrize("name", torch_files.KINDS)
def test_every_number_type(tmp_path, save, name):
    dtype = ml_dtypes.bfloat16 if name == "bfloat16" else name
    values = np.array([0, 1, 3, 100]).astype(dtype)
    save(tmp_path / "file.pth", {"a": torch_files.tensor(values)})
    got = unpickle.read(tmp_path / "file.pth")["a"]
    assert got.dtype == values.dtype
    np.testing.assert_array_equal(got, values)


@pytest.mark.parametrize("name", ["float32", "bfloat16", "complex64", "bool"])
def test_big_endian_files(tmp_path, name):
    values = np.array([0, 1, 3, 100]).astype(ml_dtypes.bfloat16 if name == "bfloat16" else name)
    stored = values.view(np.uint16) if name == "bfloat16" else values
    storage = torch_files.Storage(values)
    torch_files.save_zip(tmp_path / "file.pth", {"a": torch_files.Tensor(storage, 0, (4,), (1,))})
    with (
        zipfile.ZipFile(tmp_path / "big.pth", "w") as big,
        zipfile.ZipFile(tmp_path / "file.pth") as zf,
    ):
        for entry in zf.namelist():
            data = zf.read(entry)
            data = stored.byteswap().tobytes() if "/data/" in entry else data
            big.writestr(entry, b"big" if entry.endswith("byteorder") else data)
    np.testing.assert_array_equal(unpickle.read(tmp_path / "big.pth")["a"], values)


def test_numpy_arrays_and_scalars_of_all_protocols(tmp_path):
    grid = np.arange(6.0).reshape(2, 3)
    held = {
        "c": grid,
        "f": np.asfortranarray(grid),
        "s": np.float32(2.5),
        "big": grid.astype(">f8"),
    }
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        (tmp_path / "file.pkl").write_bytes(pickle.dumps({"a": [held, (held["c"],)]}, protocol))
        got, (again,) = unpickle.read(tmp_path / "file.pkl")["a"]
        np.testing.assert_array_equal(again, grid)
        for key, value in held.items():
            np.testing.assert_array_equal(got[key], value)


def test_objects_made_with_arguments_are_read_past(tmp_path):
    path = tmp_path / "file.pkl"
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        held = {"path": pathlib.PosixPath("/a/b"), "day": datetime.date(2020, 1, 2), "n": 1}
        path.write_bytes(pickle.dumps(held, protocol))
        got = unpickle.read(path, inert=("datetime.date",))
        assert {type(got["path"]), type(got["day"])} == {unpickle.Inert} and got["n"] == 1
        assert not vars(got["path"]) and not vars(got["day"])
    path.write_bytes(b"\x80\x02ctorch\ndevice\nX\x04\x00\x00\x00cudaK\x00\x86R.")
    assert isinstance(unpickle.read(path), unpickle.Inert)


class Calls:
    """Pickles to a call."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


ATTACKS = {
    "os.system": (lambda target: Calls(os.system, f"touch {target}"), r"(posix|nt)\.system"),
    "eval": (lambda target: Calls(eval, f"open({str(target)!r}, 'w')"), r"\w+\.eval"),
    "getattr": (lambda _: Calls(getattr, Calls(getattr, "", "join"), "__self__"), r"\w+\.getattr"),
    "class": (
        lambda _: torch_files.Recorder(),
        rf"{torch_files.Recorder.__module__}\.Recorder",
    ),
}


@pytest.mark.parametrize("attack", ATTACKS)
@pytest.mark.parametrize("save", ["zip", "legacy", "pickle"])
def test_pickles_that_name_anything_else_are_refused(tmp_path, attack, save):
    build, named = ATTACKS[attack]
    target, path = tmp_path / "broken_into", tmp_path / "file.pth"
    if save == "pickle":
        path.write_bytes(pickle.dumps([build(target)]))
    else:
        tensors = {"a": torch_files.tensor(np.zeros(2))}
        held = {"state_dict": tensors, "extra": [build(target)]}
        {"zip": torch_files.save_zip, "legacy": torch_files.save_legacy}[save](path, held)
    with pytest.raises(ValueError, match=f"refused: the pickle names '{named}'"):
        weights.load(path, FORMER)
    assert not target.exists()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (b"torch._utils", b"_rebuild_tensor_v2.__globals__"),
        (b"torch", b"serialization.os.system"),
        (b"numpy", b"load"),
        (b"collections", b"OrderedDict.__init__"),
        (b"torch", b"FloatStorage.__class__"),
        (b"builtins", b"object"),
        (b"a\nnew", b"line"),
    ],
)
def test_dotted_names_reach_nothing(tmp_path, module, name):
    texts = b"".join(b"\x8c" + bytes([len(text)]) + text for text in (module, name))
    (tmp_path / "file.pkl").write_bytes(b"\x80\x04" + texts + b"\x93.")
    with pytest.raises(ValueError, match=r"^.*refused: the pickle names '.*$"):
        unpickle.read(tmp_path / "file.pkl")


@pytest.mark.parametrize(
    ("offset", "size", "stride"),
    [(0, (5,), (1,)), (3, (2,), (1,)), (0, (2, 2), (3, 1)), (0, (2,), (-1,)), (-1, (2,), (1,))],
)
def test_tensors_stay_inside_their_storage(tmp_path, offset, size, stride):
    storage = torch_files.Storage(np.zeros(4, np.float32))
    torch_files.save_zip(tmp_path / "file.pth", [torch_files.Tensor(storage, offset, size, stride)])
    with pytest.raises(ValueError, match="tensor"):
        unpickle.read(tmp_path / "file.pth")


def test_arrays_of_objects_are_refused(tmp_path):
    for array in (np.array([{}], object), np.zeros(2, [("a", "f4")])):
        (tmp_path / "file.pkl").write_bytes(pickle.dumps({"a": array}))
        with pytest.raises(ValueError, match="only numbers and strings are read"):
            unpickle.read(tmp_path / "file.pkl")
