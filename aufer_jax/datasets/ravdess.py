"""RAVDESS: 24 actors who speak two sentences in eight expressions, in six folds of four actors."""

import dataclasses
import re
from collections import Counter
from typing import Literal

from aufer_jax import errors
from aufer_jax.data import records
from aufer_jax.datasets import clip_files, published, split_lists, splits
from aufer_jax.datasets.card import Card
from aufer_jax.datasets.listing import Clip, Listing
from aufer_jax.datasets.options import PublishedClipOptions
from aufer_jax.sources.files import Files, stem

MODALITIES = {"audio-video": 1, "video": 2}  # 3 is audio alone
CHANNELS = {"speech": (1,), "song": (2,), "both": (1, 2)}
ACTORS, FOLDS = 24, 6

# Modality, channel, emotion, intensity, statement, repetition, actor.
_NAME = re.compile(r"(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)")


@dataclasses.dataclass(frozen=True)
class Options(PublishedClipOptions):
    """Videos, or folders of their frames, whose names tell all: `02-01-06-01-02-01-12.mp4`."""

    # Video takes the files without sound, audio-video the same takes with it.
    modality: Literal["video", "audio-video"] = "video"
    # What the actors do.
    channel: Literal["speech", "song", "both"] = "speech"
    # Leave calm out, which the other datasets do not have.
    drop_calm: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for key, value, known in (
            ("modality", self.modality, MODALITIES),
            ("channel", self.channel, CHANNELS),
        ):
            if value not in known:
                raise errors.unknown(key, value, known)


def read(card: Card, files: Files, options: Options) -> Listing:
    """RAVDESS's clips, labelled by their names."""
    if options.drop_calm:
        wanted = options.expressions or card.expressions
        kept = tuple(name for name in wanted if name != "calm")
        options = dataclasses.replace(options, expressions=kept)
    listing = published.begin(card, files, options)
    if options.channel != "speech":  # which the counts are of
        listing.published = {}
    others = Counter()
    for path, frames in split_lists.find_clips(listing, options.variant).frames.items():
        written = _NAME.fullmatch(stem(path))
        if written is None:
            listing.note("Clips whose name is not of seven numbers", path)
            continue
        modality, channel, emotion, *_, actor = map(int, written.groups())
        if not 1 <= actor <= ACTORS:
            listing.problem(f"actors outside 1 to {ACTORS}", path)
        elif modality != MODALITIES[options.modality]:
            others["modality"] += 1
        elif channel not in CHANNELS[options.channel]:
            others["channel"] += 1
        else:
            fold = (actor - 1) * FOLDS // ACTORS + 1
            subject, split = f"actor {actor:02}", splits.fold(fold)
            mine = clip_files.in_order(frames, options.frame_order)
            listing.add(Clip(path, str(emotion), subject, split, frames=mine))
    for key in sorted(others, reverse=True):
        text = f"{others[key]} clips of another {key} than {getattr(options, key)} are left out"
        listing.remarks.append(text)
    if others and not listing.faces:
        raise errors.UserError(f"source: {'; '.join(listing.remarks)}, and there are no others")
    published.finish(card, listing, options)
    return listing


# Of speech: 24 actors, two statements, two repetitions, two intensities (neutral: one).
_FOLD = tuple(count // FOLDS for count in (96,) + (192,) * 7)

CARD = Card(
    "ravdess",
    read,
    Options,
    kind=records.CLIP,
    licence="CC BY-NC-SA 4.0: non-commercial, share alike",
    how_to_get="Zenodo, record 1188976: Video_Speech_Actor_01.zip to Video_Speech_Actor_24.zip",
    expressions=(
        *("neutral", "calm", "happiness", "sadness", "anger", "fear", "disgust", "surprise"),
    ),
    first=1,
    counts={splits.fold(number): _FOLD for number in range(1, FOLDS + 1)},
)
