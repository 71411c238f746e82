"""From a source of faces or clips to a prepared dataset: `prepare("folder", DIR, name="my_faces")`."""

import csv
import dataclasses
import functools
import hashlib
import json
import os
import pathlib
import re
import shutil
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
from absl import logging

from aufer_jax import errors
from aufer_jax.data.records import DatasetInfo, Record
from aufer_jax.datasets import catalog, contact_sheet, duplicates, media, splits, store
from aufer_jax.datasets.beam import Origin, Pipelines
from aufer_jax.datasets.checking import Cache
from aufer_jax.datasets.file_dataset import Face, Faces, FileDataset, Listing
from aufer_jax.datasets.media import Kept, Medium
from aufer_jax.datasets.prepare_report import LEFT_OUT, UNKNOWN, Report
from aufer_jax.sources.files import Files

SPLITS_FILE, SHEET_FILE = "splits.csv", "contact_sheet.png"

_VERSION = "2"  # of what is written: another version prepares anew
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
_MADE = re.compile(r"[0-9a-f]{16}")  # folders with records, named after their content


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
    it is whole. After an interruption the images or clips already checked are not checked again; records
    are written again. A dataset already prepared from the same files is left as it is.

    Args:
      dataset: "folder" for your own faces, "clips" for your own clips, or the name of a dataset;
        one of `catalog.BUILDERS`.
      source: its folder, or a .zip, which is read in place.
      name: what to call it from now on; default the dataset's own name.
      data_dir: where prepared datasets are kept; default `catalog.default_data_dir()`.
      validation, test: the shares of these splits where the source gives no splits; for `test` the
        default is 0.2, or none where a dataset only teaches AUs. Where the source gives splits,
        `validation` is the share taken from its train split if it has no validation split.
      seed: of the splits.
      workers: threads that check images or clips; default one a core.
      beam: checks and writes by Apache Beam, on as many machines as `beam_options` say, which are
        Beam's own flags; they must reach `source` and `data_dir` under these names.
      **options: of the dataset, such as `expressions`; the fields of its class.

    Returns:
      What was done; it lies in the dataset's folder too, as report.md and report.json.
    """
    started = time.perf_counter()
    if beam_options and not beam:
        raise errors.UserError(f"beam_options: {beam_options!r} need beam")
    if workers and beam:
        raise errors.UserError("workers: with Beam say how many in beam_options")
    maker = _maker(dataset, options)
    test = maker.test_share if test is None else test
    splits.check_shares(validation, test)
    name = _checked_name(name or dataset, dataset)
    root = pathlib.Path(data_dir).expanduser() if data_dir else catalog.default_data_dir()
    files = Files(source)
    listing = maker.listing(files)
    medium = maker.medium(files, listing)
    _check_given_splits(listing.faces, medium.unit)
    shares = {splits.VALIDATION: validation, splits.TEST: test}
    job = _Job(name, maker, medium, files.source, listing, shares, seed, root / name)
    with store.locked(job.folder / ".lock"):
        made = job.fingerprint()
        current = catalog.prepared(name, root)
        if current is not None and current["records"] == made:
            logging.info("dataset %s is already prepared from these files", name)
            return Report.read(job.folder, already_prepared=True)
        _check_not_anothers(job, current)
        _remove_records(job.folder, keep=current["records"] if current else "")
        flags = beam_options if beam else None
        return _run(job, made, workers, flags, time.perf_counter() - started)


@dataclasses.dataclass(frozen=True)
class _Job:
    """One dataset to be prepared."""

    name: str
    maker: FileDataset
    medium: Medium
    source: pathlib.Path
    listing: Listing
    shares: dict[str, float]
    seed: int
    folder: pathlib.Path

    @functools.cached_property
    def kept(self) -> list[Face]:
        """The faces whose label is not left out."""
        return [f for f in self.listing.faces if self.listing.label_map[f.label] is not None]

    def expression(self, face: Face) -> int:
        expression = self.listing.label_map[face.label]
        return self.listing.expressions.index(expression) if expression else -1

    def fingerprint(self) -> str:
        """A name for the content: another one if a file, a label or a choice is another."""
        digest = hashlib.blake2b(digest_size=8)
        listing = self.listing
        choices = [listing.expressions, listing.aus, self.shares, self.seed, listing.label_map]
        digest.update(json.dumps([_VERSION, self.maker.name, *choices]).encode())
        for face in self.kept:
            texts = (
                face.file,
                self.medium.stamp(face),
                face.label,
                face.subject,
                face.split,
                *face.also,
            )
            digest.update("\0".join((*texts, face.note, "")).encode())
            for array in (face.landmarks, face.au, face.au_known, face.votes, face.box):
                digest.update(b"-" if array is None else np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


def _maker(dataset: str, options: dict[str, Any]) -> FileDataset:
    if dataset not in catalog.BUILDERS:
        raise errors.unknown("dataset to prepare", dataset, catalog.BUILDERS)
    permitted = _options(dataset)
    for option in options:
        if option not in permitted:
            others = [other for other in catalog.BUILDERS if option in _options(other)]
            if not others:
                raise errors.unknown(f"option of {dataset}", option, permitted)
            raise errors.UserError(
                f"option of {dataset}: {option!r} is not known to it, but to "
                f"{', '.join(others)}; permitted: {', '.join(permitted)}"
            )
    return catalog.maker(dataset)(**options)


def _options(dataset: str) -> list[str]:
    return [field.name for field in dataclasses.fields(catalog.maker(dataset))]


def _checked_name(name: str, dataset: str) -> str:
    if name in catalog.ANY:
        raise errors.UserError("name: say what your dataset is to be called, for example my_faces")
    if not _NAME.fullmatch(name):
        raise errors.UserError(f"name: {name!r} must be letters, digits, - and _, a letter first")
    if name.startswith(catalog.SYNTHETIC) or (name in catalog.BUILDERS and name != dataset):
        raise errors.UserError(f"name: {name!r} is the name of another dataset")
    return name


def _check_not_anothers(job: _Job, current: dict[str, Any] | None) -> None:
    """A name of the user's own stays with its source: another one does not replace it unasked."""
    held = (current or {}).get("source")
    if held and held != str(job.source.resolve()) and job.name not in catalog.BUILDERS:
        raise errors.UserError(
            f"name: {job.name!r} is prepared from {held}; choose another name, or delete "
            f"{job.folder} if it is to be replaced"
        )


