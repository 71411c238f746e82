"""Where the rows of a training batch come from: one dataset, or a target mixed with auxiliaries."""

import dataclasses
import functools
import hashlib
import math
from collections.abc import Sequence

import numpy as np

from aufer_jax.data.records import Source
from aufer_jax.data.views import Spec
from aufer_jax.errors import UserError


@dataclasses.dataclass(frozen=True)
class Part:
    """One dataset of a mixture, shuffled and repeated on its own.

    Attributes:
      source: its records.
      spec: how its rows are made.
      balanced: every class is repeated up to the size of the largest; rows without an
        expression are left out.
      expressions: False makes its rows carry expression -1.
      aus: False makes all its AUs unknown.
    """

    source: Source
    spec: Spec
    balanced: bool = False
    expressions: bool = True
    aus: bool = True


class Mixed:
    """Target and auxiliary rows in a fixed ratio, in the same order in every batch.

    A ratio of (4, 1) repeats t t t t a, so that any slice of the batch whose size is a multiple
    of five holds the exact ratio. Several auxiliary datasets take turns. Unless said otherwise
    auxiliary rows teach through AUs only and target rows through expressions only.
    """

    def __init__(
        self,
        target: tuple[Source, Spec] | Part,
        aux: Sequence[tuple[Source, Spec] | Part],
        ratio: tuple[int, int] = (4, 1),
    ):
        if len(ratio) != 2 or min(ratio) < 1:
            raise UserError(f"ratio: got {ratio}, must be two positive whole numbers")
        if not aux:
            raise UserError("aux: no dataset given, a mixture needs at least one")
        common = math.gcd(*ratio)
        self.ratio = (ratio[0] // common, ratio[1] // common)
        self.parts = (
            target if isinstance(target, Part) else Part(*target, aus=False),
            *(p if isinstance(p, Part) else Part(*p, expressions=False) for p in aux),
        )
        first = self.parts[0].spec
        for part in self.parts[1:]:
            for name in ("size", "aus", "labels", "views", "heatmap", "erase", "clip", "train"):
                theirs, ours = getattr(part.spec, name), getattr(first, name)
                if theirs != ours:
                    raise UserError(
                        f"aux spec.{name}: got {theirs!r} for {part.source.info.name}, "
                        f"must be the target's, {ours!r}"
                    )

    @property
    def period(self) -> int:
        """Rows after which the pattern repeats."""
        return sum(self.ratio)

    def slot(self, position: int) -> tuple[int, int]:
        """The part of a position of the stream, and which of that part's rows it is."""
        cycle, place = divmod(position, self.period)
        targets, others = self.ratio
        if place < targets:
            return 0, cycle * targets + place
        turn = cycle * others + place - targets
        return 1 + turn % (len(self.parts) - 1), turn // (len(self.parts) - 1)


class Single:
    """A mixture of one."""

    ratio, period = (1,), 1

    def __init__(self, part: Part):
        self.parts = (part,)

    def slot(self, position: int) -> tuple[int, int]:
        """(part, position within it) of a position in the stream."""
        return 0, position


Plan = Mixed | Single


def balanced_rows(expressions: np.ndarray) -> np.ndarray:
    """Rows in which every class appears as often as the largest; those with -1 are left out."""
    classes = [np.flatnonzero(expressions == c) for c in np.unique(expressions[expressions >= 0])]
    if not classes:
        raise UserError("balanced: no record has an expression")
    most = max(map(len, classes))
    return np.concatenate([np.resize(rows, most) for rows in classes])


class Order:
    """The endless order in which the records of a part are visited: a new shuffle every epoch."""

    def __init__(self, part: Part, seed: int, index: int):
        self._seed, self._chosen = part_seed(seed, index, "order"), None
        if part.balanced:
            labels = [part.source[i]["expression"] for i in range(len(part.source))]
            self._chosen = balanced_rows(np.array(labels))
        self._rows = len(part.source) if self._chosen is None else len(self._chosen)
        if not self._rows:
            raise UserError(f"{part.source.info.name}: no records to train on")

    def __getitem__(self, position: int) -> int:
        epoch, place = divmod(position, self._rows)
        row = _shuffle(self._rows, self._seed, epoch)[place]
        return int(row if self._chosen is None else self._chosen[row])


@functools.lru_cache(maxsize=16)
def _shuffle(rows: int, seed: int, epoch: int) -> np.ndarray:
    # Kept whole: Grain's shuffle computes one index at a time, for small sets slower than a JPEG.
    return generator(seed, epoch).permutation(rows)


def generator(seed: int, index: int) -> np.random.Generator:
    """The random stream of one epoch or element; all are independent."""
    return np.random.Generator(np.random.Philox(key=np.array([seed, index], np.uint64)))


@functools.cache
def part_seed(seed: int, index: int, use: str) -> int:
    """A 64-bit seed of a part; neighbouring seeds, parts and uses have nothing in common."""
    digest = hashlib.blake2b(f"{seed}/{index}/{use}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big")
