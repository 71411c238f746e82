"""The long campaign: `python -m tests.faults --minutes 60`; the tests beside it are its short form.

Whole runs first, then files by chance until the time is over. What is found so far is on disk after every
slice: `state.json` in `--folder`, and the page. A failure is found again by its target, seed and number; it
is kept in `found.jsonl` beside this file, with what was done about it (`--mend TARGET:SEED:NUMBER "what"`),
and every later campaign begins with all of them.
"""

import argparse
import json
import os
import pathlib
import re
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).parent
sys.path[:0] = [str(HERE.parent), str(HERE)]
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_DISABLE_MOST_OPTIMIZATIONS", "true")
os.environ["PYTHONPATH"] = os.pathsep.join([str(HERE.parents[1]), os.environ.get("PYTHONPATH", "")])

import campaign  # noqa: E402
import fuzz  # noqa: E402
import numpy as np  # noqa: E402
import targets  # noqa: E402
import workdirs  # noqa: E402

from aufer_jax.report import results  # noqa: E402

PAGE = HERE.parents[1] / "docs" / "results" / "faults.md"
FOUND = HERE / "found.jsonl"
WORDS = (
    f"Crash: the process died. Hang: over {campaign.QUIET_S:g} s where Python cannot interrupt. Slow: over "
    f"{fuzz.SECONDS:g} s of the processor. Memory: one case took over {fuzz.GROWTH >> 30} GB. Unclear: "
    "another exception than a `UserError` of one line, or damage taken for whole. MB grown: by the process "
    "of a slice, from its first case to its last."
)
BAD = ("crash", "hang", "slow", "memory", "unclear")


def key(failure: dict) -> str:
    return f"{failure['target']}:{failure['seed']}:{failure['number']}"


def known() -> list[dict]:
    lines = FOUND.read_text().splitlines() if FOUND.exists() else []
    return [json.loads(line) for line in lines]


def keep(found: list[dict]) -> None:
    FOUND.write_text("".join(json.dumps(line) + "\n" for line in found))


def alike(failure: dict) -> str:
    """Failures at one place of the code are one."""
    said = re.sub(r"^\d+", "N", failure["said"].partition(": ")[0])[:80]
    return f"{failure['target']}, {failure['kind']}: {said}"


