"""Shell completion: the whole tree of verbs as one parser, which tyro turns into a script."""

import contextlib
import functools
import inspect
import io
from typing import Annotated, Any, Union

from aufer_jax import main
from aufer_jax.cli import parse


def script(root: parse.Group, shell: str) -> str:
    """What the shell is to read."""
    import tyro

    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.suppress(SystemExit):
        tyro.cli(
            _tree(root), prog="aufer", args=["--tyro-print-completion", shell],
            config=(*parse.marks(), tyro.conf.OmitSubcommandPrefixes),
        )  # fmt: skip
    return out.getvalue()


def _tree(group: parse.Group) -> Any:
    import tyro

    words = []
    for name, verb in group.verbs().items():
        if isinstance(verb, parse.Group):
            made = tyro.conf.subcommand(
                name, description=verb.help, constructor_factory=functools.partial(_tree, verb)
            )
        else:
            reads_itself = list(inspect.signature(verb).parameters) == ["argv"]
            made = tyro.conf.subcommand(name, constructor=main.run if reads_itself else verb)
        words.append(Annotated[Any, made])
    return Union[tuple(words)]  # noqa: UP007
