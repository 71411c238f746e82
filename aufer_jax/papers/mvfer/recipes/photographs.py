"""MV-FER on photographs. Only the abstract is public; the schedule is that of EAC, its nearest relative.

    python -m aufer_jax.main --config=configs/mvfer.py:rafdb --config.init_from=resnet18_msceleb.pth
    python -m aufer_jax.main --config=configs/mvfer.py:rafdb,eac --config.init_from=resnet50_ft_weight.pkl

For a GPU, not run by us; nothing is published of MV-FER. Both start from weights trained on faces
(docs/weights.md). `colab` is shorter, `eac` is EAC itself, `sane` EAC with a validation split.
"""

from typing import Any

from aufer_jax.train import config as config_lib


def photographs(model: str = "resnet18") -> Any:
    """EAC's schedule on the photographs of a prepared dataset."""
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
    config.train.validation_split = "test"
    return config


def sane(model: str = "eac_resnet50", noisy: bool = False) -> Any:
    """EAC with the best epoch chosen on records held out."""
    config = eac(model, noisy)
    config.train.validation_split = "validation"
    return config
