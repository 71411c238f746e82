"""The `aufer` command: one short subcommand a verb, each calling a function a notebook can call."""

import argparse
import sys
from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="aufer", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)

    train = verbs.add_parser("train", help="train a configuration, like python -m aufer_jax.main")
    train.add_argument("config", help="for example configs/auvit.py")
    train.add_argument("flags", nargs=argparse.REMAINDER, help="flags of aufer_jax.main")
    train.set_defaults(run=_train)

    evaluate = verbs.add_parser("evaluate", help="evaluate the best state of a workdir")
    evaluate.add_argument("workdir")
    evaluate.set_defaults(run=_evaluate)

    convert = verbs.add_parser(
        "convert", help="turn a published PyTorch checkpoint into our format"
    )
    convert.add_argument("checkpoint", help=".pth, .pt, .bin, .pkl or .safetensors")
    convert.add_argument("--model", required=True, help="architecture, see `aufer models`")
    convert.add_argument(
        "--out", required=True, help="folder for weights.safetensors and card.json"
    )
    convert.set_defaults(run=_convert)

    verbs.add_parser("datasets", help="list the datasets").set_defaults(run=_datasets)
    verbs.add_parser("models", help="list the architectures with their exact size").set_defaults(
        run=_models
    )

    arguments = parser.parse_args(argv)
    try:
        return arguments.run(arguments) or 0
    except ValueError as error:
        print(f"aufer: {error}", file=sys.stderr)
        return 2


def _train(arguments: argparse.Namespace) -> None:
    from aufer_jax import main as entry

    sys.argv = ["aufer", f"--config={arguments.config}", *arguments.flags]
    entry.run()


def _evaluate(arguments: argparse.Namespace) -> None:
    from aufer_jax.train import devices, loop

    devices.use_compilation_cache()
    loop.evaluate_only(loop.saved_config(arguments.workdir), arguments.workdir)


def _datasets(arguments: argparse.Namespace) -> None:
    from aufer_jax.data import catalog

    for name in catalog.names():
        info = catalog.info(name)
        classes = ", ".join(info.expressions) or "no expression labels"
        print(f"{name:14} {info.kind:6} {len(info.aus):3} AUs  {classes}")


def _models(arguments: argparse.Namespace) -> None:
    from aufer_jax.models import table

    print(table.markdown())


def _convert(arguments: argparse.Namespace) -> None:
    from aufer_jax import weights

    print(weights.convert(arguments.checkpoint, arguments.model, arguments.out))


if __name__ == "__main__":
    sys.exit(main())
