"""RAF-DB, basic expressions: aligned faces and one list with the labels of train and test."""

import dataclasses

from aufer_jax.datasets import published, splits, subsets
from aufer_jax.datasets.card import Card
from aufer_jax.datasets.listing import Face, Listing
from aufer_jax.datasets.options import PublishedOptions
from aufer_jax.sources.files import Files

LIST = "EmoLabel/list_patition_label.txt"  # spelled so
IMAGES = "Image/aligned"
SUBSETS = {
    subsets.OCCLUDED: subsets.raf_occlusion("rafdb_occlusion_list.txt"),
    subsets.POSE30: subsets.pose("val_raf_db_list.txt"),
    subsets.POSE45: subsets.pose("val_raf_db_list_45.txt"),
}


@dataclasses.dataclass(frozen=True)
class Options(PublishedOptions):
    """`EmoLabel/list_patition_label.txt` and `Image/aligned/<stem>_aligned.jpg`."""

    # Folder or .zip with RAN's lists of occluded and turned faces; default: they are looked for in the
    # source.
    lists: str = ""


def read(card: Card, files: Files, options: Options) -> Listing:
    """Landmarks in `Annotation` are in the originals' pixels, which the aligned images do not have."""
    listing = published.begin(card, files, options)
    path = published.label_file(card, files, LIST, "list_partition_label.txt")
    for number, line in enumerate(files.open_text(path).splitlines(), 1):
        name, *labels = line.split() or [""]
        split = splits.named(name.partition("_")[0])
        if not name:
            continue
        if len(labels) != 1 or split not in (splits.TRAIN, splits.TEST):
            what = f"lines of {path} that are not train_NNNNN.jpg or test_NNNN.jpg and a label"
            listing.problem(what, f"{number}: {line}")
            continue
        aligned = f"{name.rsplit('.', 1)[0]}_aligned.jpg"
        found = listing.find(f"{IMAGES}/{aligned}", aligned)
        if found:
            listing.add(Face(found, labels[0], split=split))
    if any("Annotation/" in file for file in files.names):
        listing.remarks.append(
            "landmarks in Annotation are not used: they are in the pixels of Image/original"
        )
    published.finish(card, listing, options)
    subsets.mark(listing, options.lists, SUBSETS, card.expressions)
    return listing


CARD = Card(
    "rafdb",
    read,
    Options,
    how_to_get=f"ask its authors (whdeng.cn/RAF/model1.html) for {LIST} and {IMAGES}",
    expressions=("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral"),
    first=1,  # the occlusion and pose lists count from 0
    counts={
        splits.TRAIN: (1290, 281, 717, 4772, 1982, 705, 2524),
        splits.TEST: (329, 74, 160, 1185, 478, 162, 680),
    },
)
