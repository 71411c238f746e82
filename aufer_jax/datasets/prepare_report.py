"""What the preparation of a dataset found and did: as an object, Markdown, JSON and a summary."""

import dataclasses
import json
import pathlib
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from aufer_jax.datasets import splits

UNKNOWN, LEFT_OUT = "unknown", "left out"

FILES = _MARKDOWN, _JSON, _NOTICE = "report.md", "report.json", "NOTICE"
_SHOWN = 5  # examples of each kind in the summary
_BREAKS = re.compile("[\x00-\x1f\x7f\x85\u2028\u2029]")


@dataclasses.dataclass(frozen=True)
class Report:
    """What `prepare` did; names files, never people.

    Attributes:
      images: images or clips opened.
      label_map: label as the files write it -> class, "unknown" or "left out".
      label_counts: label -> images listed with it.
      counts: split -> class -> records written.
      published: split -> class -> images as the dataset's authors count them.
      shared_subjects: subjects that occur in more than one split (of given splits).
      unreadable: file -> why it was left out.
      changed: file -> what was done to make it a plain JPEG.
      conflicts: files with the same bytes and different labels.
      duplicates: file, split, file, split, bits that differ, for files of different splits that
        look the same.
      au_join: which rows of the AU file matched, and which did not.
      findings: what else was found, by heading; each item names a file or a row.
      unit: what is counted: images, or clips.
      clips: how many frames clips have.
      facts: what is judged, the fields of `judge.Facts`; judged: what is wrong with them.
      chance: split -> what always naming the most frequent class reaches there: its name, accuracy, UAR.
      seconds: for each step.
      from_cache: images that an earlier, interrupted run had already checked.
    """

    name: str
    dataset: str
    source: str
    folder: str
    licence: str
    redistribution: str
    images: int
    label_map: Mapping[str, str]
    label_counts: Mapping[str, int]
    aus: Sequence[int]
    counts: Mapping[str, Mapping[str, int]]
    published: Mapping[str, Mapping[str, int]]
    split_rule: str
    subjects: int
    shared_subjects: int
    unreadable: Mapping[str, str]
    changed: Mapping[str, str]
    without_aus: int
    conflicts: Sequence[Sequence[str]]
    duplicates: Sequence[tuple[str, str, str, str, int]]
    au_join: Mapping[str, Any]
    remarks: Sequence[str]
    without_landmarks: Sequence[str] = ()
    findings: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    unit: str = "image"
    clips: Mapping[str, float] = dataclasses.field(default_factory=dict)
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    judged: Sequence[str] = ()
    chance: Mapping[str, Sequence[Any]] = dataclasses.field(default_factory=dict)
    seconds: Mapping[str, float] = dataclasses.field(default_factory=dict)
    from_cache: int = 0
    already_prepared: bool = False

    @property
    def written(self) -> int:
        """How many records were written, in all splits."""
        return sum(sum(classes.values()) for classes in self.counts.values())

    @property
    def not_as_published(self) -> list[str]:
        """Where the counts are not those of the dataset's authors."""
        return [
            f"{split} {name} {ours.get(name, 0)}, published {count}"
            for split in self.published
            for ours in [_like_published(self, split)[0]]
            for name, count in self.published[split].items()
            if ours.get(name, 0) != count
        ]

    @property
    def images_per_s(self) -> float:
        """How many were checked afresh in a second of the whole preparation."""
        return (self.images - self.from_cache) / max(sum(self.seconds.values()), 1e-9)

    def write(self, folder: pathlib.Path) -> None:
        """Writes the report as JSON and Markdown, and the notice."""
        text = json.dumps(dataclasses.asdict(self), indent=1, ensure_ascii=False)
        (folder / _JSON).write_text(text, encoding="utf-8")
        (folder / _MARKDOWN).write_text(self.markdown(), encoding="utf-8")
        (folder / _NOTICE).write_text(self.notice(), encoding="utf-8")

    @classmethod
    def read(cls, folder: pathlib.Path, **changes: Any) -> "Report":
        """The report of a folder, with some values changed."""
        values = json.loads((folder / _JSON).read_text(encoding="utf-8"))
        return cls(**(values | changes))

    def notice(self) -> str:
        """What whoever finds the prepared files must know."""
        return (
            f"{self.name}: faces prepared from {self.dataset}.\n"
            f"Licence: {self.licence}.\n{self.redistribution}\n"
        )

    def markdown(self) -> str:
        """The whole report, every file listed."""
        return "\n".join(_lines(self, None)) + "\n"

    def __str__(self) -> str:
        """The report with a few examples of each kind, for a terminal."""
        return "\n".join(_lines(self, _SHOWN))

    def _repr_markdown_(self) -> str:
        return str(self)


