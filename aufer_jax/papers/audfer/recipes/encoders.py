"""AU-DFER on encoders that others pre-trained on images or videos of anything: they stay as they are.

    python -m aufer_jax.main --config=configs/audfer.py:synth_clips,host=dinov2
    python -m aufer_jax.main --config=configs/audfer.py:dfew,host=clip,fold=1 \
        --config.init_from=clip-vit-base-patch16/model.safetensors

The first is `small`, for two CPU cores, from scratch, so all of it is trained. The second is `paper`, for
GPUs, not run by us; no paper has these hosts, so its values are chosen: MAE-DFER's augmentation and mixing, a
parallel adapter of 64 channels in every block, attention over the frames of encoders of images, AdamW 1e-3.
"""

from collections.abc import Mapping
from typing import Any

from aufer_jax import models
from aufer_jax.models import encoders
from aufer_jax.papers.audfer.recipes import mae_dfer
from aufer_jax.train import config as config_lib

_S: Mapping[str, Any] = {"dim": 384, "heads": 6, "hidden": 1536}
_L: Mapping[str, Any] = {"dim": 1024, "depth": 24, "heads": 16, "hidden": 4096}
_H: Mapping[str, Any] = {"dim": 1280, "depth": 32, "heads": 16, "hidden": 5120}
# Host -> its model, and the size where that is not the model's own.
NETWORKS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "clip": ("clip", {}),
    "clip_b32": ("clip", {"patch": 32}),
    "clip_l": ("clip", {**_L, "patch": 14}),
    "dinov2": ("dinov2", {}),
    "dinov2_s": ("dinov2", _S),
    "dinov2_l": ("dinov2", _L),
    "dinov2_g": (
        "dinov2",
        {"dim": 1536, "depth": 40, "heads": 24, "hidden": 4096, "mlp": "swiglu_fused"},
    ),
    "dinov3": ("dinov3", {}),
    "dinov3_s": ("dinov3", _S),
    "dinov3_l": ("dinov3", _L),
    "dinov3_h": ("dinov3", {**_H, "heads": 20, "mlp": "swiglu"}),
    "videomae": ("videomae", {}),
    "videomae_s": ("videomae", _S),
    "videomae_l": ("videomae", _L),
    "videomae_h": ("videomae", _H),
    "vjepa2": ("vjepa2", {}),
    "vjepa2_h": ("vjepa2", _H),
    "vjepa2_g": ("vjepa2", {"dim": 1408, "depth": 40, "heads": 22, "hidden": 6144}),
}
_SMALL = {"patch": 8, "dim": 96, "depth": 3, "heads": 4, "hidden": 384, "adapter_dim": 16}


def small(host: str, dataset: str = "") -> Any:
    """The family's structure for two CPU cores, all of it trained: there is nothing to start from."""
    config = mae_dfer.small(dataset)
    name, size = NETWORKS[host]
    config.model = config_lib.model(name, **{**size, **_SMALL}, adapter="parallel")
    return config


def paper(host: str, dataset: str = "") -> Any:
    """Chosen by us, see above."""
    config = mae_dfer.paper(dataset)
    name, size = NETWORKS[host]
    clips = "tubelet" in models.architecture(name).options
    temporal = "mean" if clips else "attention"
    rows = 16

    config.data.size = models.architecture(name).preprocess.size
    config.data.batch_size = rows
    config.data.eval_batch_size = rows

    config.model = config_lib.model(name, **size, adapter="parallel", temporal=temporal)
    config.optimizer.freeze = encoders.FROZEN
    config.optimizer.lr = 1e-3
    config.optimizer.no_decay = ()
    config.optimizer.layer_decay = 1.0
    config.optimizer.layers = ()
    config.schedule.min_lr = 1e-6

    config.train.epochs = 50
    return config


def released(host: str, dataset: str = "") -> Any:
    """`paper`, with AU-DFER's loss as its code has it."""
    config = paper(host, dataset)
    config.loss.shift = "half_range"
    config.loss.positive_weights = "released"
    config.loss.mix_aus = "released"
    return config
