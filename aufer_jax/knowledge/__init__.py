"""AU-expression knowledge estimated from clips or AU files of one's own."""

import aufer_jax.papers  # noqa: F401  (registers the methods)
