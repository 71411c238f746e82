"""AU-DFER on the 3-D CNNs, and on ResNet-18 with an LSTM.

    python -m aufer_jax.main --config=configs/audfer.py
    python -m aufer_jax.main --config=configs/audfer.py:dfew,host=i3d,fold=1

The first is `small` with R3D-18: four minutes on two CPU cores, WAR 0.76 and UAR 0.65 (0.81 and 0.69 with
au=none). The second is `paper`, for one GPU, not run by us; the papers have these networks without the AU
loss only (on DFEW I3D: WAR 54.27, UAR 43.40), without the number of epochs. They start from scratch.
"""

from collections.abc import Mapping
from typing import Any

from aufer_jax import models
from aufer_jax.train import config as config_lib

# Host -> its model, and what makes that small: the same structure in less width and depth.
NETWORKS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "r3d18": (
        "r3d18",
        {"layers": (1,) * 4, "widths": (16, 32, 64, 64), "stem_strides": (1, 2, 2)},
    ),
    "r2plus1d18": ("r2plus1d18", {"layers": (1,) * 4, "widths": (16, 32, 64, 64)}),
    "mc3": ("mc3_18", {"layers": (1,) * 4, "widths": (16, 32, 64, 64)}),
    "c3d": ("c3d", {"width": 16, "hidden": 128}),
    "i3d": ("i3d", {"width": 0.25}),
    "p3d": ("p3d63", {"layers": (1,) * 4, "width": 16}),
    "resnet18_lstm": ("resnet18_lstm", {"layers": (1,) * 4, "width": 8, "hidden": 64}),
}


def small(host: str) -> Any:
    """For any model of clips; a host that is not in the table is a model as it is."""
    config = config_lib.default("audfer")

    config.data.frames = 16 if host in ("c3d", "p3d") else 8  # those two halve them four times
    config.data.size = 64
    config.data.batch_size = 16
    config.data.eval_batch_size = 64

    model, changes = NETWORKS.get(host, (host, {}))
    config.model = config_lib.model(model, **changes)
    config.loss.label_smoothing = 0.0

    config.optimizer.name = "adamw"
    config.optimizer.lr = 1e-3
    config.optimizer.weight_decay = 0.01
    config.schedule.warmup_epochs = 1.0

    config.train.epochs = 12
    config.train.best_metric = "uar"
    return config


def paper(host: str) -> Any:
    """The networks' configuration files; the epochs are those of the other hosts."""
    config = config_lib.default("audfer")
    model, _ = NETWORKS[host]

    config.data.sampling = "random"
    config.data.frames = 16
    config.data.size = models.architecture(model).preprocess.size
    config.data.batch_size = 32
    config.data.eval_batch_size = 64

    config.augment.flip = 0.0

    config.model = config_lib.model(model)
    config.loss.label_smoothing = 0.0

    config.optimizer.name = "adam"
    config.optimizer.lr = 1e-3
    config.schedule.name = "exponential"
    config.schedule.unit = "epoch"
    config.schedule.gamma = 0.9

    config.train.epochs = 100
    config.train.best_metric = "war_plus_uar"
    config.train.validation_split = "test"
    return config


def released(host: str) -> Any:
    """The script."""
    config = paper(host)
    config.data.batch_size = 64
    config.loss.positive_weights = "released"
    return config
