"""What is done to one listed item, image or clip: check it, and make its record of what was found."""

import collections
import dataclasses
import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from aufer_jax.data import records
from aufer_jax.data.records import Record
from aufer_jax.datasets import checking
from aufer_jax.datasets.checking import Cache
from aufer_jax.datasets.listing import Clip, Face, Listing
from aufer_jax.geometry.landmarks import known
from aufer_jax.sources import images, tracks, videos
from aufer_jax.sources.files import Files, Images
from aufer_jax.sources.images import Checked
from aufer_jax.sources.videos import CheckedClip, Frame, Rules


class Kept(Protocol):
    """What gives the bytes to store of an item, where they are not its own."""

    def stored(self, file: str, /) -> bytes | None: ...


_REMEMBERED = 16  # AU files held in memory
_TRACK_VERSION = 2  # of what is taken from AU files: another version takes it anew


class Medium(Protocol):
    """How `prepare` treats the items of a listing. Threads share it."""

    @property
    def kind(self) -> str:
        """Of the records."""
        ...

    @property
    def unit(self) -> str:
        """What an item is called."""
        ...

    @property
    def ahead(self) -> int:
        """Items that may wait in memory for each thread."""
        ...

    @property
    def checked_as(self) -> type:
        """Of what is found; with `problem`, `changes`, `digest` and `likeness`."""
        ...

    def stamp(self, face: Any, /) -> str:
        """Changes when what is stored of an item does."""
        ...

    def check(self, face: Any, /) -> tuple[Any, bytes | None]:
        """What was found, and the bytes to keep that are not the files' own."""
        ...

    def aus(self, listing: Listing, found: Sequence[Any], /) -> tuple[int, ...]: ...

    def content(self, face: Any, found: Any, cache: Kept, aus: tuple[int, ...], /) -> Record:
        """The record without what all kinds have."""
        ...

    def picture(self, record: Record, /) -> tuple[bytes, np.ndarray | None]:
        """An encoded image that shows the record, and its landmarks."""
        ...

    def told(self, faces: Sequence[Any], checked: Mapping[str, Any], /) -> dict[str, Any]:
        """Fields of the report that only this kind has."""
        ...


@dataclasses.dataclass(frozen=True)
class ImageMedium:
    """One image of a source."""

    files: Images
    kind: str = records.IMAGE
    unit: str = "image"
    ahead: int = 8
    checked_as: type = Checked

    def stamp(self, face: Face) -> str:
        part = f"/{dataclasses.astuple(face.cut)}" if face.cut else ""
        return f"{self.files.stamp(face.file)}{part}"

    def check(self, face: Face) -> tuple[Checked, bytes | None]:
        try:
            data = self.files.read(face.file)
        except Exception as error:  # a damaged archive raises errors of many kinds
            reason = getattr(error, "strerror", None) or error  # without the place on this disk
            return Checked(problem=f"cannot be read: {reason}"), None
        return images.check(data, face.cut)

    def aus(self, listing: Listing, found: Sequence[Checked]) -> tuple[int, ...]:
        del found
        return listing.aus

    def content(self, face: Face, found: Checked, cache: Kept, aus: tuple[int, ...]) -> Record:
        """Points follow the image where it was turned or shrunk."""
        nothing = np.zeros(len(aus))
        record: Record = {
            "image": cache.stored(face.file) if found.changes else self.files.read(face.file),
            "au": nothing if face.au is None else face.au,
            "au_known": nothing if face.au_known is None else face.au_known,
        }
        if face.landmarks is not None:
            record["landmarks"] = found.move(face.landmarks)
        if face.box is not None:
            corners = found.move(np.reshape(face.box, (2, 2)))
            record["box"] = np.concatenate([corners.min(0), corners.max(0)])
        return record

    def picture(self, record: Record) -> tuple[bytes, np.ndarray | None]:
        return record["image"], record.get("landmarks")

    def told(self, faces: Sequence[Face], checked: Mapping[str, Checked]) -> dict[str, Any]:
        del checked
        points = [f.landmarks is not None and np.isfinite(f.landmarks).any() for f in faces]
        return {
            "without_landmarks": tuple(
                face.file for face, known in zip(faces, points, strict=True) if not known
            ),
            "without_aus": sum(f.au_known is None or not f.au_known.any() for f in faces),
        }


