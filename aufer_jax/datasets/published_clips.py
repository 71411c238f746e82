"""What builders of published clip datasets share: split lists, folds, and which copy of the frames."""

import dataclasses
import re
from collections.abc import Iterator, Mapping
from typing import ClassVar, NamedTuple

from aufer_jax import errors, facs
from aufer_jax.datasets import own_clips, published, splits
from aufer_jax.datasets.file_dataset import Problems
from aufer_jax.datasets.listing import Clip, Listing
from aufer_jax.sources.files import Files, base_name

IN_TWO_FOLDS = "Clips in the test lists of two sets, taken for the first"
IN_BOTH_LISTS = "Clips in the train and the test list of one set"
IN_NO_TEST_LIST = "Clips of the train lists in no test list, not used"
LABELS_DIFFER = "Clips with different labels in the lists, taken from the first"

_SET = re.compile(r"(?:set|split|fold)[_-]?0*(\d+)(?!\d)", re.IGNORECASE)
_LISTS = (".csv", ".txt")


class Row(NamedTuple):
    """One line of a split list."""

    name: str
    label: str
    commas: bool  # the authors' own lists of DFEW have commas, the others spaces


@dataclasses.dataclass
class ClipReading(published.Reading):
    """A source of clips while its label files are read."""

    second_rows: ClassVar[str] = "Second rows of a clip, not used"

    found: own_clips.Found = None  # pyright: ignore


@dataclasses.dataclass(frozen=True)
class PublishedClips(own_clips.WithClips, published.Published):
    """A clip dataset of the papers; subclasses give `read(reading)`.

    Attributes:
      lists: the folder or .zip with the split lists; default: they are looked for in the source.
      variant: the folder whose frames are taken, where the source holds several copies of them.
    """

    a_kind: ClassVar[str] = "a clip"
    variants: ClassVar[tuple[str, ...]] = ()  # the first that the source has is taken

    lists: str = ""
    variant: str = ""

    def opened(self, files: Files) -> ClipReading:
        found = own_clips.Found(files)
        parts = {part for path in found.frames for part in path.split("/")[:-1]}
        if self.variant and self.variant not in parts:
            raise errors.unknown("variant, a folder of the source", self.variant, sorted(parts))
        there = [v for v in self.variants if v in parts]
        chosen = self.variant or next(iter(there), "")
        if chosen:
            found.only(chosen)
        reading = ClipReading(files, found=found)
        others = [name for name in there if name != chosen]
        if others:
            reading.remarks.append(f"frames of {chosen}; the source also has {', '.join(others)}")
        return reading

    def listing(self, files: Files) -> Listing:
        listing = super().listing(files)
        own_clips.tell_order(listing, self.frame_order)
        return listing

    def place(self, files: Files) -> Files:
        """Where the split lists are."""
        return Files(self.lists) if self.lists else files

    def add(
        self, reading: ClipReading, name: str, label: str, split: str, subject: str = ""
    ) -> None:
        """Adds the clip that a label file names."""
        paths = reading.found.find(name)
        if len(paths) > 1:
            reading.problems.add(
                f"clips of which there are several copies; --variant names the folder of one: {name}",
                ", ".join(paths[:3]),
            )
        elif not paths:
            reading.missing.append(name)
        else:
            frames = self.in_order(reading.found.frames[paths[0]])
            reading.add(Clip(paths[0], label, subject, split, frames=frames))


def rows(path: str, text: str, problems: Problems) -> Iterator[Row]:
    """The lines of a list: `name label`, `name frames label`, or `name,label`, with or without a header."""
    for number, line in enumerate(text.splitlines(), 1):
        commas = "," in line
        cells = [cell.strip() for cell in (line.split(",") if commas else line.split())]
        if not any(cells):
            continue
        if len(cells) in (2, 3) and _is_label(cells[-1]):
            yield Row(cells[0], cells[-1], commas)
        elif number > 1:  # else a header
            problems.add(f"lines of {path} that are not a name and a label", f"{number}: {line}")


def _is_label(text: str) -> bool:
    try:
        return text.isdigit() or bool(facs.expression(text))
    except ValueError:
        return False


