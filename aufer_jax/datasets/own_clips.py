"""Anybody's own clips: videos or folders of frames, with class folders or a CSV file."""

import dataclasses
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence

from aufer_jax import errors
from aufer_jax.data import records
from aufer_jax.datasets import file_dataset, folder, media, splits
from aufer_jax.datasets.file_dataset import Problems
from aufer_jax.datasets.listing import Clip, Face, Listing
from aufer_jax.sources import tables, track_files, videos
from aufer_jax.sources.files import IMAGES, VIDEOS, Files, base_name, normal, stem

FRAME_ORDERS = ("natural", "name")
AU_FRAMES = ("order", "number")

BESIDE_CLIPS = "Images beside clips, no frames of any"
OTHER_ORDER = "Clips whose frames have another order by name than by number; taken by"

_DIGITS = re.compile(r"(\d+)")


@dataclasses.dataclass(frozen=True)
class WithClips(file_dataset.WithAUs):
    """A dataset of clips, each a video or a folder of frames.

    Attributes:
      au: a folder or .zip with a CSV of OpenFace or py-feat for each clip, joined by the clip's name,
        or one CSV with a column for that name.
      au_values: "presence" (`_c`) or "intensity" (`_r`), where there are both.
      au_frames: which row belongs to a frame that is a file: "order", the first row to the first file
        by name, as OpenFace reads folders; or "number", that of the last digits in its name, from 1.
      closed_as_blink: takes AU43 (eyes closed) of py-feat for AU45.
      frame_order: of the files: "natural" takes digits as numbers (2 before 10), "name" does not.
      step, most_frames, size, side: see `videos.Rules`.
    """

    kind = records.CLIP

    au_values: str = "presence"
    au_frames: str = "order"
    closed_as_blink: bool = False
    frame_order: str = "natural"
    step: int = 1
    most_frames: int = 0
    size: int = 0
    side: str = "longer"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.au_frames not in AU_FRAMES:
            raise errors.unknown("au_frames", self.au_frames, AU_FRAMES)
        if self.frame_order not in FRAME_ORDERS:
            raise errors.unknown("frame_order", self.frame_order, FRAME_ORDERS)
        self.rules()

    def rules(self) -> videos.Rules:
        return videos.Rules(self.step, self.most_frames, self.size, self.side)

    def medium(self, files: Files, listing: Listing) -> media.Medium:
        rules = self.rules()
        return media.ClipMedium(
            files, listing, rules, self.au_values, self.au_confidence, self.closed_as_blink
        )

    def join_au_file(self, files: Files, listing: Listing) -> None:
        """Finds the track of each clip, if `au` names any; they are read when clips are checked."""
        if not self.au:
            return
        listing.tracks = tracks = track_files.find(self.au, files)
        clips = [f for f in listing.faces if listing.label_map[f.label] is not None]
        names = {clip.file: _recording(clip) for clip in clips}
        found, ways = track_files.match(names.values(), tracks.names)
        for clip in clips:
            assert isinstance(clip, Clip)
            clip.track = found.get(names[clip.file], "")
            if clip.track and clip.frames and not clip.numbers:
                clip.numbers = self.numbers(clip.frames)
        used = set(found.values())
        listing.au_join = {
            "file": tracks.source,
            "matched": dict(ways),
            "images_without_row": [file for file, name in names.items() if name not in found],
            "rows_without_image": [name for name in tracks.names if name not in used],
        }

    def in_order(self, frames: Sequence[str]) -> tuple[str, ...]:
        return tuple(sorted(frames, key=natural if self.frame_order == "natural" else None))

    def numbers(self, frames: Sequence[str]) -> tuple[int, ...]:
        """The rows, from 0, that tell of frames; empty if these are 0, 1, 2 and so on."""
        if self.au_frames == "number":
            numbers = [frame_number(name) - 1 for name in frames]
        else:
            places = {name: place for place, name in enumerate(sorted(frames))}
            numbers = [places[name] for name in frames]
        return () if numbers == list(range(len(frames))) else tuple(numbers)


def _recording(face: Face) -> str:
    return getattr(face, "recording", "") or face.file


def natural(name: str) -> tuple[object, ...]:
    """A sorting key for which digits are numbers: 2 comes before 10."""
    parts = _DIGITS.split(base_name(name))
    return (*(int(p) if i % 2 else p for i, p in enumerate(parts)), name)


def frame_number(name: str) -> int:
    """The last number in a file's name."""
    digits = _DIGITS.findall(stem(name))
    if not digits or int(digits[-1]) < 1:
        raise errors.UserError(f"au_frames: {name!r} has no frame number from 1 on in its name")
    return int(digits[-1])


