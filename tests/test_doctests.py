"""Docstrings: every public callable has one, and the examples in them give what they say."""

import ast
import doctest
import importlib

import places
import pytest

PACKAGE = places.ROOT / "aufer_jax"
FILES = sorted(PACKAGE.rglob("*.py"))
WITH_EXAMPLES = tuple(file for file in FILES if ">>> " in file.read_text())


def module(file):
    return ".".join(file.relative_to(places.ROOT).with_suffix("").parts).removesuffix(".__init__")


def definitions(body, prefix):
    """The public functions, and classes with their methods, of a module's or a class's body."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    for node in body:
        if isinstance(node, kinds) and not node.name.startswith("_"):
            yield f"{prefix}.{node.name}", node
            if isinstance(node, ast.ClassDef):
                yield from definitions(node.body, f"{prefix}.{node.name}")


def test_every_public_callable_has_a_docstring():
    lacking, count = [], 0
    for file in FILES:
        for name, node in definitions(ast.parse(file.read_text()).body, module(file)):
            count += 1
            if not ast.get_docstring(node):
                lacking.append(name)
    assert not lacking
    assert count > 1000


@pytest.mark.parametrize("file", WITH_EXAMPLES, ids=module)
def test_examples_give_what_they_say(file):
    found = doctest.DocTestFinder(exclude_empty=True).find(importlib.import_module(module(file)))
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS, verbose=False)
    report = []
    for test in found:
        runner.run(test, out=report.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(report)
    assert runner.tries > 0
