"""AffectNet+: AffectNet's images with soft labels, in subsets from easy to difficult; Fard et al. 2024."""

import dataclasses
import json
import re
from collections import Counter
from typing import Any

import numpy as np

from aufer_jax.datasets import affectnet, published, splits
from aufer_jax.datasets.card import Card
from aufer_jax.datasets.listing import Face, Listing
from aufer_jax.datasets.options import PublishedOptions
from aufer_jax.errors import unknown
from aufer_jax.sources.files import Files

AUTOMATIC = "no_human_annotated"
FOLDERS = {"train_set": splits.TRAIN, "validation_set": splits.TEST, AUTOMATIC: splits.TRAIN}
SUBSETS = ("easy", "challenging", "difficult")
NOBODYS = "no label, kept for its soft label"
NO_SOFT_LABEL = "Soft labels that are not eight shares, not used"


@dataclasses.dataclass(frozen=True)
class Options(PublishedOptions):
    """`human_annotated/train_set` and `validation_set`, each with `images` and `annotations`."""

    # Subsets to keep, of easy, challenging and difficult; default: all, and the test images of each are a
    # split of their own as well.
    subset: tuple[str, ...] = ()
    # Keep the images that nobody has labelled (`no_human_annotated`), too, for training with their soft
    # labels alone.
    automatic: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in self.subset:
            if name not in SUBSETS:
                raise unknown("subset", name, SUBSETS)


def read(card: Card, files: Files, options: Options) -> Listing:
    """Its validation images are the test split, as AffectNet's are."""
    meanings = card.labels() | ({NOBODYS: ""} if options.automatic else {})
    listing = published.begin(card, files, options, meanings)
    annotated = _annotated(files, options)
    if not annotated:
        raise card.lacks(files, "train_set and validation_set with images and annotations (.json)")
    columns = published.columns(card.expressions, listing.expressions)
    left_out: Counter[str] = Counter()
    for image, (path, folder) in annotated.items():
        told = _annotation(listing, path)
        if image not in files:
            listing.missing.append(image)
        elif told is not None:
            face = _face(listing, image, told, folder, columns)
            if options.subset and face.note not in options.subset:
                left_out[face.note or "of no subset"] += 1
                continue
            if face.split == splits.TEST and face.note and not options.subset:
                face.also = (face.note,)
            listing.add(face)
    listing.remarks.append("its validation images are the split test")
    if options.subset:
        listing.published = {}  # of all subsets
        counts = ", ".join(f"{count} {name}" for name, count in sorted(left_out.items()))
        listing.remarks.append(f"only {', '.join(options.subset)}; left out: {counts or 'none'}")
    published.finish(card, listing, options)
    return listing


def _annotated(files: Files, options: Options) -> dict[str, tuple[str, str]]:
    """Image -> its annotation, and which of `FOLDERS` it is in."""
    folders = [name for name in FOLDERS if name != AUTOMATIC or options.automatic]
    form = re.compile(rf"((?:.*/)?({'|'.join(folders)})/)annotations/([^/]+)\.json")
    places = ((path, form.fullmatch(path)) for path in files.names)
    return {f"{at[1]}images/{at[3]}.jpg": (path, at[2]) for path, at in places if at}


def _annotation(listing: Listing, path: str) -> dict[str, Any] | None:
    """What is in an annotation; None, with a problem noted, if it cannot be read."""
    try:
        told = json.loads(listing.files.open_text(path))
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, dict):
        listing.problem("annotations that are no JSON object", path)
        return None
    return told


def _face(
    listing: Listing, image: str, told: dict[str, Any], folder: str, columns: list[int]
) -> Face:
    """An image as its annotation describes it; its note names its subset."""
    label = NOBODYS if folder == AUTOMATIC else affectnet.label_of(told.get("human-label"))
    soft, about = _soft_label(told.get("soft-label")), told.get("meta-data")
    points = about.get("landmark-68") if isinstance(about, dict) else None
    face = Face(image, label, split=FOLDERS[folder], note=_subset(told.get("subset")))
    if listing.label_map.get(label) is not None:  # of others nothing is stored
        if points is not None:
            face.landmarks = affectnet.points(listing, image, points)
        if soft is None:
            listing.note(NO_SOFT_LABEL, image)
        else:
            face.votes = soft[columns]
    return face


def _soft_label(written: Any) -> np.ndarray | None:
    """Shares [8] that sum to 1, or None."""
    try:
        soft = np.array(written, np.float32)
    except (ValueError, TypeError, OverflowError):
        return None
    if soft.shape != (len(CARD.expressions),) or not np.isfinite(soft).all():
        return None
    return soft / soft.sum() if soft.min() >= 0 and soft.sum() > 0 else None


def _subset(written: Any) -> str:
    """The name of a subset, from its number or its name; empty for anything else."""
    text = affectnet.label_of(written).lower()
    name = {"0": "easy", "1": "challenging", "2": "difficult"}.get(text, text)
    return name if name in SUBSETS else ""


CARD = dataclasses.replace(
    affectnet.EIGHT,
    name="affectnetplus",
    read=read,
    options=Options,
    how_to_get="ask its authors (mohammadmahoor.com/affectnet) for AffectNet+",
)
