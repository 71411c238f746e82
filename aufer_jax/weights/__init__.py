"""Published PyTorch checkpoints -> our parameters, and back."""

from aufer_jax.weights.cards import convert, load_converted
from aufer_jax.weights.loading import Report, from_torch, load, to_torch

__all__ = ["Report", "convert", "from_torch", "load", "load_converted", "to_torch"]
