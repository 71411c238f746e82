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
    import aufer_jax.papers  # noqa: F401  (registers the methods)
    from aufer_jax.train import devices, loop
    from aufer_jax.train import workdir as workdir_lib

    devices.begin(alone=True)
    loop.evaluate_only(workdir_lib.saved_config(run), run)


def completion(shell: Literal["bash", "zsh", "fish"], /) -> None:
    """Print what completes words of this command: eval "$(aufer completion bash)"

    Args:
      shell: which one reads it.
    """
    from aufer_jax import cli
    from aufer_jax.cli import complete

    print(complete.script(cli.ROOT, shell), end="")
