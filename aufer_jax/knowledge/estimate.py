"""AU-expression knowledge from datasets of clips and from folders of AU tracks (`aufer paper knowledge`)."""

import dataclasses
import os
import pathlib
from collections.abc import Iterator, Sequence

import numpy as np

from aufer_jax import errors, facs
from aufer_jax.data import records
from aufer_jax.datasets import catalog
from aufer_jax.knowledge import medians
from aufer_jax.knowledge.frame_scores import WAYS, Host
from aufer_jax.knowledge.medians import Clip, Medians
from aufer_jax.papers.audfer import knowledge
from aufer_jax.sources import tables, track_files, tracks
from aufer_jax.sources.files import Files

SELECT = ("none", *WAYS)
SHIFTS = (*knowledge.SHIFTS, "text")
THETA = 0.5  # ours: the paper gives none

_ENOUGH = 50  # clips to tell presences from intensities


@dataclasses.dataclass(frozen=True)
class Options:
    """How knowledge is made: see `medians.interpolate`, `frame_scores.Host` and `knowledge.matrix`.

    The shift "text" is the paper's wording: `knowledge.text_sums`, then 2.5.
    """

    aus: tuple[int, ...] = facs.OPENFACE_18
    interpolate: str = "zeros"
    ends: str = "kept"
    select: str = "none"
    host: str = ""
    theta: float = THETA
    shift: str | float = "midrange"
    confidence: float = 0.8  # rows of tracks that are less sure are unknown
    closed_as_blink: bool = False  # py-feat's AU43 stands in for AU45
    data_dir: str | None = None

    def __post_init__(self) -> None:
        if isinstance(self.shift, str) and self.shift not in SHIFTS:
            raise errors.unknown("shift", self.shift, (*SHIFTS, "a number"))
        if not isinstance(self.shift, str) and not np.isfinite(self.shift):
            raise errors.UserError(f"shift: {self.shift} is no finite number")
        if self.select not in SELECT:
            raise errors.unknown("select", self.select, SELECT)
        if (self.select == "none") == bool(self.host):
            raise errors.UserError(
                f"select: {self.select!r} with host {self.host!r}; frames are selected by a run: give "
                "both select (repeat or window) and host, or none of them"
            )
        for name in ("theta", "confidence"):
            if not 0 <= getattr(self, name) <= 1:
                raise errors.UserError(f"{name}: {getattr(self, name)} must be from 0 to 1")
        if not set(self.aus) - {knowledge.AU28}:
            raise errors.UserError("aus: at least one besides AU28 is needed")
        medians.interpolate(np.zeros((1, 1)), self.interpolate, self.ends)

    @property
    def number(self) -> str | float:
        """The shift as `knowledge.matrix` takes it."""
        return knowledge.TEXT_SHIFT if self.shift == "text" else self.shift


@dataclasses.dataclass(frozen=True)
class Knowledge:
    """What was found."""

    datasets: tuple[Medians, ...]
    expressions: tuple[str, ...]
    aus: tuple[int, ...]
    sums: np.ndarray  # [E, n], NaN where no dataset tells
    matrix: np.ndarray  # K [E, n] with the chosen shift
    filled: tuple[int, ...]  # AUs whose values are the mean of all others
    options: Options


def estimate(sources: Sequence[str], options: Options) -> Knowledge:
    """The knowledge that sources hold together.

    Args:
      sources: each a dataset of clips ("NAME", of which the training split is read, or "NAME:SPLIT"), or
        a folder or .zip of AU tracks, see `from_tracks`.
      options: how.
    """
    if not sources:
        raise errors.UserError(
            "sources: got none, a dataset of clips or a folder of AU files is needed"
        )
    host = Host(options.host, options.select) if options.host else None
    found = tuple(_read(source, options, host) for source in sources)
    expressions, each = medians.common(found)
    sums, filled = knowledge.fill(knowledge.total(each), options.aus)
    if options.shift == "text":
        sums = knowledge.text_sums(each, options.aus)
    matrix = knowledge.matrix(sums, options.number)
    return Knowledge(found, expressions, options.aus, sums, matrix, filled, options)


def _read(source: str, options: Options, host: Host | None) -> Medians:
    name, _, split = source.partition(":")
    if name not in catalog.names(options.data_dir) and pathlib.Path(source).expanduser().exists():
        if host is not None:
            raise errors.UserError(
                f"select: {options.select!r} needs the frames, {source} has only AUs; prepare the "
                "clips with them: aufer data prepare clips --au"
            )
        return from_tracks(source, options)
    info = catalog.info(name, options.data_dir)
    if info.kind != records.CLIP or not info.expressions:
        raise errors.UserError(f"sources: {name} is no dataset of clips with expressions")
    if not split and "train" not in info.splits:
        splits = ", ".join(info.splits)
        raise errors.UserError(
            f"sources: {name} has no training split, name splits: {name}:{splits}"
        )
    rows = catalog.source(name, split or "train", data_dir=options.data_dir)
    return from_records(rows, options, host, source)


# --- Prepared datasets --------------------------------------------------------------------------


