"""Your own faces: class folders, or a CSV file with images anywhere below one folder."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from aufer_jax.datasets import au_join, options, own, splits
from aufer_jax.datasets.card import Card
from aufer_jax.datasets.listing import Face, Listing
from aufer_jax.errors import UserError
from aufer_jax.sources import tables
from aufer_jax.sources.files import IMAGES, VIDEOS, Files, joined, normal
from aufer_jax.sources.landmark_files import LANDMARKS

_TABLES = (".csv", ".npy", ".npz")


@dataclasses.dataclass(frozen=True)
class Options(options.Options):
    """Class folders `[train|validation|test/]<class>/*.jpg`, or a CSV with one row per image."""

    # CSV file with one row per image; default: labels.csv, if there is one.
    labels: str = ""
    # Which column is the "file", "expression", "subject" or "split", if it has another name.
    columns: Mapping[str, str] = dataclasses.field(default_factory=dict)
    # Other names of labels: joy=happiness,Freude=happiness; grumpy= leaves the label out.
    map: Mapping[str, str] = dataclasses.field(default_factory=dict)
    # Your own classes, in any words, in label order; other labels are left out. all: every label is one.
    classes: tuple[str, ...] = ()
    # A .npy in the CSV's row order or a .npz with file names; default: landmarks_68.npz or .npy, if there
    # is one.
    landmarks: str = ""
    # Leave out images that the CSV names but the source lacks.
    skip_missing: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        own.check(self)


def read(card: Card, files: Files, options: Options) -> Listing:
    """The images of a source of the user's own, by class folders or a table."""
    del card
    listing = Listing(files)
    table = own.label_table(files, options.labels, options.columns)
    rows: list[int] = []  # of the table, one for each face
    if table is None:
        for name in files.images():
            label, split = own.label_and_split(name)
            listing.faces.append(Face(name, label, split=split))
    else:
        rows = _read_table(listing, table, options)
    _check(listing, table, options)
    own.set_classes(listing, options)
    _add_landmarks(listing, options.landmarks, table, rows)
    if options.au:
        au_join.join(listing, options)
    elif table is not None:
        _add_aus(listing, table, rows, options)
    listed = {face.file for face in listing.faces}
    unlisted = [name for name in files.images() if name not in listed]
    if table is not None and unlisted:
        listing.remarks.append(
            f"{len(unlisted)} images have no row in {table.name} and are not used, "
            f"for example {unlisted[0]}"
        )
    others = [name for name in files.names if not name.lower().endswith((*IMAGES, *_TABLES))]
    listing.findings["No image by its name, not read"] = others
    listing.findings["Rows of the table without an image"] = listing.missing
    return listing


def _read_table(listing: Listing, table: tables.Table, options: Options) -> list[int]:
    """Adds the faces of a table, and gives the row of each."""
    labelled = table.place("expression") is not None
    places, seen = [], set()
    columns = (table.need("file"), *map(table.texts, ("expression", "subject", "split")))
    for place, (written, label, subject, split) in enumerate(zip(*columns, strict=True)):
        found = listing.files.find(written)
        if not found:
            listing.missing.append(written)
            continue
        if len(found) > 1:
            listing.problem("several files of that name", written)
            continue
        if found[0] in seen:
            listing.problem("files with two rows", written)
        seen.add(found[0])
        folder_label, folder_split = own.label_and_split(found[0])
        if not labelled and own.is_class(folder_label, options):
            label = folder_label
        if split and not splits.named(split):
            listing.problem("splits that are not train, validation or test", split)
        listing.faces.append(Face(found[0], label, subject, splits.named(split) or folder_split))
        places.append(place)
    return places


def _check(listing: Listing, table: tables.Table | None, options: Options) -> None:
    """Images that are missing, or would teach nothing, are a mistake."""
    if listing.missing and not (listing.faces and options.skip_missing):
        for name in listing.missing:
            listing.problem("these files are missing; --skip-missing leaves them out", name)
    elif not listing.faces:
        listing.problem("no images", _instead(listing.files))
    elif not options.au and not any(face.label for face in listing.faces):
        if table is None:
            found = [name for name in listing.files.names if name.lower().endswith(".csv")]
            example = f", for example {found[0]}" if found else ""
            what = f"neither class folders nor a {own.LABELS}"
            listing.problem(what, f"name it with labels{example}")
        elif au_join.units(table, options) is None:
            table.need("expression")
    listing.check()


def _instead(files: Files) -> str:
    """What a source without images holds."""
    if any(name.lower().endswith(VIDEOS) for name in files.names):
        return "videos are prepared by `aufer data prepare clips`"
    return ", ".join(files.names[:3]) or "the source is empty"


def _add_landmarks(
    listing: Listing, landmarks: str, table: tables.Table | None, rows: list[int]
) -> None:
    files = listing.files
    name = landmarks or next(filter(None, map(files.shallowest, LANDMARKS)), None)
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
    theirs = joined([face.file for face in listing.faces], named)
    for face in listing.faces:
        if face.file in theirs:
            row = named[theirs[face.file]]
            face.landmarks = found.points[row]
            if found.blendshapes is not None:
                face.blendshapes = found.blendshapes[row]
            if found.mesh_features is not None:
                face.mesh_features = found.mesh_features[row]
    if len(theirs) < len(named):
        listing.remarks.append(f"{name}: {len(named) - len(theirs)} faces of files not listed")


def _give(faces: list[Face], points: np.ndarray) -> None:
    for face, mine in zip(faces, points, strict=True):
        face.landmarks = mine


def _add_aus(listing: Listing, table: tables.Table, rows: list[int], options: Options) -> None:
    units = au_join.units(table, options)
    if units is None:
        return
    for row, face in zip(rows, listing.faces, strict=True):
        face.au, face.au_known = units.values[row], units.known[row]
    listing.au_join = {"not_confident": int(units.doubted[rows].sum())}
    listing.aus = units.aus
    listing.remarks.extend(units.remarks)


CARD = Card(
    "folder",
    read,
    Options,
    licence="not stated",
    how_to_get="your own images; see docs/data.md",
    own=True,
)
