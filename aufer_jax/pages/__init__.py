"""Pages about runs, for a browser: the report of one run, and of several beside each other."""

from aufer_jax.pages.report import write

__all__ = ["write"]
