"""What a source holds before it is opened: its images or clips, and what is said of them."""

import dataclasses
from typing import Any

import numpy as np

from aufer_jax.sources.files import Images
from aufer_jax.sources.images import Cut
from aufer_jax.sources.track_files import TrackFiles


@dataclasses.dataclass(slots=True)
class Face:
    """One image of a source, before it is opened.

    Landmarks and box are in the pixels of the file as it is stored, before any EXIF rotation.
    """

    file: str  # its path in the source; the record's key
    label: str = ""  # the expression as the files write it; empty: unknown
    subject: str = ""
    split: str = ""  # "train", "validation", "test" or another; empty: to be decided
    also: tuple[str, ...] = ()  # further splits that hold a copy, for evaluation
    landmarks: np.ndarray | None = None  # [68, 2], NaN where unknown
    au: np.ndarray | None = None  # [AUs of the listing]
    au_known: np.ndarray | None = None
    votes: np.ndarray | None = None  # for each class, in the dataset's order
    box: np.ndarray | None = None  # left, top, right, bottom
    cut: Cut | None = None  # the part to keep; None: all
    note: str = ""


@dataclasses.dataclass(slots=True)
class Clip(Face):
    """One clip of a source: a video, or frames that are files; `file` is the video or the folder.

    AUs come frame by frame from another file, its `track`, and are read when the clip is checked.
    """

    frames: tuple[str, ...] = ()  # files in the order of time; empty: `file` is a video
    numbers: tuple[int, ...] = ()  # of the frames in the track, from 0; empty: 0, 1, 2, ...
    recording: str = ""  # what its track is named after, where that is not `file`
    track: str = ""  # one of the listing's tracks; empty: no AUs are known


@dataclasses.dataclass
class Listing:
    """All images or clips of a source and what is said of them.

    `label_map` says of every label the files may write which class it is: an expression, "" for
    an image whose expression is unknown, or None for images that are left out. `findings` are
    lists for the report, by their headings. `images` gives the bytes of images that are no files
    of their own; None: all are. `tracks` are the AU files of clips.
    """

    faces: list[Face]
    expressions: tuple[str, ...]
    label_map: dict[str, str | None]
    aus: tuple[int, ...] = ()
    remarks: list[str] = dataclasses.field(default_factory=list)
    au_join: dict[str, Any] = dataclasses.field(default_factory=dict)
    findings: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    images: Images | None = None
    tracks: TrackFiles | None = None
