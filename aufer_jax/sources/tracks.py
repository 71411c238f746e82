"""AU tracks: a recording's AUs and landmarks frame by frame, from CSV files of OpenFace and py-feat.

OpenFace 2 writes intensities `AU06_r` (0..5) and presences `AU06_c` (0 or 1), AU28 and its kin only as
presence; py-feat writes probabilities `AU06`. Both write landmarks `x_0` to `y_67`, in pixels of the
upright frame that they saw. Names and cells may have spaces around them, columns are found by name. Of
several faces in a frame the largest counts whose confidence is at least 0.7; where none is that sure,
the surest.
"""

import dataclasses
import os
from collections.abc import Sequence

import numpy as np

from aufer_jax import errors
from aufer_jax.sources import tables
from aufer_jax.sources.files import Files, base_name
from aufer_jax.sources.tables import LABELS  # beside the tracks of a folder; no track itself

_SURE = 0.7  # below it OpenFace's author calls a detection failed


@dataclasses.dataclass(frozen=True)
class Track:
    """The AUs and landmarks of one face, one row per frame, in order; NaN where unknown."""

    name: str
    aus: tuple[int, ...]
    frames: np.ndarray  # int [R], counted from 1, each once
    confidence: np.ndarray  # [R] 0..1; 1 where the file does not say, 0 in rows without AUs
    success: np.ndarray  # bool [R]
    intensity: np.ndarray | None  # float32 [R, n] 0..5; of AU28 NaN
    presence: np.ndarray | None  # float32 [R, n] 0 or 1
    probability: np.ndarray | None = None  # float32 [R, n] 0..1, of py-feat
    landmarks: np.ndarray | None = None  # float32 [R, 68, 2] pixels; NaN in rows without AUs
    other_faces: int = 0  # rows left out, of further faces in a frame


def read(name: str, text: str, *, closed_as_blink: bool = False, landmarks: bool = True) -> Track:
    """The track in the text of a CSV file.

    Columns without suffix are probabilities, present from 0.5 on. In a file that is not of py-feat
    they may be intensities as well, which go above 1. py-feat counts frames from 0, all others from 1;
    a file without frame numbers has one frame (OpenFace's FaceLandmarkImg) or one row per frame.

    Args:
      name: of the file, for messages.
      text: what is in it.
      closed_as_blink: takes AU43 (eyes closed; py-feat) for AU45 where there is no AU45.
      landmarks: reads them as well, where the file has them.
    """
    table = tables.Table(name, text)
    columns, _ = tables.au_columns(table)
    if not columns:
        raise errors.UserError(
            f"{name}: no column such as AU06_r, AU06_c (OpenFace) or AU06 (py-feat); it has "
            f"{', '.join(table.header[:12])}"
        )
    if closed_as_blink and 43 in columns and 45 not in columns:
        columns[45] = columns.pop(43)
    aus = tuple(sorted(columns))
    py_feat = "FaceRectX" in table.header
    intensity, presence = (_values(table, columns, aus, s, py_feat) for s in ("_r", "_c"))
    probability = _values(table, columns, aus, "", py_feat)
    if probability is not None and np.nanmax(probability, initial=0) > 1:
        intensity, probability = _first_known(intensity, probability), None
    elif probability is not None:
        presence = _first_known(presence, probability)
    if presence is not None:
        sure = presence >= tables.PROBABLE
        presence = np.where(np.isnan(presence), np.nan, sure).astype(np.float32)
    told = [v for v in (intensity, presence) if v is not None]
    success = tables.column(table, "success", 1.0) == 1
    success &= np.any([np.isfinite(values).any(1) for values in told], 0)
    confidence = np.where(success, _confidence(table), 0)
    frames = _frames(table, py_feat)
    points = tables.table_landmarks(table) if landmarks else None
    if points is not None:
        points[~success] = np.nan
    track = Track(name, aus, frames, confidence, success, intensity, presence, probability, points)
    return _one_face(track, table)


