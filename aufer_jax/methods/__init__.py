"""What is trained: each method ties views, model and losses together."""

import importlib
from typing import Any

from aufer_jax import suggest
from aufer_jax.methods.base import Method, Task
from aufer_jax.methods.setup import initial_weights

NAMES = ("auvit", "mvfer", "audfer", "mae_pretrain")

__all__ = ["NAMES", "Method", "Task", "build", "initial_weights", "options"]


def _module(name: str) -> Any:
    if name not in NAMES:
        raise suggest.unknown("method", name, NAMES)
    return importlib.import_module(f"aufer_jax.methods.{name}")


def options(name: str) -> type:
    """The dataclass of a method's own options, the section `loss` of a config."""
    return _module(name).Options


def build(run: Any) -> Task:
    """The task of a checked configuration."""
    return _module(run.method).build(run)
