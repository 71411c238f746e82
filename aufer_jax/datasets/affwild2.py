"""Aff-Wild2, expressions: long videos labelled frame by frame, cut into clips of one expression."""

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar

from aufer_jax.datasets import own_clips, published, published_clips, splits
from aufer_jax.datasets.listing import Clip
from aufer_jax.datasets.published_clips import ClipReading
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
class AffWild2(published_clips.PublishedClips):
    """`<...Train_Set>/<video>.txt`: the classes in the first line, then a number a frame.

    Frame i of a video is `<video>/<i of 5 digits>.jpg`, from 1. The labels of the official test set
    are not public: its validation set is the split "test".

    Attributes:
      window: a run of frames with one expression is cut into clips of at most so many frames of
        nearly equal length; 0 keeps it whole.
      shortest: runs of fewer frames are left out.
    """

    name = "affwild2"
    licence = "non-commercial research under its agreement, no redistribution"
    how_to_get = (
        f"ask its authors (ibug.doc.ic.ac.uk/resources/aff-wild2) for {FOLDERS} and {FRAMES}"
    )
    order: ClassVar[str] = "affwild2"
    variants: ClassVar[tuple[str, ...]] = (FRAMES, "cropped")

    window: int = 64
    shortest: int = 8

    def __post_init__(self) -> None:
        super().__post_init__()
        for key, value in (("window", self.window), ("shortest", self.shortest)):
            if value < 0:
                raise UserError(f"{key}: {value} must be at least 0")
        if self.window and self.shortest > self.window:
            raise UserError(f"shortest: {self.shortest} is more than window, {self.window}")

    def counts(self) -> Mapping[str, tuple[int, ...]]:
        return {}

    def label_map(self) -> dict[str, str | None]:
        numbered = super().label_map()
        return {label: name for label, name in numbered.items() if name}

    def read(self, reading: published.Reading) -> None:
        assert isinstance(reading, ClipReading)
        place = self.place(reading.files)
        folders = {base_name(path): path for path, frames in reading.found.frames.items() if frames}
        labelled = [(path, split) for path in place.names if (split := _split(path))]
        # The annotations of AUs and of valence are in folders of the same names.
        labelled = [row for row in labelled if "expr" in row[0].lower()] or labelled
        if not labelled:
            raise self.lacks(reading.files, FOLDERS)
        dropped = 0
        for path, split in labelled:
            folder = folders.get(base_name(path).rsplit(".", 1)[0])
            labels = _labels(place, path, self.label_map(), reading)
            if folder is None:
                reading.note(WITHOUT_FRAMES, path)
                continue
            dropped += self._add_video(reading, folder, labels, split)
        reading.remarks.append(f"{dropped} frames are not annotated or of other expressions")

    def _add_video(
        self, reading: ClipReading, folder: str, labels: Sequence[str], split: str
    ) -> int:
        """Adds the clips of a video, and counts its frames without an expression."""
        frames = {own_clips.frame_number(f): f for f in reading.found.frames[folder]}
        numbers = sorted(n for n in frames if n <= len(labels))
        if len(numbers) < len(frames):
            reading.note(BEYOND, f"{folder}: {len(frames) - len(numbers)}")
        # Which row of the video's AU file tells of a frame.
        rows = {number: place for place, number in enumerate(frames)}
        if self.au_frames == "number":
            rows = {number: number - 1 for number in frames}
        known = self.label_map()
        said = {number: labels[number - 1] for number in numbers}
        for label, run in runs(labels, numbers):
            if label not in known:
                continue
            if len(run) < self.shortest:
                reading.note(SHORT, f"{folder}: {run[0]} to {run[-1]}")
                continue
            for piece in pieces(run, self.window):
                key = f"{folder}/{piece[0]:05}-{piece[-1]:05}"
                clip = Clip(key, label, _PERSON.sub("", base_name(folder)), split)
                clip.frames = tuple(frames[number] for number in piece)
                clip.numbers = tuple(rows[number] for number in piece)
                clip.recording = folder
                reading.add(clip)
        return sum(label not in known for label in said.values())


def _split(path: str) -> str:
    """The split of a label file, by its folder; empty for other files."""
    *_, folder, name = ["", *path.lower().split("/")]
    if not name.endswith(".txt") or stem(name) == "readme":
        return ""
    return splits.TRAIN if "train" in folder else splits.TEST if "val" in folder else ""


def _labels(
    place: Files, path: str, known: Mapping[str, str | None], reading: ClipReading
) -> list[str]:
    """The label of each frame."""
    header, *lines = place.open_text(path).splitlines() or [""]
    first = header.replace(" ", "").lower().split(",")
    if first[: len(known)] != list(known.values()):
        what = f"label files whose first line is not {','.join(filter(None, known.values()))}[,...]"
        reading.problems.add(what, f"{path}: {header[:80]}")
    labels = [line.strip() for line in lines if line.strip()]
    for number, label in enumerate(labels, 2):
        if label != _UNLABELLED and not label.isdigit():
            reading.problems.add(f"lines of {path} that are no label", f"{number}: {label[:20]}")
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
