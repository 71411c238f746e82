"""What the package promises as a whole: its imports, its command, its versions, its configs, its README."""

import ast
import importlib.metadata
import os
import re
import runpy
import shutil
import subprocess
import sys
import tomllib

import places
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import aufer_jax
from aufer_jax import models
from aufer_jax.datasets import catalog
from aufer_jax.train import config as config_lib

CONFIGS = sorted((places.ROOT / "configs").glob("*.py"))
PROJECT = tomllib.loads((places.ROOT / "pyproject.toml").read_text())["project"]
HEAVY = ("tensorflow", "torch")

IMPORT_ALL = """
import importlib, importlib.abc, pkgutil, sys

class Block(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"{{name}} is blocked")

sys.meta_path.insert(0, Block())
package = importlib.import_module({package!r})
for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
    try:
        importlib.import_module(module.name)
    except ValueError as error:  # an extra that is not installed
        assert "aufer-jax[" in str(error)
print(*(name for name in {unwanted!r} if name in sys.modules))
"""


def run(*command):
    return subprocess.run(command, capture_output=True, text=True, timeout=120, cwd=places.ROOT)


def imported(package, unwanted, blocked=()):
    """Which of `unwanted` are loaded once every module of the package is."""
    code = IMPORT_ALL.format(package=package, unwanted=tuple(unwanted), blocked=tuple(blocked))
    done = run(sys.executable, "-c", code)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_works_without_tensorflow_and_torch():
    assert imported("aufer_jax", unwanted=HEAVY, blocked=HEAVY) == []


def test_no_function_imports_tensorflow_or_torch():
    for path in (places.ROOT / "aufer_jax").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {name.split(".")[0] for name in names} & set(HEAVY), (path, node.lineno)


def test_the_data_package_leaves_jax_alone():
    """Loader processes import it, and JAX would take memory of the devices in each of them."""
    assert imported("aufer_jax.data", unwanted=("jax", "flax")) == []


def test_version_is_that_of_the_installed_package():
    assert aufer_jax.__version__ == importlib.metadata.version("aufer-jax") == PROJECT["version"]


