"""What builders of datasets that come as files share: listing them, and writing what was listed."""

import csv
import dataclasses
import io
import os
import pathlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, ClassVar

from aufer_jax import errors, facs
from aufer_jax.data import records
from aufer_jax.data.records import DatasetInfo, Record
from aufer_jax.datasets import media, store
from aufer_jax.datasets.listing import Face, Listing
from aufer_jax.sources import tables, track_files
from aufer_jax.sources.files import Files, base_name, normal, stem

PRIVATE = (
    "Photographs of faces are personal data: do not redistribute the images or this prepared copy."
)


class Problems:
    """Everything wrong with a source, told at once."""

    _SHOWN = 5

    def __init__(self) -> None:
        self._found: dict[str, list[str]] = {}

    def add(self, what: str, item: str) -> None:
        self._found.setdefault(what, []).append(item)

    def check(self, source: object) -> None:
        """A ValueError that lists a few of each kind, if there are any."""
        if not self._found:
            return
        lines = [
            f"{what} ({len(items)}): {', '.join(items[: self._SHOWN])}"
            + (", ..." if len(items) > self._SHOWN else "")
            for what, items in self._found.items()
        ]
        raise errors.UserError(f"source: {source} cannot be prepared; " + "; ".join(lines))


@dataclasses.dataclass(frozen=True)
class FileDataset:
    """A dataset as its authors ship it; subclasses say how its files are read.

    A subclass is a frozen dataclass. It sets the class variables, may add fields (they become
    options of `prepare`), and gives `listing(files)`, which raises a ValueError for what is
    missing or wrong. Decoding, splits that are not given, writing and the report are not its task.
    """

    name: ClassVar[str] = ""
    kind: ClassVar[str] = records.IMAGE
    licence: ClassVar[str] = "not stated"
    redistribution: ClassVar[str] = PRIVATE
    how_to_get: ClassVar[str] = ""
    # Split -> images of each class in the order of `expressions`, as its authors count them.
    published: ClassVar[Mapping[str, tuple[int, ...]]] = {}
    test_share: ClassVar[float] = 0.2  # taken for it where the source gives no splits

    expressions: tuple[str, ...] = ()  # classes to keep, in label order; empty: all

    def __post_init__(self) -> None:
        object.__setattr__(self, "expressions", tuple(map(facs.expression, self.expressions)))
        if len(set(self.expressions)) < len(self.expressions):
            raise errors.UserError(f"expressions: {', '.join(self.expressions)} names one twice")

    def listing(self, files: Files) -> Listing:
        """The images of the source; opens label files, but no image."""
        raise TypeError(f"{type(self).__name__} does not say how {files.source} is read")

    def medium(self, files: Files, listing: Listing) -> media.Medium:
        """How its items are checked and written."""
        return media.ImageMedium(listing.images or files)

    def expected(self, listing: Listing) -> Mapping[str, tuple[int, ...]]:
        """The published counts in the order of the listing's classes, as far as there are any."""
        del listing
        return self.published


def class_map(
    labels: Iterable[str], wanted: tuple[str, ...], problems: Problems
) -> tuple[tuple[str, ...], dict[str, str | None]]:
    """The classes of a source and which of them each written label is.

    Words are spelled in any way `facs.expression` knows, numbers count through `wanted` from 0.
    Without `wanted` the classes are those that occur, in the order of `facs.EXPRESSIONS`; with it
    all other labels are left out.
    """
    meanings: dict[str, str | None] = {}
    for label, count in sorted(Counter(labels).items()):
        try:
            meanings[label] = _meaning(label, wanted)
        except ValueError as error:
            problems.add(str(error), f"{label!r} on {count} images")
    found = set(meanings.values())
    occurring = tuple(name for name in facs.EXPRESSIONS if name in found)
    return wanted or occurring, meanings


def _meaning(label: str, wanted: tuple[str, ...]) -> str | None:
    if not label:
        return ""
    if label.lstrip("-").replace(".", "", 1).isdigit() and float(label) == int(float(label)):
        number = int(float(label))
        if number == -1:
            return ""
        if not wanted:
            raise errors.UserError(
                "labels are numbers: name their classes with expressions, from 0 on"
            )
        if not 0 <= number < len(wanted):
            raise errors.UserError(f"numbers outside 0..{len(wanted) - 1}, the classes named")
        return wanted[number]
    try:
        name = facs.expression(label)
    except ValueError:
        if wanted:
            return None
        raise errors.UserError(
            f"labels that are no expression (known: {', '.join(facs.EXPRESSIONS)}; "
            f"name the classes to keep with expressions to leave the others out)"
        ) from None
    return name if not wanted or name in wanted else None


