"""AU-DFER: AU-expression knowledge on a video model; docs/audfer.md has every option and difference.

    python -m aufer_jax.main --config=configs/audfer.py
    python -m aufer_jax.main --config=configs/audfer.py:synth_clips,host=former_dfer,au=none
    python -m aufer_jax.main --config=configs/audfer.py:dfew,host=m3dfel,fold=1
    python -m aufer_jax.main --config=configs/audfer.py:dfew,host=mae_dfer,au=distinct,fold=1,recipe=released

Without arguments: a small 3-D ResNet on synthetic clips (docs/synthetic.md), sized for two CPU cores.
Arguments:

- the first: the target dataset
- `dataset`: whose recipe is taken; default, and without a target itself the target
- `host`: m3dfel, former_dfer, mae_dfer, r3d18, r2plus1d18, mc3, c3d, i3d, p3d or resnet18_lstm; with the
  recipe `small` also the name of any other model of clips, a plug-in's too
- `au`: how rare AUs are weighted: global, distinct, minor, or none for the host without its AU loss
- `recipe`: small, paper, released or sane; default: small for synthetic targets, paper for others
- `fold`: of the dataset's folds, from 1
- `quick`: a trial run
"""

from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

import aufer_jax.papers  # noqa: F401  (registers the methods)
from aufer_jax import errors, models
from aufer_jax.train import config as config_lib

# Host -> its model, and what makes that small: the same structure in less width and depth.
HOSTS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "m3dfel": ("m3dfel", {
        "layers": (1,) * 4, "widths": (16, 32, 64, 64), "hidden": 48, "attention_heads": 4,
    }),
    "former_dfer": ("former_dfer", {
        "width": 16, "layers": (1,) * 4, "s_heads": 4, "s_head_dim": 16, "s_hidden": 128,
        "t_depth": 2, "t_heads": 4, "t_head_dim": 16, "t_hidden": 128,
    }),
    "mae_dfer": ("mae_dfer", {
        "region": (2, 4, 8), "patch": 8, "dim": 96, "depth": 4, "heads": 4,
        "head_scale": 1.0,
    }),
    "r3d18": ("r3d18", {
        "layers": (1,) * 4, "widths": (16, 32, 64, 64), "stem_strides": (1, 2, 2),
    }),
    "r2plus1d18": ("r2plus1d18", {"layers": (1,) * 4, "widths": (16, 32, 64, 64)}),
    "mc3": ("mc3_18", {"layers": (1,) * 4, "widths": (16, 32, 64, 64)}),
    "c3d": ("c3d", {"width": 16, "hidden": 128}),
    "i3d": ("i3d", {"width": 0.25}),
    "p3d": ("p3d63", {"layers": (1, 1, 1, 1), "width": 16}),
    "resnet18_lstm": ("resnet18_lstm", {"layers": (1,) * 4, "width": 8, "hidden": 64}),
}  # fmt: skip
BASELINES = ("r3d18", "r2plus1d18", "mc3", "c3d", "i3d", "p3d", "resnet18_lstm")
RECIPES = ("small", "paper", "released", "sane")

_SMALL = {
    "data.size": 64,
    "data.frames": 8,
    "data.batch_size": 16,
    "data.eval_batch_size": 64,
    "loss.label_smoothing": 0.0,
    "optimizer.lr": 1e-3,
    "optimizer.weight_decay": 0.01,
    "schedule.warmup_epochs": 1.0,
    "train.epochs": 12,
    "train.best_metric": "uar",
}
_SMALL_HOSTS: Mapping[str, Mapping[str, Any]] = {
    "m3dfel": {"data.sampling": "spread", "optimizer.lr": 5e-4, "train.epochs": 14},
    "former_dfer": {"data.sampling": "pairs", "train.epochs": 10},
    "mae_dfer": {"data.sampling": "dense", "data.frame_step": 2, "data.test_clips": 2},
    "c3d": {"data.frames": 16},  # both halve the frames four times
    "p3d": {"data.frames": 16},
}

