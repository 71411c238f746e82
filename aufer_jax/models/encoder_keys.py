"""Where the weights of `encoders` are in Hugging Face's files: a key map for each family."""


def _keys(
    block: str, inside: dict[str, str], outside: dict[str, str]
) -> tuple[tuple[str, str], ...]:
    """The key map of a family: where its blocks are, and its names of what is in them and around them."""
    rules = [
        (rf"^layer_(\d+)_{ours}(?=/|$)", rf"{block}_\1/{theirs}") for ours, theirs in inside.items()
    ]
    return (*rules, *((rf"^{ours}(?=/|$)", theirs) for ours, theirs in outside.items()))


def _projections(pattern: str, proj: str, *names: str) -> dict[str, str]:
    """Where a family has the four matrices of its attention."""
    ours = ("query", "key", "value")
    found = {
        f"attention/{own}": pattern.format(name) for own, name in zip(ours, names, strict=True)
    }
    return {**found, "attention/proj": proj}


_WHOLE = ("query", "key", "value")
_SHORT = ("q", "k", "v")
_DINO = {
    "norm1": "norm1",
    "norm2": "norm2",
    "scale1": "layer_scale1/lambda1",
    "scale2": "layer_scale2/lambda1",
}
_BERT = _projections("attention/attention/{}", "attention/output/dense", *_WHOLE)
_TOKENS = {"class_token": "embeddings/cls_token", "registers": "embeddings/register_tokens"}
KEYS = {
    "clip": _keys(
        "encoder/layers",
        {
            **_projections("self_attn/{}_proj", "self_attn/out_proj", *_SHORT),
            "norm1": "layer_norm1",
            "norm2": "layer_norm2",
            "mlp": "mlp",
        },
        {
            "embed": "embeddings/patch_embedding",
            "class_token": "embeddings/class_embedding",
            "positions": "embeddings/position_embedding/weight",
            "pre_norm": "pre_layrnorm",
            "norm": "post_layernorm",
        },
    ),
    "dinov2": _keys(
        "encoder/layer",
        {**_BERT, **_DINO, "mlp": "mlp"},
        {
            "embed": "embeddings/patch_embeddings/projection",
            **_TOKENS,
            "positions": "embeddings/position_embeddings",
            "norm": "layernorm",
        },
    ),
    "dinov3": _keys(
        "layer",
        {
            **_projections("attention/{}_proj", "attention/o_proj", *_SHORT),
            **_DINO,
            "mlp/gate": "mlp/gate_proj",
            "mlp/fc1": "mlp/up_proj",
            "mlp/fc2": "mlp/down_proj",
        },
        {"embed": "embeddings/patch_embeddings", **_TOKENS},
    ),
    "videomae": _keys(
        "encoder/layer",
        {
            "attention/query/bias": "attention/attention/q_bias",
            "attention/value/bias": "attention/attention/v_bias",
            **_BERT,
            "norm1": "layernorm_before",
            "norm2": "layernorm_after",
            "mlp/fc1": "intermediate/dense",
            "mlp/fc2": "output/dense",
        },
        {"embed": "embeddings/patch_embeddings/projection", "norm": "layernorm"},
    ),
    "vjepa2": _keys(
        "encoder/layer",
        {
            **_projections("attention/{}", "attention/proj", *_WHOLE),
            "norm1": "norm1",
            "norm2": "norm2",
            "mlp": "mlp",
        },
        {"embed": "encoder/embeddings/patch_embeddings/proj", "norm": "encoder/layernorm"},
    ),
}
# What the files' networks for one task are called, and that of VideoMAE after fine-tuning.
RENAMED = (
    (r"^(?:vision_model|dinov2|dinov2_with_registers|dinov3_vit|videomae|vjepa2)\.", ""),
    (r"^model\.layer\.", "layer."),
    (r"^fc_norm\.", "layernorm."),
)
# Other networks in the same files, and what only pre-training reads.
UNUSED = (
    r"^text_model\.", r"_projection\.weight$", r"logit_scale$", r"position_ids$", r"mask_token$",
    r"^(?:predictor|decoder|encoder_to_decoder|pooler)\.",
)  # fmt: skip
