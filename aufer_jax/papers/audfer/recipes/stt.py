"""AU-DFER on STT.

    python -m aufer_jax.main --config=configs/audfer.py:synth_clips,host=stt
    python -m aufer_jax.main --config=configs/audfer.py:dfew,host=stt,fold=1

The first is `small`, for two CPU cores. The second is `paper`, for GPUs, not run by us. Nobody published STT
with the AU loss; AU-DFER quotes without it on DFEW WAR 66.45, UAR 54.58. It starts from scratch. Built from
the paper's text: what that leaves open is ours, see docs/audfer.md.
"""

from typing import Any

from aufer_jax.papers.audfer.recipes import former_dfer
from aufer_jax.train import config as config_lib


def small(dataset: str = "") -> Any:
    """STT for two CPU cores."""
    config = former_dfer.small(dataset)
    config.model = config_lib.model(
        "stt", width=16, layers=(1, 1, 1, 1), depth=2, heads=4, head_dim=16, hidden=128
    )
    config.loss.compact = 0.1
    return config


def paper(dataset: str = "") -> Any:
    """Its network and its loss; all else is Former-DFER's."""
    config = former_dfer.paper(dataset)
    config.model = config_lib.model("stt")
    config.loss.compact = 0.1
    return config


def released(dataset: str = "") -> Any:
    """`paper`, with AU-DFER's loss as its code has it."""
    config = paper(dataset)
    config.loss.shift = "half_range"
    config.loss.positive_weights = "released"
    return config