_PUBLISHED = {  # common to all hosts
    "data.eval_batch_size": 64,
    "loss.label_smoothing": 0.0,
    "train.epochs": 100,
    "train.best_metric": "war_plus_uar",
    "train.validation_split": "test",
}
_M3DFEL = _PUBLISHED | {
    "data.sampling": "spread",
    "data.size": 112,
    "data.batch_size": 64,
    "augment.crop": (0.08, 1.0),
    "augment.brightness": 0.4,
    "augment.contrast": 0.4,
    "augment.saturation": 0.4,
    "augment.hue": 0.4,
    "augment.shuffle_colour": True,
    "loss.label_smoothing": 0.1,
    "optimizer.name": "adamw",
    "optimizer.lr": 5e-4,
    "optimizer.weight_decay": 0.05,
    "schedule.warmup_epochs": 20.0,
    "schedule.min_lr": 5e-6,
}  # fmt: skip
_FORMER_DFER = _PUBLISHED | {
    "data.sampling": "pairs",
    "data.size": 112,
    "data.batch_size": 32,
    "augment.crop": (0.08, 1.0),
    "optimizer.name": "sgd",
    "optimizer.momentum": 0.9,
    "optimizer.lr": 0.01,
    "optimizer.weight_decay": 1e-4,
    "schedule.name": "step",
    "schedule.unit": "epoch",
    "schedule.gamma": 0.1,
    "schedule.milestones": (40.0, 80.0),
}  # fmt: skip
_MAE_DFER = _PUBLISHED | {
    "data.sampling": "dense",
    "data.frame_step": 4,
    "data.test_clips": 2,
    "data.size": 160,
    "data.batch_size": 96,  # three GPUs with 32 each
    "augment.rand_ops": 4,
    "augment.crop": (0.08, 1.0),
    "augment.crop_log_ratio": True,
    "augment.crop_swap": False,
    "augment.erase": 0.25,
    "erase.area": (0.02, 1 / 3),
    "erase.ratio": (0.3, 1 / 0.3),
    "erase.noise": True,
    "loss.label_smoothing": 0.1,
    "loss.mix": 1.0,
    "optimizer.name": "adamw",
    "optimizer.lr": 1e-3 * 96 / 256,
    "optimizer.weight_decay": 0.05,
    "optimizer.decay_vectors": False,
    "optimizer.no_decay": ("lg_region_tokens",),
    "optimizer.layer_decay": 0.75,
    "optimizer.layers": ("encoder/patch_embed", *(f"encoder/blocks_{i}/" for i in range(16))),
    "schedule.warmup_epochs": 5.0,
    "schedule.warmup_inclusive": True,
    "schedule.min_lr": 1e-6 * 96 / 256,
}  # fmt: skip
_BASELINE = _PUBLISHED | {
    "data.sampling": "random",
    "data.batch_size": 32,
    "augment.flip": 0.0,
    "optimizer.name": "adam",
    "optimizer.lr": 1e-3,
    "schedule.name": "exponential",
    "schedule.unit": "epoch",
    "schedule.gamma": 0.9,
}  # fmt: skip
_PAPER: Mapping[str, Mapping[str, Any]] = {
    "m3dfel": _M3DFEL,
    "former_dfer": _FORMER_DFER,
    "mae_dfer": _MAE_DFER,
    **{host: _BASELINE for host in BASELINES},
}
_RELEASED: Mapping[str, Mapping[str, Any]] = {  # what the code does otherwise
    "m3dfel": {
        "data.au_frames": "sampled",
        "loss.shift": "half_range",
        "loss.slips": ("test_jitter", "running_clock", "late_rate"),
    },
    "former_dfer": {"data.au_frames": "sampled"},
    "mae_dfer": {"loss.shift": "half_range", "loss.mix_aus": "released"},
    **{host: {"data.batch_size": 64} for host in BASELINES},
}  # fmt: skip
# Where a dataset's recipe is not DFEW's.
_DATASETS: Mapping[tuple[str, str], Mapping[str, Any]] = {
    ("mae_dfer", "ferv39k"): {
        "data.frame_step": 1,
        "data.batch_size": 120,
        "optimizer.lr": 1e-3 * 120 / 256,
        "schedule.min_lr": 1e-6 * 120 / 256,
    },
}
_RELEASED_DATASETS: Mapping[tuple[str, str], Mapping[str, Any]] = {
    ("former_dfer", "ferv39k"): {"data.au_frames": "all"},
}
_SANE: dict[str, Any] = {"train.validation_split": "validation"}


def recipe_of(recipe: str, host: str, dataset: str) -> Mapping[str, Any]:
    """The values of a recipe for a host and a dataset."""
    if recipe == "small":
        return {**_SMALL, **_SMALL_HOSTS.get(host, {})}
    if host not in HOSTS:
        raise errors.unknown(f"host of recipe {recipe}", host, HOSTS)
    values: dict[str, Any] = {**_PAPER[host], **_DATASETS.get((host, dataset), {})}
    if host in BASELINES:
        values["data.size"] = models.architecture(HOSTS[host][0]).preprocess.size
    if recipe == "released":
        values |= {**_RELEASED[host], **_RELEASED_DATASETS.get((host, dataset), {})}
    if recipe == "sane":
        values |= _SANE
    return values


def get_config(argument: str | None = None) -> ConfigDict:
    arg = config_lib.parse_argument(
        argument, target="", dataset="", host="", au="global", recipe="", fold=0, quick=False
    )
    target = arg.target or arg.dataset or "synth_clips"
    recipe = arg.recipe or ("small" if target.startswith("synth_") else "paper")
    if recipe not in RECIPES:
        raise errors.unknown("config argument recipe", recipe, RECIPES)
    host = arg.host or ("r3d18" if recipe == "small" else "m3dfel")
    values = recipe_of(recipe, host, arg.dataset or target)
    config = config_lib.default("audfer")
    config.data.target = target
    config.data.target_aus = True
    config.data.aus = "openface_18"
    config.data.fold = arg.fold
    model, small = HOSTS.get(host, (host, {}))
    config.model = config_lib.model(model, **(small if recipe == "small" else {}))
    for key, value in values.items():
        config_lib.set_value(config, key, value)
    if target.startswith("synth_"):
        config.data.align = "5pt"  # without it 800 clips teach a network from scratch nothing
    config.loss.au = arg.au
    config.loss.au_weight = 0.0 if arg.au == "none" else 0.25
    if recipe == "released" and target in ("dfew", "ferv39k"):
        config.loss.positive_weights = "released"
    if arg.quick:
        config_lib.shrink(config)
    return config
