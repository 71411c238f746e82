"""Writes results into Markdown: one section each, with command, versions, commit and machine."""

import datetime
import importlib.metadata
import os
import pathlib
import platform
import re
import subprocess
from collections.abc import Mapping, Sequence

from aufer_jax.train import devices

_PACKAGES = ("jax", "flax", "grain", "numpy", "opencv-python-headless", "torch", "torchvision")


def write_section(
    path: str | os.PathLike,
    title: str,
    rows: Sequence[Mapping[str, object]],
    command: str,
    note: str = "",
    heading: str = "",
) -> None:
    """Writes a table under a heading of `path`, in place of an earlier one with that title.

    Args:
      path: the Markdown file; made with its folders if it is not there.
      title: the section's heading.
      rows: the table's rows, all with the same keys: the column heads.
      command: how to measure again.
      note: what the numbers are and how they were taken.
      heading: of a new file; default its name.
    """
    file = pathlib.Path(path)
    heading = heading or file.stem.replace("_", " ").capitalize()
    old = file.read_text() if file.exists() else f"# {heading}\n\nWritten by the commands named.\n"
    section = "\n\n".join(
        part
        for part in (f"## {title}", note, table(rows), f"Command: `{command}`", conditions())
        if part
    )
    head = re.escape(f"## {title}\n")
    rest = re.sub(rf"{head}.*?(?=^## |\Z)", "", old, flags=re.DOTALL | re.MULTILINE)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(rest.rstrip() + "\n\n" + section + "\n")


def table(rows: Sequence[Mapping[str, object]]) -> str:
    """Rows with the same keys as a Markdown table.

    >>> print(table([{"row": "base", "accuracy": 0.5}]))
    | row | accuracy |
    | --- | --- |
    | base | 0.5 |
    """
    heads = list(rows[0])
    lines = [heads, ["---"] * len(heads), *([_text(row[h]) for h in heads] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def read_table(path: str | os.PathLike, title: str) -> list[dict[str, str]]:
    """The rows of a section's table, as `write_section` wrote them."""
    section = pathlib.Path(path).read_text().partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    heads, _, *rows = ([cell.strip() for cell in line[1:-1].split("|")] for line in lines)
    return [dict(zip(heads, row, strict=True)) for row in rows]


def conditions() -> str:
    """One line on what was measured with, on what and when."""
    versions = []
    for name in _PACKAGES:
        try:
            versions.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    day = datetime.datetime.now(datetime.UTC).date().isoformat()
    python = f"Python {platform.python_version()}"
    load = f"load {os.getloadavg()[0]:.1f} at the end" if hasattr(os, "getloadavg") else ""
    return "; ".join([day, f"commit {commit()}", python, *versions, cpu(), load]) + "."


def commit() -> str:
    """The commit of the working tree, marked if files differ from it, documents and results excepted."""
    here = pathlib.Path(__file__).parent

    def git(*arguments: str) -> str:
        done = subprocess.run(["git", *arguments], cwd=here, capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else ""

    name = git("rev-parse", "--short", "HEAD") or "none yet"
    changed = git("status", "--porcelain", "--", ":(top)", ":(top,exclude)docs")
    return name + (" with changes" if changed else "")


def cpu() -> str:
    """The processor's name and how many cores this process may use."""
    name = platform.processor() or platform.machine()
    info = pathlib.Path("/proc/cpuinfo")
    if info.exists():
        found = re.search(r"model name\s*:\s*(.+)", info.read_text())
        name = found[1] if found else name
    return f"{len(devices.cores())} cores of {name}"


def _text(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
