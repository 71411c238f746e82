"""The least of every host of AU-DFER."""

# Host -> the least of it, and of its clips, that still has all of its parts. But for dropout: its draws are
# each device's own, so jit and pmap differ by them.
_CLIP = {"data.size": 16, "data.frames": 4}
_VIT = {
    "patch": 8, "dim": 8, "depth": 1, "heads": 2, "hidden": 8, "adapter": "parallel",
    "adapter_dim": 2,
}  # fmt: skip
TINY = {
    "m3dfel": {"layers": (1,), "widths": (4,), "hidden": 4, "attention_heads": 2},
    "former_dfer": {
        "width": 4, "layers": (1,) * 4, "s_heads": 2, "s_head_dim": 4, "s_hidden": 8,
        "t_depth": 1, "t_heads": 2, "t_head_dim": 4, "t_hidden": 8,
    },
    "mae_dfer": {"region": (1, 2, 2), "patch": 8, "dim": 8, "depth": 2, "heads": 2, "drop_path": 0.0},
    "svfap": {
        "patch": 8, "dim": 8, "stage_depths": (1, 2), "heads": 2, "bottleneck_tokens": (2,),
        "bottleneck_dim": 4, "drop_path": 0.0,
    },
    "s2d": {
        "patch": 8, "dim": 8, "depth": 2, "heads": 2, "hidden_dim": 2, "adapter_heads": 1,
        "landmarks": "mesh", "landmark_channels": 4, "head_dropout": 0.0,
    },
    "fru_adapter": {
        "patch": 8, "dim": 8, "depth": 1, "heads": 2, "mlp_ratio": 1.0, "adapter_dim": 4,
        "drop_path": 0.0,
    },
    "clip": {**_VIT, "adapter": "lora", "temporal": "attention"},
    "dinov2": {**_VIT, "adapter": "serial", "registers": 1, "mlp": "swiglu_fused"},
    "dinov3": {**_VIT, "mlp": "swiglu"},
    "videomae": {**_VIT, "pool": "whole"},
    "vjepa2": {**_VIT, "dim": 12},
    "stt": {
        "width": 4, "layers": (1,), "depth": 1, "heads": 2, "head_dim": 2, "hidden": 8,
    },
    "dpcnet": {"block": "basic", "layers": (1,), "width": 4, "reduction": 2},
    "nr_dfernet": {
        "width": 4, "layers": (1,), "dynamic_blocks": 1, "s_depth": 1, "s_heads": 2, "s_head_dim": 2,
        "s_hidden": 8, "t_depth": 1, "t_heads": 2, "t_head_dim": 2, "t_hidden": 8,
    },
    "r3d18": {"convs": ("3d",), "layers": (1,), "widths": (4,)},
    "r2plus1d18": {"convs": ("2plus1d",), "layers": (1,), "widths": (4,)},
    "mc3": {"convs": ("3d", "2d"), "layers": (1, 1), "widths": (4, 4)},
    "c3d": {"width": 2, "hidden": 4, "dropout": 0.0},
    "i3d": {"width": 0.0625, "blocks": ("3b", "5c"), "dropout": 0.0},
    "p3d": {"layers": (1, 1, 1, 1), "width": 2, "dropout": 0.0},
    "resnet18_lstm": {"layers": (1,), "width": 2, "hidden": 4, "lstm_layers": 1},
}  # fmt: skip
HOSTS = (*TINY, "ec_stfl")
# Hosts but those that others are alike, of the same network with other options.
KINDS = tuple(host for host in TINY if host not in ("dinov2", "dinov3", "videomae"))
CLIPS = {
    "m3dfel": {"data.frames": 8},
    "c3d": {"data.size": 32, "data.frames": 16},
    "i3d": {"data.size": 32, "data.frames": 8},
    "p3d": {"data.size": 32, "data.frames": 16},
}


def values(host):
    """Keys of the configuration that make the host tiny."""
    tiny = TINY["r3d18" if host == "ec_stfl" else host]  # its network
    model = {f"model.{key}": value for key, value in tiny.items()}
    return {**_CLIP, **CLIPS.get(host, {}), **model}