@dataclasses.dataclass(frozen=True)
class ClipMedium:
    """One clip of a source: a video, or frames that are files.

    `values` is "intensity" or "presence"; AUs and landmarks of frames less sure than `confidence` are
    unknown; `closed_as_blink` takes py-feat's AU43 for AU45.
    """

    files: Files
    listing: Listing
    rules: Rules
    values: str
    confidence: float
    closed_as_blink: bool = False
    kind: str = records.CLIP
    unit: str = "clip"
    ahead: int = 2
    checked_as: type = CheckedClip

    @functools.cached_property
    def _track(self) -> Callable[[str], Any]:
        """Reads a track; remembers the last, as one may tell of many clips of a recording."""
        held, blink = self.listing.tracks, self.closed_as_blink
        assert held is not None
        return functools.lru_cache(_REMEMBERED)(
            lambda name: tracks.read(name, held.text(name), closed_as_blink=blink)
        )

    def stamp(self, clip: Clip) -> str:
        digest = hashlib.blake2b(digest_size=16)
        for name in clip.frames or (clip.file,):
            digest.update(
                f"{name}\0{self.files.stamp(name) if name in self.files else ''}\0".encode()
            )
        if clip.track and self.listing.tracks is not None:
            stamp = self.listing.tracks.stamp(clip.track)
            choices = (clip.track, stamp, clip.numbers, self.values, self.confidence)
            choices = (*choices, self.closed_as_blink, _TRACK_VERSION)
            digest.update(repr(choices).encode())
        return f"{digest.hexdigest()}/{self.rules}"

    def check(self, clip: Clip) -> tuple[CheckedClip, bytes | None]:
        found, frames = videos.check(self.files, clip.file, clip.frames, self.rules)
        if found.problem:
            return found, None
        found, told = self._with_track(clip, found, frames)
        kept = {frame.number: frame.data for frame in frames if frame.data is not None}
        return found, videos.pack(kept, told) if kept or told else None

    def _with_track(
        self, clip: Clip, found: CheckedClip, frames: Sequence[Frame]
    ) -> tuple[CheckedClip, dict[str, np.ndarray]]:
        """What was found with what the track tells, and its AUs and landmarks in the frames kept."""
        if not clip.track or self.listing.tracks is None:
            return found, {}
        rows = np.array(clip.numbers or range(found.kept[-1] + 1))[list(found.kept)] + 1
        sure = self.confidence
        try:
            track = self._track(clip.track)
            told = {"au": tracks.aligned(track, rows, prefer=self.values, confidence=sure)}
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

    def aus(self, listing: Listing, found: Sequence[CheckedClip]) -> tuple[int, ...]:
        del listing
        return tuple(sorted({au for clip in found for au in clip.aus}))

    def content(self, clip: Clip, found: CheckedClip, cache: Kept, aus: tuple[int, ...]) -> Record:
        stored, told = videos.unpack(cache.stored(clip.file))
        names = clip.frames or ("",)
        frames = [
            stored[number] if number in stored else self.files.read(names[number])
            for number in found.kept
        ]
        values = np.full((len(frames), len(aus)), np.nan, np.float32)
        if found.aus:
            values[:, [aus.index(au) for au in found.aus]] = told["au"]
        record: Record = {"frames": frames, "au": values, "au_known": np.isfinite(values).any(0)}
        if "landmarks" in told:
            record["landmarks"] = told["landmarks"]
        return record

    def picture(self, record: Record) -> tuple[bytes, np.ndarray | None]:
        middle, points = len(record["frames"]) // 2, record.get("landmarks")
        return record["frames"][middle], None if points is None else points[middle]

    def told(self, faces: Sequence[Clip], checked: Mapping[str, CheckedClip]) -> dict[str, Any]:
        found = [checked[clip.file] for clip in faces]
        lengths = np.array([len(f.kept) for f in found])
        findings: dict[str, list[str]] = collections.defaultdict(list)
        for clip, mine in zip(faces, found, strict=True):
            for name, reason in mine.bad:
                findings["Frames left out, not readable"].append(f"{clip.file}/{name}: {reason}")
            for note in mine.notes:
                heading, _, reason = note.partition(": ")
                findings[heading].append(f"{clip.file}: {reason}" if reason else clip.file)
        return {
            "without_aus": sum(not f.tracked for f in found),
            "findings": findings,
            "clips": {
                "frames": int(lengths.sum()),
                "shortest": int(lengths.min()),
                "median": float(np.median(lengths)),
                "longest": int(lengths.max()),
                "single": int((lengths == 1).sum()),
                "with_bad_frames": sum(bool(f.bad) for f in found),
                "frames_with_aus": sum(f.tracked for f in found),
                "frames_with_landmarks": sum(f.marked for f in found),
                "further_faces": sum(
                    {c.track: f.further_faces for c, f in zip(faces, found, strict=True)}.values()
                ),
            },
        }


def check_all(
    faces: Sequence[Any], medium: Medium, cache: Cache, workers: int | None = None
) -> tuple[dict[str, Any], int]:
    """What is found of each item, by its file, and how many of them the cache knew."""
    items = {face.file: face for face in faces}
    look: Callable[[str], Any] = lambda name: medium.check(items[name])  # noqa: E731
    stamps = {name: medium.stamp(face) for name, face in items.items()}
    return checking.check_all(
        stamps, look, cache, workers, medium.ahead, f"checking {medium.unit}s"
    )
