"""From a source of faces or clips to a prepared dataset: `prepare("folder", DIR, name="my_faces")`."""

import contextlib
import dataclasses
import functools
import os
import pathlib
import re
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from absl import logging

from aufer_jax import errors, remote
from aufer_jax.data.records import DatasetInfo
from aufer_jax.datasets import beam as beam_lib
from aufer_jax.datasets import catalog, items, splits, store, summary
from aufer_jax.datasets.card import Card
from aufer_jax.datasets.items import Row
from aufer_jax.datasets.job import Job, choose_splits
from aufer_jax.datasets.local import Local
from aufer_jax.datasets.options import Options
from aufer_jax.datasets.prepare_report import Report
from aufer_jax.sources.files import Files

Runner = Local | beam_lib.Pipelines  # checks items and writes records

SPLITS_FILE, SHEET_FILE = "splits.csv", "contact_sheet.png"

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
MADE = re.compile(r"[0-9a-f]{16}")  # folders with records, named after their content


def prepare(
    dataset: str,
    source: str | os.PathLike,
    *,
    name: str = "",
    data_dir: str | os.PathLike | None = None,
    validation: float = 0.1,
    test: float | None = None,
    seed: int = 0,
    workers: int | None = None,
    beam: bool = False,
    beam_options: str = "",
    **options: Any,
) -> Report:
    """Prepares a dataset for training; afterwards `data.target=NAME` finds it.

    Names, labels and tables are checked before anything is written, and the dataset appears when
    it is complete. After an interruption the images or clips already checked are not checked again; records
    are written again. A dataset already prepared from the same files is left as it is.

    Args:
      dataset: "folder" for your own faces, "clips" for your own clips, or the name of a dataset;
        one of `catalog.cards()`.
      source: its folder, or a .zip, which is read in place.
      name: what to call it from now on; default the dataset's own name.
      data_dir: where prepared datasets are kept; default `catalog.default_data_dir()`.
      validation, test: the shares of these splits where the source gives no splits; for `test` the
        default is 0.2, or none where a dataset only teaches AUs. Where the source gives splits,
        `validation` is the share taken from its train split if it has no validation split.
      seed: of the splits.
      workers: threads that check images or clips; by default one per core.
      beam: checks and writes by Apache Beam, on as many machines as `beam_options` say, which are
        Beam's own flags; they must reach `source` and `data_dir` under these names.
      **options: of the dataset, such as `expressions`; the fields of its card's `options`.

    Returns:
      What was done; also in the dataset's folder, as report.md and report.json.
    """
    started = time.perf_counter()
    if beam_options and not beam:
        raise errors.UserError(f"beam_options: {beam_options!r} need beam")
    if workers and beam:
        raise errors.UserError("workers: with Beam say how many in beam_options")
    card = catalog.card(dataset)
    chosen = _options(card, options)
    test = card.test_share if test is None else test
    splits.check_shares(validation, test)
    name = _checked_name(name or dataset, card)
    root = catalog.root(data_dir)
    if beam and remote.is_kept(root):
        raise errors.UserError(
            f"data_dir: {remote.name(root)!r} is in a store; Beam writes to a folder that all workers see"
        )
    listing = card.list(Files(source), chosen)
    listed = items.of(card, listing, chosen)
    shares = {splits.VALIDATION: validation, splits.TEST: test}
    job = Job(name, card, listing, listed, shares, seed, root / name)
    job.check_splits()
    if beam:
        origin = beam_lib.Origin(card, chosen, str(job.source.resolve()))
        start = functools.partial(beam_lib.Pipelines, origin, listed, job.folder, beam_options)
    else:
        start = functools.partial(Local, listed, card.kind, job.folder, workers)
    with store.locked(job.folder / ".lock"):
        return _once(job, root, start, {"listing": time.perf_counter() - started})


def _once(
    job: Job, root: pathlib.Path, start: Callable[[], Runner], seconds: dict[str, float]
) -> Report:
    """Prepares a dataset unless it is prepared from these files already."""
    made = job.fingerprint()
    current = catalog.prepared(job.name, root)
    if current is not None and current["records"] == made:
        logging.info("dataset %s is already prepared from these files", job.name)
        return Report.read(job.folder, already_prepared=True)
    _check_not_anothers(job, current)
    _remove_records(job.folder, keep=current["records"] if current else "")
    with contextlib.closing(start()) as runner:
        report = _run(job, made, runner, seconds)
    runner.remove()
    _remove_records(job.folder, keep=made)
    remote.send(job.folder, catalog.RECORD)
    return report


