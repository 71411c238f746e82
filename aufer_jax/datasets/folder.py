"""Anybody's own faces: class folders, or a CSV file with images anywhere below one folder."""

import dataclasses
import pathlib
from collections.abc import Mapping

import numpy as np

from aufer_jax import facs
from aufer_jax.datasets import file_dataset, splits
from aufer_jax.datasets.file_dataset import Face, Listing, Problems
from aufer_jax.errors import UserError
from aufer_jax.sources import tables
from aufer_jax.sources.files import IMAGES, VIDEOS, Files, base_name, normal

LABELS = "labels.csv"
LANDMARKS = ("landmarks_68.npy", "landmarks_68.npz")

_TABLES = (".csv", ".npy", ".npz")


@dataclasses.dataclass(frozen=True)
class Folder(file_dataset.WithAUs):
    """Class folders `[train|validation|test/]<class>/*.jpg`, or a CSV with one row an image.

    Attributes:
      labels: the CSV file; empty takes `labels.csv` if there is one.
      columns: which column of the CSV is the "file", "expression", "subject" or "split", where it
        is called otherwise.
      landmarks: a .npy in the CSV's row order or a .npz with file names; empty takes
        `landmarks_68.npy` or `.npz` if there is one.
      skip_missing: goes on without images that the CSV names but the source lacks.
    """

    name = "folder"
    how_to_get = "your own images; see docs/data.md"

    labels: str = ""
    columns: Mapping[str, str] = dataclasses.field(default_factory=dict)
    landmarks: str = ""
    skip_missing: bool = False

    def listing(self, files: Files) -> Listing:
        problems = Problems()
        table = label_table(files, self.labels, self.columns)
        rows: list[int] = []  # of the table, one for each face
        missing: list[str] = []
        if table is None:
            faces = _by_folders(files)
        else:
            faces, rows, missing = _by_table(files, table, problems)
        if missing and not (faces and self.skip_missing):
            for name in missing:
                problems.add("--skip-missing goes on without these missing files", name)
        elif not faces:
            problems.add("no images", _instead(files))
        elif not self.au and not any(face.label for face in faces):
            self._check_labels(files, table, problems)
        problems.check(files.source)
        classes, meanings = file_dataset.class_map(
            (f.label for f in faces), self.expressions, problems
        )
        problems.check(files.source)
        listing = Listing(faces, classes, meanings)
        self._add_landmarks(files, listing, table, rows)
        if self.au:
            self.join_au_file(files, listing)
        elif table is not None:
            self._add_aus(listing, table, rows)
        listed = {face.file for face in faces}
        unlisted = [name for name in files.images() if name not in listed]
        if table is not None and unlisted:
            listing.remarks.append(
                f"{len(unlisted)} images have no row in {table.name} and are not used, "
                f"for example {unlisted[0]}"
            )
        others = [name for name in files.names if not name.lower().endswith((*IMAGES, *_TABLES))]
        listing.findings["No image by its name, not read"] = others
        listing.findings["Rows of the table without an image"] = missing
        return listing

    def _check_labels(self, files: Files, table: tables.Table | None, problems: Problems) -> None:
        """Images that would teach nothing are a mistake."""
        if table is None:
            found = [name for name in files.names if name.lower().endswith(".csv")]
            example = f", for example {found[0]}" if found else ""
            problems.add(f"neither class folders nor a {LABELS}", f"name it with labels{example}")
        elif self.units(table) is None:
            table.need("expression")

    def _add_landmarks(
        self, files: Files, listing: Listing, table: tables.Table | None, rows: list[int]
    ) -> None:
        name = self.landmarks or next(filter(None, map(files.shallowest, LANDMARKS)), None)
        if not name:
            points = None if table is None else tables.table_landmarks(table)
            if points is not None:
                _give(listing.faces, points[rows])
            return
        found = tables.read_landmarks(name, files.pick("landmarks", name))
        if not found.files:
            if table is None:
                raise UserError(
                    f"landmarks: {name} has no file names, and class folders have no row order; "
                    f"use a .npz with `files` and `points`"
                )
            if len(found.points) != len(table):
                raise UserError(
                    f"landmarks: {name} has {len(found.points)} rows, {table.name} has {len(table)}"
                )
            _give(listing.faces, found.points[rows])
            return
        named = {normal(file): row for row, file in enumerate(found.files)}
        short = {base_name(file): row for file, row in named.items()}
        used = set()
        for face in listing.faces:
            row = named.get(face.file, short.get(base_name(face.file)))
            if row is not None:
                face.landmarks = found.points[row]
                used.add(row)
        if len(used) < len(named):
            listing.remarks.append(f"{name}: {len(named) - len(used)} faces of files not listed")

    def _add_aus(self, listing: Listing, table: tables.Table, rows: list[int]) -> None:
        units = self.units(table)
        if units is None:
            return
        for row, face in zip(rows, listing.faces, strict=True):
            face.au, face.au_known = units.values[row], units.known[row]
        listing.au_join = {"not_confident": int(units.doubted[rows].sum())}
        listing.aus = units.aus
        listing.remarks.extend(units.remarks)


