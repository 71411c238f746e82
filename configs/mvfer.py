"""MV-FER: three views of a face through one network; docs/mvfer.md has every option.

    python -m aufer_jax.main --config=configs/mvfer.py
    python -m aufer_jax.main --config=configs/mvfer.py:my_faces
    python -m aufer_jax.main --config=configs/mvfer.py:rafdb --config.init_from=resnet18_msceleb.pth
    python -m aufer_jax.main --config=configs/mvfer.py:rafdb,eac --config.init_from=resnet50_ft_weight.pkl

Without arguments: a small variant on synthetic faces (docs/synthetic.md), sized for two CPU cores. The
recipes are in aufer_jax/papers/mvfer/recipes, with time and result. For a dataset of your own everything is
chosen by what it holds and by the machine, and said (docs/own_faces.md). A published dataset gets the
schedule of Erasing Attention Consistency (EAC) and ResNet-18 at 224 pixels, `model=resnet50_caffe` for the
larger network; `colab` takes 112 pixels and a third of the epochs. `ablate` is base, base_ops, aug, heat, all
or eac: which views are trained; base_ops is base with the second view's mirroring and erasing as
augmentation. `eac` is EAC itself, with `noisy` as its authors ran it on noisy labels; `sane` is EAC with the
best epoch chosen on records held out. `labels` is what votes and soft labels become (FERPlus: crossentropy,
the distribution of votes; AffectNet+: distribution, all of them as they are; majority, probability and
multi_target are the others). `quick` is a trial run.
"""

from ml_collections import ConfigDict

from aufer_jax.datasets import catalog
from aufer_jax.papers import choice
from aufer_jax.papers.mvfer import recipes
from aufer_jax.papers.mvfer.recipes import own as own_faces
from aufer_jax.papers.mvfer.recipes import photographs, small
from aufer_jax.train import config as config_lib


def get_config(argument: str | None = None) -> ConfigDict:
    arg = config_lib.parse_argument(
        argument, target="synth_a", model="", ablate="", labels="", colab=False, eac=False,
        sane=False, noisy=False, quick=False,
    )  # fmt: skip
    schedule = ""
    eac = arg.eac or arg.sane
    own = choice.is_own(arg.target) and not (eac or arg.colab)
    if own:
        config = own_faces.own(arg.target, arg.model, arg.ablate, arg.labels)
    elif eac:
        recipe = photographs.sane if arg.sane else photographs.eac
        config = recipe(arg.model or "eac_resnet50", arg.noisy)
    elif arg.colab:
        config = photographs.colab(arg.model or "resnet18")
    elif catalog.is_drawn(arg.target):
        schedule = "sizes for two CPU cores"
        config = small.small(arg.model or "resnet_small")
    else:
        schedule = "EAC's schedule (`colab`: a third of its epochs)"
        config = photographs.photographs(arg.model or "resnet18")
    if not own:
        row = arg.ablate or ("eac" if eac else "all")
        recipes.set_target(config, arg.target, row, arg.labels)
        config.note = choice.note(
            arg.target,
            arg,
            schedule,
            model=config.model.name,
            ablate=row,
            labels=config.data.labels,
        )
    if arg.quick:
        config_lib.shrink(config)
    return config
