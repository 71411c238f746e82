"""A folder of photographs -> aligned faces of one size, with a table of what was found."""

import collections
import csv
import dataclasses
import os
import pathlib
import sys
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import tqdm

from aufer_jax.data import views
from aufer_jax.datasets import contact_sheet
from aufer_jax.errors import UserError, unknown
from aufer_jax.faces import au_files, detect, geometric
from aufer_jax.faces import shapes as shapes_lib
from aufer_jax.geometry import align
from aufer_jax.geometry.landmarks import five_points, known
from aufer_jax.sources import images, landmark_files, tables
from aufer_jax.sources.files import IMAGES, Files, normal

FACES, LANDMARKS, AUS = "faces.csv", "landmarks_68.npz", "aus.csv"

_COLUMNS = (
    "source",
    "file",
    "problem",
    "faces",
    "points",
    "score",
    "left",
    "top",
    "right",
    "bottom",
)
_SHOWN = 5
_SHEET = 60  # crops on the contact sheet
_SHRUNK = "shrunk"
_PLAIN = ("rotated upright", _SHRUNK)  # changes that decoding makes anyway, or that are not needed
_WHOLE = images.Size(sys.maxsize)


@dataclasses.dataclass(frozen=True)
class Crop:
    """What became of one photograph.

    Attributes:
      source: its path in the source.
      file: the crop's path in the new folder; empty if there is none.
      problem: why there is no crop.
      faces: how many were found.
      face: the one that was cut out.
      landmarks: [68, 2] those found, in pixels of the crop; NaN where unknown.
    """

    source: str
    file: str = ""
    problem: str = ""
    faces: int = 0
    face: detect.Face | None = None
    landmarks: np.ndarray | None = None


@dataclasses.dataclass(frozen=True)
class Summary:
    """The crops of a folder; its text is for a terminal."""

    folder: pathlib.Path
    crops: tuple[Crop, ...]
    labels: int  # rows of labels.csv carried over
    without: int  # rows of it whose face was not found
    sheet: pathlib.Path | None = None  # shows the crops, the least certain first; beside the folder
    aus: int | None = None  # faces whose AUs were estimated; None: not asked for

    def __str__(self) -> str:
        done = [crop for crop in self.crops if crop.face is not None]
        ways = collections.Counter(crop.face.points for crop in done if crop.face)
        how = ", ".join(f"{ways[way]} by {way}" for way in detect.POINTS if ways[way]) or "none"
        lines = [f"{len(done)} of {len(self.crops)} photographs have a face: {how}."]
        marks = any(face.points in detect.MEASURED for face in (c.face for c in done) if face)
        lines.append(f"{self.folder} holds the crops, {FACES}{f', {LANDMARKS}' * marks}.")
        if self.sheet:
            lines.append(f"{self.sheet} shows them, the least certain first: do look at it.")
        if self.aus is not None:
            lines.append(_about_aus(self.aus, len(done)))
        several = sum(crop.faces > 1 for crop in self.crops)
        if several:
            lines.append(f"{several} have several faces; one was taken.")
        if self.labels or self.without:
            lines.append(
                f"{landmark_files.LABELS}: {self.labels} rows carried over, {self.without} left out."
            )
        problems = collections.defaultdict(list)
        for crop in self.crops:
            if crop.problem:
                problems[crop.problem].append(crop.source)
        for problem, names in problems.items():
            more = f", ... all in {FACES}" if len(names) > _SHOWN else ""
            lines.append(f"{problem}: {len(names)}: {', '.join(names[:_SHOWN])}{more}")
        return "\n".join(lines)


def align_folder(
    source: str | os.PathLike,
    out: str | os.PathLike,
    *,
    detector: str | detect.Detector = "mesh",
    size: int = 224,
    margin: float = 0.0,
    choose: str = "largest",
    aus: bool = False,
    **options: Any,
) -> Summary:
    """Cuts the face out of every photograph and aligns it.

    The crops keep path and name in the new folder (JPEG stays JPEG, anything else becomes PNG), so
    class folders stay what they are; a `labels.csv` at the top is carried over. `aufer data prepare
    folder` can continue from there: it finds `labels.csv` and `landmarks_68.npz`.

    Args:
      source: a folder, a .zip or a single image.
      out: the new folder; it may exist if it is empty.
      detector: one of `detect.names()`, or one of your own.
      size: height and width of the crops.
      margin: how much more is shown on each side, as a share of the usual square.
      choose: which face of several, one of `detect.CHOICES`.
      aus: also writes AUs for `data prepare --au`: told from blendshapes (`faces.shapes`) where the detector
        has them, else from landmarks (`faces.geometric`).
      **options: of the detector.
    """
    if choose not in detect.CHOICES:
        raise unknown("choose", choose, detect.CHOICES)
    target = align.template(size, margin)
    find = detect.create(detector, **options) if isinstance(detector, str) else detector
    files, folder = opened(source), pathlib.Path(out).expanduser()
    names = files.images()
    if not names:
        raise UserError(f"source: {source} has no images")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"out: {folder} exists and is not an empty folder")
    folder.mkdir(parents=True, exist_ok=True)
    taken: set[str] = set()
    crops = tuple(
        _crop(files, name, folder, find, target, size, choose, taken)
        for name in tqdm.tqdm(names, "faces", leave=False, mininterval=1, disable=None)
    )
    _write_table(folder / FACES, crops)
    found = [crop for crop in crops if crop.landmarks is not None]
    stacked = np.array([c.landmarks for c in found], np.float32).reshape(-1, 68, 2)
    if np.isfinite(stacked).any():
        _write_points(folder / LANDMARKS, found, stacked)
    estimated = _write_aus(folder / AUS, found, stacked) if aus else None
    kept, without = 0, 0
    if isinstance(files, Files):
        kept, without = _carry_labels(files, folder, {c.source: c.file for c in found})
    sheet = _draw_sheet(folder, found) if found else None
    return Summary(folder, crops, kept, without, sheet, estimated)


