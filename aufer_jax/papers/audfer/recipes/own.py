"""AU-DFER on clips of your own, on a CPU: the small host, the rest by what the dataset holds.

    aufer train configs/audfer.py:NAME

docs/own_faces.md goes the whole way. On an accelerator the host's recipe `paper` takes the small one's place.
"""

from collections.abc import Sequence
from typing import Any

from aufer_jax.papers import own as own_lib
from aufer_jax.papers.audfer import recipes


def own(
    target: str,
    host: str = "",
    au: str = "",
    recipe: str = "",
    fold: int = 0,
    images: Sequence[str] = (),
) -> Any:
    """AU-DFER on clips of the user's own, as they and the machine suggest."""
    there = own_lib.look(target)
    recipe = recipe or ("small" if own_lib.on_cpu() else "paper")
    given, host = host, host or ("r3d18" if recipe == "small" else "m3dfel")
    loss = au or ("global" if there.aus or not there.kind else "none")
    config = recipes.create(recipe, host, target, au=loss, fold=fold, images=images)
    if recipe == "paper":  # nobody published a protocol that would choose on the test split
        config.train.validation_split = "validation"

    chosen = own_lib.Chosen(config)
    if not given:
        sizes = f"recipe={recipe}"
        chosen.say("model.name", f"{sizes}; another: configs/audfer.py:{target},host=NAME")
    chosen.say("data.size", "the network's")
    if not au:
        why = f"{len(there.aus)} AUs are annotated" if there.aus else "no AUs, so no AU head"
        chosen.say("loss.au_weight", f"{why}; configs/audfer.py:{target},au=NAME")
    own_lib.fit(chosen, there)
    config.note = chosen.note()
    return config
