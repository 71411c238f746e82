"""Models of a test file's own, and variables that need no compiled initialisation."""

import contextlib

import jax
import numpy as np

from aufer_jax.models import registry


@contextlib.contextmanager
def registered(**architectures):
    for name, architecture in architectures.items():
        registry.register(name, architecture)
    try:
        yield
    finally:
        for name in architectures:
            registry.unregister(name)


def filled(shapes):
    """Random numbers for all floats of a tree; no zeros hide a gradient, variances are positive."""
    rng = np.random.default_rng(0)

    def fill(leaf):
        if not np.issubdtype(leaf.dtype, np.floating):
            return np.zeros(leaf.shape, leaf.dtype)
        low = -0.2 if len(leaf.shape) > 1 else 0.1
        return rng.uniform(low, 0.3, leaf.shape).astype(leaf.dtype)

    return jax.tree.map(fill, shapes)
