"""The page of one run, or of several beside each other, written as one file."""

import pathlib
from collections.abc import Iterator, Sequence

from aufer_jax.errors import UserError
from aufer_jax.pages import comparison, files, html, sections
from aufer_jax.report import results


def write(
    workdirs: Sequence[str | pathlib.Path],
    out: str | pathlib.Path | None = None,
    *,
    look: bool = False,
) -> pathlib.Path:
    """Writes the report of one run, or the comparison of several.

    Args:
      workdirs: of the runs; they need not have finished.
      out: the file; by default `report/index.html` of the first workdir, or `report/compared.html`.
      look: uses the network and its data too, for what the files do not hold: the t-SNE map of the test
        features, and the surest mistakes with what the network looked at; of several runs, what the first
        four looked at in the same faces.
    """
    if not workdirs:
        raise UserError("runs: got none, at least one is needed")
    runs = [files.read(workdir) for workdir in workdirs]
    name = "index.html" if len(runs) == 1 else "compared.html"
    path = pathlib.Path(out) if out else runs[0].folder / "report" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page(runs, look=look), encoding="utf-8")
    return path


def page(runs: Sequence[files.Run], *, look: bool = False, live: bool = False) -> str:
    """The whole page as text."""
    parts = list(_sections(runs[0], look, live) if len(runs) == 1 else _compared(runs, look, live))
    title = ", ".join(run.name for run in runs)
    state = "finished" if all(run.finished for run in runs) else "not finished"
    note = f"{state}; written by aufer_jax, commit {results.commit()}"
    return html.document(title, note, parts, live=live)


def _sections(run: files.Run, look: bool, live: bool) -> Iterator[html.Section]:
    yield from sections.sections(run)
    if look:
        from aufer_jax.pages import looks  # the files alone need no network

        if live:
            yield from looks.samples_now(run)
        elif run.finished:
            yield from looks.sections(run)
    elif run.finished and run.summary.get("expressions"):
        body = html.paragraph(
            "With --look, `aufer run report` adds a map of the features, and the surest mistakes with what "
            "the network looked at; it needs the data."
        )
        yield html.Section("more", "More", body)


def _compared(runs: Sequence[files.Run], look: bool, live: bool) -> Iterator[html.Section]:
    yield from comparison.sections(runs)
    if look and not live and all(run.finished for run in runs):
        from aufer_jax.pages import looks

        yield looks.beside(runs)
