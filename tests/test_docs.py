"""README and docs: links lead somewhere, commands and keys exist, Python examples import what there is."""

import ast
import importlib
import re
import runpy
import shlex

import places
import pytest

from aufer_jax import cli, errors
from aufer_jax.papers import study
from aufer_jax.train import base
from aufer_jax.train import config as config_lib

DOCS = places.ROOT / "docs"
MADE = DOCS / "project"  # by a build of the documentation: copies
PAGES = (
    *(places.ROOT / name for name in ("README.md", "CONTRIBUTING.md")),
    *(path for path in sorted(DOCS.rglob("*.md")) if path.parent != MADE),
)
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
    named = set(re.findall(r"\]\(([a-z_]+\.md)\)", (docs / "index.md").read_text()))
    assert named == {page.name for page in docs.glob("*.md")} - {"index.md"}


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
                try:
                    found = importlib.import_module(module)
                except errors.UserError as error:  # an extra that is not installed
                    assert "aufer-jax[" in str(error)
                    continue
                for alias in node.names:
                    if not hasattr(found, alias.name):
                        importlib.import_module(f"{module}.{alias.name}")


def test_a_command_that_does_not_exist_is_seen():
    known = {"train", "data prepare"}
    assert verb("aufer data prepare folder --name x", known) == "data prepare"
    assert verb("aufer train configs/auvit.py", known) == "train"
    assert verb("aufer prepare folder", known) == ""


PAPERS = DOCS / "papers.md"
# Modules with what is in them; keys of the configuration have one dot only.
FUNCTION = re.compile(r"`((?:facs|losses)\.\w+|[a-z_]+\.[a-z_]+\.[\w.]+)`")


def test_functions_of_the_papers_exist():
    names = FUNCTION.findall(PAPERS.read_text())
    assert len(set(names)) > 40
    for full in names:
        module, _, function = f"aufer_jax.{full}".rpartition(".")
        assert hasattr(importlib.import_module(module), function), full


def test_verdicts_are_those_of_the_results(tmp_path):
    written = runpy.run_path(str(DOCS / "verdicts.py"))
    for page in written["PAGES"]:
        text = (DOCS / page).read_text()
        assert written["filled"](text) == text, "python docs/verdicts.py writes them anew"
    (tmp_path / "results").mkdir()
    rows = "| claim | verdict |\n| --- | --- |\n| a | held |\n| b | undecided |\n| c | held |\n"
    (tmp_path / "results" / "x.md").write_text(f"# x\n\n## X, table I: y, on z: claims\n\n{rows}")
    cell = "| <!-- X, table I --> 9 held | <!-- X, table II --> 1 held |"
    assert written["filled"](cell, tmp_path) == (
        "| <!-- X, table I --> [z](results/x.md#x-table-i-y-on-z): 2 held, 1 undecided "
        "| <!-- X, table II --> not run |"
    )
    earlier = f"# x\n\n## X, table II: y, on z: claims\n\n{rows}"
    (tmp_path / "results" / "earlier.md").write_text(earlier)
    cell = "| <!-- before: X, table II // a --> | <!-- X, table I // c // b --> | <!-- X, table II --> |"
    assert written["filled"](cell, tmp_path) == (
        "| <!-- before: X, table II // a --> [z](results/earlier.md#x-table-ii-y-on-z): 1 held "
        "| <!-- X, table I // c // b --> [z](results/x.md#x-table-i-y-on-z): 1 held, 1 undecided "
        "| <!-- X, table II --> not run |"
    )
    # What only repeats an earlier result is none of the present design.
    (tmp_path / "results" / "earlier.md").write_text(earlier.replace("table II", "table I"))
    cell = "| <!-- before: X, table I // a --> | <!-- X, table I --> |"
    assert written["filled"](cell, tmp_path) == (
        "| <!-- before: X, table I // a --> [z](results/earlier.md#x-table-i-y-on-z): 1 held "
        "| <!-- X, table I --> not run |"
    )


def test_marks_name_claims_of_the_studies():
    written = runpy.run_path(str(DOCS / "verdicts.py"))
    earlier = written["sections"]([DOCS / "results" / "earlier.md"])
    before = {title: {text for text, _ in found.steps} for title, found in earlier.items()}
    now = {
        found.title: {claim.text for claim in found.claims}
        for paper in ("mvfer", "auvit", "audfer")
        for found in study.studies(paper).values()
    }
    for page in written["PAGES"]:
        for mark in re.findall(r"<!-- (.+?) -->", (DOCS / page).read_text()):
            known = before if mark.startswith(written["BEFORE"]) else now
            title, *claims = mark.removeprefix(written["BEFORE"]).split(" // ")
            titled = re.compile(rf"{re.escape(title)}[:,]")
            texts = set().union(*(said for name, said in known.items() if titled.match(name)))
            assert texts and set(claims) <= texts, mark


def test_every_page_is_in_the_table_of_contents():
    made = runpy.run_path(str(DOCS / "reference.py"))
    listed = {
        f"{page}.md"
        for page in re.findall(r"^[\w/]+$", made["toctrees"]((DOCS / "index.md").read_text()), re.M)
    }
    assert {path.relative_to(DOCS).as_posix() for path in PAGES[2:]} - {"index.md"} <= listed


def test_links_of_pages_that_a_build_moves():
    moved = runpy.run_path(str(DOCS / "reference.py"))["moved"]
    text = "[a](docs/data.md#clips), ![b](docs/img/x.png), [c](LICENSE), [d](CHANGELOG.md), [e](https://x.y)"
    assert moved(text, places.ROOT, places.ROOT, DOCS / "project") == (
        "[a](../data.md#clips), ![b](../img/x.png), `c`, [d](CHANGELOG.md), [e](https://x.y)"
    )
    assert moved("[a](../../CHANGELOG.md)", places.ROOT, DOCS / "results", DOCS / "results") == (
        "[a](../project/CHANGELOG.md)"
    )


def test_the_plain_text_has_every_public_name_with_its_types(tmp_path):
    made = runpy.run_path(str(DOCS / "reference.py"))
    made["plain"](places.ROOT, DOCS, tmp_path)
    text = (tmp_path / "api.txt").read_text()
    assert "\n## aufer_jax.losses\n" in text
    assert (
        "def masked_mean(values: jax.Array, mask: jax.Array) -> jax.Array:\n    sum(values" in text
    )
    assert "class Predictor:\n" in text
    assert "\n    def attention(self, pixels: np.ndarray) -> dict[str, np.ndarray]:\n" in text
    assert "def _" not in text
    assert "(_sources/tutorials/video.md.txt)" in (tmp_path / "llms.txt").read_text()