def label_table(files: Files, labels: str, columns: Mapping[str, str]) -> tables.Table | None:
    """The CSV with labels: the one named, or else `labels.csv` if there is one."""
    if labels:
        text = files.pick("labels", labels).decode("utf-8-sig")
        return tables.Table(pathlib.Path(labels).name, text, columns)
    found = files.shallowest(LABELS)
    if found is None:
        if columns:
            raise UserError(f"columns: there is no {LABELS} in {files.source}; name it with labels")
        return None
    return tables.Table(found, files.open_text(found), columns)


def _give(faces: list[Face], points: np.ndarray) -> None:
    for face, mine in zip(faces, points, strict=True):
        face.landmarks = mine


def _by_folders(files: Files) -> list[Face]:
    found = [(name, *label_and_split(name)) for name in files.images()]
    return [Face(name, label, split=split) for name, label, split in found]


def label_and_split(path: str) -> tuple[str, str]:
    """Label and split, from the folders a file lies in; empty where they do not tell."""
    *outer, last = ["", *path.split("/")[:-1]]
    if splits.named(last):
        outer, last = [*outer, last], ""
    split = next(filter(None, map(splits.named, reversed(outer))), None)
    return last, split or ""


def _instead(files: Files) -> str:
    """What a source without images holds."""
    if any(name.lower().endswith(VIDEOS) for name in files.names):
        return "videos are prepared by `aufer prepare clips`"
    return ", ".join(files.names[:3]) or "the source is empty"


def _by_table(
    files: Files, table: tables.Table, problems: Problems
) -> tuple[list[Face], list[int], list[str]]:
    """The faces, the row of each, and the files that are named but not there."""
    labelled = table.place("expression") is not None
    faces, places, missing, seen = [], [], [], set()
    rows = zip(
        *(table.need("file"), *map(table.texts, ("expression", "subject", "split"))), strict=True
    )
    for place, (written, label, subject, split) in enumerate(rows):
        found = files.find(written)
        if not found:
            missing.append(written)
            continue
        if len(found) > 1:
            problems.add("several files of that name", written)
            continue
        if found[0] in seen:
            problems.add("files with two rows", written)
        seen.add(found[0])
        folder_label, folder_split = label_and_split(found[0])
        if not labelled and is_class(folder_label):
            label = folder_label
        if split and not splits.named(split):
            problems.add("splits that are not train, validation or test", split)
        faces.append(Face(found[0], label, subject, splits.named(split) or folder_split))
        places.append(place)
    return faces, places, missing


def is_class(folder: str) -> bool:
    try:
        facs.expression(folder)
    except ValueError:
        return folder.isdigit()
    return True
