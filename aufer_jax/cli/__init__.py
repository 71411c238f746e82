"""The `aufer` command: every public function of the modules beside this one is a verb."""

import sys
from collections.abc import Sequence

import aufer_jax
from aufer_jax import errors
from aufer_jax.cli import parse
from aufer_jax.cli.parse import Group, of_module

ROOT = Group(
    "facial expression recognition guided by action units",
    lambda: {
        **of_module("top"),
        "data": Group("datasets: prepare, list, look at, compare", lambda: of_module("data")),
        "faces": Group("photographs: cut faces out, estimate AUs", lambda: of_module("faces")),
        "run": Group("finished runs: explain, draw, pool", lambda: of_module("run")),
        "paper": Group("the papers' experiments and knowledge", lambda: of_module("paper")),
        "weights": Group("published weights and architectures", lambda: of_module("weights")),
    },
)
# What verbs were called before they had groups.
BEFORE = {
    "prepare": "data prepare", "datasets": "data list", "inspect": "data inspect", "bias": "data bias",
    "align": "faces align", "aus": "faces aus", "explain": "run explain", "tsne": "run tsne",
    "curves": "run curves", "pool": "run pool", "reproduce": "paper reproduce",
    "knowledge": "paper knowledge", "convert": "weights convert", "models": "weights models",
}  # fmt: skip


@errors.boundary
def main(argv: Sequence[str] | None = None) -> None:
    """The command `aufer`: finds the verb that the words name, and runs it."""
    words = list(sys.argv[1:] if argv is None else argv)
    if words[:1] == ["--version"]:
        print(f"aufer {aufer_jax.__version__}")
        return
    node, prog, verbs = ROOT, "aufer", {}
    while isinstance(node, Group):
        verbs = node.verbs()
        if not words or words[0] in ("-h", "--help"):
            print(parse.group_help(node, prog))
            return
        word = words.pop(0)
        if node is ROOT and word in BEFORE:
            raise errors.UserError(f"{word!r} is now: aufer {BEFORE[word]}")
        if word not in verbs:
            if node is ROOT:
                raise errors.unknown("verb", word, (*verbs, "--help", "--version"))
            raise errors.unknown(prog.removeprefix("aufer "), word, verbs)
        node, prog = verbs[word], f"{prog} {word}"
    parse.call(node, prog, words, verbs)
