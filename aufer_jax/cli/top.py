"""Verbs without a group: what is done most often."""

from typing import Literal


def train(argv: list[str]) -> None:
    """Train a configuration: aufer train configs/auvit.py:quick --config.train.epochs=3"""
    from aufer_jax import main

    given = [f"--config={argv[0]}", *argv[1:]] if argv and argv[0][:1] != "-" else argv
    main.start(given, "aufer train")


def evaluate(run: str, /, *, data: str = "", split: str = "", data_dir: str | None = None) -> None:
    """Evaluate the best state of a run, on its own test split or on any prepared dataset.

    Args:
      run: its folder.
      data: another dataset of `aufer data list`; its classes are matched by name.
      split: only this split; default: the run's evaluation splits, or all of --data.
      data_dir: prepared datasets; default: the run's, or $AUFER_DATA, or ~/.cache/aufer_jax.
    """
    from aufer_jax import runs
    from aufer_jax.train import devices

    devices.begin(alone=True)
    runs.evaluate(run, data=data, split=split, data_dir=data_dir or "", judge=True)
    print(f"Next: aufer run explain {run}")


def predict(
    run: str,
    paths: tuple[str, ...],
    /,
    *,
    out: str = "",
    draw: str = "",
    columns: Literal["aufer", "openface", "pyfeat"] = "aufer",
    margin: float = 0.0,
    window: float = 2.0,
) -> None:
    """Predict expressions and AUs of photographs and videos.

    Args:
      run: its folder, or that of converted weights.
      paths: pictures, videos, folders, or patterns with *.
      out: a table: .csv, .jsonl or .parquet.
      draw: a folder for pictures and videos with box, points, label and bars.
      columns: named as this library's, OpenFace's or py-feat's are.
      margin: of the crops that the run was trained on, as of faces align.
      window: seconds of a video that a clip network judges at once.
    """
    from aufer_jax.runs import Predictor, files
    from aufer_jax.runs.prediction import Options
    from aufer_jax.train import devices

    options = Options(margin, window)
    files.check(out, columns)
    devices.begin(alone=True)
    files.write(
        Predictor.load(run), paths, out=out, draw=draw, columns=columns, options=options
    )  # fmt: skip


def completion(shell: Literal["bash", "zsh", "fish"], /) -> None:
    """Print a script that completes this command in your shell: eval "$(aufer completion bash)"

    Args:
      shell: which one reads it.
    """
    from aufer_jax import cli
    from aufer_jax.cli import complete

    print(complete.script(cli.ROOT, shell), end="")
