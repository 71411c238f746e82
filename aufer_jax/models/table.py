"""Every architecture in a line: its input, what it is told apart by, its exact number of parameters."""

import math

import jax

from aufer_jax.models import registry
from aufer_jax.weights import loading


def parameters(name: str) -> int:
    """Trained numbers of an architecture with its default options; nothing is computed."""
    shapes = loading.shapes(name, registry.create(name))
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(shapes["params"]))


def markdown() -> str:
    """The table of docs/models.md."""
    lines = ["| name | input | network | parameters |", "|---|---|---|---|"]
    for name in registry.names():
        entry = registry.architecture(name)
        size = entry.preprocess.size
        frames = f"{entry.preprocess.frames} x " if entry.input == "clip" else ""
        lines.append(
            f"| `{name}` | {frames}{size} x {size} | `{entry.build.__name__}` | {parameters(name):,} |"
        )
    return "\n".join(lines)
