"""Models of a test file's own, known to the library only while its tests run."""

import contextlib

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