class Campaign:
    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments = arguments
        self.folder = pathlib.Path(arguments.folder)
        self.began = time.monotonic()
        chosen = arguments.targets or targets.SHARES
        self.shares = {name: targets.SHARES[name] for name in chosen}
        self.tallies = {name: campaign.Tally() for name in chosen}
        self.rows: dict[str, list[workdirs.Row]] = {}
        self.next = dict.fromkeys(chosen, 0)
        self.again: list[dict] = []

    @property
    def minutes(self) -> float:
        return (time.monotonic() - self.began) / 60

    def whole_runs(self) -> None:
        rng, given = np.random.default_rng(self.arguments.seed), self.arguments
        ours = workdirs.Reference(self.folder / "runs")
        parts = {
            "Two processes on one workdir": workdirs.two_writers(ours),
            "Damaged workdirs": workdirs.damages(ours),
            "One bit of a checkpoint": workdirs.flips(ours, rng, given.flips),
            "Kills at any moment": workdirs.kills(ours, rng, given.kills),
            "Signals at any moment": workdirs.signals(ours, rng, given.signals),
        }
        if workdirs.can_mount(self.folder / "mount"):
            sizes = (16, 40, 100, 250, 400, 600, 900, 1300, 2000, 4000)
            parts["Disks that are too small"] = workdirs.disks(ours, sizes)
        if given.soak:
            parts["A long run"] = workdirs.soak(ours, given.soak)
        for title, rows in parts.items():
            self.rows[title] = []
            for found in rows:
                self.rows[title].append(found)
                print(f"{self.minutes:5.1f} min  {title}: {found}", flush=True)
                self.write()

    def cases(self) -> None:
        """Slices of every target by its share, the least served first, until the time is over."""
        while self.minutes < self.arguments.minutes:
            name = min(self.shares, key=lambda n: self.tallies[n].cases / self.shares[n])
            tally = self.tallies[name]
            share = max(
                20, round(campaign.BATCH * targets.SHARES[name] / max(targets.SHARES.values()))
            )
            place = self.folder / "cases"
            before = len(tally.failures)
            self.next[name] = campaign.supervise(
                name, self.arguments.seed, self.next[name], share, place, tally
            )
            for failure in tally.failures[before:]:
                self.note(failure)
            print(
                f"{self.minutes:5.1f} min  {name}: {tally.cases} cases, {dict(tally.counts)}",
                flush=True,
            )
            self.write()

    def note(self, failure: dict) -> None:
        """Keeps the first failure of each kind and place."""
        found = known()
        if alike(failure) not in [alike(each) for each in found]:
            keep([*found, failure | {"commit": results.commit(), "mend": ""}])
        print("FAILURE", json.dumps(failure), flush=True)

    def old_ones(self) -> None:
        """The failures of earlier campaigns, once more."""
        for failure in known():
            if failure["target"] not in targets.SHARES:
                self.again.append(failure | {"now": "as in the tables"})
                continue
            tally = campaign.Tally()
            campaign.supervise(
                failure["target"], failure["seed"], failure["number"], 1, self.folder / "old", tally
            )
            kinds = [kind for kind in tally.counts if tally.counts[kind]]
            self.again.append(failure | {"now": ", ".join(kinds)})

    def write(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        state = {
            "minutes": self.minutes,
            "rows": self.rows,
            "tallies": {n: {**vars(t), "counts": dict(t.counts)} for n, t in self.tallies.items()},
        }
        part = self.folder / "state.json.part"
        part.write_text(json.dumps(state))
        part.replace(self.folder / "state.json")
        if self.arguments.page:
            self.page(pathlib.Path(self.arguments.page))

    def page(self, path: pathlib.Path) -> None:
        given = self.arguments
        command = f"python -m tests.faults --minutes {given.minutes:g} --seed {given.seed}"
        command += f" --only {given.only}" if given.only else ""
        command += f" --targets {' '.join(given.targets)}" if given.targets else ""
        cases = sum(tally.cases for tally in self.tallies.values())
        note = f"{cases:,} cases in a campaign of {self.minutes:.0f} minutes. {WORDS}"
        if cases:
            title = f"Files by chance, seed {given.seed}"
            results.write_section(path, title, self._cases(), command, note, "Faults")
        for title, rows in self.rows.items():
            bad = [each for each in rows if not each["ok"]]
            text = f"{len(rows)} cases, {len(bad)} failed. A run that goes on must end as one left alone."
            if rows:
                results.write_section(path, title, [_shown(each) for each in rows], command, text)
        found = [
            {
                "failure": _cell(alike(each)),
                "case": key(each),
                "found at": each["commit"],
                "mend": each["mend"] or "open",
                "now": next((a["now"] for a in self.again if key(a) == key(each)), "new"),
            }
            for each in known()
        ]
        if found:
            text = "The first of each kind and place; each one is run again at the beginning of a campaign."
            results.write_section(path, "Failures found, and their mends", found, command, text)

    def _cases(self) -> list[dict]:
        return [
            {
                "target": name,
                "cases": f"{tally.cases:,}",
                "taken or refused": f"{tally.cases - sum(tally.counts[kind] for kind in BAD):,}",
                **{kind: tally.counts[kind] for kind in BAD},
                "ms a case": f"{1000 * tally.seconds / max(tally.cases, 1):.1f}",
                "MB grown": tally.grown >> 20,
            }
            for name, tally in self.tallies.items()
        ]


def _shown(row: workdirs.Row) -> dict:
    how = "as it should be" if row["ok"] else "FAILED"
    return {"case": row["case"], "": how, "found": _cell(row["found"])}


def _cell(text: str) -> str:
    """Fit for a table, without the paths of this machine."""
    text = text.replace(tempfile.gettempdir(), "TMP").replace("|", "/")
    return " ".join(text.split())[:200]


def merge(pages: list[str], into: pathlib.Path) -> None:
    """Puts the sections of several campaigns' pages into one, as written; the last of a title counts."""
    head, sections = "", {}
    for page in pages:
        first, *parts = re.split(r"^(?=## )", pathlib.Path(page).read_text(), flags=re.MULTILINE)
        head = head or first
        sections |= {part.partition("\n")[0]: part.rstrip() for part in parts}
    text = "\n\n".join([head.rstrip(), *sections.values()]) + "\n"
    into.write_text(re.sub(r"TMP/[\w./]*?/(?=runs/|mount)", "", text))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--flips", type=int, default=60)
    parser.add_argument("--signals", type=int, default=20)
    parser.add_argument("--soak", type=int, default=20_000, help="steps")
    parser.add_argument(
        "--folder", default=str(pathlib.Path(tempfile.gettempdir()) / "aufer_faults")
    )
    parser.add_argument("--page", default=str(PAGE), help="where the results go; empty: nowhere")
    parser.add_argument("--only", choices=("runs", "cases"), help="one half of it")
    parser.add_argument("--targets", nargs="*", choices=targets.SHARES, help="of the files; all")
    parser.add_argument(
        "--mend", nargs=2, metavar=("CASE", "WHAT"), help="notes what mended a failure"
    )
    parser.add_argument("--add", nargs=2, metavar=("FAILURE", "MEND"), help="one of a whole run")
    parser.add_argument(
        "--merge", nargs="+", metavar="PAGE", help="pages of campaigns, into --page"
    )
    given = parser.parse_args()
    if given.merge:
        merge(given.merge, pathlib.Path(given.page))
        return
    if given.add:
        whole = {
            "target": "whole runs",
            "seed": given.seed,
            "number": len(known()),
            "kind": "found",
        }
        keep(
            [
                *known(),
                whole | {"said": given.add[0], "mend": given.add[1], "commit": results.commit()},
            ]
        )
        return
    if given.mend:
        keep(
            [
                line | {"mend": given.mend[1]} if key(line) == given.mend[0] else line
                for line in known()
            ]
        )
        return
    whole = Campaign(given)
    whole.old_ones()
    if given.only != "cases":
        whole.whole_runs()
    if given.only != "runs":
        whole.cases()
    whole.write()


if __name__ == "__main__":
    main()
