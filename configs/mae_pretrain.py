"""MAE-DFER's pre-training on clips, or SVFAP's, without labels; docs/mae_pretrain.md goes on to fine-tuning.

    python -m aufer_jax.main --config=configs/mae_pretrain.py
    python -m aufer_jax.main --config=configs/mae_pretrain.py:NAME --config.train.compute_dtype=bfloat16
    python -m aufer_jax.main --config=configs/mae_pretrain.py:network=svfap

Without arguments: a small network on synthetic clips (docs/synthetic.md), sized for two CPU cores; its
encoder is that of configs/audfer.py:host=mae_dfer. `recipe` is small or paper, the published network and
schedule, which is the default for prepared datasets; the peak rate is 3e-4 * rows / 256. `network` is
mae_dfer or svfap. `order` is reference or corrected: how MAE-DFER's decoder is told where the visible tokens
are (docs/weights.md), and what SVFAP's encoder does amiss (docs/mae_pretrain.md). `quick` is a trial run. The
recipes are in aufer_jax/papers/mae_dfer/recipes.py.
"""

from ml_collections import ConfigDict

from aufer_jax import errors
from aufer_jax.datasets import catalog
from aufer_jax.papers import choice
from aufer_jax.papers.mae_dfer import recipes
from aufer_jax.train import config as config_lib

RECIPES = {
    "mae_dfer": {"small": recipes.small, "paper": recipes.paper},
    "svfap": {"small": recipes.svfap_small, "paper": recipes.svfap_paper},
}
ORDERS = {"mae_dfer": ("token_order",), "svfap": ("context", "upsampling")}  # options of the model


def get_config(argument: str | None = None) -> ConfigDict:
    arg = config_lib.parse_argument(
        argument, target="synth_clips", recipe="", network="mae_dfer", order="", quick=False
    )
    recipe = arg.recipe or ("small" if catalog.is_drawn(arg.target) else "paper")
    if arg.network not in RECIPES:
        raise errors.unknown("config argument network", arg.network, RECIPES)
    named = RECIPES[arg.network]
    if recipe not in named:
        raise errors.unknown("config argument recipe", recipe, named)
    config = named[recipe]()
    config.data.target = arg.target
    if arg.order:
        config.model.update(dict.fromkeys(ORDERS[arg.network], arg.order))
    config.note = choice.note(arg.target, arg, recipe=recipe)
    if arg.quick:
        config_lib.shrink(config)
    return config
