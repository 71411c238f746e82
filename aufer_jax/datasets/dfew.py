"""DFEW: clips of films in five folds, seven expressions, with the votes of ten annotators."""

import numpy as np

from aufer_jax.data import records
from aufer_jax.datasets import published, split_lists, splits
from aufer_jax.datasets.card import Card
from aufer_jax.datasets.listing import Listing
from aufer_jax.datasets.options import PublishedClipOptions
from aufer_jax.datasets.split_lists import Row
from aufer_jax.sources import tables
from aufer_jax.sources.files import Files, stem

LISTS = "EmoLabel_DataSplit/test(single-labeled)/set_1.csv to set_5.csv"
FRAMES = "Clip/clip_224x224"
VARIANTS = ("clip_224x224", "jpg_256", "clip_224x224_16f", "jpg_224_16f", "original")
VOTES, SHEET = "annotation.csv", "annotation.xlsx"
NO_VOTES = "Clips without votes"
OTHER_LABEL = "Clips whose label is not the class with most votes"
EXPRESSIONS = ("happiness", "sadness", "neutral", "anger", "surprise", "disgust", "fear")


def read(card: Card, files: Files, options: PublishedClipOptions) -> Listing:
    """The authors' lists (`1,3`, labels from 1), or those of Former-DFER and MAE-DFER (from 0).

    Frames in `<variant>/<number of 5 digits>/`.
    """
    listing = published.begin(card, files, options)
    found = split_lists.find_clips(listing, options.variant, VARIANTS)

    def plain(row: Row) -> Row:
        number = stem(row.name)
        name = f"{int(number):05}" if number.isdigit() else row.name
        short = name.lstrip("0")  # folders may also be named without leading zeros
        name = short if not found.find(name) and found.find(short) else name
        from_0 = not row.commas and row.label.isdigit()
        return Row(name, str(int(row.label) + 1) if from_0 else row.label)

    place = Files(options.lists) if options.lists else files
    clips = split_lists.folds(listing, place, plain)
    if not clips:
        raise card.lacks(files, LISTS)
    split_lists.add_folds(listing, found, options, clips)
    _add_votes(listing, place if place.shallowest(VOTES) else files)
    published.finish(card, listing, options)
    return listing


def _add_votes(listing: Listing, place: Files) -> None:
    """Gives the clips their votes, where the authors' table of them is there as CSV."""
    path = place.shallowest(VOTES)
    if path is None:
        if sheet := place.shallowest(SHEET):
            listing.remarks.append(f"{sheet} has the votes; save it as {VOTES} for data.labels")
        return
    votes = _votes(listing, tables.Table(path, place.open_text(path)))
    columns = published.columns(EXPRESSIONS, listing.expressions)
    for clip in listing.faces:
        counts = votes.get(stem(clip.file).lstrip("0"))
        if counts is None:
            listing.note(NO_VOTES, clip.file)
            continue
        clip.votes = counts[columns]
        label = listing.label_map.get(clip.label)
        if label and label != EXPRESSIONS[counts.argmax()]:
            listing.note(OTHER_LABEL, clip.file)
    listing.remarks.append(f"votes from {path}")


def _votes(listing: Listing, table: tables.Table) -> dict[str, np.ndarray]:
    """Number of a clip -> its votes, of rows `seven votes, clip, label`; the first may be a header."""
    votes: dict[str, np.ndarray] = {}
    count = len(EXPRESSIONS)
    for number, row in enumerate([table.header, *table.rows], 1):
        try:
            counts = np.array(row[:count], np.float32)
        except ValueError:
            counts = np.full(count, np.nan)
        if len(row) > count and (counts >= 0).all() and np.isfinite(counts).all():
            votes[stem(row[count].strip()).lstrip("0")] = counts
        elif number > 1:
            what = f"rows of {table.name} that are not seven votes and a clip"
            listing.problem(what, str(number))
    return votes


CARD = Card(
    "dfew",
    read,
    PublishedClipOptions,
    kind=records.CLIP,
    how_to_get=f"ask its authors (dfew-dataset.github.io) for {LISTS} and {FRAMES}, "
    f"and for its votes Annotation/{SHEET}, saved as {VOTES}",
    expressions=EXPRESSIONS,
    first=1,
    counts={
        splits.fold(1): (489, 379, 534, 435, 294, 29, 181),
        splits.fold(2): (489, 379, 534, 435, 294, 29, 181),
        splits.fold(3): (489, 379, 534, 435, 294, 29, 180),
        splits.fold(4): (489, 379, 534, 434, 294, 29, 180),
        splits.fold(5): (489, 378, 533, 434, 293, 29, 180),
    },
)