@dataclasses.dataclass(frozen=True)
class _Single:
    """A source that is one image."""

    path: pathlib.Path

    def images(self) -> list[str]:
        return [self.path.name]

    def read(self, name: str) -> bytes:
        return self.path.with_name(name).read_bytes()


def opened(source: str | os.PathLike) -> Files | _Single:
    """A folder, a .zip or a single image, to read images from."""
    path = pathlib.Path(source).expanduser()
    return _Single(path) if path.is_file() and path.suffix.lower() in IMAGES else Files(source)


def _draw_sheet(folder: pathlib.Path, found: list[Crop]) -> pathlib.Path:
    """A sheet of crops beside their folder, where nothing takes it for one of them."""
    path = folder.with_name(f"{folder.name}_contact_sheet.png")
    doubtful = sorted(found, key=lambda crop: crop.face.score if crop.face else 0.0)[:_SHEET]
    rows = {}
    for start in range(0, len(doubtful), contact_sheet.COLUMNS):
        row = doubtful[start : start + contact_sheet.COLUMNS]
        low, high = (f"{crop.face.score:.2g}" for crop in (row[0], row[-1]) if crop.face)
        pictures = [((folder / crop.file).read_bytes(), crop.landmarks) for crop in row]
        rows[f"{start + 1} to {start + len(row)}\nscore {low} to {high}"] = pictures
    shown = f"the {len(doubtful)} least certain of " if len(doubtful) < len(found) else ""
    contact_sheet.save(
        rows, path, title=f"{folder.name}: {shown}{len(found)} face{'s' * (len(found) > 1)}"
    )
    return path


def _about_aus(estimated: int, faces: int) -> str:
    """Of how many faces AUs could be estimated, and why not of the others."""
    if not estimated:
        return (
            f"No {AUS}: AUs are estimated from all 68 landmarks, and no face has them; --detector mesh "
            "finds them"
        )
    lack = f", {faces - estimated} lack some of the 68 landmarks" if estimated < faces else ""
    return f"{AUS} has AUs of {estimated} of {faces} faces{lack}."


def aligned(
    image: np.ndarray, face: detect.Face, size: int, margin: float = 0.0
) -> tuple[np.ndarray, np.ndarray] | None:
    """The aligned face [size, size, 3] of an image, and the map [2, 3] to its pixels.

    None where all points of the face coincide. Bilinear; black where the image ends.
    """
    return _warped(image, face, align.template(size, margin), size)


def _warped(
    image: np.ndarray, face: detect.Face, target: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray] | None:
    matrix = align.similarity(five_points(face.landmarks), target)
    if not np.isfinite(matrix).all():
        return None
    return align.warp(image, matrix, size), matrix


def read_image(data: bytes) -> np.ndarray:
    """RGB [H, W, 3] of an encoded image, upright and in full size; `images.Unreadable` if broken."""
    checked, plain = images.check(data)
    if checked.problem:
        raise images.Unreadable(checked.problem)
    itself = plain is None or all(change.startswith(_PLAIN) for change in checked.changes)
    if not itself and any(change.startswith(_SHRUNK) for change in checked.changes):
        plain = images.check(data, size=_WHOLE)[1]
    image = views.decode(data if itself else plain or b"")
    if image is None:
        raise images.Unreadable("cannot be decoded")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def contents(files: Files | _Single, name: str) -> bytes:
    """The bytes of a file of a source; `images.Unreadable` where they cannot be had."""
    try:
        return files.read(name)
    except OSError as error:
        raise images.Unreadable(f"cannot be read: {error.strerror or error}") from error
    except UserError as error:
        told = str(error).removeprefix(f"{name}: ")
        raise images.Unreadable(f"cannot be read: {told}") from error


