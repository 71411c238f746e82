"""AU-DFER on NR-DFERNet.

    python -m aufer_jax.main --config=configs/audfer.py:synth_clips,host=nr_dfernet
    python -m aufer_jax.main --config=configs/audfer.py:dfew,host=nr_dfernet,fold=1

The first is `small`, for two CPU cores. The second is `paper`, for GPUs, not run by us. Nobody published
NR-DFERNet with the AU loss; without it its authors have on DFEW, mean of five folds: WAR 68.19, UAR 54.21.
It starts from scratch. Built from the paper's text and a later repository of its first author, see
docs/audfer.md.
"""

from typing import Any

from aufer_jax.papers.audfer.recipes import former_dfer
from aufer_jax.train import config as config_lib


def small(dataset: str = "") -> Any:
    """NR-DFERNet for two CPU cores."""
    config = former_dfer.small(dataset)
    config.model = config_lib.model(
        "nr_dfernet", width=16, dynamic_blocks=1, s_depth=1, s_head_dim=16, s_hidden=64,
        t_depth=1, t_head_dim=16, t_hidden=128,
    )  # fmt: skip
    return config


def paper(dataset: str = "") -> Any:
    """Frames and crops as Former-DFER has them; the rest is that repository's."""
    config = former_dfer.paper(dataset)

    config.augment.brightness = 0.6
    config.augment.rotate = 4.0

    config.model = config_lib.model("nr_dfernet")

    config.optimizer.lr = 0.001
    config.optimizer.weight_decay = 0.1
    config.schedule.milestones = tuple(float(epoch) for epoch in range(7, 100, 7))
    config.schedule.gamma = 0.5
    return config


def released(dataset: str = "") -> Any:
    """`paper`, with AU-DFER's loss as its code has it."""
    config = paper(dataset)
    config.loss.shift = "half_range"
    config.loss.positive_weights = "released"
    return config
