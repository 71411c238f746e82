"""Writes the verdicts of docs/results into docs/papers.md: `python docs/verdicts.py`.

A mark `<!-- TITLE -->` in a cell of a table stands for every section of the results that begins with TITLE;
what follows it in the cell is written here: for each dataset how many steps of the claims held, and the link
to them.
"""

import pathlib
import re
from collections import Counter

DOCS = pathlib.Path(__file__).parent
CLAIMS = ": claims"


def sections(docs: pathlib.Path = DOCS) -> dict[str, tuple[str, Counter[str]]]:
    """Title of each section with claims -> where it is, and how often each verdict was given."""
    found = {}
    for file in sorted((docs / "results").glob("*.md")):
        for part in re.split(r"^## ", file.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
            head, _, text = part.partition("\n")
            if not head.endswith(CLAIMS):
                continue
            rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line[:1] == "|"]
            place = rows[0].index("verdict")
            title = head.removesuffix(CLAIMS)
            verdicts = Counter(row[place] for row in rows[2:] if row[place] != "-")
            found[title] = (f"results/{file.name}#{anchor(title)}", verdicts)
    return found


def anchor(heading: str) -> str:
    """The anchor that GitHub gives a heading."""
    return re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-")


def summary(title: str, known: dict[str, tuple[str, Counter[str]]]) -> str:
    """What is written after a mark."""
    lines = []
    for name, (place, verdicts) in known.items():
        if re.match(rf"{re.escape(title)}[:,]", name):
            counts = ", ".join(
                f"{count} {verdict.replace(', within', ' within')}"
                for verdict, count in sorted(verdicts.items())
            )
            lines.append(f"[{name.rpartition(', on ')[2]}]({place}): {counts}")
    return "; ".join(lines) or "not run"


def filled(page: str, docs: pathlib.Path = DOCS) -> str:
    """The page with a verdict after every mark."""
    known = sections(docs)
    return re.sub(
        r"<!-- (.+?) -->[^|]*\|", lambda m: f"<!-- {m[1]} --> {summary(m[1], known)} |", page
    )


if __name__ == "__main__":
    path = DOCS / "papers.md"
    path.write_text(filled(path.read_text(encoding="utf-8")), encoding="utf-8")