def _crop(
    files: Files | _Single,
    name: str,
    folder: pathlib.Path,
    find: detect.Detector,
    target: np.ndarray,
    size: int,
    choose: str,
    taken: set[str],
) -> Crop:
    try:
        image = read_image(contents(files, name))
    except images.Unreadable as error:
        return Crop(name, problem=f"not usable, {error}")
    faces = find(image, name)
    face = detect.choose(faces, image.shape, choose)
    if face is None:
        return Crop(name, problem="no face found")
    made = _warped(image, face, target, size)
    if made is None:
        return Crop(name, problem="all points coincide", faces=len(faces))
    file = _file(name, taken)
    path = folder / file
    path.parent.mkdir(parents=True, exist_ok=True)
    quality = [cv2.IMWRITE_JPEG_QUALITY, images.QUALITY, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, 0x111111]
    kind = path.suffix.lower()
    encoded = cv2.imencode(
        kind, cv2.cvtColor(made[0], cv2.COLOR_RGB2BGR), quality if kind != ".png" else []
    )[1]
    path.write_bytes(encoded.tobytes())
    landmarks = align.transform(face.measured, made[1]).astype(np.float32)
    return Crop(name, file, "", len(faces), face, landmarks)


def _file(name: str, taken: set[str]) -> str:
    """The name of a crop: JPEG stays JPEG, anything else becomes PNG; never one already in use."""
    start, kind = os.path.splitext(name)
    file = name if kind.lower() in (".jpg", ".jpeg", ".png") else start + ".png"
    if file.lower() in taken:
        file = name + ".png"
    taken.add(file.lower())
    return file


def _write_points(path: pathlib.Path, found: list[Crop], landmarks: np.ndarray) -> None:
    arrays: dict[str, Any] = {"files": np.array([crop.file for crop in found]), "points": landmarks}
    shapes, features = _told(found, "blendshapes"), _told(found, "mesh_features")
    if shapes is not None:
        arrays["blendshapes"] = shapes
    if features is not None:
        arrays["mesh_features"] = features.astype(np.float16)
    np.savez_compressed(path, **arrays)


def _write_aus(path: pathlib.Path, found: list[Crop], landmarks: np.ndarray) -> int:
    """AUs told from blendshapes where the detector has them, else from landmarks; of how many faces."""
    files, shapes = [crop.file for crop in found], _told(found, "blendshapes")
    scores = np.clip([crop.face.score if crop.face else 0.0 for crop in found], 0, 1)
    if shapes is not None:
        return len(found) - au_files.write(
            path, files, shapes_lib.AUS, shapes_lib.intensities(shapes), scores
        )
    count = int(known(landmarks)[0].sum())
    if count:
        au_files.write(path, files, geometric.AUS, geometric.intensities(landmarks), scores)
    return count


def _told(found: list[Crop], name: str) -> np.ndarray | None:
    """`blendshapes` or `mesh_features` [n, ...] of all faces, if the detector tells them."""
    values = [getattr(crop.face, name) for crop in found if crop.face is not None]
    if not values or any(value is None for value in values):
        return None
    return np.array(values, np.float32)


def _write_table(path: pathlib.Path, crops: tuple[Crop, ...]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(_COLUMNS)
        for crop in crops:
            face = crop.face
            told = ["", "", "", "", "", ""]
            if face is not None:
                told = [face.points, f"{face.score:.4g}", *(f"{x:.2f}" for x in face.box)]
            table.writerow([crop.source, crop.file, crop.problem, crop.faces, *told])


def _carry_labels(files: Files, folder: pathlib.Path, made: dict[str, str]) -> tuple[int, int]:
    """Writes the source's labels.csv with the crops' names; rows written and left out."""
    name = files.shallowest(landmark_files.LABELS)
    if name is None:
        return 0, 0
    table = tables.Table(name, files.open_text(name))
    place = table.place("file")
    if place is None:
        return 0, len(table)
    keep = [i for i, column in enumerate(table.header) if not _is_point(column)]
    rows = []
    for row in _rows(table, place, files, made):
        rows.append([row[i] for i in keep])
    with (folder / landmark_files.LABELS).open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([[table.header[i] for i in keep], *rows])
    return len(rows), len(table) - len(rows)


def _rows(
    table: tables.Table, place: int, files: Files, made: dict[str, str]
) -> Iterator[list[str]]:
    for row in table.rows:
        found = files.find(normal(row[place]))
        if len(found) == 1 and found[0] in made:
            yield [*row[:place], made[found[0]], *row[place + 1 :]]


def _is_point(column: str) -> bool:
    """Whether a column is a landmark of the photograph, which is not one of the crop."""
    start, _, number = column.partition("_")
    return start in ("x", "y") and number.isdigit()
