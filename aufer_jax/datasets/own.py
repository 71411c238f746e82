"""What your own faces and clips share: labels of a CSV or of class folders, in any spelling."""

import pathlib
from collections import Counter
from collections.abc import Mapping

from aufer_jax import errors, facs
from aufer_jax.datasets import splits
from aufer_jax.datasets.listing import Listing
from aufer_jax.sources import tables
from aufer_jax.sources.files import Files
from aufer_jax.sources.tables import LABELS


def label_table(files: Files, labels: str, columns: Mapping[str, str]) -> tables.Table | None:
    """The CSV with labels: the one named, or else `labels.csv` if there is one."""
    if labels:
        text = files.pick_text("labels", labels)
        return tables.Table(pathlib.Path(labels).name, text, columns)
    found = files.shallowest(LABELS)
    if found is None:
        if columns:
            raise errors.UserError(
                f"columns: there is no {LABELS} in {files.source}; name it with labels"
            )
        return None
    return tables.Table(found, files.open_text(found), columns)


def label_and_split(path: str) -> tuple[str, str]:
    """Label and split, from the folders of a file; empty where they do not say."""
    *outer, last = ["", *path.split("/")[:-1]]
    if splits.named(last):
        outer, last = [*outer, last], ""
    split = next(filter(None, map(splits.named, reversed(outer))), None)
    return last, split or ""


def is_class(folder: str) -> bool:
    try:
        facs.expression(folder)
    except ValueError:
        return folder.isdigit()
    return True


def set_classes(listing: Listing, wanted: tuple[str, ...]) -> None:
    """Finds the classes of a full listing and which of them each written label is.

    Words are spelled in any way `facs.expression` knows, numbers count through `wanted` from 0.
    Without `wanted` the classes are those that occur, in the order of `facs.EXPRESSIONS`; with it
    all other labels are left out.
    """
    meanings: dict[str, str | None] = {}
    for label, count in sorted(Counter(face.label for face in listing.faces).items()):
        try:
            meanings[label] = _meaning(label, wanted)
        except ValueError as error:
            listing.problem(str(error), f"{label!r} on {count} images")
    found = set(meanings.values())
    listing.expressions = wanted or tuple(name for name in facs.EXPRESSIONS if name in found)
    listing.label_map = meanings
    listing.check()


def _meaning(label: str, wanted: tuple[str, ...]) -> str | None:
    if not label:
        return ""
    if label.lstrip("-").replace(".", "", 1).isdigit() and float(label) == int(float(label)):
        number = int(float(label))
        if number == -1:
            return ""
        if not wanted:
            raise errors.UserError(
                "labels are numbers: name their classes with expressions, from 0 on"
            )
        if not 0 <= number < len(wanted):
            raise errors.UserError(f"numbers outside 0..{len(wanted) - 1}, the classes named")
        return wanted[number]
    try:
        name = facs.expression(label)
    except ValueError:
        if wanted:
            return None
        raise errors.UserError(
            f"labels that are not expressions (known: {', '.join(facs.EXPRESSIONS)}; "
            f"name the classes to keep with expressions to leave the others out)"
        ) from None
    return name if not wanted or name in wanted else None
