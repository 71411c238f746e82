"""What was predicted as a table: a dict of columns, one row a face; its layouts, and files of it."""

import csv
import functools
import importlib
import importlib.util
import io
import json
import math
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from aufer_jax import facs
from aufer_jax.errors import UserError, unknown

Columns = dict[str, np.ndarray]

BOX = ("left", "top", "width", "height")
POSE = ("pitch", "roll", "yaw")  # degrees, see `geometry.pose`
POINTS = (*(f"x_{i}" for i in range(68)), *(f"y_{i}" for i in range(68)))
FORMATS = (".csv", ".jsonl", ".parquet")

_PRESENT = 0.5  # probability from which an AU counts as present
_BASIC = (
    "anger",
    "disgust",
    "fear",
    "happiness",
    "sadness",
    "surprise",
    "neutral",
)  # py-feat's order


class Table(Columns):
    """Columns by name, as arrays of one length.

    Attributes:
      problems: one line for each file that could not be read, or not to its end.
    """

    def __init__(self, columns: Mapping[str, np.ndarray], problems: Sequence[str] = ()):
        super().__init__(columns)
        self.problems = list(problems)

    @property
    def rows(self) -> int:
        """How many there are."""
        return len(next(iter(self.values()), ()))

    def to_pandas(self) -> Any:
        """A pandas.DataFrame; pandas must be installed."""
        try:
            pandas = importlib.import_module("pandas")
        except ImportError:
            raise UserError("to_pandas: pandas is not installed: pip install pandas") from None
        return pandas.DataFrame(dict(self))

    def write(self, path: str, columns: str = "aufer") -> None:
        """Writes a file of one of `FORMATS`, in one of `LAYOUTS`."""
        with Writer(path, columns, one_file=len(set(self["file"].tolist())) == 1) as writer:
            writer.add(self)


