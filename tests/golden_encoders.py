"""Pre-trained encoders against their golden fixtures, read as published files are."""

from collections.abc import Mapping

import jax
import numpy as np
from golden_tools import run

from aufer_jax import models, weights

Arrays = Mapping[str, np.ndarray]


def options(family: str, config: Mapping) -> dict:
    """Ours for a `config.json` of Hugging Face's."""
    dim, ratio = config["hidden_size"], config.get("mlp_ratio", 4)
    found = {
        "patch": config["patch_size"],
        "dim": dim,
        "depth": config["num_hidden_layers"],
        "heads": config["num_attention_heads"],
        "hidden": config.get("intermediate_size", int(dim * ratio)),
    }
    if config.get("use_gated_mlp"):
        found["mlp"] = "swiglu"
    if config.get("use_swiglu_ffn"):
        found |= {"mlp": "swiglu_fused", "hidden": (int(int(dim * ratio) * 2 / 3) + 7) // 8 * 8}
    if "num_register_tokens" in config:
        found["registers"] = config["num_register_tokens"]
    if family == "videomae" and config.get("use_mean_pooling", True):
        found["pool"] = "whole"
    return found


def encoder(family: str):
    """The comparison of a family; frames of a clip are the images of its reference."""

    def compare(config: Mapping, state_dict: Arrays, inputs: Arrays) -> dict:
        model = models.create(family, **options(family, config))
        x = np.moveaxis(inputs["pixels"], -3, -1)
        clip = x if x.ndim == 5 else x[None]
        variables, report = weights.from_torch(state_dict, family, _initial(model, clip))
        assert not report.dropped, report
        assert all(key.startswith("classifier") for key in report.initial), report
        out = run(model, variables, clip)
        whole = "tokens" not in out
        return {
            "embedded": out["embedded"],
            "last_hidden_state": out["last" if whole or family == "clip" else "tokens"],
            "pooler_output": out["times"][0],
            "logits": out["expression"],
        }

    return compare


def _initial(model, clip: np.ndarray) -> dict:
    """Zeros, for what a file may lack."""
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(0)}
    shapes = jax.eval_shape(model.init, keys, clip)
    return jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), shapes)


COMPARISONS = {
    family: encoder(family) for family in ("clip", "dinov2", "dinov3", "videomae", "vjepa2")
}
