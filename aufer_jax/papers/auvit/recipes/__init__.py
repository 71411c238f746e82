"""AU-ViT's recipes, one file per dataset, and how a run's teachers are set in any of them."""

from collections.abc import Sequence
from typing import Any

from aufer_jax import errors
from aufer_jax.datasets import catalog
from aufer_jax.papers.auvit.recipes import affectnet, ferplus, rafdb, small
from aufer_jax.train import config as config_lib

PUBLISHED = {"rafdb": rafdb, "ferplus": ferplus, "affectnet7": affectnet, "affectnet8": affectnet}
RECIPES = ("paper", "released", "sane", "small")


def create(recipe: str, target: str) -> Any:
    """The configuration of a recipe; all but small are there for the published targets only.

    sane is paper with the best epoch chosen on records held out.
    """
    if recipe not in RECIPES:
        raise errors.unknown("config argument recipe", recipe, RECIPES)
    if recipe == "small":
        return small.drawn() if catalog.is_drawn(target) else small.small()
    if target not in PUBLISHED:
        raise errors.unknown(f"target of recipe {recipe}", target, PUBLISHED)
    config = getattr(PUBLISHED[target], "paper" if recipe == "sane" else recipe)()
    if recipe == "sane":
        config.train.validation_split = "validation"
    return config


def set_network(config: Any, variant: str) -> None:
    """Puts another network into a recipe: `auvit_VARIANT`, `vit` or `cnn_vit`."""
    config.model = config_lib.model(
        variant if variant in ("vit", "cnn_vit") else f"auvit_{variant}"
    )
    if variant in ("vit", "vanilla", "token"):  # on patches of pixels
        config.data.size = 224


def teach(config: Any, target: str, aux: Sequence[str], *, naive: bool = False) -> None:
    """Sets who teaches what: the target expressions, auxiliary datasets AUs.

    Args:
      config: changed in place; has the rows and the ratio of a recipe.
      target: the dataset whose expressions are learned.
      aux: others, which teach through AUs. Without any, the steps keep their target rows.
      naive: they teach through their expression labels, and nothing through AUs.
    """
    config.data.target = target
    config.data.aux = tuple(aux)
    if not aux:
        config.data.batch_size = (
            config.data.batch_size * config.data.ratio[0] // sum(config.data.ratio)
        )
    if naive:
        config.data.aux_expressions = True
        config.loss.beta = 0.0