def from_records(
    source: records.Source, options: Options, host: Host | None = None, name: str = ""
) -> Medians:
    """The medians of a dataset's clips, whose AUs must be intensities."""
    info = source.info
    if not set(info.aus) & set(options.aus) - {knowledge.AU28}:
        raise errors.UserError(
            f"sources: {info.name} has AUs {', '.join(map(str, info.aus)) or '(none)'}, none of "
            f"{', '.join(map(str, options.aus))}"
        )
    left_out: dict[str, list[str]] = {}
    clips = _clips(source, options, host, left_out)
    return medians.medians(name or info.name, clips, options.aus, left_out)


def _clips(
    source: records.Source, options: Options, host: Host | None, left_out: dict[str, list[str]]
) -> Iterator[Clip]:
    info = source.info
    names = tuple(map(facs.expression, info.expressions))
    places = np.array(facs.au_index(info.aus, options.aus), np.int64)
    read, intensities = 0, False
    for i in range(len(source)):
        record = source[i]
        why = _unfit(record, names, host)
        if why:
            left_out.setdefault(why, []).append(record["key"])
            continue
        expression = names[record["expression"]]
        known = np.append(record["au_known"], False)  # index -1: an AU it does not have
        values = np.pad(record["au"], ((0, 0), (0, 1)))[:, places]
        values = np.where(known[places], values, np.nan)
        read += 1
        intensities |= bool((values % 1 > 0).any() or np.nanmax(values, initial=0) > 1)
        if read == _ENOUGH and not intensities:  # before a host has scored them all
            break
        kept = None
        if host is not None:
            kept = host.scores(record, expression) > options.theta
        filled = medians.interpolate(values, options.interpolate, options.ends)
        yield Clip(record["key"], expression, filled, kept)
    if read and not intensities:
        raise errors.UserError(
            f"sources: {info.name} holds only zeros and ones, not intensities; prepare it with "
            "--au-values intensity"
        )


def _unfit(record: records.Record, names: Sequence[str], host: Host | None) -> str:
    """Why a clip cannot be used, or nothing."""
    if record["expression"] < 0:
        return "expression unknown"
    if not record["frames"]:
        return "no frames"
    if not record["au_known"].any():
        return "AUs unknown"
    if host is not None and names[record["expression"]] not in host.expressions:
        return "expression unknown to the host"
    return ""


# --- Folders of tracks --------------------------------------------------------------------------


def from_tracks(path: str | os.PathLike, options: Options) -> Medians:
    """The medians of the AU tracks in a folder or .zip.

    `labels.csv` (file, expression) says whose expression is whose; without it the folder that a track
    lies in does. Probabilities of py-feat times 5 stand in for intensities.
    """
    found, refused = tracks.folder(path, closed_as_blink=options.closed_as_blink)
    left_out: dict[str, list[str]] = {}
    for name, why in refused.items():
        left_out.setdefault("not readable", []).append(f"{name}: {why}")
    labels = _labels(Files(path), found, left_out)
    clips = _track_clips(found, labels, options, left_out)
    return medians.medians(str(path), clips, options.aus, left_out)


def _track_clips(
    found: dict[str, tracks.Track],
    labels: dict[str, str],
    options: Options,
    left_out: dict[str, list[str]],
) -> Iterator[Clip]:
    for name, track in found.items():
        if not labels.get(name):
            if name not in labels:
                left_out.setdefault("expression unknown", []).append(name)
            continue
        intensity = track.intensity
        if intensity is None and track.probability is not None:
            intensity = tables.MOST * track.probability
        if intensity is None or not len(track.frames):
            left_out.setdefault("no intensities", []).append(name)
            continue
        only = dataclasses.replace(track, intensity=intensity, presence=None)
        values = tracks.aligned(only, int(track.frames.max()), confidence=options.confidence)
        places = facs.au_index(track.aus, options.aus)
        values = np.pad(values, ((0, 0), (0, 1)), constant_values=np.nan)[:, list(places)]
        yield Clip(
            name, labels[name], medians.interpolate(values, options.interpolate, options.ends)
        )


def _labels(
    files: Files, found: dict[str, tracks.Track], left_out: dict[str, list[str]]
) -> dict[str, str]:
    """Track -> its expression, "" where the label is none, of those that have a label."""
    written = _written_labels(files, found, left_out)
    labels = {}
    for name, word in written.items():
        try:
            labels[name] = facs.expression(word)
        except ValueError:
            labels[name] = ""
            left_out.setdefault(f"label {word!r} is no expression", []).append(name)
    return labels


def _written_labels(
    files: Files, found: dict[str, tracks.Track], left_out: dict[str, list[str]]
) -> dict[str, str]:
    place = files.shallowest(tracks.LABELS)
    if place is None:
        words = {name: name.split("/")[-2] for name in found if "/" in name}
        if not words:
            raise errors.UserError(
                f"labels: {files.source} has neither {tracks.LABELS} (file, expression) nor folders "
                "named after expressions"
            )
        return words
    table = tables.Table(place, files.open_text(place))
    words = dict(zip(table.need("file"), table.need("expression"), strict=True))
    matched, _ = track_files.match(words, list(found))
    missing = [name for name in words if name not in matched]
    if missing:
        left_out.setdefault("in labels.csv, without a track", []).extend(missing)
    return {track: words[name] for name, track in matched.items()}