def _check_given_splits(faces: Sequence[Face], unit: str) -> None:
    without = [face.file for face in faces if not face.split]
    if 0 < len(without) < len(faces):
        raise errors.UserError(
            f"source: {len(without)} of {len(faces)} {unit}s have no split while others have one: "
            f"{', '.join(without[:5])}"
        )


def _remove_records(folder: pathlib.Path, keep: str) -> None:
    """Removes records of earlier content, and what a killed run had begun to write."""
    for path in folder.iterdir():
        if _MADE.fullmatch(path.name) and path.name != keep:
            shutil.rmtree(path)


def _run(
    job: _Job, made: str, workers: int | None, beam_options: str | None, listed_s: float
) -> Report:
    clock = time.perf_counter()
    seconds = {"listing": listed_s}

    def lap(step: str) -> None:
        nonlocal clock
        seconds[step], clock = time.perf_counter() - clock, time.perf_counter()

    cache = _cache(job, beam_options)
    try:
        if isinstance(cache, Pipelines):
            checked, from_cache = cache.check_all()
        else:
            checked, from_cache = media.check_all(job.kept, job.medium, cache, workers)
        lap("checking")
        faces = [face for face in job.kept if not checked[face.file].problem]
        if not faces:
            some = [f"{face.file} ({checked[face.file].problem})" for face in job.kept[:5]]
            raise errors.UserError(
                f"source: no {job.medium.unit} of {job.source} is usable: {', '.join(some)}"
            )
        job.listing.aus = job.medium.aus(job.listing, [checked[face.file] for face in faces])
        chosen, rule = _choose_splits(job, faces, checked)
        info = _info(job, Counter(split for split, _ in _places(faces, chosen)))
        builder = _builder(job, info, made, faces, chosen, checked, cache)
        store.prepare(lambda: builder)
        lap("writing")
        report = _report(job, info, faces, chosen, checked, rule)
        _write_splits(job.folder / SPLITS_FILE, faces, chosen)
        _draw_sheet(job, faces, checked, cache)
        lap("report")
    except BaseException:
        cache.close()
        raise
    report = dataclasses.replace(report, seconds=seconds, from_cache=from_cache)
    report.write(job.folder)
    notes = {"source": str(job.source.resolve()), "redistribution": job.maker.redistribution}
    catalog.register(info, job.folder, made, **notes)
    cache.close(remove=True)
    _remove_records(job.folder, keep=made)
    return report


