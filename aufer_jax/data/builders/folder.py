"""Anybody's own faces: class folders, or a CSV file with images anywhere below one folder."""

import dataclasses
import pathlib
from collections.abc import Mapping

import numpy as np

from aufer_jax import facs
from aufer_jax.data import splits, tables
from aufer_jax.data.builders import files as base
from aufer_jax.data.builders.files import Face, Listing, Problems
from aufer_jax.data.files import IMAGES, Files, base_name, normal

LABELS = "labels.csv"
LANDMARKS = ("landmarks_68.npy", "landmarks_68.npz")

_TABLES = (".csv", ".npy", ".npz")


@dataclasses.dataclass(frozen=True)
class Folder(base.WithAUs):
    """Class folders `[train|validation|test/]<class>/*.jpg`, or a CSV with one row an image.

    Attributes:
      labels: the CSV file; empty takes `labels.csv` if there is one.
      columns: which column of the CSV is the "file", "expression", "subject" or "split", where it
        is called otherwise.
      landmarks: a .npy in the CSV's row order or a .npz with file names; empty takes
        `landmarks_68.npy` or `.npz` if there is one.
    """

    name = "folder"
    how_to_get = "your own images; see docs/data.md"

    labels: str = ""
    columns: Mapping[str, str] = dataclasses.field(default_factory=dict)
    landmarks: str = ""

    def listing(self, files: Files) -> Listing:
        problems = Problems()
        table = label_table(files, self.labels, self.columns)
        faces = _by_folders(files) if table is None else _by_table(files, table, problems)
        if not faces:
            problems.add("no images", ", ".join(files.names[:3]) or "the source is empty")
        if table is None and not self.au and not any(face.label for face in faces):
            problems.add("neither class folders nor a labels.csv", "name the CSV with labels")
        problems.check(files.source)
        classes, meanings = base.class_map((f.label for f in faces), self.expressions, problems)
        problems.check(files.source)
        listing = Listing(faces, classes, meanings)
        self._add_landmarks(files, listing, table)
        if self.au:
            self.join_au_file(files, listing)
        elif table is not None:
            self._add_aus(listing, table)
        listed = {face.file for face in faces}
        unlisted = [name for name in files.images() if name not in listed]
        if table is not None and unlisted:
            listing.remarks.append(
                f"{len(unlisted)} images have no row in {table.name} and are not used, "
                f"for example {unlisted[0]}"
            )
        others = [name for name in files.names if not name.lower().endswith((*IMAGES, *_TABLES))]
        listing.findings["No image by its name, not read"] = others
        return listing

    def _add_landmarks(self, files: Files, listing: Listing, table: tables.Table | None) -> None:
        name = self.landmarks or next(filter(None, map(files.shallowest, LANDMARKS)), None)
        if not name:
            points = None if table is None else tables.table_landmarks(table)
            if points is not None:
                _give(listing.faces, points)
            return
        found = tables.read_landmarks(name, files.pick("landmarks", name))
        if not found.files:
            if table is None:
                raise ValueError(
                    f"landmarks: {name} has no file names, and class folders have no row order; "
                    f"use a .npz with `files` and `points`"
                )
            if len(found.points) != len(table):
                raise ValueError(
                    f"landmarks: {name} has {len(found.points)} rows, {table.name} has {len(table)}"
                )
            _give(listing.faces, found.points)
            return
        rows = {normal(file): row for row, file in enumerate(found.files)}
        short = {base_name(file): row for file, row in rows.items()}
        used = set()
        for face in listing.faces:
            row = rows.get(face.file, short.get(base_name(face.file)))
            if row is not None:
                face.landmarks = found.points[row]
                used.add(row)
        if len(used) < len(rows):
            listing.remarks.append(f"{name}: {len(rows) - len(used)} faces of files not listed")

    def _add_aus(self, listing: Listing, table: tables.Table) -> None:
        units = self.units(table)
        if units is None:
            return
        for row, face in enumerate(listing.faces):
            face.au, face.au_known = units.values[row], units.known[row]
        listing.au_join = {"not_confident": int(units.doubted.sum())}
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
            raise ValueError(
                f"columns: there is no {LABELS} in {files.source}; name it with labels"
            )
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


def _by_table(files: Files, table: tables.Table, problems: Problems) -> list[Face]:
    labelled = table.place("expression") is not None
    faces, seen = [], set()
    rows = zip(
        *(table.need("file"), *map(table.texts, ("expression", "subject", "split"))), strict=True
    )
    for written, label, subject, split in rows:
        found = files.find(written)
        if len(found) != 1:
            what = "several files of that name" if found else "missing files"
            problems.add(what, written)
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
    return faces


def is_class(folder: str) -> bool:
    try:
        facs.expression(folder)
    except ValueError:
        return folder.isdigit()
    return True