# --- Folds --------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Folded(PublishedClips):
    """A dataset with cross-validation: the test lists of its sets are the folds.

    The train lists are the complements and are only compared.
    """

    folds: ClassVar[int] = 5
    fold_sizes: ClassVar[tuple[int, ...]] = ()  # as published; empty: the counts of classes tell
    no_lists: ClassVar[tuple[str, ...]] = ()  # parts of the paths of lists that are others

    def clip_name(self, row: Row) -> str:
        """The name that the clip of a row has in the source."""
        return row.name

    def label(self, row: Row) -> str:
        """What `label_map` knows the label of a row as."""
        return row.label

    def read(self, reading: published.Reading) -> None:
        assert isinstance(reading, ClipReading)
        place = self.place(reading.files)
        series = _series(place, self.folds, self.no_lists)
        if not series:
            raise self.lacks(reading.files, self.shown_lists())
        held = [self._folds(place, tests, reading) for tests in series]
        if any(other != held[0] for other in held[1:]):
            shown = ", ".join(tests[1] for tests in series)
            raise errors.UserError(
                f"lists: {shown} disagree; name a folder with one of them with lists"
            )
        for name, (fold, label) in held[0].items():
            self.add(reading, name, label, splits.fold(fold))
        self._compare(place, series[0], held[0], reading)
        for fold, size in enumerate(self.fold_sizes, 1):
            mine = sum(number == fold for number, _ in held[0].values())
            if mine != size:
                reading.remarks.append(f"fold {fold}: {mine} clips in its list, published {size}")

    def shown_lists(self) -> str:
        return f"the test lists of its {self.folds} sets"

    def _folds(
        self, place: Files, tests: Mapping[int, str], reading: ClipReading
    ) -> dict[str, tuple[int, str]]:
        """Clip -> its fold and label."""
        found: dict[str, tuple[int, str]] = {}
        for fold, path in sorted(tests.items()):
            for row in rows(path, place.open_text(path), reading.problems):
                name, label = self.clip_name(row), self.label(row)
                if name not in found:
                    found[name] = fold, label
                elif found[name][0] == fold:
                    reading.note(reading.second_rows, name)
                else:
                    reading.note(IN_TWO_FOLDS, name)
        return found

    def _compare(
        self,
        place: Files,
        tests: Mapping[int, str],
        found: Mapping[str, tuple[int, str]],
        reading: ClipReading,
    ) -> None:
        """Notes where the train lists contradict the folds."""
        strangers: dict[str, None] = {}
        for fold, path in sorted(tests.items()):
            train = _train_list(path)
            if train not in place:
                reading.remarks.append(f"no train list beside {path}; it was not compared")
                continue
            for row in rows(train, place.open_text(train), reading.problems):
                name = self.clip_name(row)
                if name not in found:
                    strangers[name] = None
                elif found[name][0] == fold:
                    reading.note(IN_BOTH_LISTS, f"{name}, set {fold}")
                elif found[name][1] != self.label(row):
                    reading.note(LABELS_DIFFER, f"{name}, set {fold}")
        if strangers:
            reading.findings[IN_NO_TEST_LIST] = list(strangers)


def _series(files: Files, folds: int, others: tuple[str, ...]) -> list[dict[int, str]]:
    """The complete series of test lists: set -> path."""
    found: dict[str, dict[int, str]] = {}
    for path in files.names:
        tail = "/".join(path.split("/")[-2:])
        number = _SET.search(tail)
        if number is None or not path.lower().endswith(_LISTS) or "test" not in tail.lower():
            continue
        if any(other in path.lower() for other in others):
            continue
        head = path.removesuffix(tail)
        name = f"{head}{tail[: number.start(1)]}#{tail[number.end(1) :]}"
        found.setdefault(name, {})[int(number[1])] = path
    return [tests for tests in found.values() if set(tests) == set(range(1, folds + 1))]


def _train_list(test: str) -> str:
    """The path of the train list that goes with a test list."""
    *outer, inner, name = ["", "", *test.split("/")]
    if "test" in base_name(test).lower():
        name = re.sub("test", "train", name, flags=re.IGNORECASE)
    else:
        inner = re.sub("test", "train", inner, flags=re.IGNORECASE)
    return "/".join([*outer, inner, name]).lstrip("/")
