"""What a dataset contains: `inspect("synth_a")` -> counts, AU base rates, sizes, and sheets of samples."""

import dataclasses
import os
import pathlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from aufer_jax import facs
from aufer_jax.data import records, views
from aufer_jax.data.heatmaps import HeatmapSpec
from aufer_jax.data.records import DatasetInfo, Record
from aufer_jax.datasets import catalog, judge, sheets
from aufer_jax.errors import UserError
from aufer_jax.geometry.landmarks import known

UNKNOWN = "unknown"
MARKDOWN = "inspect.md"

_SIZES_OF = 500  # images of a split that are decoded for their sizes


@dataclasses.dataclass
class Split:
    """What is counted in one split; AU arrays are in the dataset's order.

    Attributes:
      classes: expression -> records.
      au_known, au_present: records with a known AU, and with one that is present [AUs].
      by_class: expression -> the same two arrays [2, AUs].
      without: "landmarks" or "aus" -> records that have none.
      landmarks: "all 68", "five" or "none" -> images or frames.
      sizes: (width, height) -> images; broken: keys of images that cannot be decoded.
      lengths: frames of each clip.
    """

    classes: Counter = dataclasses.field(default_factory=Counter)
    by_class: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    without: Counter = dataclasses.field(default_factory=Counter)
    landmarks: Counter = dataclasses.field(default_factory=Counter)
    sizes: Counter = dataclasses.field(default_factory=Counter)
    subjects: set[str] = dataclasses.field(default_factory=set)
    lengths: list[int] = dataclasses.field(default_factory=list)
    broken: list[str] = dataclasses.field(default_factory=list)

    @property
    def records(self) -> int:
        """How many there are, of all classes."""
        return sum(self.classes.values())

    @property
    def aus(self) -> np.ndarray:
        """Records with a known AU, and with one that is present [2, AUs]."""
        return sum(self.by_class.values(), np.zeros((2, 1), int))


@dataclasses.dataclass(frozen=True)
class Inspection:
    """The counts of a dataset's splits; its text is the Markdown that is written."""

    info: DatasetInfo
    threshold: float
    splits: Mapping[str, Split]
    pictures: tuple[str, ...] = ()
    facts: judge.Facts | None = None  # of a whole dataset

    def __str__(self) -> str:
        return "\n".join(_lines(self)) + "\n"

    def _repr_markdown_(self) -> str:
        return str(self)


def inspect(
    dataset: str,
    *,
    data_dir: str | os.PathLike | None = None,
    splits: Sequence[str] = (),
    out: str | os.PathLike = "inspect",
    samples: int = 5,
    threshold: float = 1.0,
    heatmap: HeatmapSpec | None = None,
    present_only: bool = False,
) -> Inspection:
    """Counts a dataset and draws samples of it; writes inspect.md and a PNG for each split.

    Args:
      dataset: its name, one of `catalog.names()`; a synthetic one is drawn on first use.
      data_dir: where prepared datasets are kept.
      splits: which; default all. A piece such as "train[:100]" will do.
      out: the folder that is written into.
      samples: how many of each class are drawn; 0 draws none.
      threshold: the intensity from which an AU is present.
      heatmap: how AU heatmaps are drawn.
      present_only: the heatmaps show only the AUs present, not all that a model is shown.
    """
    info = catalog.info(dataset, data_dir)
    if samples < 0:
        raise UserError(f"samples: {samples} must not be negative")
    folder = pathlib.Path(out).expanduser()
    folder.mkdir(parents=True, exist_ok=True)
    counted, pictures = {}, []
    for split in splits or info.splits:
        source = catalog.source(dataset, split, data_dir)
        counted[split], chosen = count(source, threshold, samples)
        if samples and chosen:
            name = f"{split.translate(str.maketrans('[:]%', '____'))}.png"
            rows = {title: [source[i] for i in places] for title, places in chosen.items()}
            spec = heatmap or HeatmapSpec(size=sheets.TILE)
            sheets.save(
                folder / name, info, rows, f"{dataset}, {split}", threshold, spec, present_only
            )
            pictures.append(name)
    facts = None if splits else _counted(dataset, data_dir, info, counted)
    found = Inspection(info, threshold, counted, tuple(pictures), facts)
    (folder / MARKDOWN).write_text(str(found), encoding="utf-8")
    return found