def _cache(job: _Job, beam_options: str | None) -> Cache | Pipelines:
    """Where what is found of the items is kept; with options of Beam, also what finds it."""
    if beam_options is None:
        return Cache(job.folder / "checked.sqlite", job.medium.checked_as)
    origin = Origin(job.maker, str(job.source.resolve()))
    return Pipelines(origin, job.medium, job.kept, job.folder / "checked.beam", beam_options)


def _choose_splits(
    job: _Job, faces: Sequence[Face], checked: dict[str, Any]
) -> tuple[list[str], str]:
    """The split of each face, and how it was decided."""
    given = [face.split for face in faces]
    known = any(face.subject for face in faces)
    copies = f"single {job.medium.unit}s, copies of one together"
    what = "whole subjects" if known else copies
    shares, told = job.shares, set(given)
    if told - {""} - {splits.TRAIN}:
        shares = {splits.VALIDATION: shares[splits.VALIDATION]}
    # Folds train, too: each gives up a part of its own for validation.
    divided = [s for s in sorted(told) if splits.trains(s) and splits.validation_of(s) not in told]
    if not divided or not any(shares.values()):
        return [split or splits.TRAIN for split in given], "as given by the source"
    for whole in divided:
        places = [i for i, split in enumerate(given) if split == whole]
        mine = [faces[i] for i in places]
        # Copies of one file never lie on both sides, even where nobody says who is on them.
        groups = [face.subject or f"\0{checked[face.file].digest}" for face in mine]
        dealt = splits.assign(list(map(job.expression, mine)), groups, shares, job.seed)
        named = {splits.TRAIN: whole or splits.TRAIN, splits.TEST: splits.TEST}
        named[splits.VALIDATION] = splits.validation_of(whole)
        for i, split in zip(places, dealt, strict=True):
            given[i] = named[split]
    shown = ", ".join(f"{split} {share:g}" for split, share in shares.items() if share)
    rule = f"{shown} by seed {job.seed}, {what}"
    if told != {""}:
        whole = "each fold" if divided != [splits.TRAIN] else "its train split"
        rule = f"as given by the source; from {whole}: {rule}"
    return given, rule


def _info(job: _Job, counts: Counter) -> DatasetInfo:
    order = [*splits.SPLITS, *sorted(set(counts) - set(splits.SPLITS))]
    return DatasetInfo(
        name=job.name,
        kind=job.medium.kind,
        expressions=job.listing.expressions,
        aus=job.listing.aus,
        splits={split: counts[split] for split in order if counts[split]},
        licence=f"{job.maker.licence}. {job.maker.redistribution}",
        how_to_get=job.maker.how_to_get,
        builder=f"{Faces.__module__}:{Faces.__name__}",
    )


def _places(faces: Sequence[Face], chosen: Sequence[str]) -> Iterable[tuple[str, Face]]:
    """Every split with every face it holds, copies included."""
    for face, split in zip(faces, chosen, strict=True):
        yield split, face
        for other in face.also:
            yield other, face


# --- Records ------------------------------------------------------------------------------------


def _builder(
    job: _Job,
    info: DatasetInfo,
    made: str,
    faces: Sequence[Face],
    chosen: Sequence[str],
    checked: dict[str, Any],
    cache: Cache | Pipelines,
) -> Faces:
    place = job.folder / made
    if isinstance(cache, Cache):
        return Faces(info, place, functools.partial(_records, job, faces, chosen, checked, cache))
    items: dict[str, list[tuple[Face, Any]]] = {split: [] for split in info.splits}
    for split, face in _places(faces, chosen):
        items[split].append((face, checked[face.file]))
    # Workers open the source again; they need nothing of the listing but what labels mean.
    listing = dataclasses.replace(job.listing, faces=[], remarks=[], au_join={}, findings={})
    listing = dataclasses.replace(listing, images=None, tracks=None)
    light = dataclasses.replace(job, medium=None, listing=listing)  # pyright: ignore
    return cache.faces(info, place, items, functools.partial(_record_by, light))


def _record_by(light: _Job, medium: Medium, face: Face, found: Any, cache: Kept) -> Record:
    return _record(dataclasses.replace(light, medium=medium), face, found, cache)


