"""AU-DFER on DPCNet.

    python -m aufer_jax.main --config=configs/audfer.py:synth_clips,host=dpcnet
    python -m aufer_jax.main --config=configs/audfer.py:dfew,host=dpcnet,fold=1

The first is `small`, for two CPU cores. The second is `paper`, for GPUs, not run by us. Nobody published
DPCNet with the AU loss; AU-DFER quotes without it on DFEW WAR 66.32, UAR 55.02. It starts from scratch.
Built from the paper's abstract: what that leaves open is ours, see docs/audfer.md.
"""

from typing import Any

from aufer_jax.papers.audfer.recipes import former_dfer
from aufer_jax.train import config as config_lib


def small(dataset: str = "") -> Any:
    """DPCNet for two CPU cores."""
    config = former_dfer.small(dataset)
    config.data.sampling = "segments"
    config.model = config_lib.model("dpcnet", block="basic", layers=(1, 1, 1, 1), width=16)
    _consistent(config)
    return config


def paper(dataset: str = "") -> Any:
    """Two views of four frames, and its two losses; all else is Former-DFER's."""
    config = former_dfer.paper(dataset)
    config.data.sampling = "segments"
    config.data.frames = 8
    config.model = config_lib.model("dpcnet")
    _consistent(config)
    return config


def _consistent(config: Any) -> None:
    config.loss.paths = 1.0
    config.loss.views = 1.0


def released(dataset: str = "") -> Any:
    """`paper`, with AU-DFER's loss as its code has it."""
    config = paper(dataset)
    config.loss.shift = "half_range"
    config.loss.positive_weights = "released"
    return config
