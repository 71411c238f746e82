"""One clip of a source, a video or a folder of frames: which frames are kept, and are they whole."""

import collections
import contextlib
import dataclasses
import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import cv2
import numpy as np

from aufer_jax import errors
from aufer_jax.sources import images, limits
from aufer_jax.sources.files import Files
from aufer_jax.sources.images import Checked, Size, Unreadable

SIDES = ("longer", "shorter")
NO_TRACK = "AU files that cannot be used"  # headings of the report
ENDS_EARLY = "Videos that end before their stated number of frames"
SIZES_DIFFER = "Clips whose frames differ in size"
OUTSIDE = "Clips with landmarks outside of frames, taken as unknown there"

_ENDS_EARLY = 0.9  # share of the stated frames; containers are often wrong by a few
_TOLD = "told/"  # before the names of arrays in what is kept


@dataclasses.dataclass(frozen=True, slots=True)
class Rules:
    """Which frames are kept, and how large.

    Attributes:
      step: of so many frames one is kept.
      most: frames a clip may have; the step of a longer clip is doubled until it fits. 0: any.
      size: pixels of a side; larger frames are shrunk. 0: `images.MAX_SIDE` for the longer side.
      side: "longer" or "shorter".
    """

    step: int = 1
    most: int = 0
    size: int = 0
    side: str = "longer"

    def __post_init__(self) -> None:
        for name, value, least in (
            ("step", self.step, 1),
            ("most_frames", self.most, 0),
            ("size", self.size, 0),
        ):
            if value < least:
                raise errors.UserError(f"{name}: {value} must be at least {least}")
        if 0 < self.size < images.MIN_SIDE:
            raise errors.UserError(f"size: {self.size} must be at least {images.MIN_SIDE} pixels")
        if self.side not in SIDES:
            raise errors.unknown("side", self.side, SIDES)

    def limit(self) -> Size | None:
        """How large a frame may be; None for any size."""
        return Size(self.size, self.side) if self.size else None

    def chosen(self, length: int) -> range:
        """The numbers of the frames that are kept of a clip of `length` frames."""
        step = self.step
        while self.most and -(-length // step) > self.most:
            step *= 2
        return range(0, length, step)


@dataclasses.dataclass(frozen=True, slots=True)
class CheckedClip:
    """What was found out about a clip.

    Attributes:
      problem: why it cannot be used; empty if it can.
      changes: what was done to how many frames to make them plain.
      digest: of the bytes of the frames kept.
      likeness: perceptual hash of the middle one; see `images.perceptual_hash`.
      kept: the numbers of the frames kept, from 0.
      bad: frames that are left out, with the reason.
      aus: that its track has.
      tracked: frames kept of which an AU is known.
      further_faces: rows of the track about other faces.
      notes: what else to report, each as "heading" or "heading: reason".
      marked: frames kept whose landmarks are known.
    """

    problem: str = ""
    changes: tuple[str, ...] = ()
    digest: str = ""
    likeness: tuple[int, int] = (0, 0)
    kept: tuple[int, ...] = ()
    bad: tuple[tuple[str, str], ...] = ()
    aus: tuple[int, ...] = ()
    tracked: int = 0
    further_faces: int = 0
    notes: tuple[str, ...] = ()
    marked: int = 0


@dataclasses.dataclass(slots=True)
class Frame:
    """One frame of a clip, and what was found of it."""

    number: int
    name: str
    found: Checked
    data: bytes | None = None  # to store, where it is not the file's own
    scale: tuple[float, float] = (1.0, 1.0)  # what is stored to the upright frame

    def move(self, points: np.ndarray) -> np.ndarray:
        """Points [..., 2] of the upright frame in the pixels of what is stored."""
        scale = np.array(self.scale, np.float32)
        return points * scale + (scale - 1) / 2


def check(
    files: Files, name: str, frames: Sequence[str], rules: Rules
) -> tuple[CheckedClip, list[Frame]]:
    """Checks the frames of a clip, files in the order of time, or without them a video.

    Returns:
      What was found, and the frames kept.
    """
    notes: list[str] = []
    try:
        if not frames and name not in files:
            raise Unreadable("empty folder")
        seen = _files(files, frames, rules) if frames else _video(files, name, rules, notes)
        _check_bytes(_bytes(seen), len(seen))
    except Unreadable as error:
        return CheckedClip(problem=str(error)), []
    good = [frame for frame in seen if not frame.found.problem]
    bad = tuple((frame.name, frame.found.problem) for frame in seen if frame.found.problem)
    if not good:
        reason = f"none of {len(bad)} frames can be read: {bad[0][0]}: {bad[0][1]}"
        return CheckedClip(problem=reason), []
    if len({(frame.found.width, frame.found.height) for frame in good}) > 1:
        notes.append(SIZES_DIFFER)
    digest = hashlib.blake2b(digest_size=16)
    for frame in good:
        digest.update(frame.found.digest.encode())
    changes = collections.Counter(c for frame in good for c in frame.found.changes)
    return CheckedClip(
        changes=tuple(f"{change} ({count} frames)" for change, count in changes.items()),
        digest=digest.hexdigest(),
        likeness=good[len(good) // 2].found.likeness,
        kept=tuple(frame.number for frame in good),
        bad=bad,
        notes=tuple(notes),
    ), good


def placed(points: np.ndarray, frames: Sequence[Frame]) -> tuple[np.ndarray, int]:
    """Landmarks [T, 68, 2] of the upright frames in the pixels of what is stored.

    Where their centre is outside its frame they belong to another face or to a frame of another size,
    and become unknown.

    Returns:
      The landmarks, and in how many frames they are outside.
    """
    moved = np.stack([frame.move(mine) for frame, mine in zip(frames, points, strict=True)])
    outside = 0
    for frame, mine in zip(frames, moved, strict=True):
        sure, size = mine[np.isfinite(mine).all(1)], (frame.found.width, frame.found.height)
        if len(sure) and not ((sure.mean(0) >= 0) & (sure.mean(0) < size)).all():
            mine[:] = np.nan
            outside += 1
    return moved, outside


def _files(files: Files, frames: Sequence[str], rules: Rules) -> list[Frame]:
    found, held = [], 0
    for number in rules.chosen(len(frames)):
        name = frames[number]
        try:
            data = files.read(name)
        except Exception as error:  # a damaged archive raises errors of many kinds
            checked, stored = Checked(problem=f"cannot be read: {error}"), None
        else:
            checked, stored = images.check(data, size=rules.limit())
        found.append(Frame(number, name.rsplit("/", 1)[-1], checked, stored, _scale(checked)))
        held += len(stored or b"")
        _check_bytes(held, len(found))
    return found


def _bytes(frames: Sequence[Frame]) -> int:
    return sum(len(frame.data or b"") for frame in frames)


def _check_bytes(held: int, frames: int) -> None:
    if held > limits.most("CLIP"):
        raise Unreadable(
            f"too large: {frames} frames; take fewer (most_frames) or smaller ones (size)"
        )


def _scale(found: Checked) -> tuple[float, float]:
    """How much smaller an image is stored, whichever way it was turned."""
    if not found.matrix:
        return 1.0, 1.0
    x, y = np.abs(np.reshape(found.matrix, (2, 3))[:, :2]).sum(1).tolist()
    return x, y


def _video(files: Files, name: str, rules: Rules, notes: list[str]) -> list[Frame]:
    try:
        with files.on_disk(name) as path, _opened(path) as capture:
            promised = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
            found, length = _grabbed(capture, rules)
    except Unreadable:
        raise
    except Exception as error:  # a damaged archive or codec raises errors of many kinds
        raise Unreadable(f"cannot be read: {error}") from error
    if not found:
        raise Unreadable("a video without frames that can be decoded")
    if length < _ENDS_EARLY * promised:
        notes.append(f"{ENDS_EARLY}: {length} of {promised}")
    return found


@contextlib.contextmanager
def _opened(path: str) -> Iterator[cv2.VideoCapture]:
    one_thread = [cv2.CAP_PROP_N_THREADS, 1]  # clips are checked in threads already
    capture = cv2.VideoCapture(path, cv2.CAP_FFMPEG, one_thread)
    try:
        if not capture.isOpened():
            raise Unreadable("cannot be opened as a video")
        size = (capture.get(of) for of in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
        images.check_size(*map(int, size))
        yield capture
    finally:
        capture.release()


def _grabbed(capture: cv2.VideoCapture, rules: Rules) -> tuple[list[Frame], int]:
    """The frames kept, and how many there are: only decoding shows how long a video is."""
    step, found, number, held = rules.step, [], 0, 0
    while capture.grab():
        whole, image = capture.retrieve() if number % step == 0 else (False, None)
        if whole and image is not None:
            checked, data = images.frame(image, rules.limit())
            height, width = image.shape[:2]
            scale = checked.width / width, checked.height / height
            found.append(Frame(number, f"frame {number}", checked, data, scale))
            held += len(data)
        if rules.most and len(found) > rules.most:
            step *= 2
            found = [frame for frame in found if frame.number % step == 0]
            held = _bytes(found)
        _check_bytes(held // 2 if rules.most else held, len(found))  # half may still be left out
        number += 1
    return found, number


# --- What is kept until the records are written -------------------------------------------------


def pack(frames: Mapping[int, bytes], told: Mapping[str, np.ndarray]) -> bytes:
    """Frames by their numbers, and arrays by their names, as the bytes of a .npz file."""
    file = io.BytesIO()
    numbers, lengths = np.array(list(frames), np.int64), [len(data) for data in frames.values()]
    data = np.frombuffer(b"".join(frames.values()), np.uint8)
    held: dict[str, Any] = {f"{_TOLD}{name}": array for name, array in told.items()}
    held |= {"numbers": numbers, "lengths": np.array(lengths, np.int64), "data": data}
    np.savez(file, **held)
    return file.getvalue()


def unpack(packed: bytes | None) -> tuple[dict[int, bytes], dict[str, np.ndarray]]:
    """The frames by number and the values beside them that `pack` packed."""
    if packed is None:
        return {}, {}
    held = np.load(io.BytesIO(packed), allow_pickle=False)
    ends, data = np.cumsum(held["lengths"]), held["data"].tobytes()
    starts = ends - held["lengths"]
    cut = zip(held["numbers"].tolist(), starts.tolist(), ends.tolist(), strict=True)
    told = {name.removeprefix(_TOLD): held[name] for name in held.files if name.startswith(_TOLD)}
    return {number: data[start:end] for number, start, end in cut}, told
