"""Four virtual CPU devices, one compilation cache and little memory for the whole suite."""

import collections
import ctypes
import gc
import itertools
import os
import pathlib
import platform
import socket
import tempfile
from collections.abc import Mapping

import places
import psutil
import pytest

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("XLA_FLAGS", places.xla_flags(devices=4))
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR", str(pathlib.Path(tempfile.gettempdir()) / "aufer_jax_test_cache")
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.3")
# Programs of tests run a few times: compiling them well takes longer than it saves.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "true")

import jax

import aufer_jax.papers  # noqa: F401  (registers the methods)
from aufer_jax import remote
from aufer_jax.data import records
from aufer_jax.datasets import catalog


def pytest_addoption(parser):
    parser.addoption(
        "--golden", default=None, help="folder of golden fixtures (default: tests/golden)"
    )
    parser.addoption("--face-golden", default=None, help="outputs of the face networks, .npz")


def pytest_terminal_summary(terminalreporter):
    """Which files the time went to."""
    seconds = collections.Counter()
    for report in itertools.chain.from_iterable(terminalreporter.stats.values()):
        if hasattr(report, "duration"):  # of a test, no warning
            seconds[report.nodeid.partition("::")[0]] += report.duration
    terminalreporter.section(f"{len(seconds)} files, {sum(seconds.values()):.0f} s; slowest 40")
    for name, spent in seconds.most_common(40):
        terminalreporter.write_line(f"{spent:7.1f} s  {name}")


@pytest.fixture
def unused_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def resident() -> int:
    """Memory of this process, MB."""
    return psutil.Process().memory_info().rss // 2**20


MEMORY = {"most": 1200, "growth": 300, "left": 0}  # MB


@pytest.fixture(autouse=True)
def little_memory(request):
    """Compiled programs are dropped when they take too much; $AUFER_TEST_MEMORY names a file for when."""
    yield
    before = resident()
    if before < max(MEMORY["most"], MEMORY["left"] + MEMORY["growth"]):
        return
    jax.clear_caches()
    gc.collect()
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)
    MEMORY["left"] = resident()
    if "AUFER_TEST_MEMORY" in os.environ:
        with open(os.environ["AUFER_TEST_MEMORY"], "a") as file:
            print(before, "MB,", MEMORY["left"], "after:", request.node.nodeid, file=file)


@pytest.fixture
def memory_catalog(monkeypatch):
    """Makes datasets in memory known: `memory_catalog(name, source)`, or with a source for each split."""
    known = {}

    def know(
        name: str, source: records.Source, splits: Mapping[str, records.Source] | None = None
    ) -> None:
        known[name] = source, splits

    def source(name: str, split: str, *_, **__) -> records.Source:
        whole, splits = known[name]
        return whole if splits is None else splits[split]

    monkeypatch.setattr(catalog, "info", lambda name, *_, **__: known[name][0].info)
    monkeypatch.setattr(catalog, "source", source)
    return know


_NUMBERS = itertools.count()


@pytest.fixture
def bucket(tmp_path, monkeypatch):
    """A place in a store that holds nothing yet."""
    monkeypatch.setenv(remote.VARIABLE, str(tmp_path / "kept"))
    return f"memory://bucket{next(_NUMBERS)}"


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """Another machine, as far as what is kept of the store goes."""
    return lambda: monkeypatch.setenv(remote.VARIABLE, str(tmp_path / f"kept{next(_NUMBERS)}"))
