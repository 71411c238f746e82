"""Mutation testing: `python -m tests.mutation --minutes 60` makes one change at a time; does a test fail?

Of each file some changes are drawn with a seed: an operator, a comparison, a number, a condition, or what is
returned. A change that no test notices has survived; the page names it. Results are written after each one.
"""

import argparse
import ast
import copy
import json
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from aufer_jax.report import results  # noqa: E402

PAGE = ROOT / "docs" / "results" / "mutation.md"
TARGETS = {  # file of the package -> the tests that are to notice
    "weights/pickles.py": ["tests/faults/test_checkpoints.py", "tests/weights"],
    "weights/unpickle.py": ["tests/faults/test_checkpoints.py", "tests/weights"],
    "data/mixture.py": ["tests/data/test_mixture.py", "tests/data/test_loader.py"],
    "data/heatmaps.py": ["tests/data/test_heatmaps.py"],
    "evaluate/metrics.py": ["tests/evaluate/test_metrics.py"],
    "losses.py": ["tests/test_losses.py"],
}
SECONDS = 600  # of one change; a test that then still runs has noticed

OPERATORS = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult,
    ast.Mod: ast.Mult, ast.Pow: ast.Mult, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
    ast.LShift: ast.RShift, ast.RShift: ast.LShift,
}  # fmt: skip
COMPARISONS = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip


def places(tree: ast.AST) -> list[tuple[int, str]]:
    """Every change that can be made: the number of a node in `ast.walk`, and what is done to it."""
    found, skipped = [], set()
    for node in ast.walk(tree):
        for field in ("annotation", "returns"):  # types are not run
            if getattr(node, field, None) is not None:
                skipped |= set(map(id, ast.walk(getattr(node, field))))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            skipped.add(id(node.value))  # a docstring
        if isinstance(node, ast.JoinedStr):
            skipped |= set(map(id, ast.walk(node)))  # what is said is not tested word for word
    for number, node in enumerate(ast.walk(tree)):
        if id(node) not in skipped:
            found += [(number, what) for what in _changes(node)]
    return found


def _changes(node: ast.AST) -> list[str]:
    if isinstance(node, (ast.BinOp, ast.AugAssign)) and type(node.op) in OPERATORS:
        return ["operator"]
    if isinstance(node, ast.Compare) and type(node.ops[0]) in COMPARISONS:
        return ["comparison"]
    if isinstance(node, ast.BoolOp):
        return ["and/or"]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.Not, ast.USub)):
        return ["sign"]
    if isinstance(node, ast.Constant) and isinstance(node.value, (bool, int, float)):
        return ["number"]
    if isinstance(node, (ast.If, ast.IfExp, ast.While)):
        return ["condition"]
    if isinstance(node, ast.Return) and node.value is not None:
        return ["returned"]
    return []


def changed(source: str, number: int, what: str) -> tuple[str, int]:
    """The source with one change, and its line."""
    tree = ast.parse(source)
    node = list(ast.walk(tree))[number]
    line = node.lineno
    if what == "operator":
        node.op = OPERATORS[type(node.op)]()
    elif what == "comparison":
        node.ops[0] = COMPARISONS[type(node.ops[0])]()
    elif what == "and/or":
        node.op = ast.Or() if isinstance(node.op, ast.And) else ast.And()
    elif what == "sign":
        inner = copy.deepcopy(node.operand)
        node.op, node.operand = ast.UAdd() if isinstance(node.op, ast.USub) else ast.Not(), inner
        if isinstance(node.op, ast.Not):
            node.operand = ast.UnaryOp(ast.Not(), inner)
    elif what == "number":
        node.value = (not node.value) if isinstance(node.value, bool) else node.value + 1
    elif what == "condition":
        node.test = ast.UnaryOp(ast.Not(), node.test)
    else:
        node.value = ast.Constant(None)
    return ast.unparse(ast.fix_missing_locations(tree)), line


def noticed(file: str, source: str, tests: list[str], place: pathlib.Path) -> bool:
    """Whether a test fails once the file is this one."""
    (place / "aufer_jax" / file).write_text(source)
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
    given = {**os.environ, "PYTHONPATH": str(place), "AUFER_FUZZ_SECONDS": "1"}
    try:
        done = subprocess.run(command, cwd=place, env=given, capture_output=True, timeout=SECONDS)
        return done.returncode != 0
    except subprocess.TimeoutExpired:
        return True


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--files", nargs="*", default=list(TARGETS), choices=list(TARGETS))
    parser.add_argument("--most", type=int, default=10_000, help="changes of each file")
    parser.add_argument("--page", default=str(PAGE))
    given = parser.parse_args()
    end, found = time.monotonic() + 60 * given.minutes, {name: [] for name in given.files}
    with tempfile.TemporaryDirectory() as scratch:
        place = pathlib.Path(scratch)
        for name in ("aufer_jax", "tests", "configs"):
            shutil.copytree(ROOT / name, place / name)
        shutil.copy(ROOT / "pyproject.toml", place)
        queues = {}
        for file in given.files:
            source = (ROOT / "aufer_jax" / file).read_text()
            if noticed(file, source, TARGETS[file], place):
                raise SystemExit(f"{file}: its tests fail as it is")
            changes = places(ast.parse(source))
            random.Random(given.seed).shuffle(changes)
            queues[file] = (source, changes[: given.most])
        turn = 0
        while time.monotonic() < end and any(turn < len(q) for _, q in queues.values()):
            for file, (source, changes) in queues.items():
                if turn >= len(changes) or time.monotonic() > end:
                    continue
                mutant, line = changed(source, *changes[turn])
                killed = noticed(file, mutant, TARGETS[file], place)
                (place / "aufer_jax" / file).write_text(source)
                found[file].append({"line": line, "what": changes[turn][1], "killed": killed})
                print(json.dumps({"file": file, **found[file][-1]}), flush=True)
                _write(given, found, {name: len(q) for name, (_, q) in queues.items()})
            turn += 1


def _write(
    given: argparse.Namespace, found: dict[str, list[dict]], possible: dict[str, int]
) -> None:
    rows = []
    for file, changes in found.items():
        killed = sum(change["killed"] for change in changes)
        left = [f"{c['line']} {c['what']}" for c in changes if not c["killed"]]
        rows.append(
            {
                "file": file,
                "changes tried": f"{len(changes)} of {possible.get(file, 0)}",
                "noticed": f"{100 * killed / max(len(changes), 1):.0f} %",
                "survived (line, kind)": ", ".join(left) or "none",
            }
        )
    command = f"python -m tests.mutation --minutes {given.minutes:g} --seed {given.seed}"
    note = "Changes are drawn by chance; one that a test notices, or that never ends, counts as noticed."
    title = "Losses, metrics, data and unpickler"
    results.write_section(given.page, title, rows, command, note, "Mutation testing")


if __name__ == "__main__":
    main()
