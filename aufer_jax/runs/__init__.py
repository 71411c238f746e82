"""Finished runs and converted weights, applied: predictions, features, attention, metrics.

>>> import pathlib, tempfile
>>> import jax, numpy as np
>>> from safetensors.numpy import save_file
>>> from aufer_jax import models, weights
>>> model, frames = models.create("resnet_small", num_classes=7), np.zeros((1, 112, 112, 3))
>>> shapes = jax.eval_shape(model.init, jax.random.key(0), frames)
>>> zeros = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), shapes)
>>> folder = pathlib.Path(tempfile.mkdtemp())
>>> save_file(weights.to_torch(zeros, "resnet_small"), folder / "zeros.safetensors")
>>> report = weights.convert(folder / "zeros.safetensors", "resnet_small", folder / "converted")
>>> predictor = Predictor.load(folder / "converted")
>>> outputs = predictor(np.zeros((2, 112, 112, 3), np.uint8))
>>> outputs["expression_probability"].shape, len(predictor.expressions)
((2, 7), 7)
>>> bool(np.allclose(outputs["expression_probability"], 1 / 7))  # zeros know nothing
True
"""

import aufer_jax.papers  # noqa: F401  (registers the methods)
from aufer_jax.runs.conclusion import of_run as conclude
from aufer_jax.runs.evaluation import evaluate
from aufer_jax.runs.predictor import Predictor

__all__ = ["Predictor", "conclude", "evaluate"]
