"""AffectNet with seven or eight classes, from any of the three forms in which it is in circulation."""

import csv
import dataclasses
import io
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from aufer_jax import facs
from aufer_jax.data.records import LANDMARKS
from aufer_jax.datasets import published, splits, subsets
from aufer_jax.datasets.card import Card
from aufer_jax.datasets.listing import Face, Listing
from aufer_jax.datasets.options import PublishedOptions
from aufer_jax.errors import UserError
from aufer_jax.sources.files import Files, base_name
from aufer_jax.sources.images import Cut

TABLES = {"training.csv": splits.TRAIN, "validation.csv": splits.TEST}
FOLDERS = {"train_set": splits.TRAIN, "val_set": splits.TEST}
IMAGES = "Manually_Annotated/Manually_Annotated_Images"
COLUMNS = (
    *("subDirectory_filePath", "face_x", "face_y", "face_width", "face_height"),
    *("facial_landmarks", "expression", "valence", "arousal"),
)
NO_BOX = "Rows without a face box, left out"
NO_LANDMARKS = "Landmarks that are not 68 points, not used"
NO_ANNOTATION = "Images without an annotation, not used"

SUBSETS = {
    subsets.OCCLUDED: subsets.affectnet_occlusion("occlusion_affectnet_list.txt"),
    subsets.POSE30: subsets.pose("pose_30_affectnet_list.txt"),
    subsets.POSE45: subsets.pose("pose_45_affectnet_list.txt"),
}
EIGHT_EXPRESSIONS = facs.EXPRESSIONS[:8]


@dataclasses.dataclass(frozen=True)
class Options(PublishedOptions):
    """The full release (two CSV files), the small one (annotations as .npy), or lists as .npy."""

    # Folder or .zip with RAN's lists of occluded and turned faces; default: they are looked for in the
    # source.
    lists: str = ""
    # What the full release's face boxes are widened by on each side, in shares of their size, before images
    # are cut to them.
    margin: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.margin < 0:
            raise UserError(f"margin: {self.margin} must not be negative")


def read(card: Card, files: Files, options: Options) -> Listing:
    """Its validation images are the test split: a test set was not published."""
    listing = published.begin(card, files, options)
    annotated = {path: found for path in files.names if (found := _annotation(path))}
    arrays = [path for path in files.names if _array_split(path)] if not annotated else []
    tables = [path for path in map(files.shallowest, TABLES) if path]
    wanted = {number for number, name in card.labels().items() if name}
    if tables:
        form, faces = "full release", _full(listing, tables, wanted, options.margin)
    elif annotated:
        form, faces = "small release", _small(listing, annotated, wanted)
    elif arrays:
        form, faces = "lists of paths and labels", _lists(listing, arrays, wanted)
    else:
        raise card.lacks(
            files,
            f"one of: {' and '.join(TABLES)} with {IMAGES}; {' and '.join(FOLDERS)} with "
            f"images and annotations; train and validation .npy lists of paths and labels",
        )
    for face in faces:
        listing.add(face)
    found = {face.split for face in listing.faces}
    for split in sorted({splits.TRAIN, splits.TEST} - found):
        listing.problem("no images for a split", split)
    listing.remarks.append(f"read as its {form}; its validation images are the split test")
    published.finish(card, listing, options)
    subsets.mark(listing, options.lists, SUBSETS, EIGHT_EXPRESSIONS)
    return listing


# --- The full release ---------------------------------------------------------------------------


def _full(listing: Listing, tables: list[str], wanted: set[str], margin: float) -> Iterator[Face]:
    for table in tables:
        rows = csv.reader(io.StringIO(listing.files.open_text(table)))
        split = TABLES[base_name(table)]
        places = {name: place for place, name in enumerate(COLUMNS)}
        for number, cells in enumerate(rows, 1):
            row = [cell.strip() for cell in cells]
            if number == 1 and COLUMNS[0] in row:  # the validation file may have no header
                places = {name: place for place, name in enumerate(row)}
                missing = [name for name in COLUMNS[:7] if name not in places]
                if missing:
                    raise UserError(f"source: {table} lacks the columns {', '.join(missing)}")
                continue
            try:
                value = {name: row[places[name]] for name in COLUMNS[:7]}
                box = np.array([value[name] for name in COLUMNS[1:5]], np.float32)
            except (IndexError, ValueError):
                listing.problem(f"rows of {table} that cannot be read", str(number))
                continue
            file, label = value["subDirectory_filePath"], value["expression"]
            if label not in wanted:  # nothing is opened, only counted
                yield Face(f"{IMAGES}/{file}", label, split=split)
            elif box[2] <= 0 or box[3] <= 0:
                listing.note(NO_BOX, file)
            elif found := listing.find(f"{IMAGES}/{file}", file, base_name(file)):
                yield _full_face(listing, found, value, box, split, margin)


