"""AU-DFER on FRU-Adapter.

    python -m aufer_jax.main --config=configs/audfer.py:synth_clips,host=fru_adapter
    python -m aufer_jax.main --config=configs/audfer.py:dfew,host=fru_adapter,fold=1 \
        --config.init_from=FMAE_RAFDB.pth

The first is `small`, for two CPU cores, from scratch, so all of it is trained. The second is `paper`, for
GPUs, not run by us. Nobody published FRU-Adapter with the AU loss; without it its authors have on DFEW, mean
of five folds: WAR 76.96, UAR 66.02. It starts from a masked autoencoder of faces fine-tuned on RAF-DB.
"""

from typing import Any

from aufer_jax.models import fru_adapter
from aufer_jax.papers.audfer.recipes import mae_dfer
from aufer_jax.train import config as config_lib


def small(dataset: str = "") -> Any:
    """FRU-Adapter for two CPU cores: all of it is trained, there is nothing to start from."""
    config = mae_dfer.small(dataset)
    config.model = config_lib.model(
        "fru_adapter", patch=8, dim=96, depth=3, heads=4, adapter_dim=16, drop_path=0.0
    )
    return config


def paper(dataset: str = "") -> Any:
    """What the text says, and what its authors' scripts do where the text is silent."""
    config = mae_dfer.paper(dataset)
    rows = 20  # four GPUs

    config.data.size = 224
    config.data.batch_size = rows
    config.data.eval_batch_size = rows

    config.model = config_lib.model("fru_adapter")
    config.loss.label_smoothing = 0.0
    config.loss.mix = 0.0

    config.optimizer.freeze = fru_adapter.FROZEN
    config.optimizer.lr = 1e-3
    config.optimizer.decay_vectors = False
    config.optimizer.no_decay = ("cls_token",)
    config.optimizer.layer_decay = 1.0
    config.optimizer.layers = ()
    config.schedule.min_lr = 1e-4
    return config


def released(dataset: str = "") -> Any:
    """`paper`, with AU-DFER's loss as its code has it."""
    config = paper(dataset)
    config.loss.shift = "half_range"
    config.loss.positive_weights = "released"
    return config