def _counted(
    name: str, data_dir: str | os.PathLike | None, info: DatasetInfo, counted: Mapping[str, Split]
) -> judge.Facts:
    """What is judged; only the preparation looked for copies."""
    people = Counter(person for split in counted.values() for person in split.subjects)
    before = judge.of_prepared(name, data_dir)
    return judge.Facts(
        unit=info.kind,
        counts={t: {n: s.classes[n] for n in info.expressions} for t, s in counted.items()},
        without_landmarks=sum(split.without["landmarks"] for split in counted.values()),
        without_aus=sum(split.without["aus"] for split in counted.values()),
        subjects=len(people),
        shared_subjects=sum(times > 1 for times in people.values()),
        duplicates=before.duplicates if before else 0,
        conflicts=before.conflicts if before else 0,
    )


def count(
    source: records.Source, threshold: float = 1.0, samples: int = 0
) -> tuple[Split, dict[str, list[int]]]:
    """What a split holds, and the places of the first `samples` records of each class."""
    info, split = source.info, Split()
    names = [*info.expressions, UNKNOWN]
    chosen: dict[str, list[int]] = {name: [] for name in names}
    for place in range(len(source)):
        record = source[place]
        name = names[record["expression"]]
        split.classes[name] += 1
        if len(chosen[name]) < samples:
            chosen[name].append(place)
        if record["subject"]:
            split.subjects.add(record["subject"])
        seen = np.stack([record["au_known"], present(record, threshold)])
        split.by_class[name] = split.by_class.get(name, 0) + seen.astype(int)
        split.landmarks.update(_landmarks(record["landmarks"]))
        split.without["landmarks"] += not np.isfinite(record["landmarks"]).any()
        split.without["aus"] += not record["au_known"].any()
        if info.kind == records.CLIP:
            split.lengths.append(len(record["frames"]))
        if place < _SIZES_OF:
            _add_size(split, record)
    return split, {name: places for name, places in chosen.items() if places}


def present(record: Record, threshold: float) -> np.ndarray:
    """Which known AUs are present [AUs]; in a clip, in any frame."""
    level = np.asarray(record["au"])
    level = np.fmax.reduce(level, 0, initial=0) if level.ndim == 2 else level
    return (level >= threshold) & record["au_known"]


def _landmarks(points: np.ndarray) -> Iterable[str]:
    whole, five = known(points.reshape(-1, records.LANDMARKS, 2))
    return ["all 68" if w else "five" if f else "none" for w, f in zip(whole, five, strict=True)]


def _add_size(split: Split, record: Record) -> None:
    data = record["image"] if "image" in record else next(iter(record["frames"]), b"")
    image = views.decode(data)
    if image is None:
        split.broken.append(record["key"])
    else:
        split.sizes[image.shape[1], image.shape[0]] += 1


# --- Markdown -----------------------------------------------------------------------------------


def _lines(found: Inspection) -> Iterable[str]:
    info = found.info
    what = "clips" if info.kind == records.CLIP else "images"
    total = sum(split.records for split in found.splits.values())
    yield f"# {info.name}"
    yield ""
    licence, source = info.licence.rstrip("."), info.how_to_get.rstrip(".")
    yield f"{total} {what}. Licence: {licence}. Source: {source}."
    yield ""
    yield from _classes(found)
    yield ""
    yield from _facts(found)
    if found.facts:
        yield from _judged(found.facts)
    if info.aus:
        yield ""
        yield f"## Action Units, present from intensity {found.threshold:g} on"
        yield ""
        yield from _base_rates(found)
        yield ""
        yield from _by_class(found)
    for picture in found.pictures:
        yield ""
        yield f"![samples]({picture})"


def _judged(facts: judge.Facts) -> Iterable[str]:
    lines, chance = judge.judge(facts), judge.chance(facts)
    if lines or chance:
        yield ""
        yield "## Before you train"
        yield ""
        yield from (f"- {line}" for line in lines)
    if chance:
        yield f"- {judge.chance_line(chance)}"


def _table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> Iterable[str]:
    yield f"| {' | '.join(head)} |"
    yield "|---" * len(head) + "|"
    for row in rows:
        yield f"| {' | '.join(map(str, row))} |"


