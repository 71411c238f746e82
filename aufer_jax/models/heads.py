"""The heads that every host of AU-DFER shares: expression logits, and AU logits beside them."""

from collections.abc import Callable

import jax

from aufer_jax.models.layers import Linear, torch_kernel_init


def heads(
    features: jax.Array,
    num_classes: int | None,
    num_aus: int | None,
    fc: str = "fc",
    fc_au: str = "fc_au",
    kernel_init: Callable = torch_kernel_init,
    bias_init: Callable | None = None,
) -> dict[str, jax.Array]:
    """Features [B, d] -> `features`, `expression` [B, num_classes] and `au` [B, num_aus].

    None or 0 is no such head. Called inside a module's compact method, so that the layers become
    that module's own under the published names `fc` and `fc_au`. `kernel_init` and `bias_init` are of
    `fc` alone; `fc_au` always has PyTorch's. So in MAE-DFER, whose `fc` starts at next to nothing, the
    trunk first learns from the AUs.
    """
    outputs = {"features": features}
    if num_classes:
        layer = Linear(num_classes, kernel_init=kernel_init, bias_init=bias_init, name=fc)
        outputs["expression"] = layer(features)
    if num_aus:
        outputs["au"] = Linear(num_aus, name=fc_au)(features)
    return outputs
