"""What a source holds before it is opened: its images or clips, and what is known of them."""

import dataclasses
from typing import Any

import numpy as np

from aufer_jax import errors
from aufer_jax.sources.files import Files, Images
from aufer_jax.sources.images import Cut
from aufer_jax.sources.track_files import TrackFiles

_SHOWN = 5  # examples of each problem


@dataclasses.dataclass(slots=True)
class Face:
    """One image of a source, before it is opened.

    Landmarks are in the pixels of the file as it is stored, before any EXIF rotation.
    """

    file: str  # its path in the source; the record's key
    label: str = ""  # the expression as the files write it; empty: unknown
    subject: str = ""
    split: str = ""  # "train", "validation", "test" or another; empty: to be decided
    also: tuple[str, ...] = ()  # further splits that hold a copy, for evaluation
    landmarks: np.ndarray | None = None  # [68, 2], NaN where unknown
    blendshapes: np.ndarray | None = None  # [52]
    mesh_features: np.ndarray | None = None  # [512]
    au: np.ndarray | None = None  # [AUs of the listing]
    au_known: np.ndarray | None = None
    votes: np.ndarray | None = None  # or a soft label, for each class in the dataset's order
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
    """The images or clips of a source and what is known of them, filled while label files are read.

    Attributes:
      expressions: the classes, in label order.
      label_map: every label the files may write -> its class: an expression, "" where the expression
        is unknown, or None for what is left out.
      published: split -> images of each class, as the dataset's authors count them.
      missing: what the label files name but the source lacks.
      problems: what -> the items it is wrong with; see `check`.
      findings: lists for the report, by their headings.
      images: gives the bytes of images that are not files of their own; None: all are.
      tracks: the AU files of clips.
    """

    files: Files
    expressions: tuple[str, ...] = ()
    label_map: dict[str, str | None] = dataclasses.field(default_factory=dict)
    aus: tuple[int, ...] = ()
    published: dict[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)
    faces: list[Any] = dataclasses.field(default_factory=list)
    missing: list[str] = dataclasses.field(default_factory=list)
    problems: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    findings: dict[str, list[str]] = dataclasses.field(default_factory=dict)
    remarks: list[str] = dataclasses.field(default_factory=list)
    au_join: dict[str, Any] = dataclasses.field(default_factory=dict)
    images: Images | None = None
    tracks: TrackFiles | None = None
    _listed: set[str] = dataclasses.field(default_factory=set)

    def kept(self) -> list[Any]:
        """The faces whose label is not left out."""
        return [face for face in self.faces if self.label_map[face.label] is not None]

    def add(self, face: Face) -> None:
        """Lists an image or clip; a second row of the same file is noted instead."""
        if face.file in self._listed:
            self.second_row(face.file, "a clip" if isinstance(face, Clip) else "an image")
            return
        self._listed.add(face.file)
        self.faces.append(face)

    def second_row(self, name: str, of: str) -> None:
        """Notes a second row of a file."""
        self.note(f"Second rows of {of}, not used", name)

    def find(self, *written: str) -> str:
        """The path of the image that has one of these paths or names; empty if it is not one image."""
        several: list[str] = []
        for name in written:
            found = self.files.find(name)
            closer = [path for path in found if path.endswith(f"/{name}")]
            found = closer if len(found) > 1 and closer else found
            if len(found) == 1:
                return found[0]
            several = several or found
        if several:
            self.problem("names of several files", f"{written[0]} ({', '.join(several[:2])})")
        else:
            self.missing.append(written[0])
        return ""

    def note(self, heading: str, item: str) -> None:
        """Something for the report."""
        self.findings.setdefault(heading, []).append(item)

    def problem(self, what: str, item: str) -> None:
        """Something for which the source cannot be prepared; `check` names all at once."""
        self.problems.setdefault(what, []).append(item)

    def check(self) -> None:
        """A UserError that lists a few problems of each kind, if there are any."""
        if not self.problems:
            return
        lines = [
            f"{what} ({len(items)}): {', '.join(items[:_SHOWN])}"
            + (", ..." if len(items) > _SHOWN else "")
            for what, items in self.problems.items()
        ]
        raise errors.UserError(
            f"source: {self.files.source} cannot be prepared; " + "; ".join(lines)
        )
