"""MV-FER for two CPU cores, on synthetic faces.

    python -m aufer_jax.main --config=configs/mvfer.py

Six minutes by the step's time in docs/benchmarks.md, and five more the first time, for the faces. The studies
take `study`; docs/results/mvfer.md has what came out.
"""

from typing import Any

from aufer_jax.train import config as config_lib


def small(model: str = "resnet_small") -> Any:
    """For two CPU cores."""
    config = config_lib.default("mvfer")

    config.data.size = 64
    config.data.align = "5pt"
    config.data.batch_size = 64

    config.model = config_lib.model(model)
    # Of 5, EAC's weight, and 1, the better on the validation split (`aug`, first seed): the class maps of
    # so small a network that was not trained on millions of faces vanish under the larger one.
    config.loss.cam_weight = 1.0

    config.optimizer.name = "adam"
    config.optimizer.lr = 1e-3
    config.optimizer.weight_decay = 1e-4
    config.schedule.name = "exponential"
    config.schedule.unit = "epoch"
    config.schedule.gamma = 0.8

    config.train.epochs = 8
    return config


def study() -> Any:
    """A run of the ablation: attention of 7x7 cells, and heatmaps that are finer than their Gaussians."""
    config = small()
    config.model.width = 16  # of 32: a third of the time, and the rows of all studies in some hours
    config.data.size = 112
    config.heatmap.size = 56  # a cell is two pixels; at four, sigma could not be below 0.2
    # Of 32 rows at 5e-4, 2e-3 and 5e-3, and 16 at 3e-3, the last by UAR on validation faces (`base` 0.53,
    # 0.66, 0.66, 0.71, `all` 0.41, 0.51, 0.52, 0.63; first seed, 6 epochs): more steps in the same time.
    config.data.batch_size = 16
    config.optimizer.lr = 3e-3
    config.schedule.gamma = 0.75
    config.train.epochs = 8
    config.train.log_every = 1000
    config.train.keep = 1
    return config