def test_command_is_the_entry_point():
    (entry,) = importlib.metadata.entry_points(group="console_scripts", name="aufer")
    assert entry.value == PROJECT["scripts"]["aufer"] == "aufer_jax.cli:main"
    done = run(sys.executable, "-m", "aufer_jax.cli", "data", "list")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("synth_a ")


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A folder with the package as its wheel has it, built from a copy of the tree."""
    tree, target = (tmp_path_factory.mktemp(name) for name in ("tree", "installed"))
    for name in ("aufer_jax", "configs"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(places.ROOT / name, tree / name, ignore=ignored)
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(places.ROOT / name, tree)
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    done = run(*pip, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", tree, tree)
    assert done.returncode == 0, done.stderr
    (wheel,) = tree.glob("*.whl")
    done = run(*pip, "install", "--no-deps", "--target", target, wheel)
    assert done.returncode == 0, done.stderr
    return target


def outside(installed, folder, *words):
    """Runs Python where only the installed package can be found, and no checkout."""
    given = {
        "PYTHONPATH": installed,
        "AUFER_DATA": folder / "data",
        "XLA_FLAGS": places.xla_flags(),
    }
    return subprocess.run(
        [sys.executable, *words], cwd=folder, capture_output=True, text=True, timeout=600,
        env=os.environ | {name: str(value) for name, value in given.items()},
    )  # fmt: skip


def test_a_wheel_has_every_data_file(installed):
    def files(root):
        found = (
            path for path in root.rglob("*") if path.is_file() and "__pycache__" not in path.parts
        )
        return {path.relative_to(root).as_posix() for path in found if path.suffix != ".pyc"}

    ours = files(places.ROOT / "aufer_jax") | {
        f"configs/{path}" for path in files(places.ROOT / "configs")
    }
    assert files(installed / "aufer_jax") == ours


@pytest.mark.slow
def test_a_wheel_trains_without_a_checkout(installed, tmp_path):
    code = "import aufer_jax, sys; print(aufer_jax.__file__)"
    found = outside(installed, tmp_path, "-c", code)
    assert found.stdout.startswith(str(installed)), found.stderr
    small = [f"--config.data.sizes.{s}=12" for s in ("train", "validation", "test", "occluded")]
    small += ["--config.train.epochs=1", "--config.data.batch_size=12"]
    words = ("-m", "aufer_jax.main", "--config=configs/auvit.py:quick", "--workdir=runs/quick")
    done = outside(installed, tmp_path, *words, *small)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs" / "quick" / "summary.json").exists()
    words = ("-m", "aufer_jax.cli", "paper", "reproduce", "mvfer", "--rows", "base", "--seeds", "1")
    done = outside(installed, tmp_path, *words, "--jobs", "1", *small)
    assert done.returncode == 0, done.stderr
    assert "| base |" in (tmp_path / "docs" / "results" / "mvfer.md").read_text()


def load(path, argument=None):
    return runpy.run_path(str(path))["get_config"](argument)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
@pytest.mark.parametrize("argument", [None, "quick"])
def test_every_config_is_valid(path, argument):
    run = config_lib.check(load(path, argument))
    options = dict(run.model)
    assert set(options) - {"name"} <= set(models.options(options["name"]))
    for name in (run.data.target, *run.data.aux):
        # The recipes of what ships name datasets that a script prepares.
        assert path.stem.startswith("shipped") or catalog.info(name)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_every_config_names_its_command_and_the_nearest_argument(path):
    assert f"--config=configs/{path.name}" in ast.get_docstring(ast.parse(path.read_text()))
    with pytest.raises(ValueError, match=r"config argument: 'quik' is not known; .*'quick'\?"):
        load(path, "quik=1")


def test_a_wrong_key_of_a_config_is_named_with_the_nearest():
    values = load(places.ROOT / "configs" / "auvit.py").to_dict()
    values["optimizer"]["weight_decy"] = 0.1
    with pytest.raises(ValueError, match=r"key of optimizer: 'weight_decy' .*'weight_decay'\?"):
        config_lib.check(values)


@pytest.mark.parametrize("extra", [None, "cuda", "tpu"])
def test_jax_of_python_3_11_and_of_3_12_are_admitted(extra):
    lines = PROJECT["optional-dependencies"][extra] if extra else PROJECT["dependencies"]
    (jax,) = (r for r in map(Requirement, lines) if r.name == "jax")
    admitted = [v for v in ("0.9.2", "0.10.0", "0.10.2", "0.11.0", "0.12.0") if v in jax.specifier]
    assert admitted == ["0.10.0", "0.10.2", "0.11.0"]


def test_constraints_pin_all_that_is_installed_first_hand():
    lines = (places.ROOT / "constraints.txt").read_text().splitlines()
    pins = [re.fullmatch(r"([a-z0-9.-]+)==([0-9][\w.]*)", line) for line in lines[1:]]
    assert lines[0].startswith("#")
    assert all(pins)
    versions = {pin[1]: pin[2] for pin in pins}
    assert list(versions) == sorted(versions)
    assert len(versions) == len(pins)
    extras = PROJECT["optional-dependencies"]
    for line in [*PROJECT["dependencies"], *extras["test"], *extras["docs"]]:
        need = Requirement(line)
        assert versions[canonicalize_name(need.name)] in need.specifier, line


def test_readme_has_two_commands():
    """`.ci/run` runs the two bash blocks of README.md as they stand."""
    text = (places.ROOT / "README.md").read_text()
    blocks = re.findall(r"^```bash\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert [block.count("\n") for block in blocks] == [1, 1]
    assert "python -m aufer_jax.main --config=configs/auvit.py\n" in blocks[0]
    assert "python -m pytest" in blocks[1]
