"""Batches -> named outputs: every architecture of the three papers, one file each.

A model is called as `model.apply(variables, x, train=False)` on float32 images [B, H, W, C] or
clips [B, T, H, W, C] and returns a dict: `expression` logits [B, n], `au` logits [B, m] where it
has them, `features` [B, d] (what the expression head reads), and named intermediates.
"""

from aufer_jax.models import (  # noqa: F401  (importing a file registers its architectures)
    auvit,
    c3d,
    dpcnet,
    encoders,
    former_dfer,
    fru_adapter,
    i3d,
    ir,
    m3dfel,
    mae_dfer,
    mae_dfer_pretrain,
    mobilefacenet,
    nr_dfernet,
    p3d,
    resnet,
    resnet_lstm,
    s2d,
    stt,
    svfap,
    svfap_pretrain,
    video_resnet,
    vit,
)
from aufer_jax.models.registry import architecture, create, names, options, register

__all__ = ["architecture", "create", "names", "options", "register"]
