"""`aufer run`: what finished runs have learned."""

import pathlib
from typing import Literal


def report(runs: tuple[str, ...], /, *, look: bool = False, out: str | None = None) -> None:
    """Write the page of one run, or of several beside each other.

    Args:
      runs: their folders; finished or not.
      look: adds a map of the features, and what the network looked at in its surest mistakes; of several
        runs, what the first four looked at.
      out: the file; default: report/index.html in the run's folder, or report/compared.html in the first's.
    """
    from aufer_jax import pages
    from aufer_jax.train import devices

    if look:
        devices.begin(alone=True)
    print("written to", pages.write(runs, out, look=look))


def watch(runs: tuple[str, ...], /, *, port: int = 8000, look: bool = False) -> None:
    """Show the page of runs that are at work in a browser on this machine; CTRL-C ends it.

    Args:
      runs: their folders.
      port: 0 takes a free one.
      look: shows what the best state so far says of some validation records; needs the data.
    """
    from aufer_jax.pages import watch

    if look:
        import os

        os.environ["JAX_PLATFORMS"] = "cpu"  # the run has the other devices
        from aufer_jax.train import devices

        devices.begin(alone=True)
    server = watch.serve(runs, port, look=look)
    print(f"http://{watch.HOST}:{server.server_port}", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        server.server_close()


def explain(
    runs: tuple[str, ...],
    /,
    *,
    split: str = "test",
    count: int = 8,
    layer: str = "",
    keys: tuple[str, ...] = (),
    top: int | None = None,
    out: str | None = None,
) -> None:
    """ScoreCAM and attention of up to four runs, disagreements of two, as pictures.

    Args:
      runs: the folder of one run, or of up to four on the same dataset.
      split: whose samples are shown.
      count: samples a picture shows.
      layer: of ScoreCAM; default: the last map before the head.
      keys: show these records; default: the first of each class.
      top: how many channels ScoreCAM tries; default: all.
      out: folder; default: explain in the first run's.
    """
    from aufer_jax import explain
    from aufer_jax.train import devices

    devices.begin(alone=True)
    options = {"split": split, "count": count, "layer": layer, "keys": keys, "top": top, "out": out}
    folder = explain.explain(runs, **options)["folder"]
    print("written to", folder)
    print(f"Next: look at {folder}, then aufer predict PHOTOGRAPH --model {runs[0]}")


def tsne(
    runs: tuple[str, ...],
    /,
    *,
    split: str = "test",
    count: int = 1000,
    perplexity: float = 30.0,
    seed: int = 0,
    out: str | None = None,
) -> None:
    """t-SNE maps of the features of one or several runs, on the same samples.

    Args:
      runs: folders of runs on images or clips of one dataset.
      split: whose samples are shown.
      count: samples at most.
      perplexity: of the map: roughly how many neighbours count.
      seed: of the choice of samples.
      out: folder; default: explain in the first run's.
    """
    from aufer_jax.explain import embed
    from aufer_jax.train import devices

    devices.begin(alone=True)
    found = embed.embed(runs, split=split, count=count, perplexity=perplexity, seed=seed, out=out)
    for name, values in found["runs"].items():
        print(
            f"{name}: silhouette {values['silhouette_features']:.3f} of the features, "
            f"{values['silhouette_map']:.3f} in the map"
        )
    print("written to", found["folder"])
    print(f"Next: look at {found['folder']}, then aufer run explain {' '.join(runs[:4])}")


def export(
    run: str, /, *, format: Literal["stablehlo", "onnx"] = "stablehlo", out: str = ""
) -> None:
    """Write a run's network as one file that needs JAX or onnxruntime only.

    Args:
      run: its folder, or that of converted weights.
      format: stablehlo for JAX on CPUs, GPUs and TPUs; onnx for onnxruntime and others.
      out: the file; default: export/network.stablehlo or .onnx in the run's folder.
    """
    from aufer_jax.runs import Predictor
    from aufer_jax.runs import export as export_lib
    from aufer_jax.train import devices

    devices.begin(alone=True)
    path = pathlib.Path(out) if out else pathlib.Path(run) / "export" / f"network.{format}"
    export_lib.check(path, format)
    written = export_lib.write(Predictor.load(run), path, format)
    print(f"written to {written}; {export_lib.beside(written)} says what it reads and gives")


def curves(runs: tuple[str, ...], /, *, out: str = "") -> None:
    """Training curves of one or several runs in one picture.

    Args:
      runs: their folders; finished or not.
      out: picture; default: figures/curves_compared.png in the first run's folder.
    """
    from aufer_jax.report import figures

    path = pathlib.Path(out) if out else pathlib.Path(runs[0]) / "figures" / "curves_compared.png"
    print("written to", figures.write_comparison(runs, path))
    print(f"Next: look at {path}, then aufer evaluate {runs[0]}")


def pool(
    runs: tuple[str, ...],
    /,
    *,
    split: str = "test",
    state: Literal["best", "last"] = "best",
    out: str = "pool",
) -> None:
    """Pool the test results of a cross-validation's folds.

    Args:
      runs: folders of finished runs, one per fold.
      split: whose results.
      state: of the run.
      out: folder for pool.md, pool.json and the confusion matrix.
    """
    from aufer_jax.report import pool

    found = pool.write(runs, split=split, kind=state, out=out)
    for name in ("pooled", "mean"):
        war, uar = (100 * found[name][score] for score in ("accuracy", "uar"))
        print(f"{name:6}  WAR {war:.2f}  UAR {uar:.2f}")
    print("written to", out)
    print(f"Next: read {out}/pool.md")
