"""Verbs without a group: what is done most often."""

from typing import Literal


def train(argv: list[str]) -> None:
    """Train a configuration: aufer train configs/auvit.py:quick --config.train.epochs=3"""
    from aufer_jax import main

    given = [f"--config={argv[0]}", *argv[1:]] if argv and argv[0][:1] != "-" else argv
    main.start(given, "aufer train")


def evaluate(run: str, /) -> None:
    """Evaluate the best state of a run.

    Args:
      run: its folder.
    """
    from aufer_jax import runs
    from aufer_jax.train import devices

    devices.begin(alone=True)
    runs.evaluate(run)


def predict(
    paths: tuple[str, ...],
    /,
    *,
    model: str = "small",
    out: str = "",
    draw: str = "",
    columns: Literal["aufer", "openface", "pyfeat"] = "aufer",
    margin: float = 0.0,
    window: float = 2.0,
    neutral: tuple[str, ...] = (),
) -> None:
    """Predict expressions and AUs of photographs and videos.

    Args:
      paths: pictures, videos, folders, or patterns with *.
      model: small, clean, or the folder of a run or of converted weights.
      out: a table: .csv, .jsonl or .parquet.
      draw: a folder for pictures and videos with box, points, label and bars.
      columns: named as this library's, OpenFace's or py-feat's are.
      margin: of the crops that the run was trained on, as of faces align.
      window: seconds of a video that a clip network judges at once.
      neutral: pictures of this one person at rest, against which AUs are told.
    """
    from aufer_jax.runs import Predictor, files
    from aufer_jax.runs.prediction import Options
    from aufer_jax.train import devices

    options = Options(margin, window, neutral or None)
    files.check(paths, out, columns)
    devices.begin(alone=True)
    files.write(
        Predictor.load(model), paths, out=out, draw=draw, columns=columns, options=options
    )  # fmt: skip


def completion(shell: Literal["bash", "zsh", "fish"], /) -> None:
    """Print a script that completes this command in your shell: eval "$(aufer completion bash)"

    Args:
      shell: which one reads it.
    """
    from aufer_jax import cli
    from aufer_jax.cli import complete

    print(complete.script(cli.ROOT, shell), end="")
