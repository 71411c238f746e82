"""benchmarks/house.py: what it counts."""

import ast
import pathlib

import places
import pytest

from aufer_jax import cli
from aufer_jax.cli.parse import Group


@pytest.fixture(scope="module")
def house():
    return places.script("house")


def test_rooms_in_a_circle(house):
    imports = {
        "a": "import aufer_jax.b",
        "b": "from aufer_jax import c",
        "c": "import os\nimport aufer_jax.d.x",
    }
    rooms = {name: {pathlib.Path(name): ast.parse(text)} for name, text in imports.items()}
    assert house.circular({**rooms, "d": {}}) == 0
    back = {pathlib.Path("d"): ast.parse("def f():\n    from aufer_jax.b.y import z")}
    assert house.circular({**rooms, "d": back}) == 3


def test_verbs_are_those_of_the_command(house):
    verbs = [
        node.verbs() if isinstance(node, Group) else [node] for node in cli.ROOT.verbs().values()
    ]
    assert house.verbs(places.ROOT / "aufer_jax") == sum(map(len, verbs))


def test_keys_of_the_sections_and_beside_them(house):
    text = """
class Sized: size: int
class Data(Sized): rows: int
class Run:
    data: Data
    model: dict
    loss: dict
    seed: int
SECTIONS = {"data": Data}
"""
    assert house.keys([*ast.walk(ast.parse(text))]) == 3


def test_the_sentence_says_what_grew(house):
    before = {"lines of the package": 9, "lines of the tests": 9, "rooms": 3, "largest room": "`a`"}
    now = {"lines of the package": 8, "lines of the tests": 10, "rooms": 3, "largest room": "`b`"}
    said = (
        'Since b6ecb7e these grew: lines of the tests (9 to 10). The aim "fewer lines" was not met.'
    )
    assert house.verdict(before, now) == said
    assert house.verdict(before, {**now, "lines of the tests": 8}).endswith("was met.")
