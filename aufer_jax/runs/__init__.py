"""Finished runs and converted weights, applied: predictions, features, attention, metrics."""

import aufer_jax.papers  # noqa: F401  (registers the methods)
from aufer_jax.runs.conclusion import of_run as conclude
from aufer_jax.runs.evaluation import evaluate
from aufer_jax.runs.predictor import Predictor

__all__ = ["Predictor", "conclude", "evaluate"]
