"""CSV files of labels, landmarks and AUs, as people and programs write them."""

import csv
import dataclasses
import io
import math
import re
from collections.abc import Mapping, Sequence

import numpy as np

from aufer_jax import facs
from aufer_jax.errors import UserError, unknown
from aufer_jax.geometry import landmarks
from aufer_jax.sources import archives

LABELS = "labels.csv"  # what a table of labels beside the files it names is called

# What a column may be called; capitals do not matter.
COLUMNS: dict[str, tuple[str, ...]] = {
    "file": ("file", "filename", "file_name", "image", "path", "name", "input", "clip", "video"),
    "expression": ("expression", "label", "emotion", "class"),
    "subject": ("subject", "subject_id", "person", "identity"),
    "split": ("split", "usage", "set", "partition"),
    "confidence": ("confidence", "facescore"),  # OpenFace's, py-feat's
    "success": ("success",),
}
# Five points in the order of `geometry.align.TEMPLATE`; left is the left side of the image.
FIVE = (
    ("left_eye", "lefteye"),
    ("right_eye", "righteye"),
    ("nose", "nose_tip"),
    ("mouth_left", "leftmouth"),
    ("mouth_right", "rightmouth"),
)
ONE = ""  # what the array of a .npy is called
FAR = 1e6  # pixels; a landmark beyond is no landmark
AU_VALUES = ("intensity", "presence")
AU_UNKNOWN = (-1.0, 9.0, 999.0)  # besides empty cells

_AU = re.compile(r"AU\s?0*(\d+)(_[rc])?", re.IGNORECASE)
MOST = 5.0  # the highest AU intensity
PROBABLE = 0.5  # the least probability that counts as present

AuColumns = dict[int, dict[str, str]]  # AU -> suffix -> column


def separator(line: str) -> str:
    """What parts the cells of a line."""
    return max(",;\t", key=line.count)


class Table:
    """The rows of a CSV file; names and cells stripped, columns by name."""

    def __init__(self, name: str, text: str, columns: Mapping[str, str] | None = None):
        self.name = name
        text = text.replace("\r\n", "\n").replace("\r", "\n")  # the oldest Macs wrote \r alone
        first = text.split("\n", 1)[0]
        cells = csv.reader(io.StringIO(text), delimiter=separator(first))
        try:
            rows = [row for row in cells if any(row)]
        except csv.Error as error:
            raise UserError(
                f"{name}: line {cells.line_num}: {error}; is a quote not closed?"
            ) from error
        if not rows:
            raise UserError(f"{name}: the file is empty")
        self.header = [cell.strip() for cell in rows[0]]
        self.rows = rows[1:]
        for number, row in enumerate(self.rows, 2):
            if len(row) != len(self.header):
                raise UserError(
                    f"{name}: row {number} has {len(row)} cells, the header has {len(self.header)}"
                )
        self._places = {column: place for place, column in enumerate(self.header)}
        self._chosen = dict(columns or {})
        for role, column in self._chosen.items():
            if role not in COLUMNS:
                raise unknown("columns", role, COLUMNS)
            if column not in self._places:
                raise unknown(f"columns.{role}, a column of {name}", column, self.header)

    def __len__(self) -> int:
        return len(self.rows)

    def place(self, role: str) -> int | None:
        """Where the column of a role stands, or None."""
        if role in self._chosen:
            return self._places[self._chosen[role]]
        lower = {column.lower(): place for column, place in reversed(self._places.items())}
        return next((lower[name] for name in COLUMNS[role] if name in lower), None)

    def texts(self, role: str) -> list[str]:
        """The cells of the column of a role; empty texts if there is no such column."""
        place = self.place(role)
        return [""] * len(self) if place is None else [row[place].strip() for row in self.rows]

    def need(self, role: str) -> list[str]:
        """The texts of a column; raises where the table has none in this role."""
        if self.place(role) is None:
            raise UserError(
                f"{self.name}: no column for {role!r}; it may be called "
                f"{', '.join(COLUMNS[role])}, or name it with columns {role}=...; the file has "
                f"{', '.join(self.header[:12])}"
            )
        return self.texts(role)

    def numbers(self, names: Sequence[str]) -> np.ndarray:
        """The cells of columns as float32 [rows, columns], NaN where they are empty."""
        places = [self._places[name] for name in names]
        values = np.empty((len(self), len(names)), np.float32)
        for number, row in enumerate(self.rows):
            cells = [row[place].strip() or "nan" for place in places]
            try:
                values[number] = cells
            except ValueError:
                bad = next(name for name, c in zip(names, cells, strict=True) if not _number(c))
                raise UserError(
                    f"{self.name}: {row[self._places[bad]]!r} in row {number + 2}, "
                    f"column {bad}, is not a number"
                ) from None
        return values


