"""Aff-Wild2, expressions: long videos labelled frame by frame, cut into clips of one expression."""

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence

from aufer_jax.data import records
from aufer_jax.datasets import published, split_lists, splits
from aufer_jax.datasets.card import Card
from aufer_jax.datasets.clip_files import frame_number
from aufer_jax.datasets.listing import Clip, Listing
from aufer_jax.datasets.options import PublishedClipOptions
from aufer_jax.errors import UserError
from aufer_jax.sources.files import Files, base_name, stem

FRAMES = "cropped_aligned"
FOLDERS = (
    "annotation folders such as EXPR_Set/Train_Set and EXPR_Set/Validation_Set with a .txt a video"
)

WITHOUT_FRAMES = "Labelled videos without a folder of frames"
BEYOND = "Frames after the last label, not used"
SHORT = "Runs of one expression that are too short, not used"

_UNLABELLED = "-1"
_PERSON = re.compile(r"_(left|right)$")


@dataclasses.dataclass(frozen=True)
class Options(PublishedClipOptions):
    """`<...Train_Set>/<video>.txt`: the classes in the first line, then one number per frame."""

    # A run of frames with one expression is cut into clips of at most this many frames, nearly equal in
    # length; 0 keeps it whole.
    window: int = 64
    # Runs of fewer frames are left out.
    shortest: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        for key, value in (("window", self.window), ("shortest", self.shortest)):
            if value < 0:
                raise UserError(f"{key}: {value} must be at least 0")
        if self.window and self.shortest > self.window:
            raise UserError(f"shortest: {self.shortest} is more than window, {self.window}")


def read(card: Card, files: Files, options: Options) -> Listing:
    """Frame i of a video is `<video>/<i of 5 digits>.jpg`, from 1.

    The labels of the official test set are not public: its validation set is the split "test".
    """
    known: dict[str, str | None] = {label: name for label, name in card.labels().items() if name}
    listing = published.begin(card, files, options, known)
    found = split_lists.find_clips(listing, options.variant, (FRAMES, "cropped"))
    place = Files(options.lists) if options.lists else files
    folders = {base_name(path): path for path, frames in found.frames.items() if frames}
    labelled = [(path, split) for path in place.names if (split := _split(path))]
    # The annotations of AUs and of valence are in folders of the same names.
    labelled = [row for row in labelled if "expr" in row[0].lower()] or labelled
    if not labelled:
        raise card.lacks(files, FOLDERS)
    dropped = 0
    for path, split in labelled:
        folder = folders.get(base_name(path).rsplit(".", 1)[0])
        labels = _labels(listing, place, path, known)
        if folder is None:
            listing.note(WITHOUT_FRAMES, path)
            continue
        numbered = {frame_number(file): file for file in found.frames[folder]}
        frames = _annotated(listing, folder, numbered, len(labels))
        dropped += sum(labels[number - 1] not in known for number in frames)
        rows = {number: number - 1 for number in frames}  # of the video's AU file
        if options.au_rows == "order":
            rows = {number: row for row, number in enumerate(numbered)}
        for label, piece in _clips(listing, folder, labels, list(frames), known, options):
            key = f"{folder}/{piece[0]:05}-{piece[-1]:05}"
            clip = Clip(key, label, _PERSON.sub("", base_name(folder)), split)
            clip.frames = tuple(frames[number] for number in piece)
            clip.numbers = tuple(rows[number] for number in piece)
            clip.recording = folder
            listing.add(clip)
    listing.remarks.append(f"{dropped} frames are not annotated or of other expressions")
    published.finish(card, listing, options)
    return listing


def _annotated(
    listing: Listing, folder: str, numbered: Mapping[int, str], labels: int
) -> dict[int, str]:
    """The frames of a video in order of their numbers, without those after the last label."""
    found = {number: numbered[number] for number in sorted(numbered) if number <= labels}
    if len(found) < len(numbered):
        listing.note(BEYOND, f"{folder}: {len(numbered) - len(found)}")
    return found


def _clips(
    listing: Listing,
    folder: str,
    labels: Sequence[str],
    numbers: Sequence[int],
    known: Mapping[str, str | None],
    options: Options,
) -> Iterator[tuple[str, Sequence[int]]]:
    """Label and frame numbers of the clips that a video is cut into."""
    for label, run in runs(labels, numbers):
        if label not in known:
            continue
        if len(run) < options.shortest:
            listing.note(SHORT, f"{folder}: {run[0]} to {run[-1]}")
            continue
        yield from ((label, piece) for piece in pieces(run, options.window))


def _split(path: str) -> str:
    """The split of a label file, by its folder; empty for other files."""
    *_, folder, name = ["", *path.lower().split("/")]
    if not name.endswith(".txt") or stem(name) == "readme":
        return ""
    return splits.TRAIN if "train" in folder else splits.TEST if "val" in folder else ""


def _labels(
    listing: Listing, place: Files, path: str, known: Mapping[str, str | None]
) -> list[str]:
    """The label of each frame."""
    header, *lines = place.open_text(path).splitlines() or [""]
    first = header.replace(" ", "").lower().split(",")
    if first[: len(known)] != list(known.values()):
        what = f"label files whose first line is not {','.join(filter(None, known.values()))}[,...]"
        listing.problem(what, f"{path}: {header[:80]}")
    labels = [line.strip() for line in lines if line.strip()]
    for number, label in enumerate(labels, 2):
        if label != _UNLABELLED and not label.isdigit():
            listing.problem(f"lines of {path} that are not a label", f"{number}: {label[:20]}")
    return labels


def runs(labels: Sequence[str], numbers: Sequence[int]) -> Iterator[tuple[str, list[int]]]:
    """The runs of frames of one label: label, and the numbers, from 1, of the frames that are there.

    A missing frame does not end a run; a frame of another label does, even if it is missing.
    """
    there = set(numbers)
    run: list[int] = []
    for number, label in enumerate(labels, 1):
        if number > 1 and label != labels[number - 2]:
            if run:
                yield labels[number - 2], run
            run = []
        if number in there:
            run.append(number)
    if run:
        yield labels[-1], run


def pieces(run: Sequence[int], most: int) -> Iterator[Sequence[int]]:
    """A run in the fewest pieces of at most `most` frames, their lengths equal or different by one."""
    count = -(-len(run) // most) if most else 1
    for piece in range(count):
        yield run[piece * len(run) // count : (piece + 1) * len(run) // count]


CARD = Card(
    "affwild2",
    read,
    Options,
    kind=records.CLIP,
    licence="non-commercial research under its agreement, no redistribution",
    how_to_get=f"ask its authors (ibug.doc.ic.ac.uk/resources/aff-wild2) for {FOLDERS} and {FRAMES}",
    expressions=("neutral", "anger", "disgust", "fear", "happiness", "sadness", "surprise"),
    dropped={-1: "not annotated", 7: "other"},
)