def _records(
    job: _Job,
    faces: Sequence[Face],
    chosen: Sequence[str],
    checked: dict[str, Any],
    cache: Cache,
    split: str,
) -> Iterator[Record]:
    for mine, face in _places(faces, chosen):
        if mine == split:
            yield _record(job, face, checked[face.file], cache)


def _record(job: _Job, face: Face, found: Any, cache: Kept) -> Record:
    """What is written of one item."""
    record: Record = {
        "key": face.file,
        "expression": job.expression(face),
        "subject": face.subject,
        "note": face.note,
    }
    if face.votes is not None:
        record["expression_votes"] = face.votes
    return record | job.medium.content(face, found, cache, job.listing.aus)


# --- What is told -------------------------------------------------------------------------------


def _report(
    job: _Job,
    info: DatasetInfo,
    faces: Sequence[Face],
    chosen: Sequence[str],
    checked: dict[str, Any],
    rule: str,
) -> Report:
    listing, found = job.listing, [checked[face.file] for face in faces]
    labels = [listing.label_map[face.label] or UNKNOWN for face in faces]
    counts: dict[str, Counter] = {split: Counter() for split in info.splits}
    for split, face in _places(faces, chosen):
        counts[split][listing.label_map[face.label] or UNKNOWN] += 1
    names = [*listing.expressions, *([UNKNOWN] if UNKNOWN in labels else [])]
    conflicts = duplicates.label_conflicts([c.digest for c in found], labels)
    pairs = duplicates.across_splits([c.likeness for c in found], chosen)
    files = [face.file for face in faces]
    told = job.medium.told(faces, checked)
    found_in_files = listing.findings | told.pop("findings", {})
    meant = {
        label: LEFT_OUT if name is None else name or UNKNOWN
        for label, name in listing.label_map.items()
    }
    return Report(
        name=job.name,
        dataset=job.maker.name,
        source=str(job.source),
        folder=str(job.folder),
        licence=job.maker.licence,
        redistribution=job.maker.redistribution,
        unit=job.medium.unit,
        images=len(job.kept),
        label_map=meant,
        label_counts=dict(Counter(face.label for face in listing.faces)),
        aus=listing.aus,
        counts={split: {n: counts[split][n] for n in names} for split in counts},
        published={
            split: dict(zip(listing.expressions, numbers, strict=True))
            for split, numbers in job.maker.expected(listing).items()
        },
        split_rule=rule,
        subjects=len({face.subject for face in faces} - {""}),
        shared_subjects=_shared_subjects(faces, chosen),
        unreadable={f.file: c.problem for f in job.kept if (c := checked[f.file]).problem},
        changed={f.file: ", ".join(c.changes) for f in faces if (c := checked[f.file]).changes},
        conflicts=tuple(tuple(f"{files[i]} ({labels[i]})" for i in group) for group in conflicts),
        duplicates=tuple((files[a], chosen[a], files[b], chosen[b], n) for a, b, n in pairs),
        au_join=listing.au_join,
        remarks=tuple(listing.remarks),
        findings={title: tuple(items) for title, items in found_in_files.items() if items},
        **told,
    )


def _shared_subjects(faces: Sequence[Face], chosen: Sequence[str]) -> int:
    """How many subjects occur in more than one split."""
    places = {(face.subject, split) for face, split in zip(faces, chosen, strict=True)}
    times = Counter(subject for subject, _ in places if subject)
    return sum(count > 1 for count in times.values())


def _write_splits(path: pathlib.Path, faces: Sequence[Face], chosen: Sequence[str]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(("file", "split"))
        rows.writerows((face.file, split) for split, face in _places(faces, chosen))


def _draw_sheet(job: _Job, faces: Sequence[Face], checked: dict[str, Any], cache: Kept) -> None:
    by_class: dict[str, list[Face]] = {name: [] for name in (*job.listing.expressions, UNKNOWN)}
    for face in faces:
        by_class[job.listing.label_map[face.label] or UNKNOWN].append(face)
    rng = np.random.default_rng(job.seed)
    rows = {}
    for label, mine in by_class.items():
        some = rng.permutation(len(mine))[: contact_sheet.COLUMNS]
        found = [_record(job, mine[i], checked[mine[i].file], cache) for i in some]
        if found:
            rows[f"{label}\n({len(mine)})"] = [job.medium.picture(record) for record in found]
    title = f"{job.name}: {len(faces)} {job.medium.unit}s"
    contact_sheet.save(rows, job.folder / SHEET_FILE, title=title)