def _lines(report: Report, most: int | None) -> Iterable[str]:
    yield f"# {report.name}"
    yield ""
    yield f"{report.written} {report.unit}s from {report.source} in {report.folder}."
    yield f"Licence: {report.licence}. {report.redistribution}"
    if report.already_prepared:
        yield "It was already prepared from these files; nothing was done."
    yield ""
    yield from _labels(report)
    yield from _counts(report)
    yield ""
    yield f"Splits: {report.split_rule}; every file with its split is in splits.csv."
    if report.subjects:
        shared = f"{report.shared_subjects} of them in more than one split"
        yield f"Subjects: {report.subjects}, {shared}."
    if report.aus:
        shown = " ".join(map(str, report.aus))
        yield f"AUs: {shown}; {report.without_aus} {report.unit}s have none that is known."
    if report.clips:
        yield _frames(report.clips, bool(report.aus))
    yield from _section("Before you train", report.judged, None)
    if report.chance:
        yield ""
        yield from _chance(report.chance)
    yield from _findings(report, most)
    if report.seconds:
        steps = ", ".join(f"{step} {s:.1f}" for step, s in report.seconds.items())
        cached = f"; {report.from_cache} {report.unit}s were already checked"
        yield ""
        yield (
            f"Seconds: {steps}; {report.images_per_s:.0f} {report.unit}s/s"
            f"{cached if report.from_cache else ''}."
        )


def _frames(clips: Mapping[str, float], aus: bool) -> str:
    known = ""
    if aus:
        marked = clips.get("frames_with_landmarks", 0)  # reports of older versions have none
        known = f"; AUs are known of {clips['frames_with_aus']}, landmarks of {marked}"
    return (
        f"Frames: {clips['frames']}, {clips['shortest']} to {clips['longest']} a clip, median "
        f"{clips['median']:g}; clips with a single frame: {clips['single']}, with frames that "
        f"cannot be read: {clips['with_bad_frames']}{known}."
    )


def _chance(chance: Mapping[str, Sequence[Any]]) -> Iterable[str]:
    always = next(iter(chance.values()))[0]
    yield f"| always {always} | {' | '.join(chance)} |"
    yield "|---" * (len(chance) + 1) + "|"
    for title, place in (("accuracy", 1), ("UAR", 2)):
        yield f"| {title} | {' | '.join(f'{values[place]:.2f}' for values in chance.values())} |"


def _labels(report: Report) -> Iterable[str]:
    """The label map: a number for each class, and what the files write for it."""
    names = list(next(iter(report.counts.values()), {}))
    yield f"| label in the files | {report.unit}s | class | number |"
    yield "|---|---|---|---|"
    for label, meant in report.label_map.items():
        number = names.index(meant) if meant in names and meant != UNKNOWN else ""
        count = report.label_counts.get(label, 0)
        yield f"| {_line(label or '(none)')} | {count} | {meant} | {number} |"
    yield ""


