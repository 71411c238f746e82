"""From a function's signature to a verb: tyro reads its arguments, their help is its docstring.

Positional-only arguments are words, the others options. The fields of a dataclass are options too, with their
comments as help; lists and pairs among them are written with commas: a,b,c and k=v,k=v. A verb whose one
argument is `argv` reads its command line itself.
"""

import contextlib
import dataclasses
import functools
import importlib
import inspect
import io
import re
import sys
import typing
from collections.abc import Callable, Mapping
from typing import Any

from aufer_jax import errors, main, remote

Verb = Callable[..., Any]

_WORDS = {  # what tyro and Python say, and what we do
    r"Missing from [^:]*: (.*)": r"missing: \1",
    r"Missing value for argument '(.*?)'.*": r"\1: no value is given",
    r"invalid literal for int\(\) with base 10: (.*)": r"\1 is not a whole number",
    r"could not convert string to float: (.*)": r"\1 is not a number",
    r"Unrecognized options: (.*)": r"not known: \1",
}


@dataclasses.dataclass(frozen=True)
class Group:
    """A word that leads to verbs or further groups, which are looked up when they are needed."""

    help: str
    verbs: Callable[[], Mapping[str, "Verb | Group"]]


class Changes(dict):
    """Other values for keys of the configuration: `--config.KEY=VALUE` of the command line."""


def of_module(name: str) -> dict[str, Verb | Group]:
    """The verbs of a module of this package: its public functions and groups."""
    module = importlib.import_module(f"aufer_jax.cli.{name}")
    found = {}
    for key, value in vars(module).items():
        ours = inspect.isfunction(value) and value.__module__ == module.__name__
        if not key.startswith("_") and (ours or isinstance(value, Group)):
            found[key.rstrip("_")] = value
    return found


def group_help(group: Group, prog: str) -> str:
    """The list of a group's verbs; does without tyro, which takes a while to import."""
    verbs = group.verbs()
    width = max(map(len, verbs)) + 2
    lines = [f"usage: {prog} WORD ...", "", group.help, ""]
    lines += [f"  {word:{width}}{_help(verb)}" for word, verb in verbs.items()]
    lines += ["", f"{prog} WORD --help says more"]
    if prog == "aufer":
        lines[-1] += "; aufer --version, aufer completion bash"
    return "\n".join(lines)


def _help(verb: Verb | Group) -> str:
    if isinstance(verb, Group):
        return verb.help
    return (inspect.getdoc(verb) or "").partition("\n")[0].rstrip(".")


def call(verb: Verb, prog: str, words: list[str], beside: Mapping[str, Verb | Group]) -> None:
    """Calls the verb with what the words say; `beside`: the verbs of its group."""
    if list(inspect.signature(verb).parameters) == ["argv"]:
        verb(words)
        return
    here = prog.removeprefix("aufer ")
    changes: dict[str, str] = {}
    options = _options(verb)
    if any(hint is Changes for hint in options.values()):
        words, changes = main.overrides(words)
    for word in words:
        option = word.partition("=")[0].replace("_", "-")
        if option.startswith("--") and option not in (*options, "--help"):
            others = [name for name, other in beside.items() if option in _options(other)]
            if others:
                raise errors.UserError(f"{here}: {option} is an option of {', '.join(others)} only")
            raise errors.unknown(here, option, options)
    if changes:
        words = [*words, "--config", *(f"{key}={value}" for key, value in changes.items())]
    bound = _bound(verb, prog, words)
    for parameter, value in zip(
        inspect.signature(verb).parameters.values(), bound.args, strict=False
    ):
        if value == () and parameter.default is parameter.empty:
            raise errors.UserError(f"{here}: name at least one of {parameter.name.upper()}")
    with contextlib.ExitStack() as fetched:
        _fetched(bound, fetched)()


def _fetched(bound: functools.partial, stack: contextlib.ExitStack) -> functools.partial:
    """The call, with what is in a store on this machine while it lasts; datasets are fetched one by one."""

    def here(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(here, value))
        if isinstance(value, str) and remote.is_remote(value):
            return str(stack.enter_context(remote.written(value)))
        return value

    options = {
        name: value if name == "data_dir" else here(value) for name, value in bound.keywords.items()
    }
    return functools.partial(bound.func, *map(here, bound.args), **options)