def _number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


# --- Landmarks ----------------------------------------------------------------------------------


def table_landmarks(table: Table) -> np.ndarray | None:
    """The landmarks [rows, 68, 2] of a table's columns, NaN where unknown; None without any."""
    lower = {column.lower(): column for column in table.header}
    for points in (landmarks.IBUG, len(FIVE)):
        names = [f"{axis}_{i}" for i in range(points) for axis in "xy"]
        if set(names) <= set(table.header) and f"x_{points}" not in table.header:
            return as_68(table.numbers(names).reshape(-1, points, 2))
    names = [lower.get(f"{n}_{axis}") for axis in "xy" for n in _first_known(lower)]
    if names and all(names):
        values = table.numbers([name for name in names if name])
        return as_68(np.stack([values[:, : len(FIVE)], values[:, len(FIVE) :]], -1))
    return None


def _first_known(lower: Mapping[str, str]) -> list[str]:
    return [next((n for n in names if f"{n}_x" in lower), names[0]) for names in FIVE]


def as_68(points: np.ndarray) -> np.ndarray:
    """Points [n, 5, 68, 468 or 478, 2 or 3] as [n, 68, 2]; faces left at zero are unknown."""
    with np.errstate(over="ignore", invalid="ignore"):
        points = np.array(points, np.float32)
    points[~(np.abs(points) < FAR)] = np.nan
    if points.ndim != 3:
        raise UserError(f"landmarks: an array of shape {points.shape}, not [rows, points, 2]")
    points[(points == 0).all((1, 2))] = np.nan
    return landmarks.from_any(points)


@dataclasses.dataclass(frozen=True)
class LandmarkFile:
    """Landmarks [n, 68, 2] of a .npy or .npz; `files` is empty if the row order says whose they are."""

    points: np.ndarray
    files: tuple[str, ...] = ()
    blendshapes: np.ndarray | None = None  # [faces, 52], where the file has them too
    mesh_features: np.ndarray | None = None  # [faces, n], likewise


def read_landmarks(name: str, data: bytes) -> LandmarkFile:
    """A .npy array, of one face or of many, or a .npz with `points` and, where it has them, `files`.

    What `aufer faces align` writes has `blendshapes` and `mesh_features` too.
    """
    arrays = _arrays(name, data)
    shapes, features = arrays.pop("blendshapes", None), arrays.pop("mesh_features", None)
    keys = [key for key in arrays if key != "files"]
    key = "points" if "points" in keys else keys[0] if len(keys) == 1 else None
    if key is None:
        raise UserError(f"landmarks: {name} holds {', '.join(keys) or 'nothing'}, not `points`")
    points, files = arrays[key], tuple(map(str, arrays.get("files", ())))
    if points.dtype.kind not in "fiub":
        raise UserError(f"landmarks: {name} holds {points.dtype}, not numbers of pixels")
    points = as_68(points[None] if key == ONE and points.ndim == 2 else points)
    if files and len(files) != len(points):
        raise UserError(f"landmarks: {name} has {len(files)} files but {len(points)} faces")
    if shapes is not None and shapes.shape != (len(points), len(facs.BLENDSHAPES)):
        raise UserError(f"landmarks: {name} has blendshapes of shape {list(shapes.shape)}")
    if features is not None and (features.ndim != 2 or len(features) != len(points)):
        raise UserError(f"landmarks: {name} has mesh_features of shape {list(features.shape)}")
    return LandmarkFile(points, files, shapes, features)


def _arrays(name: str, data: bytes) -> dict[str, np.ndarray]:
    """The arrays of a .npz, or that of a .npy, called `ONE`; no larger than their bytes."""
    try:
        if not data.startswith(b"PK"):
            return {ONE: _array(data)}
        with archives.opened(io.BytesIO(data)) as packed:
            return {
                entry.filename.removesuffix(".npy"): _array(archives.read(packed, entry))
                for entry in packed.infolist()
            }
    except Exception as error:  # NumPy and zipfile have many for damaged files
        why = f": {error}" if isinstance(error, UserError) else ""
        raise UserError(f"landmarks: {name} is not a .npy or .npz file of numbers{why}") from error