def join(parts: Sequence[Mapping[str, np.ndarray]]) -> Columns:
    """Tables with the same columns, one under the other.

    >>> join([{"face": np.array([0])}, {"face": np.array([1, 2])}])["face"].tolist()
    [0, 1, 2]
    """
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def records(columns: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """The rows as dicts that JSON can hold, what is not known as None.

    >>> records({"face": np.array([0]), "AU12": np.array([np.nan], np.float32)})
    [{'face': 0, 'AU12': None}]
    """
    cells = zip(*(_cells(values, None) for values in columns.values()), strict=True)
    return [dict(zip(columns, row, strict=True)) for row in cells]


def as_csv(columns: Columns) -> str:
    """The text of a .csv file, as a `Writer` writes it.

    >>> as_csv({"face": np.array([0]), "AU12": np.array([0.5])})
    'face,AU12\\r\\n0,0.5\\r\\n'
    """
    text = io.StringIO(newline="")
    csv.writer(text).writerow(columns)
    _rows(text, columns)
    return text.getvalue()


# --- Layouts ------------------------------------------------------------------------------------


def openface(table: Columns) -> Columns:
    """OpenFace's columns for sequences, with the file's name in front, which a table of one file lacks.

    Where the network tells no intensities, they stand for probabilities: 0 to 5 is 0 to 1. What is not
    measured (gaze, the head's place, AUs that the network lacks) is left out or NaN; rows without a face
    are 0, as OpenFace has them.
    """
    found = table["face"] >= 0
    out: Columns = {
        "file": table["file"],
        "frame": table["frame"] + 1,
        "face_id": np.maximum(table["face"], 0),
        "timestamp": table["time"],
        "confidence": table["score"],
        "success": found.astype(np.int64),
    }
    unknown_values = np.full(len(found), np.nan, np.float32)
    out |= {f"pose_T{axis}": unknown_values for axis in "xyz"}
    # A picture's axes, and turns about x, y and z: the same as ours, in radians.
    turns = {"x": "pitch", "y": "yaw", "z": "roll"}
    out |= {f"pose_R{axis}": np.radians(table[name]) for axis, name in turns.items()}
    out |= {name: table[name] for name in POINTS}
    if any(name.startswith("AU") for name in table):
        for au in facs.OPENFACE_17:
            label = facs.AUS[au].label
            likely = facs.MOST * table.get(label, unknown_values)
            out[f"{label}_r"] = table.get(f"{label}_intensity", likely)
        for au in sorted(facs.OPENFACE_18):
            likely = table.get(f"AU{au:02d}", unknown_values)
            out[f"AU{au:02d}_c"] = np.where(np.isnan(likely), np.nan, likely >= _PRESENT)
    return {
        name: np.where(found, values, 0)
        if values.dtype.kind == "f" and name != "timestamp"
        else values
        for name, values in out.items()
    }


def pyfeat(table: Columns) -> Columns:
    """py-feat's columns (Fex, first detector), frames from 0; AUs that the network lacks are NaN."""
    unknown_values = np.full(len(table["face"]), np.nan, np.float32)
    out: Columns = {"input": table["file"], "frame": table["frame"], "approx_time": table["time"]}
    rect = ("FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight", "FaceScore")
    out |= {theirs: table[ours] for theirs, ours in zip(rect, (*BOX, "score"), strict=True)}
    out |= {name: table[name] for name in POINTS}
    out |= {name.capitalize(): table[name] for name in POSE}
    if any(name.startswith("AU") for name in table):
        labels = [f"AU{au:02d}" for au in facs.PY_FEAT_20]
        out |= {name: table.get(name, unknown_values) for name in labels}
    classes = [name for name in _BASIC if name in table]
    classes += [name for name in facs.EXPRESSIONS if name in table and name not in classes]
    out |= {name: table[name] for name in classes}
    out["Identity"] = table["face"]
    return out


LAYOUTS: dict[str, Callable[[Columns], Columns]] = {
    "aufer": dict,
    "openface": openface,
    "pyfeat": pyfeat,
}


# --- Files --------------------------------------------------------------------------------------


class Writer:
    """A file of one of `FORMATS` that grows part by part; made when the first is added.

    Args:
      path: the file.
      columns: one of `LAYOUTS`.
      one_file: all rows are of one file; OpenFace's layout then is without its name, as OpenFace's own is.
    """

    def __init__(self, path: str, columns: str = "aufer", *, one_file: bool = False):
        self.path = pathlib.Path(path).expanduser()
        if columns not in LAYOUTS:
            raise unknown("columns", columns, LAYOUTS)
        if self.path.suffix.lower() not in FORMATS:
            raise unknown("out, its ending", self.path.suffix, FORMATS)
        if self.path.suffix.lower() == ".parquet" and importlib.util.find_spec("pyarrow") is None:
            raise UserError(f"out: {path} needs pyarrow: pip install pyarrow, or write .csv")
        self._layout, self._file, self._add = LAYOUTS[columns], None, None
        self._unnamed = one_file and columns == "openface"

    def add(self, part: Mapping[str, np.ndarray]) -> None:
        """Writes some more rows; the first part fixes the columns."""
        columns = self._layout(dict(part))
        if self._unnamed:
            columns.pop("file")
        if self._file is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            kind = self.path.suffix.lower()
            if kind == ".parquet":
                self._file, self._add = _parquet(self.path, columns)
            else:
                self._file = self.path.open("w", newline="", encoding="utf-8")
                self._add = functools.partial(_lines if kind == ".jsonl" else _rows, self._file)
                if kind == ".csv":
                    csv.writer(self._file).writerow(columns)
        assert self._add is not None
        self._add(columns)

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()


def _cells(values: np.ndarray, missing: Any) -> list[Any]:
    if values.dtype.kind != "f":
        return values.tolist()
    rounded = (float(f"{value:.7g}") for value in values.tolist())
    return [missing if math.isnan(v) else int(v) if v.is_integer() else v for v in rounded]


def _rows(file: Any, columns: Columns) -> None:
    csv.writer(file).writerows(zip(*(_cells(v, "") for v in columns.values()), strict=True))


def _lines(file: Any, columns: Columns) -> None:
    for row in records(columns):
        file.write(json.dumps(row, ensure_ascii=False) + "\n")


def _parquet(path: pathlib.Path, columns: Columns) -> tuple[Any, Callable[[Columns], None]]:
    import pyarrow
    import pyarrow.parquet

    def made(part: Columns) -> Any:
        return pyarrow.table({name: pyarrow.array(values) for name, values in part.items()})

    file = pyarrow.parquet.ParquetWriter(path, made(columns).schema)
    return file, lambda part: file.write_table(made(part))
