"""How large the library is and how its rooms are joined: two earlier commits beside the present tree.

    python benchmarks/house.py

Files are parsed, nothing of an old tree is imported. Writes docs/results/house.md.
"""

import ast
import io
import pathlib
import re
import subprocess
import tarfile
import tempfile
from collections.abc import Mapping

from aufer_jax.report import results

ROOT = pathlib.Path(__file__).parents[1]
COMMITS = ("b6ecb7e", "47456eb")
PACKAGE = "aufer_jax"
NOTE = """Lines: all of Python files, blank ones and docstrings too. A room: a folder or a file directly in
the package. Rooms in a circle: imports, those inside functions too, lead from them back to themselves.
Configuration keys: of the sections that all methods share, and those beside the sections; the keys of a
network and of a method's loss depend on which it is. `Any`: how often code names it."""

Files = dict[pathlib.Path, ast.Module]


def git(*arguments: str) -> bytes:
    """What git says of this repository."""
    return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=True).stdout


def parsed(folder: pathlib.Path) -> Files:
    """The Python files below a folder."""
    return {path: ast.parse(path.read_text()) for path in sorted(folder.rglob("*.py"))}


def lines(files: Files) -> int:
    """Of all these files."""
    return sum(len(path.read_text().splitlines()) for path in files)


def imported(tree: ast.Module) -> set[str]:
    """The rooms that a file imports."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return {name.split(".")[1] for name in names if name.startswith(f"{PACKAGE}.")}


def circular(rooms: Mapping[str, Files]) -> int:
    """How many rooms are led back to by what they import."""
    reached = {
        room: set().union(*map(imported, files.values())) - {room} for room, files in rooms.items()
    }
    for middle in reached:
        for others in reached.values():
            if middle in others:
                others |= reached[middle]
    return sum(room in others for room, others in reached.items())


def keys(nodes: list[ast.AST]) -> int:
    """Of the dataclasses that `SECTIONS` lists, and of `Run` beside its sections, `model` and `loss`."""
    classes = {node.name: node for node in nodes if isinstance(node, ast.ClassDef)}

    def fields(name: str) -> set[str]:
        own = (node.target for node in classes[name].body if isinstance(node, ast.AnnAssign))
        bases = (base.id for base in classes[name].bases if isinstance(base, ast.Name))
        inherited = (fields(base) for base in bases if base in classes)
        return {ast.unparse(target) for target in own}.union(*inherited)

    (sections,) = (
        node.value
        for node in nodes
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "SECTIONS"
    )
    shared = {
        key.value: fields(value.id)
        for key, value in zip(sections.keys, sections.values, strict=True)
    }
    return len(fields("Run") - {*shared, "model", "loss"}) + sum(map(len, shared.values()))


def verbs(package: pathlib.Path) -> int:
    """Of `aufer`: decorated functions of one file, later the public functions and groups of modules."""
    if (package / "cli.py").exists():
        return len(re.findall(r"^@_verb\(", (package / "cli.py").read_text(), re.MULTILINE))
    modules = re.findall(r'of_module\("(\w+)"\)', (package / "cli" / "__init__.py").read_text())
    texts = [(package / "cli" / f"{name}.py").read_text() for name in modules]
    return sum(len(re.findall(r"^(def [a-z]|\w+ = Group\()", t, re.MULTILINE)) for t in texts)


def measured(tree: pathlib.Path) -> dict[str, int | str]:
    """A column of the table."""
    package = tree / PACKAGE
    files, rooms = parsed(package), {}
    for path, module in files.items():
        room = path.relative_to(package).parts[0].removesuffix(".py")
        if room != "__init__":
            rooms.setdefault(room, {})[path] = module
    largest = max(rooms, key=lambda room: lines(rooms[room]))
    nodes = [node for module in files.values() for node in ast.walk(module)]
    return {
        "lines of the package": lines(files),
        "lines of the tests": lines(parsed(tree / "tests")),
        "rooms": len(rooms),
        "rooms in a circle": circular(rooms),
        "largest room": f"`{largest}`",
        "lines of the largest room": lines(rooms[largest]),
        "configuration keys": keys(nodes),
        "verbs of the command line": verbs(package),
        "`Any`": sum(isinstance(node, ast.Name) and node.id == "Any" for node in nodes),
    }


def at(commit: str) -> dict[str, int | str]:
    """The column of a commit."""
    with tempfile.TemporaryDirectory() as place:
        with tarfile.open(fileobj=io.BytesIO(git("archive", commit, PACKAGE, "tests"))) as archive:
            archive.extractall(place, filter="data")
        return measured(pathlib.Path(place))


def verdict(before: Mapping[str, int | str], now: Mapping[str, int | str]) -> str:
    """What grew, in a sentence, and whether the lines have become fewer."""
    numbers = {what: (before[what], now[what]) for what in now if isinstance(now[what], int)}
    grown = [f"{what} ({a:,} to {b:,})" for what, (a, b) in numbers.items() if b > a]
    fewer = all(b < a for what, (a, b) in numbers.items() if what.startswith("lines of the "))
    text = f"Since {COMMITS[0]} these grew: {', '.join(grown)}." if grown else "Nothing grew."
    return f'{text} The aim "fewer lines" was {"" if fewer else "not "}met.'


def main() -> None:
    columns = {
        f"{c}, {git('log', '-1', '--format=%cs', c).decode().strip()}": at(c) for c in COMMITS
    }
    columns["now"] = measured(ROOT)
    first, *_, now = columns.values()
    rows = [
        {"what": what, **{head: str(column[what]) for head, column in columns.items()}}
        for what in now
    ]
    results.write_section(
        ROOT / "docs" / "results" / "house.md",
        "Before and now", rows, "python benchmarks/house.py", f"{verdict(first, now)}\n\n{NOTE}",
        heading="Size and order of the code",
    )  # fmt: skip
    print(results.table(rows))


if __name__ == "__main__":
    main()
