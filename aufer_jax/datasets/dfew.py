"""DFEW: clips of films in five folds, seven expressions."""

from aufer_jax.data import records
from aufer_jax.datasets import published, split_lists, splits
from aufer_jax.datasets.card import Card
from aufer_jax.datasets.listing import Listing
from aufer_jax.datasets.options import PublishedClipOptions
from aufer_jax.datasets.split_lists import Row
from aufer_jax.sources.files import Files, stem

LISTS = "EmoLabel_DataSplit/test(single-labeled)/set_1.csv to set_5.csv"
FRAMES = "Clip/clip_224x224"
VARIANTS = ("clip_224x224", "jpg_256", "clip_224x224_16f", "jpg_224_16f", "original")
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

    clips = split_lists.folds(listing, Files(options.lists) if options.lists else files, plain)
    if not clips:
        raise card.lacks(files, LISTS)
    split_lists.add_folds(listing, found, options, clips)
    published.finish(card, listing, options)
    return listing


CARD = Card(
    "dfew",
    read,
    PublishedClipOptions,
    kind=records.CLIP,
    how_to_get=f"ask its authors (dfew-dataset.github.io) for {LISTS} and {FRAMES}",
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
