"""The papers' experiments as studies: several runs, one table, each claim held or not held."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from aufer_jax import errors
from aufer_jax.datasets import catalog
from aufer_jax.papers import study as papers
from aufer_jax.papers.study import Study, among
from aufer_jax.reproduce import outcomes, plan
from aufer_jax.reproduce import study as study_lib


def reproduce(
    paper: str,
    tables: Sequence[str] = (),
    *,
    command: str,
    target: str = "",
    aux: Sequence[str] = (),
    full: bool = False,
    recipe: str = "",
    folds: Sequence[int] = (),
    weights: Mapping[str, str] | None = None,
    rows: Sequence[str] = (),
    seeds: int = 5,
    jobs: int = 0,
    dry_run: bool = False,
    changes: Mapping[str, Any] | None = None,
    runs: str | os.PathLike = "runs/reproduce",
    out: str | os.PathLike = "",
) -> pathlib.Path:
    """Runs a paper's studies and writes what came out.

    Args:
      paper: one that registered its studies, see `papers.study.register`.
      tables: its studies; none for all.
      command: written beside the results.
      target: a prepared dataset instead of the synthetic ones.
      aux: auxiliary datasets in place of the paper's.
      full: the dataset's own recipe, in place of sizes for two cores.
      recipe: of a full study, one of the paper's: "paper", "released", "sane" and so on.
      folds: of the target, each a run, judged as one by their pooled predictions; by default those of the
        published numbers.
      weights: row or network -> the file or workdir with which it begins.
      rows: only these.
      seeds: of each row, from 0 on.
      jobs: runs at a time; see `study.run`.
      dry_run: say every run and its configuration, and make none.
      changes: values set in every config.
      runs: folder of the workdirs; runs that are finished there are not repeated.
      out: the Markdown file; default docs/results/PAPER.md.

    Returns:
      The file; nothing has been written to it after a dry run.
    """
    with catalog.kept_in(str((changes or {}).get("data.dir", ""))):
        studies = papers.studies(paper, target, full, aux, recipe)
    path = pathlib.Path(out or f"docs/results/{paper}.md")
    for table in tables:
        if table not in studies:
            raise errors.unknown(f"table of {paper}", table, studies)
    tables = tuple({id(studies[table]): table for table in tables or studies}.values())
    known = plan.networks_and_rows(studies[table] for table in tables)
    for name in weights or ():
        if name not in known:
            raise errors.unknown("weights of row or network", name, known)
    names = list(dict.fromkeys(row.name for table in tables for row in studies[table].rows))
    for name in rows:
        if name not in names:
            raise errors.unknown("row", name, names)
    for table in tables:
        chosen = plan.with_weights(_limit(studies[table], rows), weights or {})
        if not chosen.rows:  # those asked for are of another study
            continue
        if folds:
            on_folds = tuple(dataclasses.replace(r, folds=tuple(folds)) for r in chosen.rows)
            chosen = dataclasses.replace(chosen, rows=on_folds)
        if dry_run:
            planned = plan.plan(chosen, runs, seeds=range(seeds), changes=changes)
            print(*plan.describe(chosen, planned, hours=full), sep="\n", flush=True)
            continue
        jobs = jobs or study_lib.default_jobs()
        found = study_lib.run(chosen, runs, seeds=range(seeds), jobs=jobs, changes=changes)
        outcomes.write(chosen, found, path, command, jobs)
        print(f"{chosen.title}: written to {path}", flush=True)
    return path


def _limit(study: Study, rows: Sequence[str]) -> Study:
    """The study with those of some rows that it has, and the claims that only need them."""
    if not rows:
        return study
    return dataclasses.replace(
        study,
        rows=tuple(row for row in study.rows if row.name in rows),
        claims=tuple(among(claim, rows) for claim in study.claims),
    )
