"""AU-ViT on AffectNet, with seven or eight classes.

    python -m aufer_jax.main --config=configs/auvit.py:affectnet7,aux=rafau \
        --config.init_from=backbone_ir50_ms1m_epoch63.pth

For GPUs, not run by us. Published for seven classes with RAF-AU as auxiliary: 65.59 %. Starts from IR-50's
weights of MS1M (docs/weights.md).
"""

from typing import Any

from aufer_jax.papers.auvit.recipes import rafdb
from aufer_jax.train import config as config_lib


def paper() -> Any:
    """As on RAF-DB, except for the rows and the optimizer."""
    config = rafdb.paper()

    config.data.ratio = (3, 1)
    config.data.batch_size = 168  # 126 + 42: the paper's 128 is not a multiple of three
    config.data.balanced = True

    config.optimizer.name = "sgd"
    config.optimizer.momentum = 0.9
    config.optimizer.nesterov = False
    return config


def released() -> Any:
    """What the script does."""
    config = paper()

    config.data.ratio = (4, 1)
    config.data.batch_size = 320  # 256 + 64

    config.augment.grayscale = 0.0  # both are commented out
    config.augment.blur = 0.0

    config.data.au_threshold = 0.505  # above 0.5: OpenFace writes hundredths

    config.model = config_lib.model("auvit_released", regions=7)
    config.loss.beta = 0.5
    config.loss.au_pos_weight = "released"

    config.optimizer.lr = 5e-5
    config.optimizer.weight_decay = 5e-3
    config.schedule.warmup_epochs = 0.0
    config.schedule.min_lr = 5e-7

    config.train.epochs = 5
    return config
