"""Clip networks against their golden fixtures."""

import functools
import re
from collections.abc import Mapping

import numpy as np
from golden_tools import channels_first, channels_last, fill, run

from aufer_jax import models


def _stored(outputs: Mapping[str, np.ndarray]) -> dict:
    """Our outputs under the fixtures' names: channels first, and each map's `_mean` and `_sub`."""
    stored = {"logits": outputs["expression"]}
    if "au" in outputs:
        stored["au_logits"] = outputs["au"]
    for name, x in outputs.items():
        stored.setdefault(name, x)
        if x.ndim > 3:
            x = channels_first(x)
            stored[f"{name}_sub"] = x
            stored[f"{name}_mean"] = x.mean(tuple(range(2, x.ndim)))
    return stored


def _outputs(name: str, options: Mapping, state_dict: Mapping, video: np.ndarray) -> dict:
    model = models.create(name, **options)
    variables = fill(model, state_dict, video, rules=models.architecture(name).torch_keys)
    return run(model, variables, video)


def _classes(config: Mapping) -> dict:
    return {"num_classes": config["num_classes"], "num_aus": config.get("num_aus")}


def _ncthw(inputs: Mapping) -> np.ndarray:
    return channels_last(inputs["video"])


def _blocks(state_dict: Mapping, stages: int = 4) -> tuple[int, ...]:
    """Blocks a stage, counted from keys `layer2.3.` and `features.2.3.`."""
    found = [re.match(r"(?:layer|features\.)(\d)\.(\d+)\.conv", key) for key in state_dict]
    blocks = [(int(m[1]), int(m[2])) for m in found if m]
    return tuple(1 + max(i for stage, i in blocks if stage == n) for n in range(1, stages + 1))


def _video_resnet(name, config, state_dict, inputs):
    options = _classes(config) | {"layers": _blocks(state_dict)}
    outputs = _outputs(name, options, state_dict, _ncthw(inputs))
    outputs["avgpool"] = outputs["features"][:, None, None, None]
    return _stored(outputs)


def _c3d(config, state_dict, inputs):
    options = _classes(config) | {
        "batch_norm": config["batch_norm"],
        "width": len(state_dict["conv1.bias"]),
        "hidden": len(state_dict["fc6.bias"]),
    }
    outputs = _outputs("c3d", options, state_dict, _ncthw(inputs))
    exponents = np.exp(outputs["expression"] - outputs["expression"].max(-1, keepdims=True))
    probs = exponents / exponents.sum(-1, keepdims=True)
    return _stored(outputs) | {"fc8": outputs["expression"], "probs": probs}


def _i3d(config, state_dict, inputs):
    def logits(x):
        """[B, T, H, W, classes] -> [B, classes, T], and H, W where they are not 1."""
        x = channels_first(x)
        return x.squeeze((3, 4)) if x.shape[3:] == (1, 1) else x

    video = _ncthw(inputs)
    outputs, scaled = (
        _outputs("i3d", _classes(config), state_dict, factor * video) for factor in (1, 300)
    )
    stored = {f"{key}_x300": value for key, value in _stored(scaled).items()}
    stored["Mixed_5c_x300_mean"] = scaled["Mixed_5c"].mean((1, 2, 3))
    stored["logits_x300"] = logits(scaled["logits"])
    return stored | _stored(outputs) | {"logits": logits(outputs["logits"])}


def _p3d(config, state_dict, inputs):
    options = _classes(config) | {
        "layers": tuple(config["layers"]),
        "structures": tuple(config["ST_struc"]),
        "width": len(state_dict["bn1.weight"]),
    }
    name = config["depth"].lower()
    return _stored(_outputs(name, options, state_dict, _ncthw(inputs)))


def _resnet_lstm(config, state_dict, inputs):
    options = _classes(config) | {
        "block": "basic" if "basic" in config["block"].lower() else "bottleneck",
        "layers": tuple(config["layers"]),
        "width": len(state_dict["bn1.weight"]),
        "hidden": config["lstm_hidden"],
        "lstm_layers": config["lstm_layers"],
    }
    outputs = _outputs("resnet18_lstm", options, state_dict, _ncthw(inputs))
    outputs["avgpool"] = outputs["avgpool"][:, None, None]
    return _stored(outputs)


def _m3dfel(config, state_dict, inputs):
    options = _classes(config) | {
        "instance_length": config["instance_length"],
        "attention_heads": config["heads"],
        "layers": _blocks(state_dict),
        "hidden": state_dict["lstm.weight_hh_l0"].shape[1],
    }
    video = np.moveaxis(inputs["video"], 2, -1)
    return _stored(_outputs("m3dfel", options, state_dict, video))


COMPARISONS = {
    "c3d": _c3d,
    "c3d_sports1m": _c3d,
    "i3d": _i3d,
    "p3d": _p3d,
    "resnet18_lstm": _resnet_lstm,
    "m3dfel": _m3dfel,
    "m3dfel_au": _m3dfel,
} | {name: functools.partial(_video_resnet, name) for name in ("r3d18", "r2plus1d18", "mc3_18")}