def aligned(
    track: Track,
    frames: int | Sequence[int] | np.ndarray,
    *,
    prefer: str = "intensity",
    confidence: float = 0.8,
) -> np.ndarray:
    """The AUs [T, n] of frames 1 to T, or of frames given, NaN where no confident row has them.

    `prefer` is "intensity" or "presence". An AU that has none of the preferred values, as AU28 has no
    intensity, keeps the others.
    """
    if prefer not in tables.AU_VALUES:
        raise errors.unknown("prefer", prefer, tables.AU_VALUES)
    first, second = track.intensity, track.presence
    values = _first_known(*((first, second) if prefer == "intensity" else (second, first)))
    return _of_frames(track, values, frames, confidence)


def aligned_landmarks(
    track: Track, frames: int | Sequence[int] | np.ndarray, *, confidence: float = 0.8
) -> np.ndarray | None:
    """The landmarks [T, 68, 2] of frames as `aligned` gives their AUs; None if the file has none."""
    if track.landmarks is None:
        return None
    return _of_frames(track, track.landmarks, frames, confidence)


def _of_frames(
    track: Track,
    values: np.ndarray,
    frames: int | Sequence[int] | np.ndarray,
    confidence: float,
) -> np.ndarray:
    """The confident rows of `values` [R, ...] by their frame numbers [T, ...], NaN without one."""
    if not 0 <= confidence <= 1:
        raise errors.UserError(f"confidence: {confidence} must be from 0 to 1")
    wanted = np.arange(1, frames + 1) if isinstance(frames, int) else np.asarray(frames)
    rows = np.flatnonzero(confident(track, confidence))
    result = np.full((len(wanted), *values.shape[1:]), np.nan, np.float32)
    if rows.size:
        places = np.searchsorted(track.frames[rows], wanted).clip(max=len(rows) - 1)
        told = track.frames[rows[places]] == wanted
        result[told] = values[rows[places[told]]]
    return result


def confident(track: Track, confidence: float) -> np.ndarray:
    """Which rows [R] are to be believed."""
    return track.success & (track.confidence >= confidence)


def folder(
    path: str | os.PathLike, *, closed_as_blink: bool = False
) -> tuple[dict[str, Track], dict[str, str]]:
    """The tracks of a folder or .zip by path without suffix, and why other files could not be used.

    All .csv files are read but `labels.csv`, without landmarks: those of a whole dataset are large.
    """
    files = Files(path)
    found, refused = {}, {}
    for name in files.names:
        if not name.lower().endswith(".csv") or base_name(name).lower() == LABELS:
            continue
        try:
            text = files.open_text(name)
            track = read(name, text, closed_as_blink=closed_as_blink, landmarks=False)
            found[os.path.splitext(name)[0]] = track
        except (ValueError, OSError) as error:
            refused[name] = str(error)
    if not found and not refused:
        raise errors.UserError(f"au: {path} holds no .csv files of AUs")
    return found, refused


# --- Columns ------------------------------------------------------------------------------------


def _values(
    table: tables.Table, columns: tables.AuColumns, aus: tuple[int, ...], suffix: str, py_feat: bool
) -> np.ndarray | None:
    """The columns of one kind [rows, n], NaN for AUs that have none; None if no AU has one."""
    named = {place: columns[au][suffix] for place, au in enumerate(aus) if suffix in columns[au]}
    if not named:
        return None
    names = list(named.values())
    unit = suffix == "_c" or (not suffix and py_feat)
    _check_decimal_point(table, names, 1.0 if unit else tables.MOST)
    values = np.full((len(table), len(aus)), np.nan, np.float32)
    values[:, list(named)] = tables.au_numbers(table, names)
    if unit and np.nanmax(values, initial=0) > 1:
        raise errors.UserError(
            f"{table.name}: AU values up to {np.nanmax(values):g}, they must be 0..1"
        )
    return values


