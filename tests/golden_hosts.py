"""SVFAP, S2D and the landmark network that S2D reads against their golden fixtures."""

from collections.abc import Mapping

import jax
import numpy as np
from golden_tools import channels_first, channels_last, fill, run

from aufer_jax import models

Arrays = Mapping[str, np.ndarray]


def svfap(config: Mapping, state_dict: Arrays, inputs: Arrays) -> dict:
    model = models.create(
        "svfap",
        num_classes=config["num_classes"],
        num_aus=config.get("num_aus"),
        patch=config["patch"],
        tubelet=config["tubelet"],
        dim=config["dim"],
        stage_depths=tuple(config["stage_depths"]),
        heads=config["heads"],
        mlp_ratio=config["mlp_ratio"],
        bottleneck_tokens=tuple(np.ravel(config["bottleneck_tokens"]).tolist()),
        bottleneck_dim=config["bottleneck_dim"],
        temporal_kernel=config["temporal_kernel"],
    )
    clip = channels_last(inputs["video"])
    out = run(model, _fill("svfap", model, state_dict, clip), clip)
    stored = {"features": out["features"], "logits": out["expression"]}
    if "au" in out:
        stored["au_logits"] = out["au"]
    for k in range(2, len(config["stage_depths"]) + 1):
        stored |= {
            f"temporal{k - 2}_sub": channels_first(out[f"temporal{k}"]),
            f"bottleneck{k - 2}_sub": out[f"bottleneck{k}"],
            f"stage{k}_first_sub": out[f"stage{k}_first"],
        }
    last = {"last_sub": out[f"stage{len(config['stage_depths'])}"]}
    return stored | last | {f"{name}_sub": value for name, value in out.items()}


def s2d(config: Mapping, state_dict: Arrays, inputs: Arrays) -> dict:
    model = models.create(
        "s2d",
        num_classes=config["num_classes"],
        num_aus=config.get("num_aus"),
        patch=config["patch"],
        dim=config["dim"],
        depth=config["depth"],
        heads=config["heads"],
        hidden_dim=config["hidden_dim"],
        adapter_scale=config["adapter_scale"],
        landmark_channels=config["landmark_channels"],
        mlp_ratio=len(state_dict["blocks.0.mlp.fc1.bias"]) / config["dim"],
    )
    clip, features = channels_last(inputs["video"]), channels_last(inputs["landmark_features"])
    variables = _fill("s2d", model, state_dict, clip)
    apply = jax.jit(lambda v, x, a: model.apply(v, x, landmark_features=a))
    out = jax.tree.map(np.asarray, apply(variables, clip, features))
    out["prompt0_map"] = channels_first(out["prompt0_map"])
    stored = {f"{name}_sub": value for name, value in out.items()}
    stored |= {"features": out["features"], "logits": out["expression"]}
    return stored | ({"au_logits": out["au"]} if "au" in out else {})


def mobilefacenet(config: Mapping, state_dict: Arrays, inputs: Arrays) -> dict:
    def count(chain: str) -> int:
        return len({key.split(".")[2] for key in state_dict if key.startswith(f"{chain}.model.")})

    model = models.create(
        "mobilefacenet",
        points=config["points"],
        width=len(state_dict["conv1.bn.bias"]),
        units=tuple(map(count, ("conv_3", "conv_4", "conv_5"))),
    )
    image = channels_last(inputs["image"])
    out = run(model, _fill("mobilefacenet", model, state_dict, image), image)
    stored = {f"{name}_sub": channels_first(x) if x.ndim == 4 else x for name, x in out.items()}
    return stored | {"features": channels_first(out["landmark_features"])}


def _fill(name: str, model, state_dict: Arrays, *args: np.ndarray) -> dict:
    entry = models.architecture(name)
    return fill(model, state_dict, *args, rules=entry.torch_keys, unused=entry.unused)


COMPARISONS = {"svfap": svfap, "s2d": s2d, "mobilefacenet": mobilefacenet}
