"""Four virtual CPU devices and one compilation cache for the whole suite."""

import os
import pathlib
import socket
import tempfile

import pytest

os.environ.setdefault("JAX_PLATFORMS", "cpu")
_flags = os.environ.get("XLA_FLAGS", "")
if "xla_force_host_platform_device_count" not in _flags:
    os.environ["XLA_FLAGS"] = f"{_flags} --xla_force_host_platform_device_count=4".strip()
os.environ.setdefault(
    "JAX_COMPILATION_CACHE_DIR", str(pathlib.Path(tempfile.gettempdir()) / "aufer_jax_test_cache")
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.3")

import aufer_jax.papers  # noqa: E402, F401  (registers the methods)


def pytest_addoption(parser):
    parser.addoption(
        "--golden", default=None, help="folder of golden fixtures (default: tests/golden)"
    )
    parser.addoption("--face-golden", default=None, help="outputs of the face networks, .npz")


@pytest.fixture
def unused_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
