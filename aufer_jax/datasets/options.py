"""The options that datasets share; a dataset's own `Options` adds to them.

Every field is an option of `prepare` and a flag of the command line; the comment above it is the flag's help.
"""

import dataclasses
from typing import Literal

from aufer_jax import errors, facs
from aufer_jax.sources import tables, videos

AU_ROWS = ("order", "number")
FRAME_ORDERS = ("natural", "name")


@dataclasses.dataclass(frozen=True)
class Options:
    """What any dataset of images can be asked for."""

    # Classes to keep, in label order; default: all.
    expressions: tuple[str, ...] = ()
    # AUs of another file, which replace the dataset's own: a CSV joined by file name, or a folder or .zip
    # with one CSV each.
    au: str = ""
    # Which AU columns are used where a file has both `_r` and `_c`.
    au_values: Literal["intensity", "presence"] = "intensity"
    # AUs of less confident rows are unknown.
    au_confidence: float = 0.8

    def __post_init__(self) -> None:
        object.__setattr__(self, "expressions", tuple(map(facs.expression, self.expressions)))
        if len(set(self.expressions)) < len(self.expressions):
            raise errors.UserError(f"expressions: {', '.join(self.expressions)} names one twice")
        _check("au_values", self.au_values, tables.AU_VALUES)
        if not 0 <= self.au_confidence <= 1:
            raise errors.UserError(f"au_confidence: {self.au_confidence} must be from 0 to 1")


@dataclasses.dataclass(frozen=True)
class ClipOptions(Options):
    """What any dataset of clips can be asked for; a clip's AUs are a CSV of OpenFace or py-feat."""

    # Which AU columns are used where a file has both `_r` and `_c`.
    au_values: Literal["intensity", "presence"] = "presence"
    # Which AU row belongs to a frame that is a file: by order, the first row to the first file by name, as
    # OpenFace reads folders; or by the last number in the file's name, counted from 1.
    au_rows: Literal["order", "number"] = "order"
    # Use AU43 (eyes closed) of py-feat as AU45.
    closed_as_blink: bool = False
    # How frames that are files are sorted: natural takes digits as numbers (2 before 10).
    frame_order: Literal["natural", "name"] = "natural"
    # Keep every n-th frame.
    step: int = 1
    # Double the step until a clip has no more frames than this; 0: any number.
    most_frames: int = 0
    # Shrink larger frames to this many pixels; 0: only very large ones.
    size: int = 0
    # The side of a frame that `size` measures.
    side: Literal["longer", "shorter"] = "longer"

    def __post_init__(self) -> None:
        super().__post_init__()
        _check("au_rows", self.au_rows, AU_ROWS)
        _check("frame_order", self.frame_order, FRAME_ORDERS)
        self.rules()

    def rules(self) -> videos.Rules:
        """Which frames are kept, and how large."""
        return videos.Rules(self.step, self.most_frames, self.size, self.side)


@dataclasses.dataclass(frozen=True)
class PublishedOptions(Options):
    """What any published dataset of images can be asked for."""

    # Leave out images that the label files name but the source lacks.
    skip_missing: bool = False


@dataclasses.dataclass(frozen=True)
class PublishedClipOptions(ClipOptions):
    """What any published dataset of clips can be asked for."""

    # Leave out clips that the label files name but the source lacks.
    skip_missing: bool = False
    # Folder or .zip with the split lists; default: they are looked for in the source.
    lists: str = ""
    # The folder whose frames are used, where the source has several copies of them.
    variant: str = ""


def _check(key: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise errors.unknown(key, value, known)
