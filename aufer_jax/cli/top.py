"""Verbs without a group: what is done most often."""

import shlex
from typing import Literal

from aufer_jax import errors
from aufer_jax.cli.parse import Changes
from aufer_jax.serve.limits import Limits


def train(argv: list[str]) -> None:
    """Train a configuration: aufer train configs/auvit.py:quick --config.train.epochs=3"""
    from aufer_jax import main

    given = [f"--config={argv[0]}", *argv[1:]] if argv and argv[0][:1] != "-" else argv
    main.start(given, "aufer train")


def check(
    configuration: str,
    /,
    *,
    config: Changes = Changes(),  # noqa: B008
    every: bool = False,
    devices: int = 0,
    memory: float = 0.0,
    compile: bool = False,
    slice: str = "",
) -> None:
    """Say what a configuration would train and need: aufer check configs/auvit.py:rafdb --memory 16

    Nothing is trained, and no data are drawn or prepared.

    Args:
      configuration: its file and arguments, as for aufer train.
      config: --config.KEY=VALUE, as for aufer train.
      every: all keys of the configuration, not only those that differ from the defaults.
      devices: how many to plan for; default: those of this machine.
      memory: of each device, in GB; default: what is known of it.
      compile: ask XLA for the memory instead of estimating it; takes minutes for a large network.
      slice: a TPU slice, such as v5e:2x4, that need not be there; compiles for it.
    """
    from aufer_jax import main
    from aufer_jax.datasets import catalog
    from aufer_jax.train import devices as devices_lib
    from aufer_jax.train import preview

    if min(devices, memory) < 0:
        raise errors.UserError("check: --devices and --memory must not be negative")
    if devices and slice:
        raise errors.UserError(
            "check: --slice says how many devices there are; leave --devices out"
        )
    devices_lib.begin(alone=True)
    with catalog.assuming("cards"):
        chosen = main.load(configuration, config)
    found = preview.look(chosen, preview.Wish(devices, memory, compile, slice))
    print(preview.text(found, every=every))
    words = [configuration, *(f"--config.{key}={value}" for key, value in config.items())]
    print(f"\nNext: aufer train {shlex.join(words)}")


def evaluate(run: str, /, *, data: str = "", split: str = "", data_dir: str | None = None) -> None:
    """Evaluate the best state of a run, on its own test split or on any prepared dataset.

    Args:
      run: its folder.
      data: another dataset of `aufer data list`; its classes are matched by name.
      split: only this split; default: the run's evaluation splits, or all of --data.
      data_dir: prepared datasets; default: the run's, or $AUFER_DATA, or ~/.cache/aufer_jax.
    """
    from aufer_jax import remote, runs
    from aufer_jax.train import devices, workdir

    devices.begin(alone=True)
    runs.evaluate(run, data=data, split=split, data_dir=data_dir or "", judge=True)
    labels = workdir.saved_labels(remote.copy(run))
    if labels is not None and (labels.kind != "image" or not labels.expressions):
        print(f"Next: aufer predict {labels.kind.upper()} --model {run}")  # what explain refuses
    else:
        print(f"Next: aufer run explain {run}")


def predict(
    paths: tuple[str, ...] = (),
    /,
    *,
    model: str = "small",
    out: str = "",
    draw: str = "",
    columns: Literal["aufer", "openface", "pyfeat"] = "aufer",
    margin: float | None = None,
    window: float = 2.0,
    smooth: float = 0.0,
    webcam: bool = False,
    neutral: tuple[str, ...] = (),
) -> None:
    """Predict expressions and AUs of photographs and videos.

    Args:
      paths: pictures, videos, folders, or patterns with *.
      model: small, clean, or the folder of a run or of converted weights.
      out: a table: .csv, .jsonl or .parquet.
      draw: a folder for pictures and videos with box, points, label and bars.
      columns: whose names the table's columns have: this library's, OpenFace's or py-feat's.
      margin: shown around the face, as by faces align; default: that of the run's training faces.
      window: seconds of a video that a clip network judges at once.
      smooth: seconds over which a face's predictions are averaged in a video; 0: not at all.
      webcam: also what the camera sees, until CTRL-C; webcam:1 among PATHS is the second camera.
      neutral: pictures of the same person at rest; AUs are measured against them.
    """
    from aufer_jax import errors
    from aufer_jax.runs import Predictor, files, video
    from aufer_jax.runs.prediction import Options
    from aufer_jax.train import devices

    paths = (*paths, *[video.CAMERA] * webcam)
    if not paths:
        raise errors.UserError("predict: name at least one of PATHS, or --webcam")
    options = Options(margin, window, smooth, neutral or None)
    files.check(paths, out, columns)
    devices.begin(alone=True)
    files.write(
        Predictor.load(model), paths, out=out, draw=draw, columns=columns, options=options
    )  # fmt: skip


def serve(
    model: str = "small",
    /,
    *,
    port: int = 8000,
    host: str = "127.0.0.1",
    names: tuple[str, ...] = (),
    limits: Limits = Limits(),  # noqa: B008  (it cannot change)
) -> None:
    """Serve a page, and an API, that predict pictures and clips on this machine; CTRL-C ends it.

    Args:
      model: small, clean, or the folder of a run or of converted weights.
      port: 0 takes a free one.
      host: the address to listen on; default: this machine alone can reach it.
      names: host names under which a proxy passes requests on, such as faces.example.org.
    """
    from aufer_jax.serve import start
    from aufer_jax.train import devices

    devices.begin(alone=True)
    start.run(model, host, port, names, limits)


def doctor(*, json: bool = False) -> None:
    """Say what this machine has of what the library needs, and what to do about the rest.

    Args:
      json: print JSON instead of text.
    """
    from aufer_jax import doctor as room
    from aufer_jax.train import devices

    devices.use_compilation_cache()
    findings = room.examine()
    print(room.as_json(findings) if json else room.text(findings))


def completion(shell: Literal["bash", "zsh", "fish"], /) -> None:
    """Print a script that completes this command in your shell: eval "$(aufer completion bash)"

    Args:
      shell: which one reads it.
    """
    from aufer_jax import cli
    from aufer_jax.cli import complete

    print(complete.script(cli.ROOT, shell), end="")
