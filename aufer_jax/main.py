"""Trains or evaluates one configuration: `python -m aufer_jax.main --config=configs/auvit.py`."""

import argparse
import os
import pathlib
import shlex
import sys
import zlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NoReturn

from aufer_jax import errors, remote
from aufer_jax.train import free, preemption

if TYPE_CHECKING:
    from ml_collections import ConfigDict

MODES = ("train", "eval")
_LONGEST = 120  # characters of a run's name before they are cut
OPTIONS = ("--config", "--config.KEY", "--workdir", "--mode", "--profile", "--help")
HELP = """\
a configuration and its arguments:
  --config=configs/auvit.py                          as it is
  --config=configs/auvit.py:synth_b                  the first argument is the dataset
  --config=configs/auvit.py:synth_b,aux=synth_au     others have names
  --config=configs/auvit.py:quick                    a trial run of a minute or two
  The top of each file in configs/ lists its arguments. Where the current folder has no such file, the
  installed copy is taken.

any value of it, for example:
  --config.train.epochs=3             --config.data.batch_size=40
  --config.optimizer.lr=1e-3          --config.data.aux=synth_au+synth_d
  --config.init_from=IR50.pth         --config.train.compute_dtype=bfloat16
  Every key: aufer check CONFIG --every; docs/running.md says where each is explained.
"""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise errors.UserError(message)


def overrides(argv: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """A command line without its `--config.KEY=VALUE`, and these; a switch may leave its value out."""
    rest, changes = [], {}
    words = list(argv)
    while words:
        word, equals, value = words.pop(0).partition("=")
        if not word.startswith("--config."):
            rest.append(word + equals + value)
            continue
        if not equals:
            value = words.pop(0) if words and not words[0].startswith("--") else "true"
        changes[word.removeprefix("--config.")] = value
    return rest, changes


def default_workdir(config: str, changes: Mapping[str, str]) -> pathlib.Path:
    """configs/auvit.py:synth_b with train.epochs=3 -> runs/auvit-synth_b,train.epochs=3.

    What may change between two starts of one run is not in its name.
    """
    path, _, arguments = config.partition(":")
    values = [f"{key}={value}" for key, value in changes.items() if key not in free.KEYS]
    name = ",".join(filter(None, [arguments, *values])).replace(os.sep, "_")
    if len(name) > _LONGEST:
        name = f"{name[:_LONGEST]}-{zlib.crc32(name.encode()):08x}"
    return pathlib.Path("runs") / "-".join(filter(None, (pathlib.Path(path).stem, name)))


def start(argv: Sequence[str], prog: str) -> None:
    """Does what the command line says."""
    parser = _Parser(
        prog, description=__doc__, epilog=HELP, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--config", metavar="FILE[:ARGUMENTS]", help="what to train")
    parser.add_argument("--workdir", help="folder of all that the run writes; default runs/NAME")
    parser.add_argument("--mode", default="train", help="train or eval")
    parser.add_argument(
        "--profile",
        default="",
        metavar="FOLDER",
        help="trace a few training steps into this folder",
    )
    words, changes = overrides(argv)
    given, others = parser.parse_known_args(words)
    if others and others[0].startswith("-"):
        raise errors.unknown("option", others[0].partition("=")[0], OPTIONS)
    if others:
        raise errors.UserError(
            f"{others[0]!r} is not an option; values are set by --config.KEY=VALUE"
        )
    if not given.config:
        raise errors.UserError("--config: name a configuration, such as configs/auvit.py")
    if given.mode not in MODES:
        raise errors.unknown("--mode", given.mode, MODES)
    if remote.is_remote(given.profile):
        raise errors.UserError(f"--profile: {given.profile!r} must be a folder of this machine")
    workdir = given.workdir or default_workdir(given.config, changes)
    if not run(given.config, changes, workdir, given.mode, given.profile):
        print(f"go on with: {shlex.join([*prog.split(), *argv])}", flush=True)


def run(
    config: str,
    changes: Mapping[str, str],
    workdir: str | pathlib.Path,
    mode: str = "train",
    profile: str = "",
) -> bool:
    """Trains the configuration, or evaluates the best state of its run.

    Args:
      config: its file and arguments.
      changes: other values for its keys.
      workdir: the run's folder.
      mode: train or eval.
      profile: a folder for a trace of a few steps of the training.

    Returns:
      False if this process is to say that a signal has stopped it.
    """
    if mode == "eval":
        chosen = _begin(config, changes, workdir)
        from aufer_jax import runs

        runs.evaluate(workdir, chosen)
        return True
    with preemption.Stop(program=True) as stop:  # before anything slow
        chosen = _begin(config, changes, workdir)
        from aufer_jax.report import figures
        from aufer_jax.train import devices, loop

        with remote.at_work(workdir) as folder:
            result = loop.train_and_evaluate(chosen, folder, stop=stop, profile=profile)
            if result.finished and devices.is_first():
                figures.write(folder)
                _conclude(folder, trial="test" in chosen.to_dict()["data"]["sizes"])
        return result.finished or not devices.is_first()


def _conclude(workdir: pathlib.Path, trial: bool) -> None:
    """Says what a finished run is worth, and what can be done with it; of several processes none does.

    A `trial`, on some of the test records, is not judged.
    """
    import jax

    from aufer_jax import pages, runs

    judged = not trial and jax.process_count() == 1
    for line in runs.conclude(workdir) if judged else ():
        print(line, flush=True)
    print(f"report: {remote.name(pages.write([workdir]))}", flush=True)
    name = remote.name(workdir)
    verb = f"predict PHOTOGRAPH --model {name}" if judged else f"evaluate {name}"
    print(f"Next: aufer {verb}", flush=True)


def _begin(config: str, changes: Mapping[str, str], workdir: str | pathlib.Path) -> "ConfigDict":
    """JAX and its devices, then the configuration."""
    from aufer_jax.train import devices

    devices.begin()
    chosen = load(config, changes)
    if not remote.is_remote(workdir):
        _check_folder(pathlib.Path(workdir))
    if devices.is_first():
        print(f"workdir {workdir}", flush=True)
    return chosen


def load(config: str, changes: Mapping[str, str]) -> "ConfigDict":
    """A configuration's file and arguments, with other values for its keys; JAX has begun."""
    import aufer_jax.papers  # noqa: F401  (registers the methods; after the processes have found each other)
    from aufer_jax.train import config as config_lib
    from aufer_jax.weights import loading, shipped

    chosen = config_lib.load(config, changes.get("data.dir", ""))
    for key, value in changes.items():
        config_lib.override(chosen, key, value)
    for key in ("init_from", "resume"):  # before data are prepared
        for place in loading.places(chosen[key]) if chosen[key] else ():
            if not shipped.place(place).exists():
                raise errors.UserError(f"{key}: no file or folder {place!r}")
    return chosen


def _check_folder(folder: pathlib.Path) -> None:
    """Whether the run can write there, found out before it has begun."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise errors.UserError(f"workdir: {str(there)!r} is not a folder")
    if not os.access(there, os.W_OK):
        raise errors.UserError(f"workdir: {str(there)!r} cannot be written to")


@errors.boundary
def main(argv: Sequence[str] | None = None) -> None:
    """Trains or evaluates what the flags say: `python -m aufer_jax.main`."""
    start(sys.argv[1:] if argv is None else argv, "python -m aufer_jax.main")


if __name__ == "__main__":
    sys.exit(main())
