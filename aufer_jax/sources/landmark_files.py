"""Landmarks that other programs wrote, by the name of the image.

Read are
- .npz with `files` (names) and `points` (a face of each);
- .csv with a column of file names and landmark columns (x_0 .. y_67, or five points);
- .json: {name: points}, or {"files": [...], "points": [...]};
- a folder or .zip of a dataset: `landmarks_68.npz`, or `landmarks_68.npy` in the order of `labels.csv`;
- a folder or .zip with one file per image, named after it: OpenFace's .csv (a row per face), .pts
  (iBUG, counted from 1), .npy or .json.
Points are 5, 68, 468 or 478 of an image, [x, y], [x, y, z] or {"x": x, "y": y}; those of .npy and .json
that are all within -1..2 are taken as fractions of width and height.
"""

import json
import os
import pathlib
import re
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

import numpy as np

from aufer_jax.errors import UserError
from aufer_jax.geometry.landmarks import known
from aufer_jax.sources import tables
from aufer_jax.sources.files import IMAGES, Files, base_name, decoded, end_alike, normal, whole
from aufer_jax.sources.tables import LABELS

KINDS = (".npz", ".csv", ".json", ".pts", ".npy")

LANDMARKS = ("landmarks_68.npz", "landmarks_68.npy")

Faces = list[tuple[np.ndarray, float]]  # points and score of each face of an image

_OF_FACE = re.compile(r"_det_\d+$")  # what OpenFace adds to the image's name
_UNITS = 2.0  # no face is so small in pixels


def are_fractions(points: np.ndarray) -> bool:
    """Whether points are fractions of width and height: no face is that small in pixels."""
    return bool(np.nanmin(points) >= -1 and np.nanmax(points) <= _UNITS)


class Written:
    """The faces of images, by the paths that the files give or have, mostly without the image's suffix.

    Capitals do not matter, nor outer folders where these leave no doubt which path is meant.
    """

    def __init__(self, path: str, confidence: float):
        self._faces: dict[str, Faces] = {}
        for name, points, score in read(path):
            if known(points)[1] and score >= confidence:
                self._faces.setdefault(normal(name).lower(), []).append((points, score))
        self._by_name: dict[str, list[str]] = defaultdict(list)
        for full in self._faces:
            for name in {base_name(full), base_name(_bare(full))}:
                self._by_name[name].append(full)

    def of(self, image: str) -> Faces:
        """The faces of an image: of that very path, or else of the only one that ends alike."""
        path = normal(image).lower()
        forms = path, _bare(path)
        for form in forms:
            if form in self._faces:
                return self._faces[form]
        named = {full for form in forms for full in self._by_name.get(base_name(form), ())}
        found = [full for full in named if _same(full, path)]
        return self._faces[found[0]] if len(found) == 1 else []


def _bare(path: str) -> str:
    return os.path.splitext(path)[0] if path.endswith(IMAGES) else path


def _same(written: str, path: str) -> bool:
    """Whether a path can be that of an image, which may be of another kind by now."""
    return end_alike(written, _bare(path)) or end_alike(_bare(written), _bare(path))


def read(path: str) -> Iterator[tuple[str, np.ndarray, float]]:
    """Image name, landmarks [68, 2] and score of every face in a file, a folder or a .zip."""
    place = pathlib.Path(path).expanduser()
    if place.is_dir() or place.suffix.lower() == ".zip":
        yield from _read_many(Files(place))
    elif not place.is_file():
        raise UserError(f"path: {path!r} does not exist")
    elif place.suffix.lower() not in KINDS:
        raise UserError(f"path: {place.name} is not one of {', '.join(KINDS)}")
    else:
        yield from _faces(place.name, whole(place), one=False)


