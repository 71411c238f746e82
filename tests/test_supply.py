"""What the package brings along: only what it imports, in tested versions, listed in its bill."""

import ast
import json
import re
import sys
import tomllib
from importlib import metadata

import places

PROJECT = tomllib.loads((places.ROOT / "pyproject.toml").read_text())["project"]
PINS = dict(
    line.split("==")
    for line in (places.ROOT / "constraints.txt").read_text().splitlines()
    if "==" in line
)


def names(requirements):
    return {re.split(r"[\[<>=~! ]", text)[0].lower() for text in requirements}


DECLARED = names(PROJECT["dependencies"])
OPTIONAL = {name for extra in PROJECT["optional-dependencies"].values() for name in names(extra)}


def imported():
    """Distributions whose modules any file of the package imports, inside functions too."""
    modules = set()
    for file in (places.ROOT / "aufer_jax").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Import):
                modules |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                modules.add((node.module or "").split(".")[0])
    others = modules - set(sys.stdlib_module_names) - {"aufer_jax"}
    of_module = metadata.packages_distributions()
    return {name.lower().replace("_", "-") for m in others for name in of_module.get(m, [m])}


def test_all_that_is_imported_is_declared_and_the_other_way_round():
    found = imported()
    aliases = {"sklearn": "scikit-learn", "apache_beam": "apache-beam"}
    found = {aliases.get(name, name) for name in found}
    assert found >= DECLARED - {"flatbuffers"}  # jax.export writes with it
    assert found - DECLARED - {"jaxlib", "ml-dtypes", "protobuf", "etils"} <= OPTIONAL | {
        "ipython", "pyarrow", "pandas",
    }  # fmt: skip


def test_the_bill_of_materials_is_that_of_the_tested_versions():
    bill = json.loads((places.ROOT / "docs" / "sbom.json").read_text())
    versions = {part["name"]: part["version"] for part in bill["components"]}
    assert DECLARED - {"tensorboardx"} <= versions.keys()
    assert {name: PINS.get(name) for name in versions} == versions
    assert all(len(part["hashes"][0]["content"]) == 64 for part in bill["components"])
    needed = {ref for line in bill["dependencies"] for ref in line["dependsOn"]}
    assert needed <= versions.keys()
