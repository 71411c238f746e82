"""Writes the verdicts of docs/results into docs/papers.md and docs/claims.md: `python docs/verdicts.py`.

A mark `<!-- TITLE -->` in a cell of a table stands for every section of the results that begins with TITLE,
`<!-- TITLE // CLAIM -->` for one claim of theirs, `<!-- TITLE // CLAIM // CLAIM -->` for several. With
"before: " in front they are the sections of docs/results/earlier.md; a section that only repeats one of
these counts nowhere else. What follows the mark in the cell is written here: for each dataset how many steps
of the claims held, and the link to them.
"""

import pathlib
import re
from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple

DOCS = pathlib.Path(__file__).parent
CLAIMS = ": claims"
PAGES = ("papers.md", "claims.md")
BEFORE = "before: "


class Section(NamedTuple):
    """Where it is, and each step of its claims with the verdict."""

    place: str
    steps: list[tuple[str, str]]


def sections(files: Iterable[pathlib.Path]) -> dict[str, Section]:
    """The sections with claims, by title."""
    found = {}
    for file in files:
        for part in re.split(r"^## ", file.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
            head, _, text = part.partition("\n")
            if not head.endswith(CLAIMS):
                continue
            rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line[:1] == "|"]
            claim, verdict = rows[0].index("claim"), rows[0].index("verdict")
            steps = [(row[claim], row[verdict]) for row in rows[2:] if row[verdict] != "-"]
            title = head.removesuffix(CLAIMS)
            found[title] = Section(f"results/{file.name}#{anchor(title)}", steps)
    return found


def anchor(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-")


def summary(mark: str, known: dict[str, Section]) -> str:
    """What is written after a mark, without the word in front."""
    title, *claims = mark.split(" // ")
    lines = []
    for name, (place, steps) in known.items():
        if not re.match(rf"{re.escape(title)}[:,]", name):
            continue
        verdicts = Counter(verdict for text, verdict in steps if not claims or text in claims)
        counts = ", ".join(
            f"{count} {verdict.replace(', within', ' within')}"
            for verdict, count in sorted(verdicts.items())
        )
        if counts:
            lines.append(f"[{name.rpartition(', on ')[2]}]({place}): {counts}")
    return "; ".join(lines) or "not run"


def filled(page: str, docs: pathlib.Path = DOCS) -> str:
    """The page with a verdict after every mark."""
    before = docs / "results" / "earlier.md"
    earlier = sections([before] if before.exists() else [])
    written = sections(file for file in sorted(before.parent.glob("*.md")) if file != before)
    current = {
        title: section
        for title, section in written.items()
        if title not in earlier or section.steps != earlier[title].steps
    }

    def cell(match: re.Match[str]) -> str:
        mark = match[1]
        known = earlier if mark.startswith(BEFORE) else current
        return f"<!-- {mark} --> {summary(mark.removeprefix(BEFORE), known)} |"

    return re.sub(r"<!-- (.+?) -->[^|]*\|", cell, page)


if __name__ == "__main__":
    for page in PAGES:
        path = DOCS / page
        path.write_text(filled(path.read_text(encoding="utf-8")), encoding="utf-8")
