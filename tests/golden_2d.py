"""The networks for images against their golden fixtures."""

from collections.abc import Mapping

import numpy as np
from golden_tools import channels_first, channels_last, fill, run

from aufer_jax import facs, models
from aufer_jax.models.au_branch import head_name

BLOCKS = {"BasicBlock": "basic", "Bottleneck": "bottleneck"}
ORDERS = {21: facs.AU_VIT_21, 13: facs.COMMON_13}


def _outputs(name: str, options: dict, config: Mapping, state_dict: Mapping, image) -> dict:
    """What the network gives for an image [B, C, H, W], under the fixtures' names and in their layout."""
    entry = models.architecture(name)
    model = models.create(name, num_classes=config.get("num_classes", 0), **options)
    x = channels_last(image)
    variables = fill(model, state_dict, x, rules=entry.torch_keys, unused=entry.unused)
    outputs = run(model, variables, x)
    outputs["cls_features"] = outputs["features"]
    if "expression" in outputs:
        outputs["logits"] = outputs["expression"]
    if "au" in outputs:
        outputs["au_logits"] = outputs["au"]
        outputs["au_prob"] = 1 / (1 + np.exp(-outputs["au"]))
    if "final_tokens" in outputs:
        outputs["final_tokens"] = outputs["final_tokens"][:, :2]
    first = {k: channels_first(v) if np.ndim(v) == 4 else v for k, v in outputs.items()}
    return first | {"x": x, "model": model, "variables": variables}


def _resnet(name, config, state_dict, image):
    expansion = 4 if config["block"] == "Bottleneck" else 1
    last = expansion * 2 ** (len(config["layers"]) - 1)  # channels of the last stage by width
    options = {
        "block": BLOCKS[config["block"]],
        "layers": config["layers"],
        "width": state_dict["fc.weight"].shape[1] // last,
    }
    return _outputs(name, options, config, state_dict, image)


def resnet18(config, state_dict, inputs):
    return _resnet("resnet18", config, state_dict, inputs["image"])


def eac_resnet50(config, state_dict, inputs):
    outputs = _resnet("eac_resnet50", config, state_dict, inputs["image"])
    if "image2" in inputs:
        second = _resnet("eac_resnet50", config, state_dict, inputs["image2"])
        outputs |= {"cam2": second["cam"], "logits2": second["logits"]}
        mirrored = second["cam"][..., ::-1]
        outputs["ac_loss"] = np.mean((outputs["cam"] - mirrored) ** 2).reshape(1)
    return outputs


def _ir_options(state_dict, prefix=""):
    """Units and channels of an IR body out of the shapes of its tensors: a stage begins at a stride."""
    widths = []
    while (key := f"{prefix}body.{len(widths)}.res_layer.3.weight") in state_dict:
        widths.append(state_dict[key].shape[0])
    channels = tuple(dict.fromkeys(widths))
    return tuple(map(widths.count, channels)), channels


def ir50(config, state_dict, inputs):
    options = {
        "units": config["stages_units"],
        "channels": config["stages_channels"],
        "stem_channels": state_dict["input_layer.0.weight"].shape[0],
        "embedding": config["embedding"],
    }
    return _outputs("ir50", options, config, state_dict, inputs["image"])


def _au_options(state_dict, config, prefix=""):
    """The AU branch: the scheme, and the AUs by the number of outputs that the heads have."""
    scheme = config.get("num_AU_patch", config.get("au_regions", 7))
    regions = {region.key: region for region in facs.REGIONS[scheme]}
    for aus in ORDERS.values():
        wanted = {key: len(set(region.aus) & set(aus)) for key, region in regions.items()}
        heads = {key: f"{prefix}{head_name(key)}.weight" for key in regions}
        if all(state_dict[heads[key]].shape[0] == wanted[key] for key in regions):
            return {"regions": scheme, "aus": aus}
    raise AssertionError(f"no known set of AUs fits the heads of scheme {scheme}")


def _auvit_options(state_dict, config):
    units, channels = _ir_options(state_dict, "cnn.")
    dim = state_dict["vit.pos_embed"].shape[2]
    hidden = state_dict["vit.transformers.0.blocks.0.mlp.fc1.weight"].shape[0]
    return {
        "ir_units": units,
        "ir_channels": channels,
        "dim": dim,
        "depth": config["depth"],
        "heads": config["heads"],
        "mlp_ratio": hidden / dim,
        "conv_ffn": "vit.transformers.0.blocks.0.mlp.bn1.weight" in state_dict,
        **_au_options(state_dict, config, "vit."),
    }


def auvit(config, state_dict, inputs):
    options = _auvit_options(state_dict, config)
    return _outputs("auvit_released", options, config, state_dict, inputs["image"])


def auvit_multistage(config, state_dict, inputs):
    options = _auvit_options(state_dict, config)
    outputs = _outputs("auvit_multistage", options, config, state_dict, inputs["image"])
    outputs["block0_mlp"] = _captured(outputs, "transformers_0", "blocks_0", "mlp")
    return outputs


def _captured(outputs, *path):
    """What the submodule at `path` returned."""
    _, state = outputs["model"].apply(
        outputs["variables"],
        outputs["x"],
        capture_intermediates=lambda module, _: module.path == path,
        mutable=["intermediates"],
    )
    found = state["intermediates"]
    for key in path:
        found = found[key]
    return np.asarray(found["__call__"][0])


def _vit_options(config, state_dict, prefix=""):
    return {
        "dim": state_dict[f"{prefix}pos_embed"].shape[2],
        "depth": config["depth"],
        "heads": config["heads"],
        "mlp_ratio": config["mlp_ratio"],
    }


def auvit_vanilla(config, state_dict, inputs):
    options = _vit_options(config, state_dict) | {
        "patch": state_dict["patch_embed.proj.weight"].shape[-1],
        "supervise_layer": config["supervise_layer"],
        **_au_options(state_dict, config),
    }
    return _outputs("auvit_vanilla", options, config, state_dict, inputs["image"])


def auvit_token(config, state_dict, inputs):
    options = _vit_options(config, state_dict) | {
        "patch": state_dict["patch_embed.proj.weight"].shape[-1],
        "aus": range(len(state_dict["AU_head.weight"])),  # one head: only their number counts
    }
    return _outputs("auvit_token", options, config, state_dict, inputs["image"])


def cnn_vit(config, state_dict, inputs):
    units, channels = _ir_options(state_dict, "cnn.")
    options = _vit_options(config, state_dict, "vit.") | {
        "ir_units": units,
        "ir_channels": channels,
    }
    del options["dim"]
    return _outputs("cnn_vit", options, config, state_dict, inputs["image"])


COMPARISONS = {
    "resnet18": resnet18,
    "resnet50": resnet18,  # the configuration says which residual network it is
    "eac_resnet50": eac_resnet50,
    "ir50": ir50,
    "auvit": auvit,
    "auvit_multistage": auvit_multistage,
    "auvit_vanilla": auvit_vanilla,
    "auvit_token": auvit_token,
    "cnn_vit": cnn_vit,
}
