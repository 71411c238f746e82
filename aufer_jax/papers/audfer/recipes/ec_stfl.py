"""AU-DFER on EC-STFL.

    python -m aufer_jax.main --config=configs/audfer.py:synth_clips,host=ec_stfl
    python -m aufer_jax.main --config=configs/audfer.py:dfew,host=ec_stfl,fold=1

A 3-D ResNet-18 with EC-STFL's clustering loss; with --config.loss.ecstfl=10 any other host has it too. The
first is `small`: two CPU cores. The second is `paper`, for GPUs, not run by us. Nobody published EC-STFL with
the AU loss; without it its authors have on DFEW, mean of five folds: WAR 56.51, UAR 45.35. Their later code
says 64.08 (WAR) for fold 1 of this network, 62.02 without the clustering. It starts from scratch.
"""

from typing import Any

from aufer_jax.papers.audfer.recipes import cnns, former_dfer
from aufer_jax.train import config as config_lib


def small(dataset: str = "") -> Any:
    """The small 3-D ResNet."""
    config = cnns.small("r3d18")
    config.loss.ecstfl = 10.0
    return config


def paper(dataset: str = "") -> Any:
    """The authors' later code, but for the number of epochs: its frames and crops are Former-DFER's."""
    config = former_dfer.paper(dataset)
    config.model = config_lib.model("r3d18")
    config.loss.ecstfl = 10.0
    config.schedule.milestones = (50.0,)
    return config


def released(dataset: str = "") -> Any:
    """`paper`, with AU-DFER's loss as its code has it."""
    config = paper(dataset)
    config.loss.shift = "half_range"
    config.loss.positive_weights = "released"
    return config
