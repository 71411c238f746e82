"""MV-FER's recipes, ours: only the abstract was at hand. For photographs the schedule is that of EAC.

    python -m aufer_jax.main --config=configs/mvfer.py
    python -m aufer_jax.main --config=configs/mvfer.py:rafdb --config.init_from=resnet18_msceleb.pth

The first is `small`, TIME on two CPU cores. The second is `photographs`, for a GPU, not run by us;
nothing is published. `colab` and `eac` are differences from it, `study` is one from `small`.
"""

from collections.abc import Mapping
from typing import Any

from aufer_jax import errors
from aufer_jax.train import config as config_lib

# Which views are trained; what a row does not name stays at its default, which is `all`.
ROWS: Mapping[str, Mapping[str, Any]] = {
    "base": {"ce_views": (1,), "consistency": "none", "heatmap_role": "none"},
    "base_ops": {"ce_views": (1,), "consistency": "none", "heatmap_role": "none"},
    "aug": {"ce_views": (1, 2), "heatmap_role": "none"},
    "heat": {"ce_views": (1, 3), "consistency": "none"},
    "all": {},
    "eac": {"ce_views": (1,), "heatmap_role": "none"},
}


def photographs(model: str = "resnet18") -> Any:
    config = config_lib.default("mvfer")

    config.data.size = 224
    config.data.batch_size = 32

    config.model = config_lib.model(model)
    config.loss.cam_weight = 5.0

    config.optimizer.name = "adam"
    config.optimizer.lr = 2e-4 if model == "resnet18" else 1e-4
    config.optimizer.weight_decay = 1e-4
    config.schedule.name = "exponential"
    config.schedule.unit = "epoch"
    config.schedule.gamma = 0.9

    config.train.epochs = 60
    return config


def colab(model: str = "resnet18") -> Any:
    """A third of the epochs on a quarter of the pixels."""
    config = photographs(model)
    config.data.size = 112
    config.data.batch_size = 128
    config.optimizer.lr = 4e-4
    config.schedule.gamma = 0.73  # ends at the same share of the first rate as 60 epochs of 0.9
    config.train.epochs = 20
    return config


def eac(model: str = "eac_resnet50", noisy: bool = False) -> Any:
    """EAC itself: its data path, and a pass for each view; its loss is the row of the same name."""
    config = photographs(model)
    config.augment.flip = 0.0
    config.augment.noise = 0.5
    config.erase.p = 0.5
    config.erase.first = "independent" if noisy else "shared"
    config.loss.forward = "separate"
    return config


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
    """A run of the ablation: some twenty in forty minutes on two cores."""
    config = small()
    config.data.batch_size = 32
    config.optimizer.lr = 5e-4
    config.train.log_every = 1000
    config.train.keep = 1
    return config


def set_target(config: Any, target: str, row: str = "all", labels: str = "") -> None:
    """Sets the dataset, what its votes become, and the row of the ablation, in any recipe."""
    config.data.target = target
    config.data.balanced = target.startswith("affectnet")
    config.data.labels = labels or ("crossentropy" if target == "ferplus" else "majority")
    if row not in ROWS:
        raise errors.unknown("config argument ablate", row, ROWS)
    config.loss.update(ROWS[row])
    if row == "base_ops":
        config.augment.erase = 0.5  # half of the images, as over the views of aug
