"""The rooms of the package and the one direction in which they know each other."""

import ast

import places
import pytest

PACKAGE = places.ROOT / "aufer_jax"
# Each floor may import the floors above it in this list; rooms of one floor know nothing of each other.
FLOORS = (
    ("errors",),
    ("facs", "parallel", "remote"),
    ("losses",),
    ("geometry",),
    ("synth", "sources"),
    ("data", "models"),
    ("evaluate", "weights", "datasets"),
    ("faces",),
    ("train",),
    ("papers",),
    ("report", "runs"),
    ("bias", "doctor", "explain", "knowledge", "reproduce"),
    ("pages",),
    ("serve",),
    ("main",),
    ("cli",),
)
FLOOR = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
FILES = sorted(PACKAGE.rglob("*.py"))
MODULES = {
    ".".join(file.relative_to(PACKAGE.parent).with_suffix("").parts).removesuffix(".__init__"): file
    for file in FILES
}


def imports(file):
    """The modules of the package that a file imports anywhere, inside functions too."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file}: relative import"
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                found.add(full if full in MODULES else node.module)
    return {name for name in found if name.split(".")[0] == "aufer_jax"}


def room(module):
    return (module.split(".") + [""])[1]


def test_every_room_has_its_floor():
    rooms = {room(module) for module in MODULES} - {""}
    assert rooms == set(FLOOR)


@pytest.mark.parametrize("module", sorted(set(MODULES) - {"aufer_jax"}))
def test_imports_go_down(module):
    here = room(module)
    for imported in imports(MODULES[module]):
        there = room(imported)
        assert there in ("", here) or FLOOR[there] < FLOOR[here], f"{module} imports {imported}"


def test_no_files_in_a_circle():
    graph = {module: imports(file) - {module} for module, file in MODULES.items()}
    # A package's own list of what it offers, and what it lists, are one thing.
    graph = {m: {i for i in found if not m.startswith(f"{i}.")} for m, found in graph.items()}
    done: set[str] = set()

    def visit(module, path):
        assert module not in path, f"circle: {' -> '.join([*path[path.index(module) :], module])}"
        if module not in done:
            for other in graph.get(module, ()):
                visit(other, [*path, module])
            done.add(module)

    for module in graph:
        visit(module, [])
