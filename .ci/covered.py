"""Lines and branches that the tests run, by room: `python .ci/covered.py --out docs/results/coverage.md`.

Needs `pip install coverage`. Parts: `--tests tests/data tests/sources --rooms data sources`.
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from collections import defaultdict

from aufer_jax.report import results

ROOT = pathlib.Path(__file__).parents[1]
GOAL = 92  # percent
COUNTS = ("num_statements", "covered_lines", "num_branches", "covered_branches")
SETTINGS = """\
[run]
branch = True
parallel = True
patch = subprocess
source = aufer_jax
[report]
exclude_also =
    if TYPE_CHECKING:
    ^\\s*\\.\\.\\.$
    def .*: \\.\\.\\.$
"""


def measured(tests: list[str], folder: pathlib.Path) -> dict[str, dict[str, int]]:
    """The counts of every file, after a run of the tests and of the processes that they start."""
    settings = folder / "settings"
    settings.write_text(SETTINGS)
    given = {**os.environ, "COVERAGE_FILE": str(folder / "data")}

    def coverage(*words: str) -> int:
        command = [sys.executable, "-m", "coverage", words[0], f"--rcfile={settings}", *words[1:]]
        return subprocess.run(command, cwd=ROOT, env=given, check=False).returncode

    code = coverage("run", "-m", "pytest", "-q", "-n", "2", *tests)
    if code:
        print(f"the tests fail: exit code {code}", file=sys.stderr)
    coverage("combine", "-q")
    coverage("json", "-q", "-o", str(folder / "found.json"))
    found = json.loads((folder / "found.json").read_text())
    return {name: values["summary"] for name, values in found["files"].items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--tests", nargs="*", default=["tests"])
    parser.add_argument("--rooms", nargs="*", default=[], help="only these; default all")
    given = parser.parse_args()
    rooms: dict[str, dict[str, int]] = defaultdict(lambda: dict.fromkeys(COUNTS, 0))
    with tempfile.TemporaryDirectory() as folder:
        for name, counts in measured(given.tests, pathlib.Path(folder)).items():
            room = pathlib.PurePath(name).parts[1].removesuffix(".py")
            if given.rooms and room not in given.rooms:
                continue
            for count in COUNTS:
                rooms[room][count] += counts.get(count, 0)
                rooms["all"][count] += counts.get(count, 0)
    rows = []
    for room in sorted(rooms, key=lambda name: (name == "all", name)):
        lines, run, branches, taken = (rooms[room][count] for count in COUNTS)
        both = 100 * (run + taken) / max(lines + branches, 1)
        rows.append(
            {
                "room": room,
                "lines": f"{run} of {lines}",
                "branches": f"{taken} of {branches}",
                "both, %": f"{both:.1f}",
            }
        )
    words = ["python .ci/covered.py", f"--out {given.out}"]
    words += [f"--tests {' '.join(given.tests)}"] if given.tests != ["tests"] else []
    words += [f"--rooms {' '.join(given.rooms)}"] if given.rooms else []
    note = f"Of the tests named in the command, processes that they start included. The goal is {GOAL} %."
    results.write_section(
        given.out, "Lines and branches run by the tests", rows, " ".join(words), note, "Coverage"
    )


if __name__ == "__main__":
    main()
