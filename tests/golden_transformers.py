"""Video transformers against their golden fixtures."""

import re
from collections.abc import Mapping

import jax
import numpy as np
from golden_tools import channels_first, channels_last, fill, run

from aufer_jax import models
from aufer_jax.models import mae_dfer_pretrain as pretrain

Arrays = Mapping[str, np.ndarray]
_LAYER = (("depth", "depth"), ("heads", "heads"), ("head_dim", "dim_head"), ("hidden", "mlp"))


def _fill(name: str, model, state_dict: Arrays, *args: np.ndarray) -> dict:
    entry = models.architecture(name)
    return fill(model, state_dict, *args, rules=entry.torch_keys, unused=entry.unused)


def former_dfer(config: Mapping, state_dict: Arrays, inputs: Arrays) -> dict:
    state_dict = {key.removeprefix("module."): value for key, value in state_dict.items()}
    layers = [
        len({key.split(".")[2] for key in state_dict if key.startswith(f"s_former.layer{n}.")})
        for n in (1, 2, 3, 4)
    ]
    model = models.create(
        "former_dfer",
        num_classes=config["num_classes"],
        width=len(state_dict["s_former.conv1.weight"]),
        layers=tuple(layers),
        **{f"{p}_{ours}": config[f"{p}_{theirs}"] for p in "st" for ours, theirs in _LAYER},
    )
    clip = np.moveaxis(inputs["video"], 2, -1)
    out = run(model, _fill("former_dfer", model, state_dict, clip), clip)
    maps = {name: channels_first(out[name]) for name in out if re.match(r"stem|layer\d", name)}
    return {
        "stem_sub": maps["stem"],
        "layer1_sub": maps["layer1"],
        "layer2_sub": maps["layer2"],
        "layer3_sub": maps["layer3"],
        "spatial_tokens_sub": out["spatial_tokens"],
        "layer4_sub": maps["layer4"],
        "s_former": out["s_former"],
        "t_attn0_sub": out["t_attn0"],
        "t_block0_sub": out["t_block0"],
        "t_former": out["features"],
        "logits": out["expression"],
    }


def mae_dfer(config: Mapping, state_dict: Arrays, inputs: Arrays) -> dict:
    model = models.create(
        "mae_dfer",
        num_classes=config["num_classes"],
        readout=config["lg_classify_token_type"],
        region=tuple(config["lg_region_size"]),
        patch=config["patch"],
        tubelet=config["tubelet"],
        dim=config["dim"],
        depth=config["depth"],
        heads=config["heads"],
        mlp_ratio=config["mlp_ratio"],
    )
    clip = channels_last(inputs["video"])
    out = run(model, _fill("mae_dfer", model, state_dict, clip), clip)
    return {
        "patch_embed_sub": out["patch_embed"],
        "embedded_sub": out["embedded"],
        "b0_first_attn_sub": out["block0_first_attn"],
        "b0_second_attn": out["block0_second_attn"],
        "b0_third_attn_sub": out["block0_third_attn"],
        "block0_region": out["block0_region"],
        "block0_local_sub": out["block0_local"],
        "last_region": out["last_region"],
        "last_local_sub": out["last_local"],
        "features": out["features"],
        "logits": out["expression"],
    }


def mae_dfer_pretrain(config: Mapping, state_dict: Arrays, inputs: Arrays) -> dict:
    model = models.create(
        "mae_dfer_pretrain",
        masking=config["mask_type"],
        mask_ratio=config["mask_ratio"],
        region=tuple(config["lg_region_size"]),
        patch=config["patch"],
        tubelet=config["tubelet"],
        dim=config["encoder_dim"],
        depth=config["encoder_depth"],
        heads=config["encoder_heads"],
        decoder_dim=config["decoder_dim"],
        decoder_depth=config["decoder_depth"],
        decoder_heads=config["decoder_heads"],
        mlp_ratio=config["mlp_ratio"],
    )
    clip, visible = channels_last(inputs["video"]), pretrain.visible_tokens(inputs["mask"])
    variables = _fill("mae_dfer_pretrain", model, state_dict, clip)
    apply = jax.jit(lambda variables, *args: model.apply(variables, args[0], visible=args[1]))
    out = jax.tree.map(np.asarray, apply(variables, clip, visible))
    sizes = {"patch": config["patch"], "tubelet": config["tubelet"]}
    normalise, motion = config["normlize_target"], config["use_frame_diff_as_target"]
    target = pretrain.targets(clip, out["masked"], normalise=normalise, motion=motion, **sizes)
    plain = pretrain.targets(clip, out["masked"], normalise=normalise, motion=False, **sizes)
    target, plain = np.asarray(target), np.asarray(plain)
    recon = out["reconstruction"]
    halves = recon.reshape(*recon.shape[:2], config["tubelet"], -1)
    errors = np.asarray(pretrain.token_errors(recon, target, config["tubelet"]))

    def loss(against: np.ndarray, **weight: float) -> np.ndarray:
        values = pretrain.reconstruction_loss(recon, against, config["tubelet"], **weight)
        return np.asarray(values.mean()[None])

    weight = config["target_diff_weight"]
    rebuilt_mask = np.zeros(inputs["mask"].shape, np.float32)
    np.put_along_axis(rebuilt_mask, out["masked"], 1, axis=1)
    return {
        "enc_block0_region": out["block0_region"],
        "enc_block0_local": out["block0_local"],
        "encoder_out_sub": out["encoder_out"],
        "enc_to_dec_sub": out["enc_to_dec"],
        "dec_block0_sub": out["dec_block0"],
        "recon_sub": recon,
        "recon_token_mean": halves.mean(-1),
        "recon_token_std": halves.std(-1),
        "target_sub": target,
        "target_plain_sub": plain,
        "token_mse": errors,
        "loss": loss(target) if weight is None else loss(target, motion_weight=weight),
        "loss_appearance": loss(target, motion_weight=0.0),
        "loss_motion": loss(target, motion_weight=1.0),
        "loss_weight03": loss(target, motion_weight=0.3),
        "loss_plain": loss(plain),
        "mask": rebuilt_mask,
    }


COMPARISONS = {
    "former_dfer": former_dfer,
    "mae_dfer": mae_dfer,
    "mae_dfer_pretrain": mae_dfer_pretrain,
}
