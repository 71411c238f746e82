"""The `aufer` command: one short subcommand a verb, each calling a function a notebook can call."""

import argparse
import shlex
import sys
from collections.abc import Callable, Sequence
from typing import Any

Run = Callable[[argparse.Namespace], Any]

_VERBS: dict[str, tuple[str, tuple[Any, ...], Run]] = {}


def _arg(*names: str, **options: Any) -> tuple[tuple[str, ...], dict[str, Any]]:
    return names, options


def _verb(name: str, help: str, *arguments: Any) -> Callable[[Run], Run]:
    """Makes the function the subcommand `name`. Imports belong into the function: help stays fast."""

    def register(run: Run) -> Run:
        _VERBS[name] = (help, arguments, run)
        return run

    return register


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="aufer", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for name, (help_, arguments, run) in _VERBS.items():
        verb = verbs.add_parser(name, help=help_, description=help_)
        for names, options in arguments:
            verb.add_argument(*names, **options)
        verb.set_defaults(run=run)
    chosen = parser.parse_args(argv)
    chosen.command = shlex.join(["aufer", *(sys.argv[1:] if argv is None else argv)])
    try:
        return chosen.run(chosen) or 0
    except ValueError as error:
        print(f"aufer: {error}", file=sys.stderr)
        return 2


@_verb(
    "train",
    "train a configuration, like python -m aufer_jax.main",
    _arg("config", help="for example configs/auvit.py"),
    _arg("flags", nargs=argparse.REMAINDER, help="flags of aufer_jax.main"),
)
def _train(arguments: argparse.Namespace) -> None:
    from aufer_jax import main as entry

    sys.argv = ["aufer", f"--config={arguments.config}", *arguments.flags]
    entry.run()


@_verb("evaluate", "evaluate the best state of a workdir", _arg("workdir"))
def _evaluate(arguments: argparse.Namespace) -> None:
    from aufer_jax.train import devices, loop

    devices.use_compilation_cache()
    loop.evaluate_only(loop.saved_config(arguments.workdir), arguments.workdir)


@_verb(
    "reproduce",
    "run a paper's experiments and write which claims held",
    _arg("paper", help="mvfer"),
    _arg("tables", nargs="*", help="default: all of the paper"),
    _arg("--target", default="", help="a prepared dataset; default: synthetic faces"),
    _arg("--full", action="store_true", help="the dataset's own recipe, not sizes for two cores"),
    _arg("--rows", nargs="+", default=(), help="only these rows"),
    _arg("--seeds", type=int, default=3),
    _arg("--jobs", type=int, default=0, help="runs at a time; default: one a core, one on a GPU"),
    _arg("--set", nargs="+", default=(), metavar="KEY=VALUE", help="for example train.epochs=3"),
    _arg("--runs", default="runs/reproduce", help="folder of the runs"),
    _arg("--out", default="", help="default: docs/results/PAPER.md"),
)
def _reproduce(arguments: argparse.Namespace) -> None:
    from aufer_jax import reproduce

    changes = {}
    for item in arguments.set:
        key, equals, value = item.partition("=")
        if not equals:
            raise ValueError(f"--set: {item!r} is not KEY=VALUE")
        changes[key] = value
    reproduce.reproduce(
        arguments.paper,
        arguments.tables,
        command=arguments.command,
        target=arguments.target,
        full=arguments.full,
        rows=arguments.rows,
        seeds=arguments.seeds,
        jobs=arguments.jobs,
        changes=changes,
        runs=arguments.runs,
        out=arguments.out,
    )


@_verb(
    "convert",
    "turn a published PyTorch checkpoint into our format",
    _arg("checkpoint", help=".pth, .pt, .bin, .pkl or .safetensors"),
    _arg("--model", required=True, help="architecture, see `aufer models`"),
    _arg("--out", required=True, help="folder for weights.safetensors and card.json"),
)
def _convert(arguments: argparse.Namespace) -> None:
    from aufer_jax import weights

    print(weights.convert(arguments.checkpoint, arguments.model, arguments.out))


@_verb("datasets", "list the datasets")
def _datasets(arguments: argparse.Namespace) -> None:
    from aufer_jax.data import catalog

    for name in catalog.names():
        info = catalog.info(name)
        classes = ", ".join(info.expressions) or "no expression labels"
        print(f"{name:14} {info.kind:6} {len(info.aus):3} AUs  {classes}")


@_verb("models", "list the architectures with their exact size")
def _models(arguments: argparse.Namespace) -> None:
    from aufer_jax.models import table

    print(table.markdown())


if __name__ == "__main__":
    sys.exit(main())
