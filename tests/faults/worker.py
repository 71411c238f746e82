"""Runs cases of one target: `python worker.py TARGET SEED FIRST COUNT FOLDER`; see `campaign.supervise`.

Writes the number of the running case to FOLDER/now, failures as JSON lines to FOLDER/failures.
"""

import collections
import json
import os
import pathlib
import sys

TESTS = pathlib.Path(__file__).parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "faults")]

import fuzz  # noqa: E402
import ours  # noqa: E402
import targets  # noqa: E402

GOOD = ("taken", "refused")


def main(name: str, seed: int, first: int, count: int, folder: pathlib.Path) -> None:
    ours.without_training()
    made = targets.target(name, folder / "seeds")
    now = os.open(folder / "now", os.O_WRONLY | os.O_CREAT)
    counts: collections.Counter[str] = collections.Counter()
    begun = fuzz.resident()
    for number in range(first, first + count):
        os.pwrite(now, b"%12d" % number, 0)
        data = fuzz.case(made, name, seed, number)
        kind, said = fuzz.outcome(made, data, folder / "case")
        counts[kind] += 1
        if kind not in GOOD:
            line = {"target": name, "seed": seed, "number": number, "kind": kind, "said": said}
            with (folder / "failures").open("a") as file:
                file.write(json.dumps(line) + "\n")
            if kind == "memory":  # the peak of this process says no more
                break
    done = sum(counts.values())
    grown = fuzz.resident() - begun
    (folder / "counts").write_text(json.dumps({"done": done, "grown": grown, **counts}))


if __name__ == "__main__":
    main(
        sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), pathlib.Path(sys.argv[5])
    )