def _counts(report: Report) -> Iterable[str]:
    names = list(next(iter(report.counts.values()), {}))
    yield f"| split | {' | '.join(names)} | all |"
    yield "|---" * (len(names) + 2) + "|"
    for split, classes in report.counts.items():
        yield _count_row(split, list(classes.values()))
        if split in report.published:
            published = report.published[split]
            ours, title = _like_published(report, split)
            if title != split:
                yield _count_row(title, [ours.get(name, 0) for name in names])
            yield _count_row(f"{split}, published", [published.get(name, 0) for name in names])
    if report.published:
        yield ""
        other = report.not_as_published
        yield f"Not as published: {'; '.join(other)}." if other else "Counts are as published."


def _count_row(title: str, numbers: Sequence[int]) -> str:
    return f"| {title} | {' | '.join(map(str, (*numbers, sum(numbers))))} |"


def _like_published(report: Report, split: str) -> tuple[Mapping[str, int], str]:
    """The counts to set beside the published ones, and which splits they are of.

    A validation split that the authors do not have was taken from theirs for training.
    """
    taken = (split, splits.validation_of(split)) if splits.trains(split) else (split,)
    mine = [s for s in taken if s == split or s not in report.published]
    mine = [s for s in mine if s in report.counts] or [split]
    total = Counter()
    for name in mine:
        total.update(report.counts.get(name, {}))
    return total, " and ".join(mine)


def _findings(report: Report, most: int | None) -> Iterable[str]:
    pairs = [f"{a} ({p}) and {b} ({q}), {n} bits" for a, p, b, q, n in report.duplicates]
    yield from _section("Left out, not usable", _with_reason(report.unreadable), most)
    yield from _reasons(report.changed, report.unit)
    title = "Stored as new JPEGs" if report.clips else "Stored as a new JPEG"
    yield from _section(title, _with_reason(report.changed), most)
    yield from _section("Without landmarks", report.without_landmarks, most)
    conflicts = [" = ".join(group) for group in report.conflicts]
    title = "Same frames, different labels" if report.clips else "Same file, different labels"
    yield from _section(title, conflicts, most)
    yield from _section("Look the same, in different splits", pairs, most)
    join = report.au_join
    if "matched" in join:
        ways = ", ".join(f"{n} by {way}" for way, n in join["matched"].items()) or "none"
        yield ""
        if report.clips:
            yield (
                f"AUs of {join['file']}: matched {ways}; {report.clips['further_faces']} rows of "
                f"further faces in the same frame not used."
            )
        else:
            yield (
                f"AUs of {join['file']}: matched {ways}; {join['rows_of_further_faces']} rows of "
                f"further faces in the same image not used."
            )
        row, unit = ("file", "a clip") if report.clips else ("row", "an image")
        title = f"{report.unit.capitalize()}s without a {row} there"
        yield from _section(title, join["images_without_row"], most)
        title = f"{row.capitalize()}s there without {unit}"
        yield from _section(title, join["rows_without_image"], most)
    if join.get("not_confident"):
        yield ""
        yield f"AUs unknown for low confidence or success 0: {join['not_confident']} images."
    for title, items in report.findings.items():
        yield from _section(title, items, most)
    yield from _section("Remarks", report.remarks, None)


def _with_reason(files: Mapping[str, str]) -> list[str]:
    return [f"{file}: {reason}" for file, reason in files.items()]


def _reasons(changed: Mapping[str, str], unit: str) -> Iterable[str]:
    if changed:
        times = Counter(changed.values()).most_common()
        yield ""
        yield (
            f"{unit.capitalize()}s made plain: "
            + "; ".join(f"{n} {what}" for what, n in times[:10])
            + "."
        )


def _line(text: str) -> str:
    """Text as one line and one cell: what would break them is spelled out."""
    text = _BREAKS.sub(lambda found: found[0].encode("unicode_escape").decode(), text)
    return text.replace("|", "\\|")


def _section(title: str, items: Sequence[str], most: int | None) -> Iterable[str]:
    """A heading with a count and the items, or nothing without items."""
    if not items:
        return
    yield ""
    yield f"## {title}: {len(items)}"
    yield from (f"- {_line(item)}" for item in items[:most])
    if most is not None and len(items) > most:
        yield f"- ... all {len(items)} in {_MARKDOWN}"
