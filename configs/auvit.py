"""AU-ViT: joint training through AUs.

    python -m aufer_jax.main --config=configs/auvit.py
    python -m aufer_jax.main --config=configs/auvit.py:synth_b,aux=synth_au+synth_d
    python -m aufer_jax.main --config=configs/auvit.py:rafdb,aux=rafau --config.init_from=IR50.pth
    python -m aufer_jax.main --config=configs/auvit.py:rafdb,aux=rafau,recipe=released

Without arguments: a small variant on synthetic faces (docs/synthetic.md), sized for two CPU cores; time
and result are in README.md. Arguments (docs/auvit.md says more):

- the first: the target dataset; `aux`: auxiliary datasets, joined by "+", that teach through AUs
  (`aux=`: none; by default synth_au or rafau)
- `recipe`: small (synthetic targets), paper or released (rafdb, ferplus, affectnet7, affectnet8)
- `variant`: the network: small, paper, released, multistage, vanilla (ViT with the AU branch), token (ViT
  with an AU token), vit, cnn_vit; default: the recipe's
- `naive`: auxiliaries teach through their expression labels, nothing through AUs (the paper's Table I)
- `slip`: training stays in evaluation mode after the first validation, as in the published code
- `quick`: a trial run
"""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

import aufer_jax.papers  # noqa: F401  (registers the methods)
from aufer_jax.train import config as config_lib

VARIANTS = {"vit": "vit", "cnn_vit": "cnn_vit"}  # others are called auvit_<variant>

_SMALL = {
    "data.ratio": (4, 1),
    "data.batch_size": 80,  # 64 + 16
    "loss.beta": 5.0,  # 16 rows a step and few epochs: AUs would hardly be learned at 1
    "optimizer.lr": 3e-3,
    "optimizer.weight_decay": 0.02,
    "schedule.warmup_epochs": 1.0,
    "train.epochs": 7,
}
_PAPER = {
    "data.ratio": (4, 1),
    "data.batch_size": 80,
    "augment.grayscale": 0.5,
    "augment.blur": 1.0,
    "optimizer.name": "adam",
    "optimizer.lr": 1e-4,
    "optimizer.weight_decay": 5e-4,
    "schedule.warmup_epochs": 10.0,
    "train.epochs": 20,
}
_SGD = {"optimizer.name": "sgd", "optimizer.momentum": 0.9, "optimizer.nesterov": False}
_PAPER_AFFECTNET = _PAPER | _SGD | {
    "data.ratio": (3, 1),
    "data.batch_size": 168,  # 126 + 42: 128 is no multiple of three
    "data.balanced": True,
}  # fmt: skip
_RELEASED = {
    "loss.au_pos_weight": "released",
    "optimizer.name": "adam",
    "optimizer.lr": 1e-4,
    "optimizer.weight_decay": 5e-4,
    "schedule.unit": "epoch",
    "schedule.min_lr": 5e-7,
}
_RELEASED_AFFECTNET = _RELEASED | _SGD | {
    "data.ratio": (4, 1),
    "data.batch_size": 320,  # 256 + 64
    "data.balanced": True,
    "loss.beta": 0.5,
    "optimizer.lr": 5e-5,
    "optimizer.weight_decay": 5e-3,
    "schedule.unit": "step",
    "train.epochs": 5,
}  # fmt: skip
RECIPES: Mapping[tuple[str, str], Mapping[str, Any]] = {
    ("paper", "rafdb"): _PAPER,
    ("paper", "ferplus"): _PAPER | {"data.batch_size": 160},  # 128 + 32
    ("paper", "affectnet7"): _PAPER_AFFECTNET,
    ("paper", "affectnet8"): _PAPER_AFFECTNET,
    ("released", "rafdb"): _RELEASED | {
        "data.ratio": (1, 1),
        "data.batch_size": 128,
        "schedule.decay_epochs": 8.0,  # the rate rises again in epoch 10
        "train.epochs": 10,
    },
    ("released", "ferplus"): _RELEASED | {
        "data.ratio": (2, 1),
        "data.batch_size": 192,
        "schedule.warmup_epochs": 5.0,
        "loss.slips": ("warmup_from_one",),
        "schedule.decay_epochs": 13.0,
        "train.epochs": 20,
    },
    ("released", "affectnet7"): _RELEASED_AFFECTNET,
    ("released", "affectnet8"): _RELEASED_AFFECTNET,
}  # fmt: skip
RELEASED_REGIONS = {"rafdb": 2, "ferplus": 2}  # seven for the others


def get_config(argument: str | None = None) -> ConfigDict:
    arg = config_lib.parse_argument(
        argument,
        target="synth_a",
        aux=("",),
        recipe="",
        variant="",
        naive=False,
        slip=False,
        quick=False,
    )
    published = any(target == arg.target for _, target in RECIPES)
    recipe = arg.recipe or ("paper" if published else "small")
    values = _SMALL if recipe == "small" else config_lib.choose(RECIPES, recipe, arg.target)
    config = config_lib.default("auvit")
    config.data.target = arg.target
    config.data.aux = ("rafau" if published else "synth_au",) if arg.aux == ("",) else arg.aux
    variant = arg.variant or recipe
    config.model = config_lib.model(VARIANTS.get(variant, f"auvit_{variant}"))
    for key, value in values.items():
        config_lib.set_value(config, key, value)
    if not config.data.aux:  # the steps keep their target rows
        config.data.batch_size = (
            values["data.batch_size"] * config.data.ratio[0] // sum(config.data.ratio)
        )
    if variant == "released" and recipe == "released":
        config.model.regions = RELEASED_REGIONS.get(arg.target, 7)
    if variant in ("vanilla", "token", "vit"):
        config.data.size = 224
    if arg.naive:
        config.data.aux_expressions = True
        config.loss.beta = 0.0
    if arg.slip:
        config.loss.slips = (*config.loss.slips, "evaluation_mode")
    if arg.quick:
        config_lib.shrink(config)
    return config
