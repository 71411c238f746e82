"""DFEW: clips of films in five folds, seven expressions."""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

from aufer_jax import facs
from aufer_jax.datasets import published_clips, splits
from aufer_jax.datasets.published_clips import ClipReading, Row
from aufer_jax.sources.files import stem

LISTS = "EmoLabel_DataSplit/test(single-labeled)/set_1.csv to set_5.csv"
FRAMES = "Clip/clip_224x224"


@dataclasses.dataclass(frozen=True)
class Dfew(published_clips.Folded):
    """The authors' lists (`1,3`, labels from 1), or those of Former-DFER and MAE-DFER (from 0).

    Frames in `<variant>/<number of 5 digits>/`.
    """

    name = "dfew"
    how_to_get = f"ask its authors (dfew-dataset.github.io) for {LISTS} and {FRAMES}"
    order: ClassVar[str] = "dfew"
    variants: ClassVar[tuple[str, ...]] = (
        *("clip_224x224", "jpg_256", "clip_224x224_16f", "jpg_224_16f", "original"),
    )

    def clip_name(self, row: Row) -> str:
        number = stem(row.name)
        return f"{int(number):05}" if number.isdigit() else row.name

    def add(
        self, reading: ClipReading, name: str, label: str, split: str, subject: str = ""
    ) -> None:
        """Numbers of folders may also be written without leading zeros."""
        short = name.lstrip("0")
        if not reading.found.find(name) and reading.found.find(short):
            name = short
        super().add(reading, name, label, split, subject)

    def label(self, row: Row) -> str:
        return row.label if row.commas else str(int(row.label) + 1)

    def shown_lists(self) -> str:
        return LISTS

    def counts(self) -> Mapping[str, tuple[int, ...]]:
        published = facs.CLASS_COUNTS["dfew"]
        return {splits.fold(k): published[f"test_{k}"] for k in range(1, self.folds + 1)}