def _named(found: Inspection) -> list[str]:
    """The classes, and `unknown` where it occurs."""
    without = any(split.classes[UNKNOWN] for split in found.splits.values())
    return [*found.info.expressions, *([UNKNOWN] if without else [])]


def _classes(found: Inspection) -> Iterable[str]:
    names = _named(found)
    rows = [
        [title, *(split.classes[name] for name in names), split.records]
        for title, split in found.splits.items()
    ]
    yield from _table(["split", *names, "all"], rows)


def _facts(found: Inspection) -> Iterable[str]:
    clips = found.info.kind == records.CLIP
    frames = "frames with" if clips else "with"
    head = ["split", f"{frames} 68 landmarks", f"{frames} five", "subjects", "width x height"]
    rows = []
    for title, split in found.splits.items():
        marks = max(sum(split.landmarks.values()), 1)
        row = [title, *(f"{100 * split.landmarks[k] / marks:.1f} %" for k in ("all 68", "five"))]
        row += [len(split.subjects) or UNKNOWN, _sizes(split)]
        rows.append(row + ([_lengths(split.lengths)] if clips else []))
    yield from _table([*head, *(["frames a clip"] if clips else [])], rows)
    yield ""
    everyone = Counter(person for split in found.splits.values() for person in split.subjects)
    if everyone:
        shared = sum(times > 1 for times in everyone.values())
        yield f"Subjects: {len(everyone)}, {shared} of them in more than one split."
    yield f"Sizes are those of the first {_SIZES_OF} of a split at most, as stored."
    broken = [key for split in found.splits.values() for key in split.broken]
    if broken:
        yield f"Cannot be decoded: {len(broken)}: {', '.join(broken[:5])}."


def _sizes(split: Split) -> str:
    if not split.sizes:
        return UNKNOWN
    if len(split.sizes) == 1:
        return "all {} x {}".format(*next(iter(split.sizes)))
    (most, times), *_ = split.sizes.most_common(1)
    sides = np.repeat(list(split.sizes), list(split.sizes.values()), 0)
    low, middle, high = (f"{w:.0f} x {h:.0f}" for w, h in np.quantile(sides, [0, 0.5, 1], 0))
    often = f"; {most[0]} x {most[1]} {times} times" if times > len(sides) / 10 else ""
    return f"{low} to {high}, median {middle}{often}"


def _lengths(lengths: Sequence[int]) -> str:
    if not lengths:
        return UNKNOWN
    return f"{min(lengths)} to {max(lengths)}, median {np.median(lengths):g}"


def _rate(known_and_present: np.ndarray) -> str:
    known_, there = known_and_present
    return f"{100 * there / known_:.1f} %" if known_ else "-"


def _base_rates(found: Inspection) -> Iterable[str]:
    head = ["AU", "name", *(f"{title}" for title in found.splits), "known"]
    rows = []
    total = sum(split.records for split in found.splits.values())
    counts = {title: split.aus for title, split in found.splits.items() if split.records}
    for place, au in enumerate(found.info.aus):
        known_ = sum(int(seen[0, place]) for seen in counts.values())
        rates = [_rate(counts[t][:, place]) if t in counts else "-" for t in found.splits]
        rows.append([au, facs.AUS[au].name, *rates, f"{100 * known_ / max(total, 1):.0f} %"])
    yield from _table(head, [row for row in rows if row[-1] != "0 %"])
    never = [row[0] for row in rows if row[-1] == "0 %"]
    if never:
        yield ""
        yield f"Never known: AU {', '.join(map(str, never))}."


def _by_class(found: Inspection) -> Iterable[str]:
    names = [name for name in _named(found)]
    yield f"Share of each class with the AU, {', '.join(found.splits)}:"
    yield ""
    none = np.zeros((2, len(found.info.aus)), int)
    sums = {
        name: sum((split.by_class.get(name, none) for split in found.splits.values()), none)
        for name in names
    }
    rows = [
        [au, *(_rate(sums[name][:, place]) for name in names)]
        for place, au in enumerate(found.info.aus)
        if any(sums[name][0, place] for name in names)
    ]
    yield from _table(["AU", *names], rows)