def _full_face(
    listing: Listing, file: str, value: dict[str, str], box: np.ndarray, split: str, margin: float
) -> Face:
    left, top, width, height = box.tolist()
    cut = Cut(
        left - margin * width,
        top - margin * height,
        left + (1 + margin) * width,
        top + (1 + margin) * height,
    )
    marks = points(listing, file, value["facial_landmarks"].split(";"))
    return Face(file, value["expression"], split=split, landmarks=marks, cut=cut)


def points(listing: Listing, file: str, numbers: Any) -> np.ndarray | None:
    """Landmarks [68, 2] of x0 y0 x1 y1 ..., numbers or text, or None."""
    try:
        return np.array(numbers, np.float32).reshape(LANDMARKS, 2)
    except (ValueError, TypeError, OverflowError):
        listing.note(NO_LANDMARKS, file)
        return None


# --- The small release --------------------------------------------------------------------------


def _annotation(path: str) -> tuple[str, str, str] | None:
    """The place, folder and id of `train_set/annotations/<id>_exp.npy`; None for other files."""
    written = re.fullmatch(rf"((?:.*/)?({'|'.join(FOLDERS)})/)annotations/([^/]+)_exp\.npy", path)
    return (written[1], written[2], written[3]) if written else None


def _small(
    listing: Listing, annotated: Mapping[str, tuple[str, str, str]], wanted: set[str]
) -> Iterator[Face]:
    files, listed, there = listing.files, set(), set(listing.files.names)
    for path, (folder, name, number) in annotated.items():
        image = f"{folder}images/{number}.jpg"
        listed.add(image)
        if image not in there:
            listing.missing.append(image)
            continue
        label = label_of(_array(files, path))
        marks = None
        landmarks = path.replace("_exp.npy", "_lnd.npy")
        if label in wanted and landmarks in there:
            marks = points(listing, image, _array(files, landmarks).ravel())
        yield Face(image, label, split=FOLDERS[name], landmarks=marks)
    roots = {folder for folder, _, _ in annotated.values()}
    for image in files.images():
        if image not in listed and any(image.startswith(f"{root}images/") for root in roots):
            listing.note(NO_ANNOTATION, image)


def label_of(written: Any) -> str:
    """A label as the card has it, from a number or a text, also in an array of one value."""
    value = np.array(written, object)
    text = str(value.reshape(-1)[0]).strip() if value.size == 1 else str(value.tolist())
    number = re.fullmatch(r"(-?\d{1,9})(\.0*)?", text)
    return str(int(number[1])) if number else text


def _array(files: Files, path: str) -> np.ndarray:
    try:
        return np.load(io.BytesIO(files.read(path)), allow_pickle=False)
    except (ValueError, OSError, EOFError) as error:
        raise UserError(
            f"source: {path} cannot be read ({error}); arrays of Python objects are not opened, "
            f"save them as text: numpy.save(FILE, array.astype(str))"
        ) from error


# --- Lists of paths and labels ------------------------------------------------------------------


def _array_split(path: str) -> str | None:
    """The split of a list such as `train_list.npy`; None for other files."""
    if not path.endswith(".npy"):
        return None
    words = re.split(r"[^a-z]+", base_name(path).lower())
    named = [split for split in map(splits.named, words) if split]
    return None if not named else splits.TRAIN if splits.TRAIN in named else splits.TEST


def _lists(listing: Listing, arrays: list[str], wanted: set[str]) -> Iterator[Face]:
    seen: dict[str, str] = {}
    for path in arrays:
        split = _array_split(path) or ""
        if split in seen:
            raise UserError(f"source: {seen[split]} and {path} are both lists of one split")
        seen[split] = path
        rows = _array(listing.files, path)
        if rows.ndim != 2 or rows.shape[1] < 2:
            raise UserError(f"source: {path} has the shape {rows.shape}, not [rows, 2 or more]")
        for row in rows:
            file, label = str(row[0]).strip(), label_of(row[1])
            if label not in wanted:
                yield Face(file, label, split=split)
            elif found := listing.find(file):
                yield Face(found, label, split=split)


EIGHT = Card(
    "affectnet8",
    read,
    Options,
    licence="research only under its licence agreement, no redistribution",
    how_to_get="ask its authors (mohammadmahoor.com/affectnet)",
    expressions=EIGHT_EXPRESSIONS,
    dropped={8: "none", 9: "uncertain", 10: "no face"},
    counts={
        splits.TRAIN: (74874, 134415, 25459, 14090, 6378, 3803, 24882, 3750),
        splits.TEST: (500,) * 8,
    },
)
SEVEN = dataclasses.replace(
    EIGHT,
    name="affectnet7",
    expressions=EIGHT.expressions[:7],
    dropped={7: "contempt", **EIGHT.dropped},
    counts={split: counts[:7] for split, counts in EIGHT.counts.items()},
)
