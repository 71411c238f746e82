"""Per-frame AU intensities of a dataset's clips -> the median of each AU in each expression."""

import dataclasses
from collections import defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from aufer_jax import errors, facs
from aufer_jax.datasets import catalog

INTERPOLATE = ("zeros", "failures", "none")
ENDS = ("kept", "extended")


@dataclasses.dataclass(frozen=True)
class Clip:
    """The AUs of one clip."""

    key: str
    expression: str  # canonical
    values: np.ndarray  # float32 [T, n] intensities 0..5, NaN where unknown
    kept: np.ndarray | None = None  # bool [T] which frames count; None: all


@dataclasses.dataclass(frozen=True)
class Medians:
    """The medians of one dataset, and how much they rest on; expressions are the rows."""

    name: str
    expressions: tuple[str, ...]  # those that occur, in label order of `order`
    aus: tuple[int, ...]
    values: np.ndarray  # [E, n], NaN where no frame knows
    clips: np.ndarray  # [E] clips with frames that count
    frames: np.ndarray  # [E] frames in which an AU is known
    kept: np.ndarray  # [E] those of them that count
    left_out: dict[str, list[str]]  # why -> keys of clips


def interpolate(values: np.ndarray, how: str = "zeros", ends: str = "kept") -> np.ndarray:
    """Intensities [T, n] with gaps filled by linear interpolation in time, AU by AU.

    Args:
      values: NaN where unknown.
      how: "zeros" takes zeros and unknown frames as gaps (the paper), "failures" only unknown frames,
        "none" fills nothing.
      ends: gaps before the first and after the last value are "kept" as they are, or "extended" by it.
        An AU that has no value at all stays as it is.
    """
    for what, value, permitted in (("interpolate", how, INTERPOLATE), ("ends", ends, ENDS)):
        if value not in permitted:
            raise errors.unknown(what, value, permitted)
    result = values.copy()
    if how == "none":
        return result
    times = np.arange(len(values))
    for column in result.T:
        there = np.flatnonzero(~np.isnan(column) & ((column != 0) | (how == "failures")))
        if not there.size:
            continue
        inside = times if ends == "extended" else times[there[0] : there[-1] + 1]
        column[inside] = np.interp(inside, there, column[there])
    return result


def medians(
    name: str, clips: Iterable[Clip], aus: Sequence[int], left_out: dict[str, list[str]]
) -> Medians:
    """The median of each AU over the kept frames of all clips of an expression, read one by one.

    `left_out` is filled while `clips` are read: why -> the keys of clips that are left out.
    """
    values: dict[str, list[np.ndarray]] = defaultdict(list)
    frames: dict[str, int] = defaultdict(int)
    for clip in clips:
        known = np.isfinite(clip.values).any(1)
        frames[clip.expression] += int(known.sum())
        if clip.kept is not None:
            known &= clip.kept
        if known.any():
            values[clip.expression].append(clip.values[known])
        else:
            left_out.setdefault("no frame that counts", []).append(clip.key)
    found = order(frames)
    if not any(values.values()):
        told = "; ".join(f"{len(keys)} x {why}" for why, keys in left_out.items())
        raise errors.UserError(
            f"{name}: no frame of any clip counts ({told or 'there are no clips'})"
        )
    return Medians(
        name,
        found,
        tuple(aus),
        np.stack([_median(values[expression], len(aus)) for expression in found]),
        np.array([len(values[expression]) for expression in found]),
        np.array([frames[expression] for expression in found]),
        np.array([sum(map(len, values[expression])) for expression in found]),
        left_out,
    )


def _median(parts: list[np.ndarray], width: int) -> np.ndarray:
    """The median [n] of the known values of each column of parts [T, n], NaN without any."""
    result = np.full(width, np.nan)
    for i in range(width):
        column = np.concatenate([part[:, i] for part in parts]) if parts else np.empty(0)
        known = column[~np.isnan(column)]
        if known.size:
            result[i] = np.median(known.astype(np.float64))
    return result


def order(expressions: Iterable[str]) -> tuple[str, ...]:
    """Expressions in the order of the published matrix, then of `facs.EXPRESSIONS`."""
    there = set(expressions)
    rows = dict.fromkeys((*catalog.card("dfew").expressions, *facs.EXPRESSIONS))
    return tuple(name for name in rows if name in there)


def common(datasets: Sequence[Medians]) -> tuple[tuple[str, ...], list[np.ndarray]]:
    """The expressions of all datasets, and each one's medians [E, n] with NaN for those it lacks."""
    rows = order(name for dataset in datasets for name in dataset.expressions)
    tables = []
    for dataset in datasets:
        values = np.full((len(rows), len(dataset.aus)), np.nan)
        values[[rows.index(name) for name in dataset.expressions]] = dataset.values
        tables.append(values)
    return rows, tables
