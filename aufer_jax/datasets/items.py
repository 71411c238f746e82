"""What is done to one listed item, image or clip: check it, and make its record of what was found."""

import collections
import dataclasses
import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from aufer_jax.data import records
from aufer_jax.data.records import Record
from aufer_jax.datasets.card import Card
from aufer_jax.datasets.listing import Clip, Face, Listing
from aufer_jax.datasets.options import ClipOptions, Options
from aufer_jax.geometry.landmarks import known
from aufer_jax.sources import images, tracks, videos
from aufer_jax.sources.files import Files, Images
from aufer_jax.sources.images import Checked
from aufer_jax.sources.track_files import TrackFiles
from aufer_jax.sources.tracks import Track
from aufer_jax.sources.videos import CheckedClip, Frame

FOUND = {records.IMAGE: Checked, records.CLIP: CheckedClip}  # what a check gives

# Gives the bytes to store of an item that are not its files' own.
Stored = Callable[[Any], bytes | None]

_REMEMBERED = 16  # AU files held in memory
_TRACK_VERSION = 2  # of what is taken from AU files: another version takes it anew


class Row(NamedTuple):
    """A record to write: an item, its class (-1: unknown), and what was found of it."""

    face: Any
    expression: int
    found: Any


class Items(Protocol):
    """The items of a listing; threads share it."""

    def stamp(self, face: Any, /) -> str:
        """Changes when what is stored of an item does."""
        ...

    def check(self, face: Any, /) -> tuple[Any, bytes | None]:
        """What was found, and the bytes to store that are not the files' own."""
        ...

    def content(self, face: Any, found: Any, stored: Stored, aus: tuple[int, ...], /) -> Record:
        """Its image or frames, AUs and landmarks, for the record."""
        ...


def of(card: Card, listing: Listing, options: Options) -> Items:
    """What checks the listed images or clips, and turns them into records."""
    if isinstance(options, ClipOptions):
        return ClipItems(listing.files, listing.tracks, options)
    return ImageItems(listing.images or listing.files)


def annotated(listing: Listing, found: Sequence[Any]) -> tuple[int, ...]:
    """The AUs of the records; those of clips are known when their tracks were read."""
    if listing.tracks is None:
        return listing.aus
    return tuple(sorted({au for clip in found for au in clip.aus}))


def record(items: Items, row: Row, stored: Stored, aus: tuple[int, ...]) -> Record:
    """What is written of one item."""
    face: Face = row.face
    whole: Record = {
        "key": face.file,
        "expression": row.expression,
        "subject": face.subject,
        "note": face.note,
    }
    if face.votes is not None:
        whole["expression_votes"] = face.votes
    return whole | items.content(face, row.found, stored, aus)


@dataclasses.dataclass(frozen=True)
class ImageItems:
    """Images of a source."""

    files: Images

    def stamp(self, face: Face) -> str:
        """Changes when the file, or the part that is cut out of it, does."""
        part = f"/{dataclasses.astuple(face.cut)}" if face.cut else ""
        return f"{self.files.stamp(face.file)}{part}"

    def check(self, face: Face) -> tuple[Checked, bytes | None]:
        """What was found, and the bytes to store where they are not the file's own."""
        try:
            data = self.files.read(face.file)
        except Exception as error:  # a damaged archive raises errors of many kinds
            reason = getattr(error, "strerror", None) or error  # without the place on this disk
            return Checked(problem=f"cannot be read: {reason}"), None
        return images.check(data, face.cut)

    def content(self, face: Face, found: Checked, stored: Stored, aus: tuple[int, ...]) -> Record:
        """Points follow the image where it was turned or shrunk."""
        nothing = np.zeros(len(aus))
        record: Record = {
            "image": stored(face) if found.changes else self.files.read(face.file),
            "au": nothing if face.au is None else face.au,
            "au_known": nothing if face.au_known is None else face.au_known,
        }
        if face.landmarks is not None:
            record["landmarks"] = found.move(face.landmarks)
        if face.blendshapes is not None:
            record["blendshapes"] = face.blendshapes
        if face.mesh_features is not None:
            record["mesh_features"] = face.mesh_features
        return record


