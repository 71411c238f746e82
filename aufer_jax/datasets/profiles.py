"""Dataset bias in numbers: mean AU vectors of an expression and cosine distances between datasets.

AU-ViT, section III-A: datasets show the same expression with different AUs. Expressions are matched by name,
so datasets may number them as they like.
"""

import dataclasses
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from aufer_jax import facs

# The paper's reading: similar below the first, different above the second.
SIMILAR, DIFFERENT = 0.3, 0.5
ALL = "all samples"  # the row of a profile over all samples, labelled with an expression or not


@dataclasses.dataclass(frozen=True)
class Profile:
    """The mean AU vectors of a dataset: one row per expression, the last for all samples."""

    dataset: str
    rows: tuple[str, ...]
    aus: tuple[int, ...]
    mean: np.ndarray  # [R, A]; NaN where no sample of the row knows the AU
    known: np.ndarray  # [R, A] samples of the row that know the AU
    samples: np.ndarray  # [R] samples of the row that know any of the AUs


def profile(
    dataset: str,
    expressions: Sequence[str],
    aus: Sequence[int],
    expression: np.ndarray,
    au: np.ndarray,
    au_known: np.ndarray,
) -> Profile:
    """The profile of a dataset's labels; unknown AUs count neither in sums nor in numbers.

    Args:
      dataset: its name.
      expressions: what its labels 0, 1, ... mean.
      aus: what the columns mean.
      expression: [N] labels; samples of -1, unknown, count in the last row only.
      au: [N, A] 0/1 or intensities.
      au_known: [N, A].
    """
    labels = np.append(np.arange(len(expressions)), -1)[:, None]
    members = (expression[None] == labels).astype(np.float64)  # [R, N]
    members[-1] = 1
    known = members @ au_known.astype(np.float64)
    with np.errstate(invalid="ignore"):
        mean = members @ np.where(au_known, au, 0.0) / known
    return Profile(
        dataset,
        (*map(facs.class_name, expressions), ALL),
        tuple(aus),
        mean,
        known.astype(np.int64),
        (members @ au_known.any(1).astype(np.float64)).astype(np.int64),
    )


class Rows(Protocol):
    """What has a row for each class of a dataset, the last for all samples."""

    @property
    def rows(self) -> tuple[str, ...]:
        """The rows of the table, top to bottom."""
        ...


def rows(tables: Sequence[Rows]) -> tuple[str, ...]:
    """The classes that any of the datasets labels: expressions in the order of `facs`, then all others."""
    found = dict.fromkeys(name for table in tables for name in table.rows[:-1])
    known = [name for name in facs.EXPRESSIONS if name in found]
    return (*known, *(name for name in found if name not in known))


def shared_expressions(profiles: Sequence[Profile]) -> tuple[str, ...]:
    """The classes that at least two of the datasets label, in the order of `rows`."""
    counts = {name: sum(name in p.rows for p in profiles) for name in rows(profiles)}
    return tuple(name for name, count in counts.items() if count > 1)


def cosine_distance(a: np.ndarray, b: np.ndarray) -> float:
    """1 - cosine of two mean AU vectors over the AUs known in both.

    From 0 to 1, as the vectors are not negative; NaN where no AU is shared or a vector is zero.
    """
    both = np.isfinite(a) & np.isfinite(b)
    a, b = a[both], b[both]
    lengths = np.linalg.norm(a) * np.linalg.norm(b)
    return float(np.clip(1 - a @ b / lengths, 0, 1)) if lengths > 0 else float("nan")


def distances(profiles: Sequence[Profile], row: str) -> np.ndarray:
    """Cosine distances [D, D] between datasets for an expression or `ALL`; NaN where one lacks it."""
    vectors = [
        p.mean[p.rows.index(row)] if row in p.rows else np.full(len(p.aus), np.nan)
        for p in profiles
    ]
    return np.array([[cosine_distance(a, b) for b in vectors] for a in vectors])


def overall(profiles: Sequence[Profile]) -> np.ndarray:
    """The mean [D, D] of the distances over the expressions that both datasets of a pair label."""
    each = np.array([distances(profiles, row) for row in shared_expressions(profiles)])
    each = each.reshape(-1, len(profiles), len(profiles))
    with np.errstate(invalid="ignore"):
        return np.nansum(each, 0) / np.isfinite(each).sum(0)


def reading(distance: float) -> str:
    """The paper's words for a distance."""
    if not np.isfinite(distance):
        return "unknown"
    if distance < SIMILAR:
        return "similar"
    return "different" if distance > DIFFERENT else "between"
