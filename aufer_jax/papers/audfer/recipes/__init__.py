"""AU-DFER's recipes, one file per host, and how a run's target and AU loss are set in any of them."""

from collections.abc import Sequence
from typing import Any

from aufer_jax import errors
from aufer_jax.datasets import catalog
from aufer_jax.papers.audfer import positive_weights
from aufer_jax.papers.audfer.recipes import (
    cnns,
    dpcnet,
    ec_stfl,
    encoders,
    former_dfer,
    fru_adapter,
    m3dfel,
    mae_dfer,
    nr_dfernet,
    s2d,
    stt,
    svfap,
)

FILES = {
    "m3dfel": m3dfel,
    "former_dfer": former_dfer,
    "mae_dfer": mae_dfer,
    "svfap": svfap,
    "s2d": s2d,
    "fru_adapter": fru_adapter,
    "ec_stfl": ec_stfl,
    "stt": stt,
    "dpcnet": dpcnet,
    "nr_dfernet": nr_dfernet,
}
HOSTS = (*FILES, *cnns.NETWORKS, *encoders.NETWORKS)
RECIPES = ("small", "paper", "released", "sane")


def create(
    recipe: str,
    host: str,
    target: str,
    *,
    dataset: str = "",
    au: str = "global",
    fold: int = 0,
    images: Sequence[str] = (),
) -> Any:
    """The configuration of a run.

    Args:
      recipe: one of `RECIPES`; sane is paper with the best epoch chosen on records held out.
      host: one of `HOSTS`; with the recipe small the name of any model of clips.
      target: the dataset.
      dataset: the one whose recipe is used; by default the target.
      au: how rare AUs are weighted; "none" for the host without its AU loss.
      fold: of the dataset's folds, from 1.
      images: datasets of images that teach beside the clips, a row for every four clips; a step has as many
        clips as without them.
    """
    if recipe not in RECIPES:
        raise errors.unknown("config argument recipe", recipe, RECIPES)
    if recipe != "small" and host not in HOSTS:
        raise errors.unknown(f"host of recipe {recipe}", host, HOSTS)
    name, published = "paper" if recipe == "sane" else recipe, dataset or target
    if host in FILES:
        config = getattr(FILES[host], name)(published)
    elif host in encoders.NETWORKS:
        config = getattr(encoders, name)(host, published)
    else:
        config = getattr(cnns, name)(host)
    if recipe == "sane":
        config.train.validation_split = "validation"
    config.data.target = target
    config.data.target_aus = True
    config.data.aus = "openface_18"
    config.data.fold = fold
    if images:
        config.data.aux = tuple(images)
        config.data.aux_expressions = True
        clips, stills = config.data.ratio
        config.data.batch_size += config.data.batch_size * stills // clips
    if catalog.is_drawn(target):
        config.data.align = "5pt"  # without it a network from scratch learns nothing from 800 clips
    config.loss.au = au
    config.loss.au_weight = 0.0 if au == "none" else 0.25
    if target not in positive_weights.DATASETS:
        config.loss.positive_weights = "data"  # nobody published constants
    return config
