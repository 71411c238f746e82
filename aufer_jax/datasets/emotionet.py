"""EmotioNet: photographs of the web with AUs, coded by hand or by a program, many of them unknown."""

import csv
import dataclasses
import io
import re
from collections import Counter

import numpy as np

from aufer_jax import errors, facs
from aufer_jax.datasets import published
from aufer_jax.datasets.card import Card
from aufer_jax.datasets.listing import Face, Listing
from aufer_jax.datasets.options import PublishedOptions
from aufer_jax.sources import tables
from aufer_jax.sources.files import Files, base_name
from aufer_jax.sources.images import Cut

TABLE = "EmotioNet_FACS_aws_2020_24600.csv"
CHALLENGE = "emotionNet_challenge_files_server_challenge_1.2_aws"
FACE = (0.15, 0.2, 0.85, 1.0)  # left, top, right and bottom, in shares of the photograph

AUS = (*facs.EMOTIONET_16, 43)

_COLUMNS = 60  # AUs of a row, numbered from 1
_QUOTES = " '\"\t"


@dataclasses.dataclass(frozen=True)
class Options(PublishedOptions):
    """The CSV of 24,600 rows coded by hand, or the challenge's text files, and the images by name."""

    # Go on without images that the label files name: many of the addresses are dead.
    skip_missing: bool = True
    # A label file of the source; default: the CSV, else all files of the challenge.
    labels: str = ""
    # The part of every image that is kept: left, top, right and bottom in shares of its width and height;
    # 0 0 1 1 keeps all.
    cut: tuple[float, float, float, float] = FACE

    def __post_init__(self) -> None:
        super().__post_init__()
        cut = self.cut
        if len(cut) != 4 or not (0 <= cut[0] < cut[2] <= 1 and 0 <= cut[1] < cut[3] <= 1):
            raise errors.UserError(f"cut: {cut} must be left, top, right, bottom in shares, 0 to 1")


def read(card: Card, files: Files, options: Options) -> Listing:
    """AUs are 0 or 1; 999 is unknown, and such AUs are masked."""
    listing = published.begin(card, files, options)
    cut = None if options.cut == (0, 0, 1, 1) else Cut(*options.cut, shares=True)
    others: Counter[int] = Counter()
    for path in _label_files(card, files, options.labels):
        for number, row in enumerate(_rows(files, path), 1):
            name = base_name(row[0].split("?")[0])
            values = _numbers(row[2:])
            if values is None:
                if number > 1:  # else the header
                    listing.problem(f"rows of {path} that are not 2 texts and 60 AUs", name)
                continue
            found = listing.find(name)
            if found:
                face = _face(listing, found, values, others)
                listing.add(dataclasses.replace(face, cut=cut))
    if others:
        shown = ", ".join(f"{au} ({count})" for au, count in sorted(others.items()))
        listing.remarks.append(f"AUs that are not kept, with the images that have them: {shown}")
    if cut is not None:
        listing.remarks.append(f"images are cut to {options.cut} of their width and height")
    published.finish(card, listing, options)
    return listing


def _label_files(card: Card, files: Files, labels: str) -> list[str]:
    if labels:
        found = files.find(labels)
        if len(found) != 1:
            texts = [n for n in files.names if n.endswith((".csv", ".txt"))]
            raise errors.unknown("labels", labels, texts)
        return found
    tables_ = [n for n in files.names if re.search(r"emotionet_facs[^/]*\.csv$", n.lower())]
    if tables_:
        return tables_[:1]
    texts = [
        name for name in files.names
        if name.lower().endswith((".txt", ".tsv")) and "challenge" in f"{files.source}/{name}"
    ]  # fmt: skip
    if texts:
        return texts
    if any(name.lower().endswith(".xlsx") for name in files.names):
        raise card.lacks(files, f"{TABLE}: save the .xlsx file as CSV")
    raise card.lacks(files, f"{TABLE} or the text files of {CHALLENGE}")


def _face(listing: Listing, file: str, values: np.ndarray, others: Counter[int]) -> Face:
    known = ~(np.isnan(values) | np.isin(values, tables.AU_UNKNOWN))
    if not np.isin(values[known], (0, 1)).all():
        listing.problem("AUs that are not 0, 1 or 999", file)
    places = [au - 1 for au in AUS]
    others.update(int(au) for au in np.flatnonzero(values == 1) + 1 if au not in AUS)
    mine = known[places]
    return Face(file, au=np.where(mine, values[places], 0), au_known=mine)


def _rows(files: Files, path: str) -> list[list[str]]:
    """The cells of a label file without the quotes and blanks around them."""
    text = files.open_text(path)
    first = text.split("\n", 1)[0]
    rows = csv.reader(io.StringIO(text), delimiter=tables.separator(first), quotechar='"')
    return [[cell.strip(_QUOTES) for cell in row] for row in rows if any(row)]


def _numbers(cells: list[str]) -> np.ndarray | None:
    """The 60 AU values of a row; NaN where a cell is empty. None if it is not such a row."""
    try:
        return np.array([cell or "nan" for cell in cells], np.float32).reshape(_COLUMNS)
    except ValueError:
        return None


CARD = Card(
    "emotionet",
    read,
    Options,
    how_to_get=(
        f"ask its authors (EmotioNet, Ohio State University) for {TABLE} (an .xlsx saved as CSV) or "
        f"{CHALLENGE}, and fetch the images from the addresses in it"
    ),
    aus=AUS,
    test_share=0.0,
)
