"""MV-FER on faces of your own: sizes by the machine, the rest by what the dataset holds.

    aufer train configs/mvfer.py:NAME

docs/own_faces.md goes the whole way; docs/results/own_faces.md has what came out, and the time.
"""

from typing import Any

from aufer_jax.papers import own as own_lib
from aufer_jax.papers.mvfer import recipes
from aufer_jax.papers.mvfer.recipes import photographs, small
from aufer_jax.train import devices


def own(target: str, model: str = "", row: str = "", labels: str = "") -> Any:
    """MV-FER on images of the user's own, as they and the machine suggest."""
    there = own_lib.look(target)
    if own_lib.on_cpu():
        config = small.small(model or "resnet_small")
        sizes = f"for {len(devices.cores())} cores"
    else:
        config = photographs.colab(model or "resnet18")
        sizes = "for an accelerator"
    seen = there.landmarks >= own_lib.MOST_LANDMARKS or not there.kind
    recipes.set_target(config, target, row or ("all" if seen else "aug"), labels)

    # Few photographs, taken anyhow: what a face is turned and lit by does not tell its expression.
    config.augment.rotate = 10.0
    config.augment.scale = 0.1
    config.augment.shift = config.data.size // 20
    config.augment.brightness = 0.3
    config.augment.contrast = 0.3

    chosen = own_lib.Chosen(config)
    if not model:
        chosen.say("model.name", f"{sizes}; another: configs/mvfer.py:{target},model=NAME")
    chosen.say("data.size", sizes)
    if not row:
        why = "there are landmarks to draw it from" if seen else "no landmarks, so no heatmap view"
        chosen.say("loss.heatmap_role", why)
    chosen.set("loss.inference", "flip", "a face and its mirror are judged together")
    own_lib.fit(chosen, there)
    config.note = chosen.note()
    return config
