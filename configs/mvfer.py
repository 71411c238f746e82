"""MV-FER: three views of a face through one network; docs/mvfer.md has every option.

    python -m aufer_jax.main --config=configs/mvfer.py
    python -m aufer_jax.main --config=configs/mvfer.py:rafdb --config.init_from=resnet18_msceleb.pth
    python -m aufer_jax.main --config=configs/mvfer.py:rafdb,eac --config.init_from=resnet50_ft_weight.pkl

Without arguments: a small variant on synthetic faces (docs/synthetic.md), sized for two CPU cores; time and
result are in docs/results/main.md. A dataset of photographs gets the schedule of Erasing Attention
Consistency (EAC) and ResNet-18 at 224 pixels, `model=resnet50_caffe` for the larger network; `colab` takes
112 pixels and a third of the epochs. `ablate` is base, base_ops, aug, heat, all or eac: which views are
trained; base_ops is base with the second view's mirroring and erasing as augmentation. `eac` is EAC itself,
with `noisy` as its authors ran it on noisy labels. `labels` is what votes become (FERPlus: crossentropy, the
distribution of votes; majority, probability and multi_target are the others). `quick` is a trial run.
"""

from typing import Any

from ml_collections import ConfigDict

import aufer_jax.papers  # noqa: F401  (registers the methods)
from aufer_jax import errors
from aufer_jax.train import config as config_lib

BASE = {"ce_views": (1,), "consistency": "none", "heatmap_role": "none"}
ROWS: dict[str, dict[str, Any]] = {
    "base": BASE,
    "base_ops": BASE,
    "aug": {"ce_views": (1, 2), "heatmap_role": "none"},
    "heat": {"ce_views": (1, 3), "consistency": "none"},
    "all": {},
    "eac": {"ce_views": (1,), "heatmap_role": "none"},
}


def get_config(argument: str | None = None) -> ConfigDict:
    arg = config_lib.parse_argument(
        argument, target="synth_a", model="", ablate="", labels="", colab=False, eac=False,
        noisy=False, quick=False,
    )  # fmt: skip
    config = config_lib.default("mvfer")
    config.data.target = arg.target
    config.optimizer.name = "adam"
    config.optimizer.weight_decay = 1e-4
    config.schedule.name = "exponential"
    config.schedule.unit = "epoch"
    if arg.eac:
        _schedule_of_eac(config, arg.model or "eac_resnet50")
        _eac(config, noisy=arg.noisy)
    elif arg.colab:
        _colab(config, arg.model or "resnet18")
    elif arg.target.startswith("synth_"):
        _small(config, arg.model or "resnet_small")
    else:
        _schedule_of_eac(config, arg.model or "resnet18")
    _dataset(config, arg.labels)
    row = arg.ablate or ("eac" if arg.eac else "all")
    if row not in ROWS:
        raise errors.unknown("config argument ablate", row, ROWS)
    config.loss.update(ROWS[row])
    if row == "base_ops":
        config.augment.erase = 0.5  # half of the images, as over the views of aug
    if arg.quick:
        config_lib.shrink(config)
    return config


def _small(config: Any, model: str) -> None:
    config.model = config_lib.model(model)
    config.data.size = 64
    config.data.align = "5pt"
    config.data.batch_size = 64
    # EAC's weight of 5 suits networks that begin with weights from millions of faces; from scratch the
    # class maps would vanish under it.
    config.loss.cam_weight = 1.0
    config.optimizer.lr = 1e-3
    config.schedule.gamma = 0.8
    config.train.epochs = 8


def _schedule_of_eac(config: Any, model: str) -> None:
    config.model = config_lib.model(model)
    config.data.size = 224
    config.data.batch_size = 32
    config.optimizer.lr = 2e-4 if model == "resnet18" else 1e-4
    config.schedule.gamma = 0.9
    config.train.epochs = 60


def _colab(config: Any, model: str) -> None:
    config.model = config_lib.model(model)
    config.data.size = 112
    config.data.batch_size = 128
    config.optimizer.lr = 4e-4
    config.schedule.gamma = 0.73  # ends at the same share of the first rate as 60 epochs of 0.9
    config.train.epochs = 20


def _eac(config: Any, noisy: bool) -> None:
    """The data path of EAC; its loss is the row of the same name."""
    config.augment.flip = 0.0
    config.augment.noise = 0.5
    config.erase.p = 0.5
    config.erase.first = "independent" if noisy else "shared"
    config.loss.forward = "separate"


def _dataset(config: Any, labels: str) -> None:
    if config.data.target == "ferplus":
        config.data.labels = "crossentropy"
    if labels:
        config.data.labels = labels
    if config.data.target.startswith("affectnet"):
        config.data.balanced = True
