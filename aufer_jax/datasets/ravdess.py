"""RAVDESS: 24 actors who speak two sentences in eight expressions, in six folds of four actors."""

import dataclasses
import re
from collections import Counter
from collections.abc import Mapping
from typing import ClassVar

from aufer_jax import errors, facs
from aufer_jax.datasets import published, published_clips, splits
from aufer_jax.datasets.listing import Clip
from aufer_jax.datasets.published_clips import ClipReading
from aufer_jax.sources.files import stem

MODALITIES = {"audio-video": 1, "video": 2}  # 3 is audio alone
CHANNELS = {"speech": (1,), "song": (2,), "both": (1, 2)}
ACTORS, FOLDS = 24, 6

# Modality, channel, emotion, intensity, statement, repetition, actor.
_NAME = re.compile(r"(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)-(\d\d)")


@dataclasses.dataclass(frozen=True)
class Ravdess(published_clips.PublishedClips):
    """Videos, or folders of their frames, whose names tell all: `02-01-06-01-02-01-12.mp4`.

    Attributes:
      modality: "video" takes the files without sound, "audio-video" the same takes with it.
      channel: "speech", "song" or "both".
      drop_calm: leaves calm out, which the other datasets do not have.
    """

    name = "ravdess"
    licence = "CC BY-NC-SA 4.0: non-commercial, share alike"
    how_to_get = "Zenodo, record 1188976: Video_Speech_Actor_01.zip to Video_Speech_Actor_24.zip"
    order: ClassVar[str] = "ravdess"

    modality: str = "video"
    channel: str = "speech"
    drop_calm: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        for key, value, known in (
            ("modality", self.modality, MODALITIES),
            ("channel", self.channel, CHANNELS),
        ):
            if value not in known:
                raise errors.unknown(key, value, known)

    def classes(self) -> tuple[str, ...]:
        return tuple(name for name in super().classes() if not (self.drop_calm and name == "calm"))

    def read(self, reading: published.Reading) -> None:
        assert isinstance(reading, ClipReading)
        others = Counter()
        for path, frames in reading.found.frames.items():
            written = _NAME.fullmatch(stem(path))
            if written is None:
                reading.note("Clips whose name is not of seven numbers", path)
                continue
            modality, channel, emotion, *_, actor = map(int, written.groups())
            if not 1 <= actor <= ACTORS:
                reading.problems.add(f"actors outside 1 to {ACTORS}", path)
            elif modality != MODALITIES[self.modality]:
                others["modality"] += 1
            elif channel not in CHANNELS[self.channel]:
                others["channel"] += 1
            else:
                fold = (actor - 1) * FOLDS // ACTORS + 1
                subject, split = f"actor {actor:02}", splits.fold(fold)
                mine = self.in_order(frames)
                reading.add(Clip(path, str(emotion), subject, split, frames=mine))
        for key in sorted(others, reverse=True):
            text = f"{others[key]} clips of another {key} than {getattr(self, key)} are left out"
            reading.remarks.append(text)
        if others and not reading.faces:
            raise errors.UserError(f"source: {'; '.join(reading.remarks)}, and there are no others")

    def counts(self) -> Mapping[str, tuple[int, ...]]:
        """Of speech: each fold holds the same."""
        if self.channel != "speech":
            return {}
        fold = tuple(count // FOLDS for count in facs.CLASS_COUNTS["ravdess"]["speech"])
        return {splits.fold(number): fold for number in range(1, FOLDS + 1)}
