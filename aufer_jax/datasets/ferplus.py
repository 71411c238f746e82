"""FERPlus: FER2013's faces with ten people's votes, as exported PNG files or as the two CSV files."""

import csv
import dataclasses
import io
import warnings
from collections.abc import Iterator

import cv2
import numpy as np

from aufer_jax.data import votes
from aufer_jax.datasets import published, splits, subsets
from aufer_jax.datasets.card import Card
from aufer_jax.datasets.listing import Face, Listing
from aufer_jax.datasets.options import PublishedOptions
from aufer_jax.errors import UserError
from aufer_jax.sources.files import Derived, Files

FOLDERS = {
    "FER2013Train": splits.TRAIN,
    "FER2013Valid": splits.VALIDATION,
    "FER2013Test": splits.TEST,
}
VOTES, PIXELS = "fer2013new.csv", "fer2013.csv"
NO_MAJORITY, UNDECIDED = "no majority", "no majority, kept for its votes"
NO_NAME = "Rows without an image name, left out by the authors"

_SIDE = 48


SUBSETS = {
    subsets.OCCLUDED: subsets.ferplus_occlusion("jianfei_occlusion_list.txt"),
    subsets.POSE30: subsets.pose("pose_30_ferplus_list.txt"),
    subsets.POSE45: subsets.pose("pose_45_ferplus_list.txt"),
}


@dataclasses.dataclass(frozen=True)
class Options(PublishedOptions):
    """Folders `FER2013Train`, `Valid`, `Test` with `label.csv`, or `fer2013.csv` and `fer2013new.csv`."""

    # Folder or .zip with RAN's lists of occluded and turned faces; default: they are looked for in the
    # source.
    lists: str = ""
    # Keep training faces without a majority, with their votes but no label, so that `data.labels` other
    # than "majority" can learn from them.
    undecided: bool = False


def read(card: Card, files: Files, options: Options) -> Listing:
    """FER+'s images with their votes, and the label that the votes make."""
    names = (*card.expressions, *card.dropped.values())  # the order of the vote columns
    meanings = {name: name if name in card.expressions else None for name in names}
    meanings |= {NO_MAJORITY: None} | ({UNDECIDED: ""} if options.undecided else {})
    listing = published.begin(card, files, options, meanings)
    labels = [
        path
        for folder in FOLDERS
        for path in files.names
        if f"/{path}".endswith(f"/{folder}/label.csv")
    ]
    if labels:
        rows = _exported(listing, labels)
    elif files.shallowest(VOTES) and files.shallowest(PIXELS):
        rows = _pixels(listing)
    else:
        shown = f"{'/, '.join(FOLDERS)}/, each with label.csv and PNG files"
        raise card.lacks(files, f"{shown}, or {PIXELS} and {VOTES}")
    columns = published.columns(names, listing.expressions)
    for file, split, cells in rows:
        counts = _counts(cells)
        if counts is None or len(counts) != len(names):
            listing.problem(f"rows without {len(names)} counts", file)
            continue
        best, _ = votes.majority(counts, len(names))
        label = NO_MAJORITY if best < 0 else names[int(best)]
        if label == NO_MAJORITY and options.undecided and split == splits.TRAIN:
            label = UNDECIDED
        listing.add(Face(file, label, split=split, votes=counts[columns]))
    published.finish(card, listing, options)
    subsets.mark(listing, options.lists, SUBSETS, card.expressions)
    return listing


def _counts(cells: list[str]) -> np.ndarray | None:
    try:
        return np.array(cells, np.float32)
    except ValueError:
        return None


def _exported(listing: Listing, labels: list[str]) -> Iterator[tuple[str, str, list[str]]]:
    """File, split and votes of every row of the folders' `label.csv`."""
    for path in labels:
        *_, folder, _ = path.split("/")
        for row in csv.reader(io.StringIO(listing.files.open_text(path))):
            if not row:
                continue
            found = listing.find(path.replace("label.csv", row[0].strip()))
            if found:
                yield found, FOLDERS[folder], row[-10:]


def _pixels(listing: Listing) -> Iterator[tuple[str, str, list[str]]]:
    """The same of the two CSV files, whose rows are in the same order."""
    files = listing.files
    found = {name: files.shallowest(name) or "" for name in (VOTES, PIXELS)}
    rows = list(csv.reader(io.StringIO(files.open_text(found[VOTES]))))[1:]
    usages, pixels = _read_pixels(files, found[PIXELS])
    if len(pixels) != len(rows):
        raise UserError(
            f"source: {VOTES} has {len(rows)} rows, {PIXELS} {len(pixels)}; they must be alike"
        )
    folders = {split: folder for folder, split in FOLDERS.items()}
    places: dict[str, int] = {}
    listed = []
    for number, (row, usage) in enumerate(zip(rows, usages, strict=True)):
        split = splits.named(row[0])
        if split is None or splits.named(usage) != split:
            listing.problem(
                f"rows whose usage differs between {VOTES} and {PIXELS}", str(number + 2)
            )
            continue
        name = row[1].strip()
        if not name:
            listing.note(NO_NAME, f"{VOTES}, row {number + 2}")
            continue
        file = f"{folders[split]}/{name}"
        places[file] = number
        listed.append((file, split, row[2:]))
    listing.images = Derived(
        files.source,
        lambda file: cv2.imencode(".png", pixels[places[file]])[1].tobytes(),
        lambda file: f"{files.stamp(found[PIXELS])}/{places[file]}",
    )
    yield from listed


def _read_pixels(files: Files, path: str) -> tuple[list[str], np.ndarray]:
    """The usage of every row, and its pixels [rows, 48, 48]."""
    rows = csv.reader(io.TextIOWrapper(io.BytesIO(files.read(path)), "utf-8-sig", newline=""))
    header = [cell.strip().lower() for cell in next(rows, [])]
    if not {"usage", "pixels"} <= set(header):
        raise UserError(f"source: {path} has no columns usage and pixels; it has {header}")
    usage, column = header.index("usage"), header.index("pixels")
    usages, images = [], []
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)  # of NumPy: the text is not all numbers
        for number, row in enumerate(rows, 2):
            try:
                pixels = np.fromstring(row[column], np.uint8, sep=" ")
                images.append(pixels.reshape(_SIDE, _SIDE))
            except (ValueError, IndexError, DeprecationWarning):
                raise UserError(f"source: {path}, row {number} has not 48 x 48 pixels") from None
            usages.append(row[usage])
    return usages, np.array(images)


CARD = Card(
    "ferplus",
    read,
    Options,
    licence="votes: MIT; images (FER2013): research only, no redistribution",
    how_to_get=(
        f"{PIXELS} is the FER2013 challenge of Kaggle, {VOTES} and label.csv are from "
        f"github.com/microsoft/FERPlus"
    ),
    expressions=(
        *("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt"),
    ),
    dropped={8: "unknown", 9: "not a face"},
    # Majority votes; unknown and not-a-face are dropped.
    counts={
        splits.TRAIN: (8740, 7287, 3149, 3014, 2100, 119, 532, 119),
        splits.VALIDATION: (1182, 865, 415, 351, 287, 24, 62, 13),
        splits.TEST: (1090, 893, 396, 384, 273, 18, 83, 16),
    },
)
