"""What is said of a dataset when it is prepared: its report, the split of every file, a sheet of samples."""

import csv
import dataclasses
import pathlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from aufer_jax.data import records
from aufer_jax.data.records import DatasetInfo, Record
from aufer_jax.datasets import contact_sheet, duplicates, items, judge
from aufer_jax.datasets.items import Row
from aufer_jax.datasets.job import Job
from aufer_jax.datasets.prepare_report import LEFT_OUT, UNKNOWN, Report


def placed(faces: Sequence[Any], chosen: Sequence[str]) -> Iterable[tuple[str, Any]]:
    """Every split with every face it holds, copies included."""
    for face, split in zip(faces, chosen, strict=True):
        yield split, face
        for other in face.also:
            yield other, face


def report(
    job: Job,
    info: DatasetInfo,
    faces: Sequence[Any],
    chosen: Sequence[str],
    checked: Mapping[str, Any],
    rule: str,
) -> Report:
    """Of the usable `faces`, the split `chosen` for each, and what was found of all."""
    listing, found = job.listing, [checked[face.file] for face in faces]
    labels = [listing.label_map[face.label] or UNKNOWN for face in faces]
    counts: dict[str, Counter] = {split: Counter() for split in info.splits}
    for split, face in placed(faces, chosen):
        counts[split][listing.label_map[face.label] or UNKNOWN] += 1
    names = [*listing.expressions, *([UNKNOWN] if UNKNOWN in labels else [])]
    conflicts = duplicates.label_conflicts([c.digest for c in found], labels)
    pairs = duplicates.across_splits([c.likeness for c in found], chosen)
    files = [face.file for face in faces]
    findings = dict(listing.findings)
    if job.card.kind == records.CLIP:
        facts = items.clip_facts(faces, found)
        findings |= items.clip_findings(faces, found)
    else:
        facts = items.image_facts(faces)
    judged = judge.Facts(
        unit=job.card.kind,
        counts={split: {n: counts[split][n] for n in names} for split in counts},
        without_landmarks=items.without_landmarks(faces, found),
        without_aus=facts["without_aus"],
        subjects=len({face.subject for face in faces} - {""}),
        shared_subjects=_shared_subjects(faces, chosen),
        duplicates=len(pairs),
        conflicts=len(conflicts),
    )
    return Report(
        name=job.name,
        dataset=job.card.name,
        source=str(job.source),
        folder=str(job.folder),
        licence=job.card.licence,
        redistribution=job.card.redistribution,
        unit=job.card.kind,
        images=len(job.kept),
        label_map={
            label: LEFT_OUT if name is None else name or UNKNOWN
            for label, name in listing.label_map.items()
        },
        label_counts=dict(Counter(face.label for face in listing.faces)),
        aus=info.aus,
        counts=judged.counts,
        published={
            split: dict(zip(listing.expressions, numbers, strict=True))
            for split, numbers in listing.published.items()
        },
        split_rule=rule,
        subjects=judged.subjects,
        shared_subjects=judged.shared_subjects,
        unreadable={f.file: c.problem for f in job.kept if (c := checked[f.file]).problem},
        changed={f.file: ", ".join(c.changes) for f in faces if (c := checked[f.file]).changes},
        conflicts=tuple(tuple(f"{files[i]} ({labels[i]})" for i in group) for group in conflicts),
        duplicates=tuple((files[a], chosen[a], files[b], chosen[b], n) for a, b, n in pairs),
        au_join=listing.au_join,
        remarks=tuple(listing.remarks),
        findings={title: tuple(lines) for title, lines in findings.items() if lines},
        facts=dataclasses.asdict(judged),
        judged=judge.judge(judged),
        chance=judge.chance(judged),
        **facts,
    )


def _shared_subjects(faces: Sequence[Any], chosen: Sequence[str]) -> int:
    """How many subjects occur in more than one split."""
    places = {(face.subject, split) for face, split in zip(faces, chosen, strict=True)}
    times = Counter(subject for subject, _ in places if subject)
    return sum(count > 1 for count in times.values())


def write_splits(path: pathlib.Path, faces: Sequence[Any], chosen: Sequence[str]) -> None:
    """Writes which file is in which split, as CSV."""
    with path.open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(("file", "split"))
        rows.writerows((face.file, split) for split, face in placed(faces, chosen))


def draw_sheet(
    job: Job,
    info: DatasetInfo,
    faces: Sequence[Any],
    checked: Mapping[str, Any],
    stored: items.Stored,
    path: pathlib.Path,
) -> None:
    """Draws a few records of every class on one sheet."""
    by_class: dict[str, list[Any]] = {name: [] for name in (*job.listing.expressions, UNKNOWN)}
    for face in faces:
        by_class[job.listing.label_map[face.label] or UNKNOWN].append(face)
    rng = np.random.default_rng(job.seed)
    rows = {}
    for label, mine in by_class.items():
        some = rng.permutation(len(mine))[: contact_sheet.COLUMNS]
        if len(some):
            chosen = [Row(mine[i], 0, checked[mine[i].file]) for i in some]
            made = (items.record(job.items, row, stored, info.aus) for row in chosen)
            rows[f"{label}\n({len(mine)})"] = list(map(_picture, made))
    contact_sheet.save(rows, path, title=f"{job.name}: {len(faces)} {job.card.kind}s")


def _picture(record: Record) -> tuple[bytes, np.ndarray | None]:
    """An encoded image that shows the record, and its landmarks."""
    points = record.get("landmarks")
    if "image" in record:
        return record["image"], points
    middle = len(record["frames"]) // 2
    return record["frames"][middle], None if points is None else points[middle]