@dataclasses.dataclass(frozen=True)
class ClipItems:
    """Clips of a source: videos, or frames that are files."""

    files: Files
    tracks: TrackFiles | None
    options: ClipOptions

    @functools.cached_property
    def _track(self) -> Callable[[str], Track]:
        """Reads a track; remembers the last, as one may cover many clips of a recording."""
        held, blink = self.tracks, self.options.closed_as_blink
        assert held is not None
        return functools.lru_cache(_REMEMBERED)(
            lambda name: tracks.read(name, held.text(name), closed_as_blink=blink)
        )

    def stamp(self, clip: Clip) -> str:
        """Changes when the frames, the track, or what decides how they are read does."""
        digest = hashlib.blake2b(digest_size=16)
        for name in clip.frames or (clip.file,):
            digest.update(
                f"{name}\0{self.files.stamp(name) if name in self.files else ''}\0".encode()
            )
        if clip.track and self.tracks is not None:
            options, stamp = self.options, self.tracks.stamp(clip.track)
            choices = (clip.track, stamp, clip.numbers, options.au_values, options.au_confidence)
            choices = (*choices, options.closed_as_blink, _TRACK_VERSION)
            digest.update(repr(choices).encode())
        return f"{digest.hexdigest()}/{self.options.rules()}"

    def check(self, clip: Clip) -> tuple[CheckedClip, bytes | None]:
        """What was found, and the frames and track values to store."""
        found, frames = videos.check(self.files, clip.file, clip.frames, self.options.rules())
        if found.problem:
            return found, None
        found, told = self._with_track(clip, found, frames)
        kept = {frame.number: frame.data for frame in frames if frame.data is not None}
        return found, videos.pack(kept, told) if kept or told else None

    def _with_track(
        self, clip: Clip, found: CheckedClip, frames: Sequence[Frame]
    ) -> tuple[CheckedClip, dict[str, np.ndarray]]:
        """What was found and what the track says, and its AUs and landmarks in the frames kept."""
        if not clip.track or self.tracks is None:
            return found, {}
        rows = np.array(clip.numbers or range(found.kept[-1] + 1))[list(found.kept)] + 1
        sure, values = self.options.au_confidence, self.options.au_values
        try:
            track = self._track(clip.track)
            told = {"au": tracks.aligned(track, rows, prefer=values, confidence=sure)}
            points = tracks.aligned_landmarks(track, rows, confidence=sure)
        except (ValueError, OSError) as error:
            notes = (*found.notes, f"{videos.NO_TRACK}: {error}")
            return dataclasses.replace(found, notes=notes), {}
        tracked = int(np.isfinite(told["au"]).any(1).sum())
        changes: dict[str, Any] = {"aus": track.aus, "tracked": tracked}
        changes["further_faces"] = track.other_faces
        if points is not None:
            told["landmarks"], outside = videos.placed(points, frames)
            changes["marked"] = int(known(told["landmarks"])[1].sum())
            if outside:
                changes["notes"] = (*found.notes, f"{videos.OUTSIDE}: {outside} frames")
        return dataclasses.replace(found, **changes), told

    def content(
        self, clip: Clip, found: CheckedClip, stored: Stored, aus: tuple[int, ...]
    ) -> Record:
        """The record's frames, AUs and landmarks."""
        made, told = videos.unpack(stored(clip))
        names = clip.frames or ("",)
        frames = [
            made[number] if number in made else self.files.read(names[number])
            for number in found.kept
        ]
        values = np.full((len(frames), len(aus)), np.nan, np.float32)
        if found.aus:
            values[:, [aus.index(au) for au in found.aus]] = told["au"]
        record: Record = {"frames": frames, "au": values, "au_known": np.isfinite(values).any(0)}
        if "landmarks" in told:
            record["landmarks"] = told["landmarks"]
        return record


# --- What the report says of the items used ----------------------------------------------------


def image_facts(faces: Sequence[Face]) -> dict[str, Any]:
    """Fields of the report that only images have."""
    return {
        "without_landmarks": tuple(
            face.file
            for face in faces
            if face.landmarks is None or not np.isfinite(face.landmarks).any()
        ),
        "without_aus": sum(f.au_known is None or not f.au_known.any() for f in faces),
    }


def without_landmarks(faces: Sequence[Face], found: Sequence[Any]) -> int:
    """How many images, or clips, have not one landmark."""
    if any(isinstance(face, Clip) for face in faces):
        return sum(not clip.marked for clip in found)
    return len(image_facts(faces)["without_landmarks"])


def clip_facts(clips: Sequence[Clip], found: Sequence[CheckedClip]) -> dict[str, Any]:
    """Fields of the report that only clips have."""
    lengths = np.array([len(f.kept) for f in found])
    further = {clip.track: f.further_faces for clip, f in zip(clips, found, strict=True)}
    return {
        "without_aus": sum(not f.tracked for f in found),
        "clips": {
            "frames": int(lengths.sum()),
            "shortest": int(lengths.min()),
            "median": float(np.median(lengths)),
            "longest": int(lengths.max()),
            "single": int((lengths == 1).sum()),
            "with_bad_frames": sum(bool(f.bad) for f in found),
            "frames_with_aus": sum(f.tracked for f in found),
            "frames_with_landmarks": sum(f.marked for f in found),
            "further_faces": sum(further.values()),
        },
    }


def clip_findings(clips: Sequence[Clip], found: Sequence[CheckedClip]) -> Mapping[str, list[str]]:
    """Lists for the report of what is wrong with clips that are used."""
    findings: dict[str, list[str]] = collections.defaultdict(list)
    for clip, mine in zip(clips, found, strict=True):
        for name, reason in mine.bad:
            findings["Frames left out, not readable"].append(f"{clip.file}/{name}: {reason}")
        for note in mine.notes:
            heading, _, reason = note.partition(": ")
            findings[heading].append(f"{clip.file}: {reason}" if reason else clip.file)
    return findings
