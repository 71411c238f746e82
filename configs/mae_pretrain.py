"""MAE-DFER's pre-training on clips; it reads no labels. docs/mae_pretrain.md has the way to fine-tuning.

    python -m aufer_jax.main --config=configs/mae_pretrain.py
    python -m aufer_jax.main --config=configs/mae_pretrain.py:NAME --config.train.compute_dtype=bfloat16

Without arguments: a small network on synthetic clips (docs/synthetic.md), sized for two CPU cores; its
encoder is that of configs/audfer.py:host=mae_dfer. `recipe` is small or paper, the published network and
schedule, which is the default for prepared datasets; the peak rate is 3e-4 * rows / 256. `order` is
reference or corrected: how the decoder is told where the visible tokens are (docs/weights.md). `quick` is a
trial run.
"""

from typing import Any

from ml_collections import ConfigDict

import aufer_jax.papers  # noqa: F401  (registers the methods)
from aufer_jax import errors
from aufer_jax.train import config as config_lib


def get_config(argument: str | None = None) -> ConfigDict:
    arg = config_lib.parse_argument(
        argument, target="synth_clips", recipe="", order="", quick=False
    )
    config = config_lib.default("mae_pretrain")
    config.data.target = arg.target
    config.optimizer.betas = (0.9, 0.95)
    config.optimizer.weight_decay = 0.05
    # As published: what is one-dimensional, and the mask token. The region tokens decay, by a slip there.
    config.optimizer.no_decay = ("/bias$", "_bias$", "/scale$", "^mask_token$")
    config.augment.flip = 0.0
    # Sides of 1, 0.875, 0.75 or 0.66 of the frame, at most a step apart; here drawn evenly between.
    config.augment.crop = (0.44, 1.0)
    config.augment.crop_ratio = (0.86, 1.16)
    config.train.best_metric = "loss"
    recipes = {"small": _small, "paper": _paper}
    recipe = arg.recipe or ("small" if arg.target.startswith("synth_") else "paper")
    if recipe not in recipes:
        raise errors.unknown("config argument recipe", recipe, recipes)
    recipes[recipe](config)
    if arg.order:
        config.model.token_order = arg.order
    if arg.quick:
        config_lib.shrink(config)
    return config


def _small(config: Any) -> None:
    config.model = config_lib.model(
        "mae_dfer_pretrain", region=(2, 4, 8), patch=8, dim=96, depth=4, heads=4,
        decoder_dim=64, decoder_depth=1, decoder_heads=2,
    )  # fmt: skip
    config.data.size = 64
    config.data.frames = 8
    config.data.batch_size = 16
    config.data.eval_batch_size = 64
    config.optimizer.lr = 2e-3
    config.schedule.min_lr = 5e-5
    config.schedule.warmup_epochs = 1.0
    config.train.epochs = 20


def _paper(config: Any) -> None:
    rows = 160
    config.model = config_lib.model("mae_dfer_pretrain")
    config.data.size = 160
    config.data.frames = 16
    config.data.sampling = "dense"
    config.data.frame_step = 4
    config.data.batch_size = rows
    config.optimizer.lr = 3e-4 * rows / 256
    config.schedule.min_lr = 1e-5 * rows / 256
    config.schedule.warmup_epochs = 5.0
    config.schedule.warmup_inclusive = True
    config.train.epochs = 100
