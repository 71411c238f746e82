"""`aufer weights`: published weights and architectures."""


def convert(checkpoint: str, /, *, model: str, out: str, overwrite: bool = False) -> None:
    """Turn a published PyTorch checkpoint into our format.

    Args:
      checkpoint: .pth, .pt, .bin, .pkl or .safetensors; several with commas between them for the parts of
        one network.
      model: architecture, one of `aufer weights models`.
      out: folder for weights.safetensors and card.json.
      overwrite: replaces weights that are in the folder already.
    """
    from aufer_jax import models, weights

    models.architecture(model)
    print(weights.convert(checkpoint, model, out, overwrite=overwrite))
    print(f"wrote weights.safetensors and card.json to {out}")
    print(f"Next: aufer train CONFIG --config.init_from={out}")


def models() -> None:
    """List the architectures with their exact size and multiply-adds."""
    from aufer_jax.models import table

    for line in table.markdown():
        print(line, flush=True)
    print("Next: aufer weights convert CHECKPOINT --model NAME --out DIR")
