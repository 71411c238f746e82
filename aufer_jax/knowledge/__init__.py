"""AU-expression knowledge from your own clips or AU files."""

import aufer_jax.papers  # noqa: F401  (registers the methods)
