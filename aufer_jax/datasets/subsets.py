"""Test images with occlusion or a turned head, as the lists of RAN name them (Wang et al., TIP 2020).

They become splits of their own, `occluded`, `pose30` and `pose45`, which hold copies of test records.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from aufer_jax.datasets.listing import Face, Listing
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


class ListFile(NamedTuple):
    """A list of RAN: what it is called, and how its lines look and are read."""

    name: str
    example: str
    entry: Callable[[str], Entry]


def raf_occlusion(name: str) -> ListFile:
    """RAN's list of occluded faces of RAF-DB's test split."""

    def entry(line: str) -> Entry:
        image, label, kind = line.split()
        return Entry(image.lower(), int(label), f"occlusion {kind}")

    return ListFile(name, "test_0003_aligned 3 4", entry)


def ferplus_occlusion(name: str) -> ListFile:
    """RAN's list of occluded faces of FER+'s test split."""

    def entry(line: str) -> Entry:
        image, _, kind = line.split()
        label, _, file = image.partition("_")
        return Entry(stem(file), int(label), f"occlusion {kind}")

    return ListFile(name, "1_fer0034656.png 8 0", entry)


def affectnet_occlusion(name: str) -> ListFile:
    """RAN's list of occluded faces of AffectNet's validation split."""

    def entry(line: str) -> Entry:
        _, label, image = line.strip("/").split("/")
        return Entry(image.lower(), int(label))

    return ListFile(name, "val/0/<name>/", entry)


def pose(name: str) -> ListFile:
    """RAN's list of turned faces."""

    def entry(line: str) -> Entry:
        label, image = line.split("/")[:2]
        return Entry(stem(image) if "." in image else image.lower(), int(label))

    return ListFile(name, "0/fer0032226.jpg, or 7/<name>/8.jpg", entry)


def mark(
    listing: Listing, lists: str, files: Mapping[str, ListFile], expressions: tuple[str, ...]
) -> None:
    """Puts test images into the splits of the lists that there are.

    Args:
      listing: a finished one.
      lists: the folder or .zip with the lists; empty: they are looked for in the source.
      files: split -> its list.
      expressions: which the labels in the lists count, from 0.
    """
    place = Files(lists) if lists else listing.files
    found = {s: (path, of) for s, of in files.items() if (path := place.shallowest(of.name))}
    if lists and not found:
        wanted = ", ".join(of.name for of in files.values())
        raise UserError(f"lists: {lists} holds none of {wanted}; they are in {SOURCE}")
    tests = {stem(face.file): face for face in listing.faces if face.split == TEST}
    for split, (path, of) in found.items():
        entries = _entries(path, place.open_text(path), of)
        _mark(listing, split, path, entries, tests, expressions)


def _mark(
    listing: Listing,
    split: str,
    path: str,
    entries: list[Entry],
    tests: Mapping[str, Face],
    names: tuple[str, ...],
) -> None:
    """Puts the test images of a list into its split, and notes where the two do not agree."""
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


def _entries(path: str, text: str, of: ListFile) -> list[Entry]:
    entries = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        try:
            entries.append(of.entry(line.strip()))
        except ValueError:
            raise UserError(
                f"{path}: line {number}, {line!r}, is not of the form {of.example}"
            ) from None
    return entries