def _options(verb: Verb | Group) -> dict[str, Any]:
    """The options of a verb and their types."""
    if isinstance(verb, Group):
        return {}
    found = {}
    hints = typing.get_type_hints(verb)
    for parameter in inspect.signature(verb).parameters.values():
        hint = hints[parameter.name]
        if dataclasses.is_dataclass(hint):
            inner = typing.get_type_hints(hint)
            found |= {field.name: inner[field.name] for field in dataclasses.fields(hint)}
        elif parameter.kind is parameter.KEYWORD_ONLY:
            found[parameter.name] = hint
    return {"--" + name.replace("_", "-"): hint for name, hint in found.items()}


def _bound(verb: Verb, prog: str, words: list[str]) -> functools.partial:
    """The call that the words ask for; prints the help and ends where they ask for that."""
    import tyro

    @functools.wraps(verb)
    def bind(*given: Any, **options: Any) -> functools.partial:
        return functools.partial(verb, *given, **options)

    out, err = io.StringIO(), io.StringIO()
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            return tyro.cli(bind, args=words, prog=prog, config=marks(), registry=_rules(verb))
    except SystemExit as end:
        if end.code:
            raise _mistake(err.getvalue(), prog) from None
    print(_plainer(out.getvalue()))
    sys.exit(0)


def marks() -> tuple[Any, ...]:
    """How tyro names arguments."""
    from tyro import conf

    return conf.OmitArgPrefixes, conf.FlagCreatePairsOff, conf.PositionalMetavarFromFieldName


def _mistake(box: str, prog: str) -> errors.UserError:
    """One line of what tyro says in a box: its first part, without the help of the arguments it names."""
    part = re.split(r"^\W*[-─]{3,}\W*$", box, flags=re.MULTILINE)[1]
    lines = [line.strip(" │") for line in part.splitlines() if not re.match(r".?\s{10}", line)]
    text = " ".join(filter(None, lines)).removeprefix("Error parsing ").removeprefix("dataset: ")
    if chosen := re.match(
        r"invalid choice '(.*)' for argument '(.*)'\. Expected one of \((.*)\)", text
    ):
        value, option, permitted = chosen.groups()
        return errors.unknown(option, value, re.findall(r"'(.*?)'", permitted))
    for theirs, ours in _WORDS.items():
        text = re.sub(theirs, ours, text)
    seen = text.startswith(("missing:", "not known:"))
    return errors.UserError(f"{text}; see {prog} --help" if seen else text)


def _plainer(text: str) -> str:
    """Help without "(default: None)" and the like."""
    text = re.sub(r"\s*\(default:\s*(None|''|False)?\s*\)", "", text)
    text = re.sub(r"\{None\}\|(\w+)", r"\1", text)
    return "\n".join(line.rstrip() for line in text.splitlines()).rstrip()


def _rules(verb: Verb) -> Any:
    """How values are written that tyro would have otherwise."""
    from tyro.constructors import ConstructorRegistry, PrimitiveConstructorSpec

    registry = ConstructorRegistry()
    commas = any(map(dataclasses.is_dataclass, typing.get_type_hints(verb).values()))

    @registry.primitive_rule
    def rule(info: Any) -> Any:
        if info.type is Changes:
            return PrimitiveConstructorSpec(
                nargs="*",
                metavar="[KEY=VALUE ...]",
                instance_from_str=lambda words: Changes(_pair(word) for word in words),
                is_instance=lambda value: isinstance(value, Changes),
                str_from_instance=lambda value: [],
            )
        if not commas:
            return None
        origin = typing.get_origin(info.type)
        if origin is tuple:
            convert = typing.get_args(info.type)[0]
            return PrimitiveConstructorSpec(
                nargs=1,
                metavar="A,B,...",
                instance_from_str=lambda words: tuple(map(convert, _list(words[0]))),
                is_instance=lambda value: isinstance(value, tuple),
                str_from_instance=lambda value: [",".join(map(str, value))],
            )
        if isinstance(origin, type) and issubclass(origin, Mapping):
            return PrimitiveConstructorSpec(
                nargs=1,
                metavar="NAME=VALUE,...",
                instance_from_str=lambda words: dict(map(_pair, _list(words[0]))),
                is_instance=lambda value: isinstance(value, Mapping),
                str_from_instance=lambda value: [",".join(f"{k}={v}" for k, v in value.items())],
            )
        return None

    return registry


def _list(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _pair(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise ValueError(f"{text!r} is not NAME=VALUE")
    return key.strip(), value.strip()
