"""MAFW: clips of films and television in five folds, eleven expressions, or the seven basic ones."""

import dataclasses
from collections import Counter
from collections.abc import Mapping

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

# What numbers count in MAE-DFER's lists, which have spaces.
ELEVEN = (
    *("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise"),
    *("contempt", "anxiety", "helplessness", "disappointment"),
)
ALPHABETICAL = tuple(sorted(ELEVEN))  # and in S2D's, which have commas
_FOLD_SIZES = (1839, 1837, 1833, 1832, 1831)
_FOLD_1 = dict(zip(ELEVEN, (278, 128, 125, 249, 228, 294, 215, 48, 184, 53, 37), strict=True))


def read(card: Card, files: Files, options: PublishedClipOptions) -> Listing:
    """Clips with a single label: lines `00001.mp4 anger`, frames in `data/frames/00001/`.

    MAE-DFER's and S2D's lists have numbers for the words.
    """
    words = {word: word if word in card.expressions else None for word in ELEVEN}
    listing = published.begin(card, files, options, words)
    found = split_lists.find_clips(listing, options.variant, ("frames", "clips"))
    place = Files(options.lists) if options.lists else files
    orders: set[tuple[str, ...]] = set()
    clips = split_lists.folds(listing, place, lambda row: _plain(row, orders), others=OTHER_LISTS)
    if not clips:
        raise card.lacks(files, LISTS)
    for order in sorted(orders):
        listing.remarks.append(f"numbers of the lists count {', '.join(order)}")
        _check_order(listing, clips, order)
    split_lists.add_folds(listing, found, options, clips)
    for fold, size in enumerate(_FOLD_SIZES, 1):
        mine = list(clips.values()).count(fold)
        if mine != size:
            listing.remarks.append(f"fold {fold}: {mine} clips in its list, published {size}")
    published.finish(card, listing, options)
    return listing


def _plain(row: Row, orders: set[tuple[str, ...]]) -> Row:
    """A row as `folds` wants it; `orders` takes the order in which its number was read."""
    label, order = row.label, ALPHABETICAL if row.commas else ELEVEN
    if label.isdigit() and int(label) < len(order):
        orders.add(order)
        label = order[int(label)]
    return Row(stem(row.name), label if label.isdigit() else facs.expression(label))


def _check_order(listing: Listing, clips: Mapping[Row, int], order: tuple[str, ...]) -> None:
    """The published counts of fold 1, which are all different, tell of numbers in another order."""
    counts = Counter(row.label for row, fold in clips.items() if fold == 1)
    if counts != _FOLD_1 and sorted(counts.values()) == sorted(_FOLD_1.values()):
        what = f"the numbers of the lists do not count {', '.join(order)}; clips of fold 1"
        for word in ELEVEN:
            if counts[word] != _FOLD_1[word]:
                listing.problem(what, f"{word} {counts[word]}, published {_FOLD_1[word]}")


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