def _check_decimal_point(table: tables.Table, names: list[str], most: float) -> None:
    """Spreadsheets of some languages read 1.23 as 123; what other cells lost cannot be known."""
    values = table.numbers(names)
    seen = values[np.isfinite(values) & ~np.isin(values, tables.AU_UNKNOWN)]
    if seen.size and most < seen.max() <= 100 * most and not (seen % 1).any():
        raise errors.UserError(
            f"{table.name}: AU values up to {seen.max():g} instead of {most:g}, all whole numbers: the "
            "decimal points were lost when a spreadsheet saved the file; use the original"
        )


def _first_known(first: np.ndarray | None, second: np.ndarray | None) -> np.ndarray:
    """`first` [R, n], but `second` for the AUs that are unknown there in every row."""
    if first is None or second is None:
        found = second if first is None else first
        assert found is not None
        return found
    return np.where(np.isnan(first).all(0), second, first)


def _frames(table: tables.Table, py_feat: bool) -> np.ndarray:
    """The frame numbers of the rows, counted from 1."""
    if "frame" not in table.header:
        rows = len(table)
        return np.ones(rows, np.int64) if "face" in table.header else np.arange(1, rows + 1)
    first = 0 if py_feat else 1
    values = table.numbers(["frame"])[:, 0]
    bad = np.flatnonzero(~((values >= first) & (values % 1 == 0)))
    if bad.size:
        raise errors.UserError(
            f"{table.name}: {values[bad[0]]:g} in row {bad[0] + 2}, column frame; it must be a whole "
            f"number, at least {first}"
        )
    return values.astype(np.int64) + 1 - first


def _confidence(table: tables.Table) -> np.ndarray:
    """How sure the detector was; 1 where the file does not say, 0 in empty cells."""
    for name in ("confidence", "FaceScore"):
        if name in table.header:
            values = np.nan_to_num(table.numbers([name])[:, 0])
            if values.size and (values.max() > 1 or values.min() < 0):
                raise errors.UserError(
                    f"{table.name}: {values.min():g} to {values.max():g} in column {name}, they "
                    "must be 0..1"
                )
            return values
    return np.ones(len(table), np.float32)


# --- Several faces in a frame -------------------------------------------------------------------


def _one_face(track: Track, table: tables.Table) -> Track:
    """The track with one row per frame, in the order of the frames."""
    if (np.diff(track.frames) > 0).all():
        return track
    sure = track.success & (track.confidence >= _SURE)
    size = np.where(sure, _sizes(table), 0)
    # The last of each frame in this order is its best: sure, large, confident, first in the file.
    order = np.lexsort((-np.arange(len(size)), track.confidence, size, sure, track.frames))
    last = np.append(np.diff(track.frames[order]) > 0, True)
    kept = order[last]
    arrays = {
        field.name: value[kept]
        for field in dataclasses.fields(track)
        if isinstance(value := getattr(track, field.name), np.ndarray)
    }
    return dataclasses.replace(track, **arrays, other_faces=len(order) - len(kept))


def _sizes(table: tables.Table) -> np.ndarray:
    """How large the faces are, in a unit of the file's own; zeros where it does not say."""
    header = set(table.header)
    if {"FaceRectWidth", "FaceRectHeight"} <= header:
        sizes = table.numbers(["FaceRectWidth", "FaceRectHeight"]).prod(1)
    elif {f"{axis}_{i}" for axis in "xy" for i in range(68)} <= header:
        points = table.numbers([f"{axis}_{i}" for axis in "xy" for i in range(68)])
        sizes = np.ptp(points.reshape(len(table), 2, 68), 2).prod(1)
    elif "p_scale" in header:
        sizes = table.numbers(["p_scale"])[:, 0]
    else:
        return np.zeros(len(table))
    return np.nan_to_num(sizes)
