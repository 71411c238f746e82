"""Trains or evaluates one configuration: `python -m aufer_jax.main --config=configs/auvit.py`."""

import logging
import pathlib

from absl import app, flags
from absl import logging as absl_logging
from ml_collections import config_flags

from aufer_jax.train import devices

CONFIG = config_flags.DEFINE_config_file(
    "config", None, "Configuration file, with arguments after a colon.", lock_config=True
)
WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder of everything the run writes; default runs/<name of the config>."
)
MODE = flags.DEFINE_enum("mode", "train", ["train", "eval"], "What to do.")


def default_workdir(argument: str) -> pathlib.Path:
    """configs/auvit.py:synth_b,aux=synth_au -> runs/auvit-synth_b,aux=synth_au."""
    path, _, arguments = argument.partition(":")
    return pathlib.Path("runs") / "-".join(filter(None, (pathlib.Path(path).stem, arguments)))


def main(argv: list[str]) -> None:
    if len(argv) > 1:
        raise app.UsageError(f"unknown arguments: {' '.join(argv[1:])}")
    absl_logging.set_verbosity(absl_logging.WARNING)  # what we use talks much
    logging.getLogger("aufer_jax").setLevel(logging.INFO)
    devices.use_compilation_cache()
    devices.keep_freed_memory()
    devices.start_processes()
    import aufer_jax.papers  # noqa: F401  (registers the methods; after the processes have found each other)
    from aufer_jax.report import figures
    from aufer_jax.runs import evaluate
    from aufer_jax.train import loop

    argument = config_flags.get_config_filename(flags.FLAGS["config"])
    workdir = pathlib.Path(WORKDIR.value) if WORKDIR.value else default_workdir(argument)
    logging.getLogger("aufer_jax").info("workdir %s", workdir)
    if MODE.value == "eval":
        evaluate(workdir, CONFIG.value)
    else:
        result = loop.train_and_evaluate(CONFIG.value, workdir)
        if result.finished and devices.is_first():
            figures.write(workdir)


def run() -> None:
    flags.mark_flags_as_required(["config"])
    app.run(main)


if __name__ == "__main__":
    run()
