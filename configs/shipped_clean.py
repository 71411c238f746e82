"""The shipped network `clean`.

    python -m aufer_jax.main --config=configs/shipped_clean.py

aufer_jax/weights/data/CARD.md says where its data come from.
"""

from ml_collections import ConfigDict

from aufer_jax.papers.auvit.recipes import shipped
from aufer_jax.train import config as config_lib


def get_config(argument: str | None = None) -> ConfigDict:
    arg = config_lib.parse_argument(argument, quick=False)
    config = shipped.clean()
    if arg.quick:
        config_lib.shrink(config)
    return config
