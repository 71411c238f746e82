"""MAFW: clips of films and television in five folds, eleven expressions, or the seven basic ones."""

import dataclasses
from collections.abc import Mapping
from typing import ClassVar

from aufer_jax import facs
from aufer_jax.datasets import published_clips, splits
from aufer_jax.datasets.published_clips import Row
from aufer_jax.sources.files import stem

LISTS = "split/single/no_caption/set_1/test.txt to set_5/test.txt"
FRAMES = "data/frames"

_ELEVEN = facs.expressions_of("mafw")  # also what numbers in MAE-DFER's lists count


@dataclasses.dataclass(frozen=True)
class Mafw(published_clips.Folded):
    """Clips with a single label: lines `00001.mp4 anger`, frames in `data/frames/00001/`.

    MAE-DFER's lists have numbers for the words.
    """

    name = "mafw"
    how_to_get = f"ask its authors (mafw-database.github.io/MAFW) for {LISTS} and {FRAMES}"
    order: ClassVar[str] = "mafw"
    variants: ClassVar[tuple[str, ...]] = ("frames", "clips")
    fold_sizes: ClassVar[tuple[int, ...]] = (1839, 1837, 1833, 1832, 1831)
    no_lists: ClassVar[tuple[str, ...]] = ("compound", "with_caption", "multi")

    def clip_name(self, row: Row) -> str:
        return stem(row.name)

    def label(self, row: Row) -> str:
        if row.label.isdigit() and int(row.label) < len(_ELEVEN):
            return _ELEVEN[int(row.label)]
        return row.label if row.label.isdigit() else facs.expression(row.label)

    def label_map(self) -> dict[str, str | None]:
        return {word: word if word in facs.expressions_of(self.order) else None for word in _ELEVEN}

    def shown_lists(self) -> str:
        return LISTS

    def counts(self) -> Mapping[str, tuple[int, ...]]:
        held = dict(zip(_ELEVEN, facs.CLASS_COUNTS["mafw"]["test_1"], strict=True))
        return {splits.fold(1): tuple(held[word] for word in facs.expressions_of(self.order))}


@dataclasses.dataclass(frozen=True)
class Mafw7(Mafw):
    """The seven basic expressions in DFEW's order; clips of the other four are left out."""

    name = "mafw7"
    order: ClassVar[str] = "mafw7"
