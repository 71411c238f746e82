"""AU-DFER on SVFAP.

    python -m aufer_jax.main --config=configs/audfer.py:synth_clips,host=svfap,au=distinct
    python -m aufer_jax.main --config=configs/audfer.py:dfew,host=svfap,fold=1 \
        --config.init_from=voxceleb2_pretrain.pth

The first is `small`, for two CPU cores; like the small MAE-DFER it is too large a kind of network for 800
clips. The second is `paper`, for GPUs, not run by us. Nobody published SVFAP with the AU loss; without it
its authors have on DFEW, mean of five folds: WAR 74.27, UAR 62.83. It starts from their pre-training on
VoxCeleb2, after 100 epochs.
"""

from typing import Any

from aufer_jax.papers.audfer.recipes import mae_dfer
from aufer_jax.train import config as config_lib


def small(dataset: str = "") -> Any:
    """SVFAP for two CPU cores."""
    config = mae_dfer.small(dataset)
    config.model = config_lib.model(
        "svfap", patch=8, dim=96, stage_depths=(2, 1, 1), heads=4, bottleneck_tokens=(4,),
        bottleneck_dim=32, head_scale=1.0,
    )  # fmt: skip
    return config


def paper(dataset: str = "") -> Any:
    """MAE-DFER's, whose code it shares, with SVFAP's own values."""
    config = mae_dfer.paper(dataset)
    rows = 64  # four GPUs

    config.data.batch_size = rows
    config.model = config_lib.model("svfap")

    config.optimizer.lr = 1e-3 * rows / 256
    config.optimizer.no_decay = ()
    # What joins times and what makes bottleneck tokens learn at the full rate.
    config.optimizer.layers = (
        "^encoder/patch_embed",
        *(f"^encoder/blocks_{i}/" for i in range(21)),
    )
    config.schedule.min_lr = 1e-6 * rows / 256
    return config


def released(dataset: str = "") -> Any:
    """`paper`, with AU-DFER's loss as its code has it."""
    config = paper(dataset)
    config.loss.shift = "half_range"
    config.loss.positive_weights = "released"
    config.loss.mix_aus = "released"
    return config
