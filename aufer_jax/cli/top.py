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


def completion(shell: Literal["bash", "zsh", "fish"], /) -> None:
    """Print a script that completes this command in your shell: eval "$(aufer completion bash)"

    Args:
      shell: which one reads it.
    """
    from aufer_jax import cli
    from aufer_jax.cli import complete

    print(complete.script(cli.ROOT, shell), end="")