def _array(data: bytes) -> np.ndarray:
    stream = io.BytesIO(data)
    version = np.lib.format.read_magic(stream)
    reads = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }
    shape, _, dtype = reads[version](stream)
    if math.prod(shape) * dtype.itemsize > len(data) - stream.tell():
        raise UserError(f"{shape} numbers in {len(data)} bytes")  # before room is made for them
    return np.load(io.BytesIO(data), allow_pickle=False)


# --- Action Units -------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class ActionUnits:
    """AU labels of a table's rows."""

    aus: tuple[int, ...]
    values: np.ndarray  # [rows, AUs] intensity 0..5, or 0/1
    known: np.ndarray  # [rows, AUs]
    confidence: np.ndarray  # [rows]; 1 where the table does not say
    doubted: np.ndarray  # [rows]: confidence or success too low, so nothing is known
    remarks: tuple[str, ...] = ()


def action_units(
    table: Table, *, prefer: str = "intensity", confidence: float = 0.8
) -> ActionUnits | None:
    """The AUs of a table's columns, or None if it has none.

    `AU06_r` holds intensities and `AU06_c` presences; where a table has both, `prefer` decides.
    Columns without suffix hold either, or probabilities (0..1 with fractions, as py-feat writes
    them), which become presences from 0.5 on. AUs outside the vocabulary are left out.
    """
    found, remarks = au_columns(table)
    if not found:
        return None
    suffixes = ("_r", "", "_c") if prefer == "intensity" else ("_c", "", "_r")
    aus = tuple(sorted(found))
    columns = [next(found[au][s] for s in suffixes if s in found[au]) for au in aus]
    values = au_numbers(table, columns)
    plain = np.array([not c.lower().endswith(("_r", "_c")) for c in columns])
    if plain.any() and _probabilities(values[:, plain]):
        values[:, plain] = np.where(
            np.isnan(values[:, plain]), np.nan, values[:, plain] >= PROBABLE
        )
        remarks.append(f"{table.name}: AU columns hold probabilities; present from {PROBABLE} on")
    sure = _sureness(table)
    doubted = (sure < confidence) | (column(table, "success", 1.0) != 1)
    known = np.isfinite(values) & ~doubted[:, None]
    return ActionUnits(aus, np.where(known, values, 0), known, sure, doubted, tuple(remarks))


def au_columns(table: Table) -> tuple[AuColumns, list[str]]:
    """AU -> suffix ("_r", "_c" or none, lower case) -> column, and remarks on AUs left out."""
    found: AuColumns = {}
    remarks = []
    for column in table.header:
        written = _AU.fullmatch(column)
        if written and int(written[1]) in facs.AUS:
            found.setdefault(int(written[1]), {})[(written[2] or "").lower()] = column
        elif written:
            remarks.append(f"{table.name}: column {column} is not an AU of the vocabulary")
    return found, remarks


def au_numbers(table: Table, columns: Sequence[str]) -> np.ndarray:
    """The checked cells of AU columns, NaN where they say unknown."""
    values = table.numbers(columns)
    values[np.isin(values, AU_UNKNOWN)] = np.nan
    _check_range(table, columns, values)
    return values


def _sureness(table: Table) -> np.ndarray:
    sure = column(table, "confidence", 1.0)
    return np.where(np.isnan(sure), 0, sure)


def column(table: Table, role: str, default: float) -> np.ndarray:
    """The numbers of the column of a role, or everywhere `default`."""
    place = table.place(role)
    if place is None:
        return np.full(len(table), default, np.float32)
    return table.numbers([table.header[place]])[:, 0]


def _check_range(table: Table, columns: Sequence[str], values: np.ndarray) -> None:
    for place, column in enumerate(columns):
        most = 1.0 if column.lower().endswith("_c") else MOST
        bad = np.flatnonzero((values[:, place] < 0) | (values[:, place] > most))
        if bad.size:
            raise UserError(
                f"{table.name}: {values[bad[0], place]:g} in row {bad[0] + 2}, column {column}; "
                f"it must be 0..{most:g}; an empty cell, -1, 9 or 999 is unknown"
            )


def _probabilities(values: np.ndarray) -> bool:
    seen = values[np.isfinite(values)]
    return bool(seen.size and seen.max() <= 1 and (seen % 1 != 0).any())
