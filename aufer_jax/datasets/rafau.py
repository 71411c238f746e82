"""RAF-AU: aligned faces with AUs coded by hand."""

import dataclasses
import re
from collections import Counter

import numpy as np

from aufer_jax import facs
from aufer_jax.datasets import published, splits
from aufer_jax.datasets.card import Card
from aufer_jax.datasets.listing import Face, Listing
from aufer_jax.datasets.options import PublishedOptions
from aufer_jax.sources.files import Files, base_name

LIST = "RAFAU_label.txt"
SPLIT_LISTS = {
    "aligned_split_train_label.txt": splits.TRAIN,
    "aligned_split_test_label.txt": splits.TEST,
}
IMAGES = "aligned"
NOTHING = "null"
NOT_UNDERSTOOD = "Labels that are not AUs, not used"
DISAGREE = f"Images whose AUs differ between {LIST} and the split lists; the split lists count"

_TOKEN = re.compile(r"([A-Za-z]*)(\d+)([A-Za-z]*)")


@dataclasses.dataclass(frozen=True)
class Options(PublishedOptions):
    """`RAFAU_label.txt` (`0001.jpg 1+2+L12`), or two lists with a column for each of 21 AUs."""

    # Keep AUs of one side only (`L12`) in the record's note; they are present in any case.
    sides: bool = False


def read(card: Card, files: Files, options: Options) -> Listing:
    """RAF-AU's images with their AUs."""
    listing = published.begin(card, files, options)
    lists = [path for path in map(files.shallowest, SPLIT_LISTS) if path]
    if len(lists) == 1:
        other = [name for name in SPLIT_LISTS if name != base_name(lists[0])]
        raise card.lacks(files, f"{other[0]}, the other half of {lists[0]}")
    letters = _letters(listing, files.shallowest(LIST) or "", bool(lists), options.sides)
    if not lists and not letters:
        raise card.lacks(files, f"{LIST} or {' and '.join(SPLIT_LISTS)}")
    for path in lists:
        _columns(listing, path, letters)
    for name, (present, note) in letters.items() if not lists else ():
        _add(listing, name, present, note, "")
    published.finish(card, listing, options)
    return listing


def _letters(
    listing: Listing, path: str, compared: bool, sides: bool
) -> dict[str, tuple[np.ndarray, str]]:
    """File -> its AUs [21] and its one-sided AUs, of the list with letters."""
    found: dict[str, tuple[np.ndarray, str]] = {}
    others: Counter[int] = Counter()
    for line in listing.files.open_text(path).splitlines() if path else ():
        name, *rest = line.split() or [""]
        if not name:
            continue
        if name in found:
            listing.second_row(name, "an image")
            continue
        if len(rest) != 1:
            listing.problem(f"lines of {path} that are not NNNN.jpg and AUs", line)
            continue
        present, sided = np.zeros(len(facs.AU_VIT_21), np.float32), []
        for token in rest[0].split("+") if rest[0] != NOTHING else ():
            written = _TOKEN.fullmatch(token)
            if written is None:
                listing.note(NOT_UNDERSTOOD, f"{name}: {token}")
            elif int(written[2]) in facs.AU_VIT_21:
                present[facs.AU_VIT_21.index(int(written[2]))] = 1
                sided += [token] if written[1] or written[3] else []
            else:
                others[int(written[2])] += 1
        found[name] = present, " ".join(sided) if sides else ""
    if others and not compared:
        shown = ", ".join(f"{au} ({count})" for au, count in sorted(others.items()))
        listing.remarks.append(f"AUs that are not among the 21, with their images: {shown}")
    return found


def _columns(listing: Listing, path: str, letters: dict[str, tuple[np.ndarray, str]]) -> None:
    """The faces of a list with a 0 or 1 for each of the 21 AUs."""
    for line in listing.files.open_text(path).splitlines():
        name, *cells = line.split() or [""]
        if not name:
            continue
        if len(cells) != len(facs.AU_VIT_21) or set(cells) - {"0", "1"}:
            listing.problem(f"lines of {path} that are not a name and 21 times 0/1", line)
            continue
        present = np.array(cells, np.float32)
        other, note = letters.get(name, (present, ""))
        if not np.array_equal(present, other):
            listing.note(DISAGREE, name)
        _add(listing, name, present, note, SPLIT_LISTS[base_name(path)])


def _add(listing: Listing, name: str, present: np.ndarray, note: str, split: str) -> None:
    aligned = f"{name.rsplit('.', 1)[0]}_aligned.jpg"
    found = listing.find(f"{IMAGES}/{aligned}", aligned)
    if found:
        known = np.ones(len(facs.AU_VIT_21), bool)
        listing.add(Face(found, split=split, au=present, au_known=known, note=note))


CARD = Card(
    "rafau",
    read,
    Options,
    how_to_get=f"ask its authors (whdeng.cn/RAF/model3.html) for {LIST} and {IMAGES}",
    aus=facs.AU_VIT_21,
    test_share=0.0,
)
