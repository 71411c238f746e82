"""AU-ViT on faces of your own: the small network, the rest by what the dataset holds.

    aufer train configs/auvit.py:NAME
    aufer train configs/auvit.py:NAME,aux=OTHER

docs/own_faces.md goes the whole way. The AUs of NAME itself are taught if it has any; `aux` names datasets
that teach theirs beside it.
"""

from collections.abc import Sequence
from typing import Any

from aufer_jax.papers import own as own_lib
from aufer_jax.papers.auvit import recipes
from aufer_jax.papers.auvit.recipes import small


def own(target: str, aux: Sequence[str] = (), variant: str = "", *, naive: bool = False) -> Any:
    """AU-ViT on images of the user's own, as they and the machine suggest."""
    there = own_lib.look(target)
    config = small.small()
    if variant:
        recipes.set_network(config, variant)
    recipes.teach(config, target, aux, naive=naive)

    config.augment.rotate = 10.0
    config.augment.scale = 0.1
    config.augment.shift = config.data.size // 20
    config.augment.brightness = 0.3
    config.augment.contrast = 0.3

    chosen = own_lib.Chosen(config)
    if not variant:
        chosen.say("model.name", f"small; another: configs/auvit.py:{target},variant=NAME")
    chosen.say("data.size", "the network's")
    if there.aus:
        chosen.set("data.target_aus", True, f"{len(there.aus)} AUs are annotated and taught")
    elif not aux:
        more = f"configs/auvit.py:{target},aux=NAME adds a dataset that teaches AUs"
        chosen.set("data.aus", "none", f"no AUs, so no AU head; {more}")
    own_lib.fit(chosen, there)
    config.note = chosen.note()
    return config
