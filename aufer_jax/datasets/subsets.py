"""Test images with occlusion or a turned head, as the lists of RAN name them (Wang et al., TIP 2020).

They become splits of their own, `occluded`, `pose30` and `pose45`, which hold copies of test records.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import ClassVar, NamedTuple

from aufer_jax import facs
from aufer_jax.datasets.file_dataset import Face, Listing
from aufer_jax.datasets.published import Published
from aufer_jax.datasets.splits import TEST
from aufer_jax.errors import UserError
from aufer_jax.sources.files import Files, base_name, stem

OCCLUDED, POSE30, POSE45 = "occluded", "pose30", "pose45"
SOURCE = "github.com/kaiwang960112/Challenge-condition-FER-dataset"


class Entry(NamedTuple):
    """One line of a list."""

    stem: str  # of the image's file
    label: int  # counted from 0 in the dataset's order
    note: str = ""  # the kind of occlusion, a number whose meaning is not documented


def raf_occlusion(line: str) -> Entry:
    """`test_0003_aligned 3 4`"""
    name, label, kind = line.split()
    return Entry(name.lower(), int(label), f"occlusion {kind}")


def ferplus_occlusion(line: str) -> Entry:
    """`1_fer0034656.png 8 0`"""
    name, _, kind = line.split()
    label, _, file = name.partition("_")
    return Entry(stem(file), int(label), f"occlusion {kind}")


def affectnet_occlusion(line: str) -> Entry:
    """`val/0/<name>/`"""
    _, label, name = line.strip("/").split("/")
    return Entry(name.lower(), int(label))


def folder_and_name(line: str) -> Entry:
    """`0/fer0032226.jpg`, or `7/<name>/8.jpg`"""
    label, name = line.split("/")[:2]
    return Entry(stem(name) if "." in name else name.lower(), int(label))


@dataclasses.dataclass(frozen=True)
class WithSubsets(Published):
    """A dataset that RAN has lists for.

    Attributes:
      lists: the folder or .zip with the lists; default: they are looked for in the source.
    """

    # Split -> the list's file name and how its lines are read.
    subset_files: ClassVar[Mapping[str, tuple[str, Callable[[str], Entry]]]] = {}
    subset_order: ClassVar[str] = ""  # of the labels in the lists, one of `facs.LABEL_ORDERS`

    lists: str = ""

    def listing(self, files: Files) -> Listing:
        listing = super().listing(files)
        place = Files(self.lists) if self.lists else files
        found = {
            split: (path, read)
            for split, (name, read) in self.subset_files.items()
            if (path := place.shallowest(name))
        }
        if self.lists and not found:
            wanted = ", ".join(name for name, _ in self.subset_files.values())
            raise UserError(f"lists: {self.lists} holds none of {wanted}; they are in {SOURCE}")
        tests = {stem(face.file): face for face in listing.faces if face.split == TEST}
        for split, (path, read) in found.items():
            entries = _entries(path, place.open_text(path), read)
            self._mark(listing, split, path, entries, tests)
        return listing

    def _mark(
        self,
        listing: Listing,
        split: str,
        path: str,
        entries: list[Entry],
        tests: Mapping[str, Face],
    ) -> None:
        """Puts the test images of a list into its split, and notes where the two do not agree."""
        names = facs.expressions_of(self.subset_order)
        title = f"{base_name(path)} ({split})"
        missing, conflicts, left_out, marked = [], [], [], 0
        for entry in entries:
            face = tests.get(entry.stem)
            if face is None:
                missing.append(entry.stem)
                continue
            ours = listing.label_map[face.label]
            if ours is None:
                left_out.append(entry.stem)
                continue
            theirs = names[entry.label] if 0 <= entry.label < len(names) else str(entry.label)
            if ours != theirs:
                conflicts.append(f"{face.file}: {theirs} there, {ours} here")
            if split not in face.also:
                face.also = (*face.also, split)
                marked += 1
            face.note = face.note or entry.note
        listing.findings[f"Rows of {title} without a test image"] = missing
        listing.findings[f"Rows of {title} with another label than the test set"] = conflicts
        listing.findings[f"Rows of {title} whose test image is left out for its label"] = left_out
        listing.remarks.append(
            f"split {split}: {marked} copies of test images, from the {len(entries)} rows of {path}; "
            f"labels are the test set's"
        )


def _entries(path: str, text: str, read: Callable[[str], Entry]) -> list[Entry]:
    entries = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            entries.append(read(line.strip()))
        except ValueError:
            raise UserError(
                f"{path}: line {number}, {line!r}, is not of the form {read.__doc__}"
            ) from None
    return entries
