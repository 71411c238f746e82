"""AU-ViT: joint training through AUs.

    python -m aufer_jax.main --config=configs/auvit.py
    python -m aufer_jax.main --config=configs/auvit.py:synth_b,aux=synth_au+synth_d
    python -m aufer_jax.main --config=configs/auvit.py:rafdb,aux=rafau --config.init_from=IR50.pth
    python -m aufer_jax.main --config=configs/auvit.py:rafdb,aux=rafau,recipe=released
    python -m aufer_jax.main --config=configs/auvit.py:my_faces,aux=my_aus

Without arguments: a small variant on synthetic faces (docs/synthetic.md), sized for two CPU cores. The
recipes are in aufer_jax/papers/auvit/recipes, with time and result. Arguments (docs/auvit.md says more):

- the first: the target dataset; `aux`: auxiliary datasets, joined by "+", that teach through AUs (`aux=`:
  none); by default synth_au for synthetic targets, rafau for the published ones, none for others
- `recipe`: small (default but for rafdb, ferplus, affectnet7, affectnet8), paper, released or sane (for
  these; sane is paper with the best epoch chosen on records held out); without it, a dataset of your own has
  its recipe chosen by what it holds (docs/own_faces.md)
- `variant`: the network: small, paper, released, multistage, vanilla (ViT with the AU branch), token (ViT
  with an AU token), vit, cnn_vit; default: the recipe's
- `naive`: auxiliaries teach through their expression labels, nothing through AUs (the paper's Table I)
- `slip`: training stays in evaluation mode after the first validation, as in the published code
- `quick`: a trial run
"""

from ml_collections import ConfigDict

from aufer_jax.datasets import catalog
from aufer_jax.papers import choice
from aufer_jax.papers.auvit import recipes
from aufer_jax.papers.auvit.recipes import own as own_faces
from aufer_jax.train import config as config_lib


def get_config(argument: str | None = None) -> ConfigDict:
    arg = config_lib.parse_argument(
        argument, target="synth_a", aux=("",), recipe="", variant="", naive=False, slip=False,
        quick=False,
    )  # fmt: skip
    aux = _auxiliary(arg.target) if arg.aux == ("",) else arg.aux
    if choice.is_own(arg.target) and not arg.recipe:
        config = own_faces.own(arg.target, aux, arg.variant, naive=arg.naive)
    else:
        recipe = arg.recipe or ("paper" if arg.target in recipes.PUBLISHED else "small")
        config = recipes.create(recipe, arg.target)
        network = "paper" if recipe == "sane" else recipe
        variant = arg.variant or network
        if variant != network:
            recipes.set_network(config, variant)
        recipes.teach(config, arg.target, aux, naive=arg.naive)
        config.note = choice.note(
            arg.target, arg, recipe=recipe, variant=variant,
            aux="+".join(aux) or " (none; aux=NAME adds a dataset that teaches AUs)",
        )  # fmt: skip
    if arg.slip:
        config.loss.slips = (*config.loss.slips, "evaluation_mode")
    if arg.quick:
        config_lib.shrink(config)
    return config


def _auxiliary(target: str) -> tuple[str, ...]:
    """Who teaches AUs by default; drawings teach them to drawings only."""
    if target in recipes.PUBLISHED:
        return ("rafau",)
    return ("synth_au",) if catalog.is_drawn(target) else ()
