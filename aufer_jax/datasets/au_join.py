"""AUs of another file: joined to images by their names, and found for clips as tracks."""

import csv
import io
import os
import pathlib
from collections.abc import Callable, Sequence
from typing import Any

from aufer_jax import errors
from aufer_jax.datasets import clip_files
from aufer_jax.datasets.listing import Clip, Face, Listing
from aufer_jax.datasets.options import ClipOptions, Options
from aufer_jax.sources import tables, track_files
from aufer_jax.sources.files import base_name, normal, paired, stem


def join(listing: Listing, options: Options) -> None:
    """Gives the images or clips the AUs of the file that the options name, if they name one."""
    if options.au and isinstance(options, ClipOptions):
        _find_tracks(listing, options)
    elif options.au:
        _join_rows(listing, options)


def units(table: tables.Table, options: Options) -> tables.ActionUnits | None:
    """The AUs of a table's columns as the options say."""
    return tables.action_units(table, prefer=options.au_values, confidence=options.au_confidence)


# --- Images -------------------------------------------------------------------------------------


def _join_rows(listing: Listing, options: Options) -> None:
    table = _table(listing, options.au)
    found = units(table, options)
    if found is None:
        raise errors.UserError(
            f"au: {table.name} has no column such as AU06, AU06_r or AU06_c; it has "
            f"{', '.join(table.header[:12])}"
        )
    for face in listing.faces:
        face.au = face.au_known = None
    listing.au_join = join_rows(listing.kept(), table, found)
    listing.aus = found.aus
    listing.remarks.extend(found.remarks)


def _table(listing: Listing, au: str) -> tables.Table:
    place, files = pathlib.Path(au).expanduser(), listing.files
    below = f"{normal(au).rstrip('/')}/"
    many = place.is_dir() or place.suffix.lower() == ".zip"
    if not many and not any(name.startswith(below) for name in files.names):
        return tables.Table(place.name, files.pick_text("au", au))
    held = track_files.find(au, files)
    table, unread = one_table(held, "" if many else below)
    listing.findings["AU files that cannot be read"] = unread
    return table


def one_table(held: track_files.TrackFiles, folder: str) -> tuple[tables.Table, list[str]]:
    """The AUs of many CSV files, one for each image, as one table; and the files that hold none.

    OpenFace writes them so for folders of images; its rows get the name of their file, from
    `folder` on.
    """
    made: list[dict[str, str]] = []
    unread = []
    for name in held.names:
        try:
            table = tables.Table(name, held.text(name))
            found = tables.au_columns(table)[0]
            if not found:
                raise errors.UserError(f"{name}: no column such as AU06, AU06_r or AU06_c")
        except ValueError as error:
            unread.append(str(error))
            continue
        kept = {column for ways in found.values() for column in ways.values()}
        places = [(i, column) for i, column in enumerate(table.header) if column in kept]
        roles = ((table.place(role), role) for role in ("confidence", "success"))
        places += [(place, role) for place, role in roles if place is not None]
        file = name.removeprefix(folder)
        made.extend({"file": file} | {c: row[i] for i, c in places} for row in table.rows)
    if not made:
        raise errors.UserError(
            f"au: no AUs in {held.source}; " + "; ".join(unread[:3] or ["no rows"])
        )
    columns = list(dict.fromkeys(column for row in made for column in row))
    text = io.StringIO()
    rows = csv.DictWriter(text, columns, lineterminator="\n")
    rows.writeheader()
    rows.writerows(made)
    return tables.Table(pathlib.Path(held.source).name, text.getvalue()), unread


def join_rows(
    faces: Sequence[Face], table: tables.Table, found: tables.ActionUnits
) -> dict[str, Any]:
    """Gives faces the AUs of a table's rows: by path, else by file name, else without suffix.

    Of several rows of one image (several faces) the most confident one counts.

    Returns:
      What matched and what did not, for the report.
    """
    best: dict[str, int] = {}
    written = [normal(text) for text in table.need("file")]
    for row, name in enumerate(written):
        if name not in best or found.confidence[row] > found.confidence[best[name]]:
            best[name] = row
    names, ways = paired((face.file for face in faces), best, _WAYS)
    for face in faces:
        if face.file in names:
            row = best[names[face.file]]
            face.au, face.au_known = found.values[row], found.known[row]
    used = set(names.values())
    return {
        "file": table.name,
        "matched": dict(ways),
        "images_without_row": [face.file for face in faces if face.file not in names],
        "rows_without_image": [name for name in best if name not in used],
        "rows_of_further_faces": len(written) - len(best),
        "not_confident": int(sum(found.doubted[best[name]] for name in used)),
    }


_WAYS: dict[str, Callable[[str], str]] = {
    "path": lambda text: text,
    "path without suffix": lambda text: os.path.splitext(text)[0].lower(),
    "file name": base_name,
    "name without suffix": stem,
    # RAF-DB adds it to the names of its originals.
    "name without _aligned": lambda text: stem(text).removesuffix("_aligned"),
}


# --- Clips --------------------------------------------------------------------------------------


def _find_tracks(listing: Listing, options: ClipOptions) -> None:
    """Finds the track of each clip; they are read when clips are checked."""
    listing.tracks = tracks = track_files.find(options.au, listing.files)
    clips: list[Clip] = listing.kept()
    names = {clip.file: clip.recording or clip.file for clip in clips}
    found, ways = track_files.match(names.values(), tracks.names)
    for clip in clips:
        clip.track = found.get(names[clip.file], "")
        if clip.track and clip.frames and not clip.numbers:
            clip.numbers = clip_files.au_rows(clip.frames, options.au_rows)
    used = set(found.values())
    listing.au_join = {
        "file": tracks.source,
        "matched": dict(ways),
        "images_without_row": [file for file, name in names.items() if name not in found],
        "rows_without_image": [name for name in tracks.names if name not in used],
    }
