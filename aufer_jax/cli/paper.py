"""`aufer paper`: the papers' experiments."""

import shlex
import sys
from typing import Literal

from aufer_jax.cli.parse import Changes
from aufer_jax.errors import UserError


def reproduce(
    paper: str,
    tables: tuple[str, ...] = (),
    /,
    *,
    target: str = "",
    aux: tuple[str, ...] = (),
    full: bool = False,
    recipe: str = "",
    folds: tuple[int, ...] = (),
    weights: tuple[str, ...] = (),
    rows: tuple[str, ...] = (),
    seeds: int = 5,
    jobs: int = 0,
    dry_run: bool = False,
    config: Changes = Changes(),  # noqa: B008
    runs: str = "runs/reproduce",
    out: str = "",
) -> None:
    """Run a paper's experiments and write which claims held.

    Args:
      paper: mvfer, auvit or audfer.
      tables: default: all of the paper.
      target: a prepared dataset; default: synthetic faces.
      aux: auxiliary datasets; default: the paper's.
      full: the dataset's own recipe, not sizes for two cores.
      recipe: with --full: paper, released or sane; for mvfer photographs, colab, eac or sane.
      folds: which to run, each a run of its own; default: those of the published numbers.
      weights: first weights of rows or networks, written m3dfel=r3d_18.pth.
      rows: only these rows.
      seeds: how many for each row.
      jobs: runs at a time; default: one per core, or one on a GPU.
      dry_run: print every run and its configuration, make none.
      config: values set in every row's configuration, written --config.train.epochs=3.
      runs: folder of the runs.
      out: default: docs/results/PAPER.md.
    """
    from aufer_jax import reproduce

    for text in weights:
        if "=" not in text:
            raise UserError(
                f"--weights: {text!r} must be NAME=FILE, a row or a network and its file"
            )
    reproduce.reproduce(
        paper, tables, command=shlex.join(["aufer", *sys.argv[1:]]), target=target, aux=aux, full=full,
        recipe=recipe, folds=folds, weights=dict(text.split("=", 1) for text in weights), rows=rows,
        seeds=seeds, jobs=jobs, dry_run=dry_run, changes=config, runs=runs, out=out,
    )  # fmt: skip
    if dry_run:
        print("Next: the same without --dry-run")
    else:
        print(f"Next: read {out or f'docs/results/{paper}.md'}")


def knowledge(
    sources: tuple[str, ...],
    /,
    *,
    out: str = "knowledge",
    interpolate: Literal["zeros", "failures", "none"] = "zeros",
    ends: Literal["kept", "extended"] = "kept",
    select: Literal["none", "repeat", "window"] = "none",
    host: str = "",
    theta: float = 0.5,
    shift: str = "midrange",
    aus: str = "openface_18",
    confidence: float = 0.8,
    closed_as_blink: bool = False,
    data_dir: str | None = None,
) -> None:
    """AU-expression knowledge from clips or AU files, as loss weights of AU-DFER.

    Args:
      sources: datasets, NAME:SPLIT, or folders of AU files.
      out: folder for knowledge.csv, .md and .png.
      interpolate: which values count as gaps in time, to be interpolated.
      ends: gaps at the ends of a clip.
      select: frames that count; needs --host.
      host: run on clips that scores the frames.
      theta: a frame counts if its score is above this; the paper gives no value.
      shift: midrange, half_range, text, or a number.
      aus: a name of `facs.AU_ORDERS`, or numbers: 1,2,4.
      confidence: AU rows with less confidence are unknown.
      closed_as_blink: use py-feat's AU43 as AU45.
      data_dir: prepared datasets; default: $AUFER_DATA, or ~/.cache/aufer_jax.
    """
    from aufer_jax.knowledge import report
    from aufer_jax.train import devices

    devices.begin(alone=True)
    report.knowledge_of(
        sources, out, interpolate=interpolate, ends=ends, select=select, host=host, theta=theta,
        shift=shift, aus=aus, confidence=confidence, closed_as_blink=closed_as_blink,
        data_dir=data_dir,
    )  # fmt: skip
    print("written to", out)
    print(f"Next: aufer train configs/audfer.py --config.loss.knowledge={out}/knowledge.csv")
