"""AU-ViT on FERPlus.

    python -m aufer_jax.main --config=configs/auvit.py:ferplus,aux=rafau \
        --config.init_from=backbone_ir50_ms1m_epoch63.pth

For GPUs, not run by us. Published with RAF-AU as auxiliary: 90.15 %. Starts from IR-50's weights of MS1M
(docs/weights.md).
"""

from typing import Any

from aufer_jax.papers.auvit.recipes import rafdb
from aufer_jax.train import config as config_lib


def paper() -> Any:
    """As on RAF-DB, with twice the rows."""
    config = rafdb.paper()
    config.data.batch_size = 160  # 128 + 32
    return config


def released() -> Any:
    """What the script does."""
    config = paper()

    config.data.ratio = (2, 1)
    config.data.batch_size = 192  # 128 + 64

    config.augment.grayscale = 0.0  # both are commented out
    config.augment.blur = 0.0

    config.data.au_threshold = 0.505  # above 0.5: OpenFace writes hundredths

    config.model = config_lib.model("auvit_released", regions=2)
    config.loss.au_pos_weight = "released"
    config.loss.slips = ("warmup_from_one",)

    config.schedule.unit = "epoch"
    config.schedule.warmup_epochs = 5.0
    config.schedule.decay_epochs = 13.0  # the rate rises again in epochs 19 and 20
    config.schedule.min_lr = 5e-7
    return config
