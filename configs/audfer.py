"""AU-DFER: AU-expression knowledge on a video model; docs/audfer.md has every option and difference.

    python -m aufer_jax.main --config=configs/audfer.py
    python -m aufer_jax.main --config=configs/audfer.py:synth_clips,host=former_dfer,au=none
    python -m aufer_jax.main --config=configs/audfer.py:synth_clips,host=s2d,images=synth_a
    python -m aufer_jax.main --config=configs/audfer.py:dfew,host=m3dfel,fold=1
    python -m aufer_jax.main --config=configs/audfer.py:dfew,host=mae_dfer,au=distinct,fold=1,recipe=released

Without arguments: a small 3-D ResNet on synthetic clips (docs/synthetic.md), sized for two CPU cores. The
recipes are in aufer_jax/papers/audfer/recipes, one file per host, with time and result. Arguments:

- the first: the target dataset
- `dataset`: whose recipe is used, by default the target's; it is the target if none is named
- `host`: m3dfel, former_dfer, mae_dfer, svfap, s2d, fru_adapter, ec_stfl, stt, dpcnet, nr_dfernet, r3d18,
  r2plus1d18, mc3, c3d, i3d, p3d, resnet18_lstm, or a pre-trained encoder: clip, dinov2, dinov3, videomae,
  vjepa2, each in other sizes too; with the recipe `small` also the name of any other model of clips, also of
  a plug-in
- `au`: how rare AUs are weighted: global (default), distinct, minor, or none for the host without its AU loss
- `recipe`: small, paper, released or sane; default: small for synthetic targets, paper for published ones;
  without it, clips of your own have their recipe chosen by what they hold (docs/own_faces.md)
- `fold`: of the dataset's folds, from 1
- `images`: datasets of images, joined by "+", that teach beside the clips: one row in five
- `quick`: a trial run
"""

from ml_collections import ConfigDict

from aufer_jax.datasets import catalog
from aufer_jax.papers import choice
from aufer_jax.papers.audfer import recipes
from aufer_jax.papers.audfer.recipes import own as own_clips
from aufer_jax.train import config as config_lib


def get_config(argument: str | None = None) -> ConfigDict:
    arg = config_lib.parse_argument(
        argument, target="", dataset="", host="", au="", recipe="", fold=0, images=(), quick=False
    )
    target = arg.target or arg.dataset or "synth_clips"
    if choice.is_own(target) and not arg.dataset and arg.recipe in ("", "small"):
        config = own_clips.own(target, arg.host, arg.au, arg.recipe, arg.fold, arg.images)
    else:
        recipe = arg.recipe or ("small" if catalog.is_drawn(target) else "paper")
        host = arg.host or ("r3d18" if recipe == "small" else "m3dfel")
        au = arg.au or "global"
        config = recipes.create(
            recipe, host, target, dataset=arg.dataset, au=au, fold=arg.fold, images=arg.images
        )
        config.note = choice.note(target, arg, recipe=recipe, host=host)
    if arg.quick:
        config_lib.shrink(config)
    return config
