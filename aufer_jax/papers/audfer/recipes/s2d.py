"""AU-DFER on S2D.

    python -m aufer_jax.main --config=configs/audfer.py:synth_clips,host=s2d
    python -m aufer_jax.main --config=configs/audfer.py:dfew,host=s2d,fold=1 \
        --config.init_from=Pretrain-AffectNet-7.pth,mobilefacenet_model_best.pth.tar

The first is `small`, for two CPU cores, from scratch and with the landmarks of the clips. The second is
`paper`, for GPUs, not run by us. Nobody published S2D with the AU loss; without it its authors have on DFEW,
mean of five folds: WAR 76.03, UAR 61.82 (74.81 and 65.45 with rare classes oversampled, which AU-DFER
quotes; here data.balanced). It starts from their network for images and the landmark network beside it.
"""

from typing import Any

from aufer_jax.models import s2d
from aufer_jax.papers.audfer.recipes import mae_dfer
from aufer_jax.train import config as config_lib


def small(dataset: str = "") -> Any:
    """S2D for two CPU cores: all of it is trained, there is nothing to start from."""
    config = mae_dfer.small(dataset)
    config.model = config_lib.model(
        "s2d", patch=8, dim=96, depth=3, heads=4, adapter_heads=4, landmarks="mesh",
        landmark_channels=68, head_dropout=0.0,
    )  # fmt: skip
    return config


def paper(dataset: str = "") -> Any:
    """What its authors' scripts do, with the SDL loss on FERV39k in the form that its text describes."""
    config = mae_dfer.paper(dataset)
    rows = 16  # two GPUs

    config.data.frame_step = 1
    config.data.size = 224
    config.data.batch_size = rows
    config.data.eval_batch_size = 16

    config.model = config_lib.model("s2d_mobilefacenet")
    config.optimizer.freeze = s2d.FROZEN
    config.optimizer.lr = 1e-5 * rows / 8
    config.optimizer.no_decay = ("temporal_embedding",)
    config.optimizer.layer_decay = 1.0
    config.optimizer.layers = ()
    config.schedule.warmup_epochs = 2.0
    config.schedule.min_lr = 1e-6 * rows / 256

    if dataset == "ferv39k":
        config.model = config_lib.model("s2d_mobilefacenet", head_dropout=0.0)
        config.loss.label_smoothing = 0.0
        config.loss.mix = 0.0
        config.loss.sdl = "corrected"
    return config


def released(dataset: str = "") -> Any:
    """`paper`, with AU-DFER's loss and S2D's as the code has them."""
    config = paper(dataset)
    config.loss.shift = "half_range"
    config.loss.positive_weights = "released"
    config.loss.mix_aus = "released"
    if dataset == "ferv39k":
        config.loss.sdl = "released"
        config.loss.sdl_update_epochs = 100
    return config