# --- Action Units of another file ---------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class WithAUs(FileDataset):
    """A dataset whose images can be given AUs of another file.

    Attributes:
      au: a CSV with AUs, joined by file name, or a folder or .zip with a CSV for each image; they
        replace the dataset's own.
      au_values: "intensity" or "presence", where AU columns come as both (`_r` and `_c`).
      au_confidence: AUs of less confident rows are unknown.
    """

    au: str = ""
    au_values: str = "intensity"
    au_confidence: float = 0.8

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.au_values not in tables.AU_VALUES:
            raise errors.unknown("au_values", self.au_values, tables.AU_VALUES)
        if not 0 <= self.au_confidence <= 1:
            raise errors.UserError(f"au_confidence: {self.au_confidence} must be from 0 to 1")

    def units(self, table: tables.Table) -> tables.ActionUnits | None:
        """The AUs of a table's columns as the options say."""
        return tables.action_units(table, prefer=self.au_values, confidence=self.au_confidence)

    def join_au_file(self, files: Files, listing: Listing) -> None:
        """Gives the images the AUs of the file named by `au`, if one is."""
        if not self.au:
            return
        table = self._au_table(files, listing)
        units = self.units(table)
        if units is None:
            raise errors.UserError(
                f"au: {table.name} has no column such as AU06, AU06_r or AU06_c; it has "
                f"{', '.join(table.header[:12])}"
            )
        for face in listing.faces:
            face.au = face.au_known = None
        kept = [face for face in listing.faces if listing.label_map[face.label] is not None]
        listing.au_join = join_aus(kept, table, units)
        listing.aus = units.aus
        listing.remarks.extend(units.remarks)

    def _au_table(self, files: Files, listing: Listing) -> tables.Table:
        place = pathlib.Path(self.au).expanduser()
        below = f"{normal(self.au).rstrip('/')}/"
        many = place.is_dir() or place.suffix.lower() == ".zip"
        if not many and not any(name.startswith(below) for name in files.names):
            return tables.Table(place.name, files.pick("au", self.au).decode("utf-8-sig"))
        held = track_files.find(self.au, files)
        table, unread = one_table(held, "" if many else below)
        listing.findings["AU files that cannot be read"] = unread
        return table


def one_table(held: track_files.TrackFiles, folder: str) -> tuple[tables.Table, list[str]]:
    """The AUs of many CSV files, one for each image, as one table; and the files that hold none.

    OpenFace writes them so for folders of images; its rows get the name of their file, from
    `folder` on.
    """
    made: list[dict[str, str]] = []
    unread = []
    for name in held.names:
        try:
            table = tables.Table(name, held.text(name))
            found = tables.au_columns(table)[0]
            if not found:
                raise errors.UserError(f"{name}: no column such as AU06, AU06_r or AU06_c")
        except ValueError as error:
            unread.append(str(error))
            continue
        kept = {"confidence", "success", *(c for ways in found.values() for c in ways.values())}
        places = [(i, column) for i, column in enumerate(table.header) if column in kept]
        file = name.removeprefix(folder)
        made.extend({"file": file} | {c: row[i] for i, c in places} for row in table.rows)
    if not made:
        raise errors.UserError(
            f"au: no AUs in {held.source}; " + "; ".join(unread[:3] or ["no rows"])
        )
    columns = list(dict.fromkeys(column for row in made for column in row))
    text = io.StringIO()
    rows = csv.DictWriter(text, columns, lineterminator="\n")
    rows.writeheader()
    rows.writerows(made)
    return tables.Table(pathlib.Path(held.source).name, text.getvalue()), unread


def join_aus(faces: list[Face], table: tables.Table, units: tables.ActionUnits) -> dict[str, Any]:
    """Gives faces the AUs of a table's rows: by path, else by file name, else without suffix.

    The name without suffix also without "_aligned", which RAF-DB adds to the names of its originals.
    Of several rows of one image (several faces) the most confident one counts.

    Returns:
      What matched and what did not, for the report.
    """
    best: dict[str, int] = {}
    written = [normal(text) for text in table.need("file")]
    for row, name in enumerate(written):
        if name not in best or units.confidence[row] > units.confidence[best[name]]:
            best[name] = row
    ways = {
        "path": lambda text: text,
        "path without suffix": lambda text: os.path.splitext(text)[0].lower(),
        "file name": base_name,
        "name without suffix": stem,
        "name without _aligned": lambda text: stem(text).removesuffix("_aligned"),
    }
    matched, used = Counter(), set()
    unmatched = []
    indices = {way: _unique(best, key) for way, key in ways.items()}
    for face in faces:
        row = None
        for way, key in ways.items():
            row = indices[way].get(key(face.file))
            if row is not None:
                matched[way] += 1
                break
        if row is None:
            unmatched.append(face.file)
            continue
        used.add(row)
        face.au, face.au_known = units.values[row], units.known[row]
    return {
        "file": table.name,
        "matched": dict(matched),
        "images_without_row": unmatched,
        "rows_without_image": [name for name, row in best.items() if row not in used],
        "rows_of_further_faces": len(written) - len(best),
        "not_confident": int(sum(units.doubted[row] for row in used)),
    }


def _unique(rows: Mapping[str, int], key: Callable[[str], str]) -> dict[str, int]:
    """The rows by a part of their names; names that become the same are left out."""
    counts = Counter(map(key, rows))
    return {key(name): row for name, row in rows.items() if counts[key(name)] == 1}


# --- Writing ------------------------------------------------------------------------------------


class Faces(store.Builder):
    """The records of a prepared source. To read them, `records_of` is not needed."""

    name = "faces"

    def __init__(
        self,
        dataset: DatasetInfo,
        data_dir: str | os.PathLike,
        records_of: Callable[[str], Iterator[Record]] | None = None,
    ):
        self._records_of = records_of
        super().__init__(dataset, data_dir)

    def records(self, split: str) -> Iterator[Record]:
        if self._records_of is None:
            return super().records(split)
        return self._records_of(split)
