"""AUs of a recording, frame by frame, from the CSV files of OpenFace and py-feat."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from aufer_jax.data import tables
from aufer_jax.suggest import unknown

_SIZES = ("p_scale", "FaceRectWidth")  # columns that tell how large a face is
_SCORES = ("confidence", "FaceScore")  # and how sure its detector was


@dataclasses.dataclass(frozen=True)
class Track:
    """One row a frame, in the order of the frames; what a file does not tell is NaN or None."""

    name: str
    aus: tuple[int, ...]
    frames: np.ndarray  # int [R], counted from 1, each once
    confidence: np.ndarray  # float [R]
    success: np.ndarray  # bool [R]
    intensity: np.ndarray | None  # [R, n], 0..5
    presence: np.ndarray | None  # [R, n], 0 or 1


def read(name: str, text: str, *, closed_as_blink: bool = False) -> Track:
    """The track in the text of a CSV file.

    OpenFace's `_r` columns are intensities, its `_c` columns presences. Columns without suffix hold
    presences, probabilities (present from 0.5 on; py-feat) or, above 1, intensities. Of several faces
    in a frame the one the file is surest of counts, of equally sure ones the largest. py-feat counts
    frames from 0, OpenFace from 1.

    Args:
      name: of the file, for messages.
      text: its content.
      closed_as_blink: AU43 (eyes closed; py-feat) stands in for AU45 where there is none.
    """
    table = tables.Table(name, text)
    columns, _ = tables.au_columns(table)
    if not columns:
        raise ValueError(
            f"{name}: no column such as AU06, AU06_r or AU06_c, as OpenFace and py-feat write them; "
            f"it has {', '.join(table.header[:12])}"
        )
    if closed_as_blink and 43 in columns and 45 not in columns:
        columns[45] = columns.pop(43)
    aus = tuple(sorted(columns))
    intensity, presence, plain = (_values(table, columns, aus, s) for s in ("_r", "_c", ""))
    if plain is not None and np.nanmax(plain, initial=0) > 1:
        intensity = _first_known(intensity, plain)
    elif plain is not None:
        presence = _first_known(presence, np.where(np.isnan(plain), np.nan, plain >= 0.5))
    frames = _frames(table)
    rows = _one_each(frames, _number(table, _SCORES), _number(table, _SIZES))
    return Track(
        name=name,
        aus=aus,
        frames=frames[rows],
        confidence=_number(table, ("confidence",))[rows],
        success=_number(table, ("success",))[rows] == 1,
        intensity=None if intensity is None else intensity[rows],
        presence=None if presence is None else presence[rows],
    )


def aligned(
    track: Track, frames: int, *, prefer: str = "intensity", confidence: float = 0.8
) -> np.ndarray:
    """AU values [frames, n] by frame number, NaN where there is no successful, confident row.

    An AU that has none of the preferred values (AU28 has no intensity) keeps the others.

    Args:
      track: from `read`.
      frames: how many frames the recording has; rows of later ones are left out.
      prefer: "intensity" or "presence".
      confidence: the least that counts.
    """
    if prefer not in tables.AU_VALUES:
        raise unknown("prefer", prefer, tables.AU_VALUES)
    first, second = track.intensity, track.presence
    if prefer == "presence":
        first, second = second, first
    values = _first_known(first, second, by_column=True)
    result = np.full((frames, len(track.aus)), np.nan, np.float32)
    good = track.success & (track.confidence >= confidence)
    good &= (track.frames >= 1) & (track.frames <= frames)
    result[track.frames[good] - 1] = values[good]
    return result


def _first_known(
    first: np.ndarray | None, second: np.ndarray | None, by_column: bool = False
) -> np.ndarray:
    """`first`, and where it is NaN (by column: in all rows) `second`."""
    if first is None or second is None:
        found = second if first is None else first
        assert found is not None
        return found
    missing = np.isnan(first)
    return np.where(missing.all(0) if by_column else missing, second, first)


def _values(
    table: tables.Table, columns: dict[int, dict[str, str]], aus: Sequence[int], suffix: str
) -> np.ndarray | None:
    """The values [rows, n] of the columns with a suffix, NaN for AUs that have none."""
    named = {place: columns[au][suffix] for place, au in enumerate(aus) if suffix in columns[au]}
    if not named:
        return None
    values = np.full((len(table), len(aus)), np.nan, np.float32)
    values[:, list(named)] = tables.au_numbers(table, list(named.values()))
    return values


def _frames(table: tables.Table) -> np.ndarray:
    """The number of each row's frame, from 1 on."""
    if "frame" not in table.header:  # an image, with a row a face, or rows in their order
        count = len(table)
        return np.ones(count, int) if "face" in table.header else np.arange(1, count + 1)
    frames = table.numbers(["frame"])[:, 0]
    if np.isnan(frames).any():
        raise ValueError(f"{table.name}: column frame has empty cells")
    from_zero = "FaceRectX" in table.header
    return frames.astype(int) + from_zero


def _number(table: tables.Table, names: Sequence[str]) -> np.ndarray:
    """The first of these columns that is there; 1 without, 0 for empty cells."""
    for name in names:
        if name in table.header:
            return np.nan_to_num(table.numbers([name])[:, 0], nan=0.0)
    return np.ones(len(table), np.float32)


def _one_each(frames: np.ndarray, score: np.ndarray, size: np.ndarray) -> np.ndarray:
    """The row of each frame, in the order of the frames."""
    order = np.lexsort((size, score, frames))  # the best row of a frame comes last
    last = np.append(np.diff(frames[order]) != 0, True)
    return order[last] if len(order) else order
