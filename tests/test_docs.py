"""README and docs: links lead somewhere, commands and keys exist, Python examples import what there is."""

import ast
import importlib
import re
import shlex

import places
import pytest

from aufer_jax import cli
from aufer_jax.train import base
from aufer_jax.train import config as config_lib

PAGES = (places.ROOT / "README.md", *sorted((places.ROOT / "docs").rglob("*.md")))
# What scripts measured once keeps the command that it was measured with.
PROSE = tuple(p for p in PAGES if p.parent.name != "results" and "benchmarks" not in str(p))
COMMAND = re.compile(r"^(aufer [a-z][^`\n|\\]*)|`(aufer [a-z][^`\n|]*)`", re.MULTILINE)
PYTHON = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
KEY = re.compile(
    r"\b(?:train|data|loss|optimizer|schedule|augment|erase|heatmap)\.(?!md\b|py\b)[a-z_0-9]+\b(?![.(])"
)


def name(page):
    return str(page.relative_to(places.ROOT))


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\((?!https?://)([^)]+)\)", page.read_text()):
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        assert file.exists(), target
        if anchor:
            heads = re.findall(r"^#+ (.*)$", file.read_text(), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", h).lower().replace(" ", "-") for h in heads}


def test_the_index_names_every_page():
    docs = places.ROOT / "docs"
    named = set(re.findall(r"\]\(([a-z_]+\.md)\)", (docs / "README.md").read_text()))
    assert named == {page.name for page in docs.glob("*.md")} - {"README.md"}


def verbs():
    """`train`, `data prepare` and so on."""
    for word, verb in cli.ROOT.verbs().items():
        inner = getattr(verb, "verbs", None)
        yield from (f"{word} {name}" for name in inner()) if inner else [word]


def verb(command, verbs):
    """The verb that a command begins with; empty for one that does not exist."""
    words = shlex.split(command, comments=True)[1:3]
    return next((v for v in (" ".join(words[:n]) for n in (2, 1)) if v in verbs), "")


@pytest.mark.parametrize("page", PROSE, ids=name)
def test_commands_exist(page):
    known = set(verbs())
    for match in COMMAND.finditer(page.read_text()):
        assert verb(match[1] or match[2], known), match[0]


@pytest.mark.parametrize("page", PROSE, ids=name)
def test_keys_of_the_configuration_exist(page):
    known = {
        f"{section}.{key}"
        for method in base.names()
        for section, values in config_lib.default(method).items()
        if hasattr(values, "keys")
        for key in values
    }
    assert set(KEY.findall(page.read_text())) <= known


@pytest.mark.parametrize("page", PROSE, ids=name)
def test_python_examples_compile_and_import_what_there_is(page):
    for code in PYTHON.findall(page.read_text()):
        for node in ast.walk(ast.parse(code)):
            module = node.module or "" if isinstance(node, ast.ImportFrom) else ""
            if module.startswith("aufer_jax"):
                found = importlib.import_module(module)
                for alias in node.names:
                    if not hasattr(found, alias.name):
                        importlib.import_module(f"{module}.{alias.name}")


def test_a_command_that_does_not_exist_is_seen():
    known = {"train", "data prepare"}
    assert verb("aufer data prepare folder --name x", known) == "data prepare"
    assert verb("aufer train configs/auvit.py", known) == "train"
    assert verb("aufer prepare folder", known) == ""
