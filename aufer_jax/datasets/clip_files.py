"""Clips among the files of a source: videos and folders of frames, and the order of their frames."""

import re
from collections import defaultdict
from collections.abc import Sequence

from aufer_jax import errors
from aufer_jax.datasets.listing import Listing
from aufer_jax.sources.files import IMAGES, VIDEOS, Files, base_name, folders_of, normal, stem

OTHER_ORDER = "Clips whose frames have another order by name than by number; taken by"

_DIGITS = re.compile(r"(\d+)")


class Found:
    """The clips of a source: videos, and folders of frames that hold no clips themselves.

    Attributes:
      frames: clip -> its frames in the order of their names; none for a video or an empty folder.
      beside: images that do not belong to any clip.
    """

    def __init__(self, files: Files):
        folders: dict[str, list[str]] = defaultdict(list)
        films = []
        for name in files.names:
            if name.lower().endswith(VIDEOS):
                films.append(name)
            elif name.lower().endswith(IMAGES):
                folders[name.rpartition("/")[0]].append(name)
        inner = {"", *folders_of([*folders, *films])}
        self.beside = [name for path in sorted(inner) for name in folders.pop(path, ())]
        self.frames: dict[str, tuple[str, ...]] = {path: tuple(f) for path, f in folders.items()}
        self.frames |= dict.fromkeys([*films, *files.empty_folders()], ())
        self._index()

    def only(self, part: str) -> None:
        """Forgets the clips that are not in a folder of that name."""
        self.frames = {k: v for k, v in self.frames.items() if part in k.split("/")[:-1]}
        self._index()

    def _index(self) -> None:
        self._by_name: dict[str, list[str]] = defaultdict(list)
        for path in self.frames:
            self._by_name[base_name(_whole(path))].append(path)

    def find(self, written: str) -> list[str]:
        """The clips a written name can mean: that very path, or all that end in it."""
        path = normal(written).rstrip("/")
        if path in self.frames:
            return [path]
        end = f"/{_whole(path)}"
        named = self._by_name.get(base_name(end), ())
        return [clip for clip in named if f"/{_whole(clip)}".endswith(end)]


def _whole(path: str) -> str:
    """A clip's path in lower case and without the suffix of a video."""
    path = path.lower()
    suffix = next((s for s in VIDEOS if path.endswith(s)), "")
    return path.removesuffix(suffix)


# --- The order of frames ------------------------------------------------------------------------


def natural(name: str) -> tuple[list[object], str]:
    """A sorting key for which digits are numbers: 2 comes before 10."""
    parts = _DIGITS.split(base_name(name))
    return [int(p) if i % 2 else p for i, p in enumerate(parts)], name


def in_order(frames: Sequence[str], order: str) -> tuple[str, ...]:
    """The frames in an order of `options.FRAME_ORDERS`."""
    return tuple(sorted(frames, key=natural if order == "natural" else None))


def note_order(listing: Listing, order: str) -> None:
    """Notes the clips for which the order of frames is a matter of choice."""
    title = f"{OTHER_ORDER} {'number' if order == 'natural' else 'name'}"
    listing.findings[title] = [
        clip.file
        for clip in listing.faces
        if sorted(clip.frames) != sorted(clip.frames, key=natural)
    ]


def frame_number(name: str) -> int:
    """The last number in a file's name."""
    digits = _DIGITS.findall(stem(name))
    if not digits or int(digits[-1]) < 1:
        raise errors.UserError(f"au_rows: {name!r} has no frame number from 1 on in its name")
    return int(digits[-1])


def au_rows(frames: Sequence[str], rule: str) -> tuple[int, ...]:
    """The rows of a track, from 0, that belong to frames; empty if these are 0, 1, 2 and so on.

    `rule` is one of `options.AU_ROWS`.
    """
    if rule == "number":
        rows = [frame_number(name) - 1 for name in frames]
    else:
        places = {name: place for place, name in enumerate(sorted(frames))}
        rows = [places[name] for name in frames]
    return () if rows == list(range(len(frames))) else tuple(rows)
