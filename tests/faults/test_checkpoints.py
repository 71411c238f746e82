"""Checkpoint files made to do harm: each is refused in one line, at once and with little memory."""

import contextlib
import io
import os
import pickle
import signal
import struct
import time
import tracemalloc
import zipfile

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
import torch_files

from aufer_jax.errors import UserError
from aufer_jax.weights import loading, unpickle

PROTOCOL = b"\x80\x02"
SECONDS, MB = 1.0, 100


@contextlib.contextmanager
def within(seconds):
    """Ends Python code that takes longer, in seconds of the processor."""

    def stop(*_):
        raise TimeoutError(f"more than {seconds} s")

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def refused(path):
    """The one line with which a file is refused."""
    tracemalloc.start()
    start = time.perf_counter()
    try:
        with within(20 * SECONDS), pytest.raises(UserError) as error:
            loading.read(path)
        spent, (_, most) = time.perf_counter() - start, tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert spent < SECONDS and most < MB * 2**20
    line = str(error.value)
    assert line.startswith(str(path)) and "\n" not in line and len(line) < 1000
    return line


def text(value):
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def zipped(path, root, **members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", root)
        for name, data in members.items():
            archive.writestr(f"archive/{name.replace('__', '/')}", data)


FLOAT4 = b"cnumpy\ndtype\n(" + text("f4") + b"K\x00K\x01tR"
RAW = b"B" + struct.pack("<I", 2**20) + bytes(2**20)
STORAGE = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + b"K\x04tQ"
SELF = b"}q\x00" + text("model") + b"h\x00s."
PICKLES = {
    "a real type gets a state": b"ctorch\nBFloat16Storage\n(K\x03"
    + text("<") + b"NNNJ\xa0\x86\x01\x00K\x01K\x00tb.",
    "a real function gets a state": b"ctorch._utils\n_rebuild_parameter\n(N}"
    + text("__defaults__") + b"K\x01\x85stb.",
    "tuples of tuples": b")" + b"2\x86" * 240 + b".",
    "tuples of tuples as a key": b"})" + b"2\x86" * 240 + b"Ns.",
    "tuples of tuples in a set": b"\x8f()" + b"2\x86" * 240 + b"\x90.",
    "bytes of a number": b"cnumpy.core.multiarray\nscalar\n(" + FLOAT4 + b"J\x00\x00\x00\x7ftR.",
    "a buffer of a number": b"cnumpy.core.numeric\n_frombuffer\n(J\x00\x00\x00\x7f" + FLOAT4
    + b"K\x01\x85" + text("C") + b"tR.",
    "a far place in the memo": b"Nr\xff\xff\xff\x7f.",
    "one buffer many times": b"(" + RAW + b"q\x000" + FLOAT4 + b"q\x010"
    + (b"cnumpy.core.numeric\n_frombuffer\n(h\x00h\x01J\x00\x00\x04\x00\x85" + text("C") + b"tR") * 300
    + b"l.",
    "one list many times": b"(](" + b"N" * 1000 + b"eq\x000"
    + b"c__builtin__\nlist\nh\x00\x85R" * 30000 + b"l.",
    "a text of many bytes": b"\x8d" + struct.pack("<Q", 2**40) + b"a.",
    "a bytearray of many bytes": b"\x96" + struct.pack("<Q", 2**62) + b"a.",
    "brackets": b"(" * 100_000 + b".",
    "a very long number": b"\x8b" + struct.pack("<i", 2**20) + b"\x01" * 2**20 + b".",
    "a number of negative length": b"\x8b" + struct.pack("<i", -1) + b".",
    "a dict that wraps itself": SELF,
    "a dict that gets a method": b"]q\x00(" + text("get") + b"K\x01d\x86b.",
    "an array that is never filled": b"cnumpy.core.multiarray\n_reconstruct\n(tR.",
    "a call of a list": b"](tR.",
    "nothing": b"",
}  # fmt: skip


@pytest.mark.parametrize("name", PICKLES)
@pytest.mark.parametrize("kind", ["pickle", "zip"])
def test_gadgets_are_refused(tmp_path, name, kind):
    path = tmp_path / "file.pth"
    code = PROTOCOL + PICKLES[name] if PICKLES[name] else b""
    if kind == "zip":
        zipped(path, code, data__0=bytes(16))
    else:
        path.write_bytes(code)
    refused(path)
    assert np.dtype(ml_dtypes.bfloat16).itemsize == 2 and jnp.ones(2, jnp.bfloat16).sum() == 2


@pytest.mark.parametrize(
    ("size", "stride"),
    [((2**24 + 2**14,), (0,)), ((10**9,), (0,)), ((2**40, 2**40), (0, 0)), ((0, 2**62), (1, 1))],
)
def test_a_few_numbers_do_not_become_many(tmp_path, monkeypatch, size, stride):
    torch_files.install(monkeypatch)
    storage = torch_files.Storage(np.zeros(4, np.float32))
    torch_files.save_zip(tmp_path / "a.pth", {"a": torch_files.Tensor(storage, 0, size, stride)})
    refused(tmp_path / "a.pth")


def test_a_number_may_become_64_mb(tmp_path, monkeypatch):
    """And some more for each byte of the file."""
    torch_files.install(monkeypatch)
    storage = torch_files.Storage(np.ones(4, np.float32))
    tensor = torch_files.Tensor(storage, 0, (2**24 + 2,), (0,))
    torch_files.save_zip(tmp_path / "a.pth", {"a": tensor})
    assert unpickle.read(tmp_path / "a.pth")["a"].sum() == 2**24 + 2


@pytest.mark.parametrize("length", [16, 17])
def test_long_keys_are_refused(tmp_path, length):
    (tmp_path / "a.pkl").write_bytes(pickle.dumps({tuple(range(length)): 1}))
    if length > 16:
        refused(tmp_path / "a.pkl")
    else:
        assert unpickle.read(tmp_path / "a.pkl") == {tuple(range(16)): 1}


def test_zip_members_are_in_proportion(tmp_path):
    path, large = tmp_path / "file.pth", bytes(2**27)
    zipped(path, PROTOCOL + STORAGE + b".", data__0=large)
    assert "AUFER_MOST_RATIO" in refused(path)
    zipped(path, PROTOCOL + b"}." + large)
    assert "AUFER_MOST_RATIO" in refused(path)


def test_a_wide_directory(tmp_path, monkeypatch):
    path = tmp_path / "file.pth"
    zipped(path, PROTOCOL + b"}.", **{f"data__{i}": b"" for i in range(100)})
    monkeypatch.setenv("AUFER_MOST_DIRECTORY", "1000")
    assert "directory" in refused(path)


@pytest.mark.parametrize("order", [b"little\n", b"LITTLE", b"", b"middle"])
def test_an_unknown_order_of_bytes(tmp_path, order):
    path = tmp_path / "file.pth"
    zipped(path, PROTOCOL + b"}.", byteorder=order)
    assert "byteorder" in refused(path)


def test_older_format_with_a_large_storage(tmp_path, monkeypatch):
    torch_files.install(monkeypatch)
    path = tmp_path / "file.pth"
    torch_files.save_legacy(path, {"a": torch_files.tensor(np.zeros(4, np.float32))})
    data = path.read_bytes()
    for count in (2**40, 2**62, -1):
        path.write_bytes(data[:-24] + struct.pack("<q", count) + data[-16:])
        refused(path)


@pytest.mark.parametrize("damage", ["cut", "flip", "size", "text"])
def test_damaged_safetensors(tmp_path, damage):
    path = tmp_path / "file.safetensors"
    data = bytearray(safetensors.numpy.save({"a": np.zeros(9, np.float32)}))
    if damage == "flip":
        data[9] ^= 255
    elif damage == "size":
        data[:8] = struct.pack("<Q", 2**50)
    path.write_bytes({"cut": data[:-3], "text": b"no weights"}.get(damage, bytes(data)))
    refused(path)


def test_a_missing_file_is_named(tmp_path):
    for name in ("a.pth", "a.safetensors"):
        with pytest.raises(FileNotFoundError) as error:
            loading.read(tmp_path / name)
        assert error.value.filename and name in str(error.value.filename)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "file.pth")
    refused(tmp_path / "file.pth")


