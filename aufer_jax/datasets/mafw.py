"""MAFW: clips of films and television in five folds, eleven expressions, or the seven basic ones."""

import dataclasses

from aufer_jax import facs
from aufer_jax.data import records
from aufer_jax.datasets import dfew, published, split_lists, splits
from aufer_jax.datasets.card import Card
from aufer_jax.datasets.listing import Listing
from aufer_jax.datasets.options import PublishedClipOptions
from aufer_jax.datasets.split_lists import Row
from aufer_jax.sources.files import Files, stem

LISTS = "split/single/no_caption/set_1/test.txt to set_5/test.txt"
FRAMES = "data/frames"
OTHER_LISTS = ("compound", "with_caption", "multi")

# Also what numbers in MAE-DFER's lists count.
ELEVEN = (
    *("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise"),
    *("contempt", "anxiety", "helplessness", "disappointment"),
)
_FOLD_SIZES = (1839, 1837, 1833, 1832, 1831)
_FOLD_1 = dict(zip(ELEVEN, (278, 128, 125, 249, 228, 294, 215, 48, 184, 53, 37), strict=True))


def read(card: Card, files: Files, options: PublishedClipOptions) -> Listing:
    """Clips with a single label: lines `00001.mp4 anger`, frames in `data/frames/00001/`.

    MAE-DFER's lists have numbers for the words.
    """
    words = {word: word if word in card.expressions else None for word in ELEVEN}
    listing = published.begin(card, files, options, words)
    found = split_lists.find_clips(listing, options.variant, ("frames", "clips"))
    place = Files(options.lists) if options.lists else files
    clips = split_lists.folds(listing, place, _plain, others=OTHER_LISTS)
    if not clips:
        raise card.lacks(files, LISTS)
    split_lists.add_folds(listing, found, options, clips)
    for fold, size in enumerate(_FOLD_SIZES, 1):
        mine = list(clips.values()).count(fold)
        if mine != size:
            listing.remarks.append(f"fold {fold}: {mine} clips in its list, published {size}")
    published.finish(card, listing, options)
    return listing


def _plain(row: Row) -> Row:
    label = row.label
    if label.isdigit() and int(label) < len(ELEVEN):
        label = ELEVEN[int(label)]
    return Row(stem(row.name), label if label.isdigit() else facs.expression(label))


CARD = Card(
    "mafw",
    read,
    PublishedClipOptions,
    kind=records.CLIP,
    how_to_get=f"ask its authors (mafw-database.github.io/MAFW) for {LISTS} and {FRAMES}",
    expressions=ELEVEN,
    counts={splits.fold(1): tuple(_FOLD_1.values())},
)
# The seven basic expressions in DFEW's order; clips of the other four are left out.
SEVEN = dataclasses.replace(
    CARD,
    name="mafw7",
    expressions=dfew.EXPRESSIONS,
    counts={splits.fold(1): tuple(_FOLD_1[word] for word in dfew.EXPRESSIONS)},
)