# --- Finding clips ------------------------------------------------------------------------------


class Found:
    """The clips of a source: videos, and folders of frames that hold no clips themselves.

    Attributes:
      frames: clip -> its frames in the order of their names; none for a video or an empty folder.
      beside: images that are frames of no clip.
    """

    def __init__(self, files: Files):
        folders: dict[str, list[str]] = defaultdict(list)
        films = []
        for name in files.names:
            if name.lower().endswith(VIDEOS):
                films.append(name)
            elif name.lower().endswith(IMAGES):
                folders[name.rpartition("/")[0]].append(name)
        inner = {"", *_above(folders), *_above(films)}
        self.beside = [name for path in sorted(inner) for name in folders.pop(path, ())]
        self.frames: dict[str, tuple[str, ...]] = {path: tuple(f) for path, f in folders.items()}
        self.frames |= dict.fromkeys([*films, *files.empty_folders()], ())
        self._index()

    def only(self, part: str) -> None:
        """Forgets the clips that are in no folder of that name."""
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


def _above(paths) -> set[str]:
    """The folders that paths lie in."""
    return {"/".join(p.split("/")[:i]) for p in paths for i in range(1, p.count("/") + 1)}


def _whole(path: str) -> str:
    """A clip's path in lower case and without the suffix of a video."""
    path = path.lower()
    suffix = next((s for s in VIDEOS if path.endswith(s)), "")
    return path.removesuffix(suffix)


# --- The user's own -----------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Clips(WithClips):
    """Class folders `[train|validation|test/]<class>/<clip>`, or a CSV with one row a clip.

    Attributes:
      labels: the CSV file; empty takes `labels.csv` if there is one.
      columns: which column of the CSV is the "file", "expression", "subject" or "split", where it
        is called otherwise.
    """

    name = "clips"
    how_to_get = "your own clips; see docs/data.md"

    labels: str = ""
    columns: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def listing(self, files: Files) -> Listing:
        problems, found = Problems(), Found(files)
        table = folder.label_table(files, self.labels, self.columns)
        if table is None:
            clips = [
                self._clip(found, path, *folder.label_and_split(path)) for path in found.frames
            ]
        else:
            clips = self._by_table(found, table, problems)
        if not any(clip.frames or clip.file in files for clip in clips):
            kinds = f"folders of images, or {' '.join(VIDEOS)}"
            problems.add(f"no clips ({kinds})", ", ".join(files.names[:3]) or "the source is empty")
        if table is None and not self.au and not any(clip.label for clip in clips):
            problems.add("neither class folders nor a labels.csv", "name the CSV with labels")
        problems.check(files.source)
        classes, meanings = file_dataset.class_map(
            (c.label for c in clips), self.expressions, problems
        )
        problems.check(files.source)
        listing = Listing(list(clips), classes, meanings)
        self.join_au_file(files, listing)
        tell_order(listing, self.frame_order)
        listing.findings[BESIDE_CLIPS] = found.beside
        unlisted = sorted(set(found.frames) - {clip.file for clip in clips})
        if table is not None and unlisted:
            listing.remarks.append(
                f"{len(unlisted)} clips have no row in {table.name} and are not used, "
                f"for example {unlisted[0]}"
            )
        return listing

    def _clip(self, found: Found, path: str, label: str, split: str, subject: str = "") -> Clip:
        return Clip(path, label, subject, split, frames=self.in_order(found.frames[path]))

    def _by_table(self, found: Found, table: tables.Table, problems: Problems) -> list[Clip]:
        labelled = table.place("expression") is not None
        clips, seen = [], set()
        columns = (table.need("file"), *map(table.texts, ("expression", "subject", "split")))
        for written, label, subject, split in zip(*columns, strict=True):
            paths = found.find(written)
            if len(paths) != 1:
                problems.add("several clips of that name" if paths else "missing clips", written)
                continue
            if paths[0] in seen:
                problems.add("clips with two rows", written)
            seen.add(paths[0])
            folder_label, folder_split = folder.label_and_split(paths[0])
            if not labelled and folder.is_class(folder_label):
                label = folder_label
            if split and not splits.named(split):
                problems.add("splits that are not train, validation, test or fold1 on", split)
            chosen = splits.named(split) or folder_split
            clips.append(self._clip(found, paths[0], label, chosen, subject))
        return clips


def tell_order(listing: Listing, taken: str) -> None:
    """Notes the clips for which the order of frames is a matter of choice."""
    title = f"{OTHER_ORDER} {'number' if taken == 'natural' else 'name'}"
    listing.findings[title] = [
        clip.file
        for clip in listing.faces
        if isinstance(clip, Clip) and sorted(clip.frames) != sorted(clip.frames, key=natural)
    ]