def test_what_hangs_on_a_dict_is_read_past(tmp_path):
    held = torch_files.collections.OrderedDict(a=np.arange(3.0))
    held.get = 5
    (tmp_path / "file.pkl").write_bytes(pickle.dumps(held))
    np.testing.assert_array_equal(loading.read(tmp_path / "file.pkl")["a"], [0, 1, 2])


# Fuzz; $AUFER_FUZZ_SECONDS makes it longer


def seeds():
    """Whole files of every kind."""
    arrays = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.arange(4)}
    for save in (torch_files.save_zip, torch_files.save_legacy):
        stream = io.BytesIO()
        stream.close = lambda: None  # type: ignore[method-assign]
        yield "torch", save, torch_files.state_dict(arrays)
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        yield "pickle", protocol, {"x": arrays, "l": [1, 2.5, "t", (None, True)], "s": {1, 2}}


def mutated(data, rng):
    data = bytearray(data)
    for _ in range(rng.integers(1, 6)):
        at, kind = rng.integers(len(data)), rng.integers(4)
        if kind == 0:
            data[at] = rng.integers(256)
        elif kind == 1:
            data[at] ^= 1 << rng.integers(8)
        elif kind == 2:
            del data[at : at + rng.integers(1, 9)]
        else:
            begin = rng.integers(len(data))
            data[at:at] = data[begin : begin + rng.integers(1, 17)]
        if not data:
            break
    return bytes(data)


def numbers(value):
    """The arrays in what was read, by bytes."""
    if isinstance(value, np.ndarray):
        return value.nbytes
    if isinstance(value, dict):
        return sum(map(numbers, value.values()))
    return 0


def test_mutated_files_are_refused_or_read(tmp_path, monkeypatch):
    torch_files.install(monkeypatch)
    whole = []
    for i, (kind, how, held) in enumerate(seeds()):
        path = tmp_path / f"seed{i}"
        if kind == "torch":
            how(path, held)
        else:
            path.write_bytes(pickle.dumps(held, how))
        whole.append(path.read_bytes())
        assert numbers(unpickle.read(path)) == 6 * 4 + 4 * 8
    rng, path = np.random.default_rng(7), tmp_path / "file.pth"
    end = time.monotonic() + float(os.environ.get("AUFER_FUZZ_SECONDS", "3"))
    cases = 0
    while time.monotonic() < end:
        path.write_bytes(mutated(whole[rng.integers(len(whole))], rng))
        with within(2), contextlib.suppress(UserError):
            assert numbers(unpickle.read(path)) < 2**26
        cases += 1
    assert cases > 100
