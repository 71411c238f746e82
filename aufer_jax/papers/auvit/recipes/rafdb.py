"""AU-ViT on RAF-DB.

    python -m aufer_jax.main --config=configs/auvit.py:rafdb,aux=rafau \
        --config.init_from=backbone_ir50_ms1m_epoch63.pth

For GPUs, not run by us. Published with RAF-AU as auxiliary: 91.10 % (90.42 without the AU branch). Starts
from IR-50's weights of MS1M (docs/weights.md).
"""

from typing import Any

from aufer_jax.train import config as config_lib


def paper() -> Any:
    """What the text says."""
    config = config_lib.default("auvit")

    config.data.size = 112
    config.data.ratio = (4, 1)
    config.data.batch_size = 80  # 64 + 16

    config.augment.flip = 0.5
    config.augment.grayscale = 0.5
    config.augment.blur = 1.0

    config.model = config_lib.model("auvit_paper")
    config.loss.alpha = 1.0
    config.loss.beta = 1.0

    config.optimizer.name = "adam"
    config.optimizer.lr = 1e-4
    config.optimizer.weight_decay = 5e-4
    config.schedule.name = "cosine"
    config.schedule.warmup_epochs = 10.0

    config.train.epochs = 20
    config.train.validation_split = "test"
    return config


def released() -> Any:
    """What the script does."""
    config = paper()

    config.data.ratio = (1, 1)
    config.data.batch_size = 128  # 64 + 64

    config.augment.grayscale = 0.0  # both are commented out
    config.augment.blur = 0.0

    config.data.au_threshold = 0.505  # above 0.5: OpenFace writes hundredths

    config.model = config_lib.model("auvit_released", regions=2)
    config.loss.au_pos_weight = "released"

    config.schedule.unit = "epoch"
    config.schedule.warmup_epochs = 0.0
    config.schedule.decay_epochs = 8.0  # the rate rises again in epoch 10
    config.schedule.min_lr = 5e-7

    config.train.epochs = 10
    return config
