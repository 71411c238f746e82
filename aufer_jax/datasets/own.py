"""What your own faces and clips share: labels of a CSV or of class folders, in any spelling."""

import pathlib
import re
from collections import Counter
from collections.abc import Mapping
from typing import Protocol

from aufer_jax import errors, facs
from aufer_jax.datasets import splits
from aufer_jax.datasets.listing import Listing
from aufer_jax.sources import tables
from aufer_jax.sources.files import Files
from aufer_jax.sources.tables import LABELS

ALL = ("all",)  # of `classes`: every label that occurs is one
_TAKEN = {"unknown", "left_out"}  # what reports call labels that are no class
_WHOLE = re.compile(r"-?[0-9]{1,9}(\.0*)?")


class Labels(Protocol):
    """The options that say what labels mean; see `folder.Options`."""

    @property
    def expressions(self) -> tuple[str, ...]:
        """The names of the classes to keep, in order; empty for all that are found."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """Words that are classes of the user's own."""
        ...

    @property
    def map(self) -> Mapping[str, str]:
        """The user's names for labels of the files."""
        ...


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


def check(options: Labels) -> None:
    """Raises for names of classes that say two things, or nothing."""
    if options.classes and options.expressions:
        raise errors.UserError("classes, expressions: give one of them, classes is for any words")
    if len(set(map(facs.folded, options.classes))) < len(options.classes):
        raise errors.UserError(f"classes: {', '.join(options.classes)} names one twice")
    taken = {facs.folded(name) for name in options.classes} & _TAKEN
    if taken:
        raise errors.UserError(f"classes: {', '.join(taken)} has another meaning; use other words")


def is_class(folder: str, options: Labels) -> bool:
    """Whether a folder's name can be that of a class."""
    if facs.folded(folder) in map(facs.folded, options.map):
        return True
    if options.classes == ALL:
        return bool(folder)
    if options.classes:
        return facs.label_map((folder,), options.classes)[0] >= 0 or folder.isdigit()
    try:
        facs.expression(folder)
    except ValueError:
        return folder.isdigit()
    return True


def set_classes(listing: Listing, options: Labels) -> None:
    """Finds the classes of a full listing and which of them each written label is.

    Labels go through `options.map` first. Numbers count through the classes named from 0. Words are
    spelled in any way `facs.expression` knows, or are among `options.classes`. The classes are those named,
    all other labels are left out; or else those that occur, in the order of `facs.EXPRESSIONS`.
    """
    counts = Counter(face.label for face in listing.faces)
    renamed = _renamed(listing, counts, options.map)
    wanted = options.expressions or options.classes
    if options.classes == ALL:
        wanted = _every(renamed)
    meanings: dict[str, str | None] = {}
    strange: dict[str, int] = {}
    for label, name in renamed.items():
        try:
            meanings[label] = name and _meaning(name, wanted)
        except errors.UserError as error:
            listing.problem(str(error), f"{label!r} on {counts[label]} images")
        except KeyError:
            strange[label] = counts[label]
    for label, count in strange.items():
        listing.problem(_strange(strange), f"{label!r} on {count} images")
    found = set(meanings.values())
    listing.expressions = wanted or tuple(name for name in facs.EXPRESSIONS if name in found)
    listing.label_map = meanings
    listing.check()


def _renamed(
    listing: Listing, counts: Mapping[str, int], renaming: Mapping[str, str]
) -> dict[str, str | None]:
    """What each written label is called: as it is, by its other name, or None where it is left out."""
    new = {facs.folded(word): name.strip() or None for word, name in renaming.items()}
    for word in new.keys() - set(map(facs.folded, counts)):
        listing.problem(f"map names labels that do not occur, only {', '.join(counts)} do", word)
    return {label: new.get(facs.folded(label), label) for label in sorted(counts)}


def _every(renamed: Mapping[str, str | None]) -> tuple[str, ...]:
    """Every word among the labels, once, as a class."""
    words = {facs.folded(name): name for name in renamed.values() if name}
    return tuple(
        sorted(name for word, name in words.items() if word not in _TAKEN and not _number(word))
    )


def _number(label: str) -> bool:
    return _WHOLE.fullmatch(label) is not None


def _meaning(label: str, wanted: tuple[str, ...]) -> str | None:
    """The class of a label, None: left out; a KeyError where it could be any."""
    if _number(label):
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
    if wanted:
        place = facs.label_map((label,), wanted)[0]
        return wanted[place] if place >= 0 else None
    name = facs.class_name(label)
    if name not in facs.EXPRESSIONS:
        raise KeyError(label)
    return name


def _strange(labels: Mapping[str, int]) -> str:
    """What can be done about labels that are not expressions, ready to be copied."""
    pairs = ",".join(f"{label}={facs.nearest_expression(label) or ''}" for label in labels)
    return (
        f"labels that are not expressions (known: {', '.join(facs.EXPRESSIONS)}; rename them, or leave "
        f'them out with nothing after "=": --map "{pairs}"; take every label as a class of its own: '
        "--classes all; keep only some classes: --expressions)"
    )
