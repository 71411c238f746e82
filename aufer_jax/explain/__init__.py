"""What a network looked at: ScoreCAM, attention maps, and samples that two runs disagree on."""

from aufer_jax.explain.attention import mean_attention, rollout, token_map
from aufer_jax.explain.samples import explain
from aufer_jax.explain.score_cam import as_map, default_layer, score_cam, spatial_layers
from aufer_jax.runs.attention import attention_weights

__all__ = [
    "as_map",
    "attention_weights",
    "default_layer",
    "explain",
    "mean_attention",
    "rollout",
    "score_cam",
    "spatial_layers",
    "token_map",
]
