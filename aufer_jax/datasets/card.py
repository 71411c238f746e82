"""What is known of a dataset before its files are there, and the function that lists them."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from aufer_jax import errors
from aufer_jax.data import records
from aufer_jax.datasets.listing import Listing
from aufer_jax.datasets.options import Options
from aufer_jax.sources.files import Files

PRIVATE = (
    "Photographs of faces are personal data: do not redistribute the images or this prepared copy."
)
RESEARCH = "non-commercial research only, no redistribution"


@dataclasses.dataclass(frozen=True)
class Card:
    """One dataset as its authors ship it.

    Attributes:
      name: what users call it.
      read: lists the source's images or clips, with the card and the options given; opens label files,
        but no image, and raises a `UserError` for what is missing or wrong. A function of a module.
      options: the dataclass of its options, a subclass of `Options` or `ClipOptions`.
      kind: of its records, `records.IMAGE` or `records.CLIP`.
      how_to_get: whom to ask, and for which files.
      expressions: in training order; empty: it has no labels, or the source's decide.
      first: the number that the files write for `expressions[0]`.
      dropped: what else the files write, and what it means; these are not training classes.
      counts: split -> images of each class in the order of `expressions`, as the authors count them.
      aus: that its files annotate, in the order of the records.
      own: the user's own files, under a name that the user gives.
      test_share: the share for testing where the source gives no splits.
    """

    name: str
    read: Callable[["Card", Files, Any], Listing]
    options: type[Options] = Options
    kind: str = records.IMAGE
    licence: str = RESEARCH
    redistribution: str = PRIVATE
    how_to_get: str = ""
    expressions: tuple[str, ...] = ()
    first: int = 0
    dropped: Mapping[int, str] = dataclasses.field(default_factory=dict)
    counts: Mapping[str, tuple[int, ...]] = dataclasses.field(default_factory=dict)
    aus: tuple[int, ...] = ()
    own: bool = False
    test_share: float = 0.2

    def list(self, files: Files, options: Options | None = None) -> Listing:
        """What a source holds, not opened yet."""
        return self.read(self, files, self.options() if options is None else options)

    def labels(self) -> dict[str, str | None]:
        """What each number in the files means: an expression, or None for what is dropped."""
        if not self.expressions:
            return {"": ""}
        numbers = {str(self.first + i): name for i, name in enumerate(self.expressions)}
        return {**numbers, **{str(number): None for number in self.dropped}}

    def lacks(self, files: Files, what: str) -> errors.UserError:
        """The error for a source without a file that all depends on."""
        return errors.UserError(
            f"source: {files.source} lacks {what}; {self.how_to_get}; terms: {self.licence}"
        )
