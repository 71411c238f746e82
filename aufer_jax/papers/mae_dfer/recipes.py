"""MAE-DFER's pre-training on clips, and SVFAP's.

    python -m aufer_jax.main --config=configs/mae_pretrain.py
    python -m aufer_jax.main --config=configs/mae_pretrain.py:NAME --config.train.compute_dtype=bfloat16

The first is `small`, for two CPU cores. The second is `paper`, for many GPUs and not run by us; published
are its weights after 50 of 100 epochs on VoxCeleb2. `small` is `paper` in less width, depth and time.
"""

from typing import Any

from aufer_jax.train import config as config_lib


def paper() -> Any:
    """The published pre-training."""
    config = config_lib.default("mae_pretrain")
    rows = 160

    config.data.sampling = "dense"
    config.data.frame_step = 4
    config.data.frames = 16
    config.data.size = 160
    config.data.batch_size = rows

    config.augment.flip = 0.0
    # Sides of 1, 0.875, 0.75 or 0.66 of the frame, at most a step apart; here drawn evenly between.
    config.augment.crop = (0.44, 1.0)
    config.augment.crop_ratio = (0.86, 1.16)

    config.model = config_lib.model("mae_dfer_pretrain")

    config.optimizer.name = "adamw"
    config.optimizer.lr = 3e-4 * rows / 256
    config.optimizer.betas = (0.9, 0.95)
    config.optimizer.weight_decay = 0.05
    # As published: what is one-dimensional, and the mask token. The region tokens decay, by a slip there.
    config.optimizer.no_decay = ("/bias$", "_bias$", "/scale$", "^mask_token$")
    config.schedule.warmup_epochs = 5.0
    config.schedule.warmup_inclusive = True
    config.schedule.min_lr = 1e-5 * rows / 256

    config.train.epochs = 100
    config.train.best_metric = "loss"
    return config


def small() -> Any:
    """The pre-training for two CPU cores."""
    config = paper()

    config.data.sampling = "segments"
    config.data.frame_step = 1
    config.data.frames = 8
    config.data.size = 64
    config.data.batch_size = 16
    config.data.eval_batch_size = 64

    config.model = config_lib.model(  # the encoder of configs/audfer.py:host=mae_dfer
        "mae_dfer_pretrain", region=(2, 4, 8), patch=8, dim=96, depth=4, heads=4,
        decoder_dim=64, decoder_depth=1, decoder_heads=2,
    )  # fmt: skip

    config.optimizer.lr = 2e-3
    config.schedule.warmup_epochs = 1.0
    config.schedule.warmup_inclusive = False
    config.schedule.min_lr = 5e-5

    config.train.epochs = 20
    return config


def svfap_paper() -> Any:
    """SVFAP's, with the width of its network for fine-tuning: the published pre-training has another."""
    config = paper()
    rows = 256
    config.data.batch_size = rows
    config.model = config_lib.model("svfap_pretrain")
    config.loss.motion = False
    config.optimizer.lr = 3e-4 * rows / 256
    config.schedule.min_lr = 1e-5 * rows / 256
    return config


def svfap_small() -> Any:
    """SVFAP's for two CPU cores."""
    config = small()
    config.model = config_lib.model(  # the encoder of configs/audfer.py:host=svfap
        "svfap_pretrain", mask_ratio=0.75, patch=8, dim=96, stage_depths=(2, 1, 1), heads=4,
        bottleneck_tokens=(4,), bottleneck_dim=32, decoder_dim=64, decoder_depth=1, decoder_heads=2,
    )  # fmt: skip
    config.loss.motion = False
    return config
