"""What published datasets share: a listing with their label order, and its checks when it is full."""

from collections.abc import Sequence

from aufer_jax import errors
from aufer_jax.datasets import au_join, clip_files
from aufer_jax.datasets.card import Card
from aufer_jax.datasets.listing import Listing
from aufer_jax.datasets.options import Options, PublishedClipOptions, PublishedOptions
from aufer_jax.sources.files import Files


def begin(
    card: Card, files: Files, options: Options, labels: dict[str, str | None] | None = None
) -> Listing:
    """An empty listing with the card's classes, or those chosen; `labels` stands for `card.labels()`."""
    for expression in options.expressions:
        if not card.expressions:
            raise errors.UserError(f"expressions: {card.name} has no expression labels")
        if expression not in card.expressions:
            raise errors.unknown(f"expressions of {card.name}", expression, card.expressions)
    classes = options.expressions or card.expressions
    meanings = card.labels() if labels is None else labels
    return Listing(
        files,
        classes,
        {label: None if name and name not in classes else name for label, name in meanings.items()},
        card.aus,
        {
            split: tuple(counts[card.expressions.index(name)] for name in classes)
            for split, counts in card.counts.items()
        },
    )


def columns(names: Sequence[str], classes: Sequence[str]) -> list[int]:
    """Which of the votes for `names` stands at each place of a record's.

    Votes for what is no class, or for one that is not kept, stand behind those for the classes.
    """
    order = {name: place for place, name in enumerate(classes)}
    return sorted(range(len(names)), key=lambda i: order.get(names[i], len(order)))


def finish(card: Card, listing: Listing, options: PublishedOptions | PublishedClipOptions) -> None:
    """Checks a full listing for labels that are not the card's and images that are not there; joins AUs."""
    for face in listing.faces:
        if face.label not in listing.label_map:
            what = f"labels that are not one of {', '.join(listing.label_map)}"
            listing.problem(what, f"{face.label} of {face.file}")
    if listing.missing and not (options.skip_missing and listing.faces):
        what = f"{card.kind}s that the label files name but the source lacks"
        if listing.faces:
            what += "; --skip-missing leaves them out"
        for name in listing.missing:
            listing.problem(what, name)
    listing.check()
    if not listing.faces:
        raise card.lacks(listing.files, f"{card.kind}s with labels")
    if listing.missing:
        article = "an" if card.kind == "image" else "a"
        listing.findings[f"Rows of the label files without {article} {card.kind}"] = listing.missing
    au_join.join(listing, options)
    if isinstance(options, PublishedClipOptions):
        clip_files.note_order(listing, options.frame_order)


def label_file(card: Card, files: Files, shown: str, *others: str) -> str:
    """The path of a label file, wherever it is; `shown` is its published path."""
    for path in (shown, *others):
        found = files.shallowest(path.rsplit("/", 1)[-1])
        if found:
            return found
    raise card.lacks(files, shown)
