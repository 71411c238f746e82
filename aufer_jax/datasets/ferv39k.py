"""FERV39k: clips of 22 scenes, seven expressions, one list of clips to train on and one to test on."""

from aufer_jax import facs
from aufer_jax.data import records
from aufer_jax.datasets import dfew, published, split_lists, splits
from aufer_jax.datasets.card import Card
from aufer_jax.datasets.listing import Listing
from aufer_jax.datasets.options import PublishedClipOptions
from aufer_jax.datasets.split_lists import Row
from aufer_jax.sources.files import Files

LISTS = {  # the authors', Former-DFER's, MAE-DFER's
    split: (f"{split}_All.csv", f"FERV39K_{split}.txt", f"{split}.csv")
    for split in (splits.TRAIN, splits.TEST)
}
FOLDER = "4_setups/All_scenes"
FRAMES = "2_ClipsforFaceCrop"

FOLDERS_DIFFER = "Clips whose folder names another expression than the list, which counts"


def read(card: Card, files: Files, options: PublishedClipOptions) -> Listing:
    """Lines `Action/Happy/0267 Happy` without a header; frames in `<scene>/<Expression>/<number>/`.

    Lists that give numbers count them in different orders, so there the folder gives the expression.
    """
    words: dict[str, str | None] = {name: name for name in card.expressions}
    listing = published.begin(card, files, options, words)
    found = split_lists.find_clips(listing, options.variant, (FRAMES,))
    place = Files(options.lists) if options.lists else files
    for split, names in LISTS.items():
        path = next(filter(None, map(place.shallowest, names)), None)
        if path is None:
            raise card.lacks(files, f"{FOLDER}/{names[0]}")
        for row in split_lists.rows(listing, path, place.open_text(path)):
            scene_expression_number = "/".join(row.name.split("/")[-3:])
            folder = (["", *row.name.split("/")])[-2]
            try:
                said = facs.expression(folder if row.label.isdigit() else row.label)
                if said != facs.expression(folder):
                    listing.note(FOLDERS_DIFFER, f"{row.name}: {row.label}")
            except ValueError:
                what = f"lines of {path} that are not <scene>/<Expression>/<number>"
                listing.problem(what, row.name)
                continue
            clip = Row(scene_expression_number, said)
            split_lists.add_clip(listing, found, options.frame_order, clip, split)
    published.finish(card, listing, options)
    return listing


CARD = Card(
    "ferv39k",
    read,
    PublishedClipOptions,
    kind=records.CLIP,
    how_to_get=(
        f"ask its authors (wangyanckxx.github.io/Proj_CVPR2022_FERV39k.html) for "
        f"{FOLDER}/{LISTS['train'][0]}, {LISTS['test'][0]} and {FRAMES}"
    ),
    # Files give words. AU-DFER, Former-DFER and MAE-DFER number them as DFEW does; M3DFEL's
    # replication and S2D number them alphabetically.
    expressions=dfew.EXPRESSIONS,
    counts={
        splits.TRAIN: (5854, 5523, 7790, 5906, 2502, 1833, 1680),
        splits.TEST: (1473, 1393, 1958, 1487, 638, 467, 431),
    },
)
