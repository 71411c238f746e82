"""Makes the fixtures of pre-trained encoders: `PYTHONPATH=. python tests/golden_encoders_make.py [DIR]`.

With PyTorch and transformers (the extra `golden`): they are what its networks give in float32 on a CPU for
weights and inputs by `golden_rule`, under the names and shapes of the files that they write.
"""

import json
import pathlib
import sys
import tempfile

import golden_rule
import numpy as np
import places
import safetensors.numpy

_SIZE = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "patch_size": 8}
_IMAGE = {**_SIZE, "image_size": 32}
_MLP = {"intermediate_size": 48}
_VIDEO = {**_IMAGE, **_MLP, "num_frames": 4}
# Fixture -> our name, the class of the network and of its configuration, values, shape of the input.
CASES = {
    "clip": ("clip", "CLIPVisionModel", "CLIPVisionConfig", {**_IMAGE, **_MLP}, (2, 3, 32, 32)),
    "dinov2": (  # positions of a grid of 5 x 5 for one of 4 x 4
        "dinov2", "Dinov2Model", "Dinov2Config", {**_SIZE, "image_size": 40, "mlp_ratio": 2},
        (2, 3, 32, 32),
    ),
    "dinov2_registers": (
        "dinov2", "Dinov2WithRegistersModel", "Dinov2WithRegistersConfig",
        {**_SIZE, "image_size": 56, "use_swiglu_ffn": True, "num_register_tokens": 3},
        (2, 3, 32, 32),
    ),
    "dinov3": (
        "dinov3", "DINOv3ViTModel", "DINOv3ViTConfig",
        {**_IMAGE, **_MLP, "num_register_tokens": 4}, (2, 3, 24, 32),
    ),
    "dinov3_gated": (
        "dinov3", "DINOv3ViTModel", "DINOv3ViTConfig",
        {**_IMAGE, **_MLP, "num_register_tokens": 2, "use_gated_mlp": True, "hidden_act": "silu"},
        (2, 3, 24, 24),
    ),
    "videomae": (
        "videomae", "VideoMAEModel", "VideoMAEConfig", {**_VIDEO, "use_mean_pooling": False},
        (1, 4, 3, 32, 32),
    ),
    "videomae_finetuned": (
        "videomae", "VideoMAEForVideoClassification", "VideoMAEConfig", {**_VIDEO, "num_labels": 7},
        (2, 4, 3, 32, 32),
    ),
    "vjepa2": (
        "vjepa2", "VJEPA2Model", "VJEPA2Config",
        {
            **_SIZE, "crop_size": 32, "frames_per_clip": 4, "mlp_ratio": 1.5, "pred_hidden_size": 12,
            "pred_num_attention_heads": 2, "pred_num_hidden_layers": 1,
        },
        (1, 4, 3, 32, 32),
    ),
}  # fmt: skip


def fixture(name: str, seed: int = 0) -> tuple[dict, dict[str, np.ndarray]]:
    """What NAME.json and NAME.npz hold."""
    import torch
    import transformers

    ours, network, config_name, values, shape = CASES[name]
    config = getattr(transformers, config_name)(**values)
    cls = getattr(transformers, network)
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder, "model.safetensors")
        cls(config).save_pretrained(folder)
        tensors = {key: x.shape for key, x in sorted(safetensors.numpy.load_file(file).items())}
        made = {key: golden_rule.tensor(key, shape, seed) for key, shape in tensors.items()}
        safetensors.numpy.save_file(made, file, metadata={"format": "pt"})
        model = cls.from_pretrained(folder).eval()
    x = torch.from_numpy(golden_rule.array("pixels", list(shape), seed))
    extra = {"skip_predictor": True} if ours == "vjepa2" else {}
    with torch.no_grad():
        given = model(x, output_hidden_states=True, **extra)
    outputs = {
        key: getattr(given, key).numpy()
        for key in ("last_hidden_state", "pooler_output", "logits")
        if getattr(given, key, None) is not None
    }
    if given.hidden_states is not None:
        outputs["embedded"] = given.hidden_states[0].numpy()
    told = {
        "model": ours,
        "reference": f"transformers {transformers.__version__}: {network}",
        "config": values,
        "seed": seed,
        "inputs": {"pixels": list(shape)},
        "tensors": [[key, list(shape)] for key, shape in tensors.items()],
        "outputs": {key: f"float32 {list(value.shape)}" for key, value in outputs.items()},
    }
    return told, outputs


def main(folder: pathlib.Path) -> None:
    for name in CASES:
        told, outputs = fixture(name)
        (folder / f"{name}.json").write_text(json.dumps(told) + "\n")
        np.savez_compressed(folder / f"{name}.npz", **outputs)


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else places.GOLDEN)
