"""Your own clips: videos or folders of frames, with class folders or a CSV file."""

import dataclasses
from collections.abc import Mapping

from aufer_jax.data import records
from aufer_jax.datasets import au_join, clip_files, options, own, splits
from aufer_jax.datasets.card import Card
from aufer_jax.datasets.clip_files import Found
from aufer_jax.datasets.listing import Clip, Listing
from aufer_jax.sources import tables
from aufer_jax.sources.files import VIDEOS, Files

BESIDE_CLIPS = "Images beside clips, no frames of any"


@dataclasses.dataclass(frozen=True)
class Options(options.ClipOptions):
    """Class folders `[train|validation|test/]<class>/<clip>`, or a CSV with one row per clip."""

    # CSV file with one row per clip; default: labels.csv, if there is one.
    labels: str = ""
    # Which column is the "file", "expression", "subject" or "split", if it has another name.
    columns: Mapping[str, str] = dataclasses.field(default_factory=dict)
    # Other names of labels: joy=happiness,Freude=happiness; grumpy= leaves the label out.
    map: Mapping[str, str] = dataclasses.field(default_factory=dict)
    # Your own classes, in any words, in label order; other labels are left out. all: every label is one.
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        own.check(self)


def read(card: Card, files: Files, options: Options) -> Listing:
    """The clips of a source of the user's own, by class folders or a table."""
    del card
    listing, found = Listing(files), Found(files)
    table = own.label_table(files, options.labels, options.columns)
    if table is None:
        for path in found.frames:
            label, split = own.label_and_split(path)
            listing.faces.append(Clip(path, label, split=split))
    else:
        _read_table(listing, found, table, options)
    clips: list[Clip] = listing.faces
    for clip in clips:
        clip.frames = clip_files.in_order(found.frames[clip.file], options.frame_order)
    if not any(clip.frames or clip.file in files for clip in clips):
        kinds = f"folders of images, or {' '.join(VIDEOS)}"
        listing.problem(f"no clips ({kinds})", ", ".join(files.names[:3]) or "the source is empty")
    if table is None and not options.au and not any(clip.label for clip in clips):
        listing.problem(f"neither class folders nor a {own.LABELS}", "name the CSV with labels")
    listing.check()
    own.set_classes(listing, options)
    au_join.join(listing, options)
    clip_files.note_order(listing, options.frame_order)
    listing.findings[BESIDE_CLIPS] = found.beside
    unlisted = sorted(set(found.frames) - {clip.file for clip in clips})
    if table is not None and unlisted:
        listing.remarks.append(
            f"{len(unlisted)} clips have no row in {table.name} and are not used, "
            f"for example {unlisted[0]}"
        )
    return listing


def _read_table(listing: Listing, found: Found, table: tables.Table, options: Options) -> None:
    labelled = table.place("expression") is not None
    seen = set()
    columns = (table.need("file"), *map(table.texts, ("expression", "subject", "split")))
    for written, label, subject, split in zip(*columns, strict=True):
        paths = found.find(written)
        if len(paths) != 1:
            listing.problem("several clips of that name" if paths else "missing clips", written)
            continue
        if paths[0] in seen:
            listing.problem("clips with two rows", written)
        seen.add(paths[0])
        folder_label, folder_split = own.label_and_split(paths[0])
        if not labelled and own.is_class(folder_label, options):
            label = folder_label
        if split and not splits.named(split):
            listing.problem("splits that are not train, validation, test or fold1 on", split)
        listing.faces.append(Clip(paths[0], label, subject, splits.named(split) or folder_split))


CARD = Card(
    "clips",
    read,
    Options,
    kind=records.CLIP,
    licence="not stated",
    how_to_get="your own clips; see docs/data.md",
    own=True,
)