def _options(card: Card, given: dict[str, Any]) -> Options:
    permitted = [field.name for field in dataclasses.fields(card.options)]
    for option in given:
        if option not in permitted:
            others = [
                other
                for other in catalog.cards()
                if option in (f.name for f in dataclasses.fields(catalog.card(other).options))
            ]
            if not others:
                raise errors.unknown(f"option of {card.name}", option, permitted)
            raise errors.UserError(
                f"option of {card.name}: {option!r} is not known to it, but to "
                f"{', '.join(others)}; choose one of: {', '.join(permitted)}"
            )
    return card.options(**given)


def _checked_name(name: str, card: Card) -> str:
    if name == card.name and card.own:
        raise errors.UserError("name: give your dataset a name, for example my_faces")
    if not NAME.fullmatch(name):
        raise errors.UserError(f"name: {name!r} must be letters, digits, - and _, a letter first")
    if catalog.is_drawn(name) or (name in catalog.cards() and name != card.name):
        raise errors.UserError(f"name: {name!r} is the name of another dataset")
    return name


def _check_not_anothers(job: Job, current: dict[str, Any] | None) -> None:
    """A name of the user's own belongs to its source: another source does not replace it unasked."""
    held = (current or {}).get("source")
    if held and held != str(job.source.resolve()) and job.name not in catalog.cards():
        raise errors.UserError(
            f"name: {job.name!r} is prepared from {held}; choose another name, or remove "
            f"it first: aufer data remove {job.name}"
        )


def _remove_records(folder: pathlib.Path, keep: str) -> None:
    """Removes records of earlier content, and what a killed run had begun to write."""
    for path in folder.iterdir():
        if MADE.fullmatch(path.name) and path.name != keep:
            shutil.rmtree(path)


def _run(job: Job, made: str, runner: Runner, seconds: dict[str, float]) -> Report:
    """Checks the items, writes their records and the report, and makes them the dataset."""
    with _timed(seconds, "checking"):
        checked, known = runner.check(job.kept)
    faces = [face for face in job.kept if not checked[face.file].problem]
    if not faces:
        some = [f"{face.file} ({checked[face.file].problem})" for face in job.kept[:5]]
        raise errors.UserError(
            f"source: no {job.card.kind} of {job.source} is usable: {', '.join(some)}"
        )
    with _timed(seconds, "writing"):
        chosen, rule = choose_splits(job, faces, checked)
        info = _info(job, faces, chosen, checked)
        rows: dict[str, list[Row]] = {split: [] for split in info.splits}
        for split, face in summary.placed(faces, chosen):
            rows[split].append(Row(face, job.expression(face), checked[face.file]))
        runner.write(info, store.folder(job.folder / made), rows)
    with _timed(seconds, "report"):
        report = summary.report(job, info, faces, chosen, checked, rule)
        summary.write_splits(job.folder / SPLITS_FILE, faces, chosen)
        sheet = job.folder / SHEET_FILE
        summary.draw_sheet(job, info, faces, checked, runner.stored, sheet)
    report = dataclasses.replace(report, seconds=seconds, from_cache=known)
    report.write(job.folder)
    catalog.publish(
        info, job.folder, made, source=str(job.source.resolve()), facts=report.facts,
        redistribution=job.card.redistribution,
    )  # fmt: skip
    return report


@contextlib.contextmanager
def _timed(seconds: dict[str, float], step: str) -> Iterator[None]:
    started = time.perf_counter()
    yield
    seconds[step] = time.perf_counter() - started


def _info(job: Job, faces: list[Any], chosen: list[str], checked: dict[str, Any]) -> DatasetInfo:
    counts = Counter(split for split, _ in summary.placed(faces, chosen))
    order = [*splits.SPLITS, *sorted(set(counts) - set(splits.SPLITS))]
    return DatasetInfo(
        name=job.name,
        kind=job.card.kind,
        expressions=job.listing.expressions,
        aus=items.annotated(job.listing, [checked[face.file] for face in faces]),
        splits={split: counts[split] for split in order if counts[split]},
        licence=f"{job.card.licence}. {job.card.redistribution}",
        how_to_get=job.card.how_to_get,
    )
