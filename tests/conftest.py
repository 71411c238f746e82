"""Four virtual CPU devices, one compilation cache and little memory for the whole suite."""

import ctypes
import gc
import os
import pathlib
import platform
import socket
import tempfile
from collections.abc import Mapping

import pytest

os.environ.setdefault("JAX_PLATFORMS", "cpu")
_flags = os.environ.get("XLA_FLAGS", "")
if "xla_force_host_platform_device_count" not in _flags:
    os.environ["XLA_FLAGS"] = f"{_flags} --xla_force_host_platform_device_count=4".strip()
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR", str(pathlib.Path(tempfile.gettempdir()) / "aufer_jax_test_cache")
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.3")
# Programs of tests run a few times: compiling them well takes longer than it saves.
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "true")

import jax  # noqa: E402

import aufer_jax.papers  # noqa: E402, F401  (registers the methods)
from aufer_jax.data import records  # noqa: E402
from aufer_jax.datasets import catalog  # noqa: E402


def pytest_addoption(parser):
    parser.addoption(
        "--golden", default=None, help="folder of golden fixtures (default: tests/golden)"
    )


@pytest.fixture
def unused_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(autouse=True, scope="module")
def memory_goes_back(request):
    """What a file compiled goes with it; $AUFER_TEST_MEMORY names a file for what is left, a line each."""
    yield
    jax.clear_caches()
    gc.collect()
    if platform.libc_ver()[0] == "glibc":
        ctypes.CDLL(None).malloc_trim(0)
    if "AUFER_TEST_MEMORY" in os.environ:
        status = pathlib.Path("/proc/self/status").read_text().splitlines()
        held = {line.split()[0]: int(line.split()[1]) // 1024 for line in status if "kB" in line}
        with open(os.environ["AUFER_TEST_MEMORY"], "a") as file:
            print(held["VmRSS:"], held["VmHWM:"], "MB now, most:", request.node.nodeid, file=file)


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