def _read_many(files: Files) -> Iterator[tuple[str, np.ndarray, float]]:
    """The landmarks of a dataset, or one file per image."""
    named, rows, labels = map(files.shallowest, (*LANDMARKS, LABELS))
    if named:
        yield from _faces(named, files.read(named), one=False)
    elif rows and labels:
        points = tables.read_landmarks(rows, files.read(rows)).points
        of = tables.Table(labels, files.open_text(labels)).need("file")
        if len(of) != len(points):
            raise UserError(f"path: {rows} has {len(points)} rows, {labels} has {len(of)}")
        yield from ((file, face, 1.0) for file, face in zip(of, points, strict=True))
    else:
        names = [name for name in files.names if name.lower().endswith(KINDS)]
        if not names:
            raise UserError(f"path: {files.source} has no file of the kinds {', '.join(KINDS)}")
        for name in names:
            yield from _faces(name, files.read(name), one=True)


def _faces(name: str, data: bytes, one: bool) -> Iterator[tuple[str, np.ndarray, float]]:
    """The faces of a file; `one`: the file is about the image that is called like it."""
    kind = os.path.splitext(name)[1].lower()
    image = _OF_FACE.sub("", os.path.splitext(name)[0])
    if kind == ".csv":
        yield from _csv(name, data, image if one else "")
    elif kind == ".pts":
        yield image, tables.as_68(_pts(name, data)[None])[0], 1.0
    elif kind == ".json":
        yield from _json(name, data, image)
    else:
        held = tables.read_landmarks(name, data)
        if not held.files and (not one or len(held.points) == 0):
            raise UserError(
                f"path: {name} does not say whose faces it holds; write a .npz with `files` and "
                f"`points`, or one .npy an image"
            )
        for file, points in zip(held.files or [image] * len(held.points), held.points, strict=True):
            yield file, points, 1.0


def _csv(name: str, data: bytes, image: str) -> Iterator[tuple[str, np.ndarray, float]]:
    table = tables.Table(name, decoded(name, data))
    points = tables.table_landmarks(table)
    if points is None:
        raise UserError(f"path: {name} has no landmark columns, such as x_0 .. x_67, y_0 .. y_67")
    if table.place("file") is not None:
        files = table.need("file")
    elif "frame" in table.header and len(table) > 1:
        raise UserError(
            f"path: {name} has the frames of a video but no column of file names; give OpenFace "
            f"the images one by one, or add a column `file`"
        )
    elif image:
        files = [image] * len(table)
    else:
        files = table.need("file")
    scores = np.ones(len(table), np.float32)
    for role in ("confidence", "success"):
        place = table.place(role)
        if place is not None:
            values = np.nan_to_num(table.numbers([table.header[place]])[:, 0])
            scores = values if role == "confidence" else np.where(values == 1, scores, -1)
    for file, face, score in zip(files, points, scores, strict=True):
        if score >= 0:
            yield file, face, float(score)


def _pts(name: str, data: bytes) -> np.ndarray:
    try:
        body = data.decode().split("{", 1)[1].split("}", 1)[0]
        points = np.array([line.split() for line in body.split("\n") if line.strip()], np.float32)
    except (UnicodeDecodeError, IndexError, ValueError) as error:
        raise UserError(f"path: {name} is not a .pts file: points between braces") from error
    return points - 1  # .pts counts pixels from 1


def _json(name: str, data: bytes, image: str) -> Iterator[tuple[str, np.ndarray, float]]:
    try:
        held = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise UserError(f"path: {name} is not JSON: {error}") from error
    if isinstance(held, dict) and {"files", "points"} <= set(held):
        try:
            held = dict(zip(held["files"], held["points"], strict=True))
        except (TypeError, ValueError) as error:
            raise UserError(
                f"path: {name} has `files` that are not those of its `points`"
            ) from error
    for file, points in held.items() if isinstance(held, dict) else [(image, held)]:
        try:
            array = np.array([_numbers(point) for point in points], np.float32)[None]
        except (TypeError, KeyError, ValueError, OverflowError) as error:
            raise UserError(f"path: {name}: the points of {file} are not [[x, y], ...]") from error
        yield file, tables.as_68(array)[0], 1.0


def _numbers(point: Any) -> list[float]:
    return [point["x"], point["y"]] if isinstance(point, dict) else list(point)[:2]
