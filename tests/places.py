"""Where tests find what they read, and how XLA is to compile what they run."""

import importlib.util
import pathlib
import types

import fsspec

TESTS = pathlib.Path(__file__).parent
GOLDEN = TESTS / "golden"
ROOT = TESTS.parent


def script(name: str) -> types.ModuleType:
    """A script of benchmarks/ as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def stored(url: str) -> dict[str, bytes]:
    """What a folder of a store holds, by path."""
    fs, base = fsspec.core.url_to_fs(url)
    return {path.removeprefix(base).lstrip("/"): fs.cat_file(path) for path in fs.find(base)}


def xla_flags(devices: int = 1) -> str:
    """So many virtual CPU devices, and what compiles in half of the time, as each worker has but one core."""
    return (
        f"--xla_force_host_platform_device_count={devices} --xla_cpu_use_fusion_emitters=false"
        " --xla_cpu_parallel_codegen_split_count=1"
    )
