"""AU-expression knowledge of AU-DFER: how typical each AU is of each expression, as loss weights.

What is kept is the sums S over datasets of median AU intensities; the knowledge is K = sigmoid(S - c).
`aufer paper knowledge` makes sums of one's own; docs/knowledge.md says how.
"""

import csv
import importlib.resources
import os
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from aufer_jax import errors, facs

SHIFTS = ("midrange", "half_range")
TEXT_SHIFT = 2.5  # of the paper's text
AU28 = 28  # OpenFace gives it no intensity
UNIFORM = (
    "uniform"  # in place of a file: every AU is as typical as the published ones are on average
)
OWN = {
    "synth_clips": "knowledge_synth_clips.csv"
}  # made by `aufer paper knowledge` of the drawn clips

Sums = tuple[tuple[str, ...], tuple[int, ...], np.ndarray]  # expressions, AUs, S [E, n]


# --- Files --------------------------------------------------------------------------------------


def published() -> tuple[tuple[str, ...], np.ndarray]:
    """Expressions, and the sums [7, 18] over four datasets of the median OpenFace intensities.

    >>> expressions, sums = published()
    >>> expressions[0], sums.shape
    ('happy', (7, 18))
    """
    expressions, _, sums = parse("knowledge.csv", _packaged("knowledge.csv"))
    return expressions, sums


def _packaged(name: str) -> str:
    return (importlib.resources.files("aufer_jax.papers.audfer") / name).read_text()


def load(path: str | os.PathLike) -> Sums:
    """The expressions, AUs and sums of a knowledge.csv, or of one of `OWN`; NaN where it has none."""
    if path in OWN:
        return parse(OWN[str(path)], _packaged(OWN[str(path)]))
    try:
        text = pathlib.Path(path).expanduser().read_text(encoding="utf-8-sig")
    except (OSError, UnicodeError) as error:
        raise errors.UserError(f"knowledge: {str(path)!r} cannot be read: {error}") from error
    return parse(str(path), text)


def parse(name: str, text: str) -> Sums:
    """What `load` gives, of a file's text: `expression, AU01, ...`, or those rows whose first column
    `matrix` is "sum"."""
    rows = [[cell.strip() for cell in row] for row in csv.reader(text.splitlines()) if any(row)]
    header = rows[0] if rows else []
    start = 2 if header[:2] == ["matrix", "expression"] else 1
    if header[start - 1 : start] != ["expression"] or len(header) == start:
        raise errors.UserError(
            f"knowledge: {name} begins with {', '.join(header[:4]) or 'nothing'}, not with "
            "expression, AU01, ... or matrix, expression, AU01, ...; write one with aufer paper knowledge"
        )
    aus = tuple(map(facs.au_number, header[start:]))
    chosen = [row for row in rows[1:] if start == 1 or row[0] == "sum"]
    if not chosen or any(len(row) != len(header) for row in chosen):
        raise errors.UserError(f"knowledge: {name} has no sums, or rows shorter than its header")
    expressions = tuple(row[start - 1] for row in chosen)
    canonical = [
        (facs.expression if facs.nearest_expression(name) else facs.class_name)(name)
        for name in expressions
    ]
    if len(set(canonical)) < len(canonical) or len(set(aus)) < len(aus):
        raise errors.UserError(f"knowledge: {name} names an expression or an AU twice")
    try:
        sums = np.array([[cell or "nan" for cell in row[start:]] for row in chosen], np.float64)
    except ValueError as error:
        raise errors.UserError(
            f"knowledge: {name} has a cell that is not a number: {error}"
        ) from None
    if not np.isfinite(sums).any():
        raise errors.UserError(f"knowledge: {name} contains no number")
    return expressions, aus, sums


def write(path: str | os.PathLike, sums: Sums, forms: Mapping[str, np.ndarray]) -> None:
    """A knowledge.csv with the sums and matrices made of them, all digits; NaN is an empty cell."""
    expressions, aus, values = sums
    with pathlib.Path(path).open("w", newline="", encoding="utf-8") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(["matrix", "expression", *(facs.AUS[au].label for au in aus)])
        for name, table in {"sum": values, **forms}.items():
            for expression, row in zip(expressions, table, strict=True):
                cells = ["" if np.isnan(value) else repr(float(value)) for value in row]
                out.writerow([name, expression, *cells])


# --- From medians to a matrix -------------------------------------------------------------------


def total(medians: Sequence[np.ndarray]) -> np.ndarray:
    """The sum [E, n] of the datasets' medians [E, n].

    A cell that some datasets lack (NaN) is their number times the mean of the others.
    """
    stack = np.stack(medians)
    there = np.isfinite(stack).sum(0)
    sums = np.nansum(stack, 0) * len(stack) / np.maximum(there, 1)
    return np.where(there > 0, sums, np.nan)


def fill(values: np.ndarray, aus: Sequence[int]) -> tuple[np.ndarray, tuple[int, ...]]:
    """Values [E, n] with one constant for AU28 and for AUs without any value, and which these are.

    The constant is the mean of all other cells, before any sigmoid.
    """
    gone = np.isnan(values).all(0) | (np.array(aus) == AU28)
    if gone.all():
        raise errors.UserError("knowledge: no AU has an intensity")
    filled = np.where(gone, np.nanmean(values[:, ~gone]), values)
    filled[np.isnan(values[:, ~gone]).all(1)] = np.nan  # an expression without any value gets none
    return filled, tuple(au for au, absent in zip(aus, gone, strict=True) if absent)


def text_sums(medians: Sequence[np.ndarray], aus: Sequence[int]) -> np.ndarray:
    """What the paper's text sums: each dataset's sigmoid around its own mid-range, in 0..1.

    With the shift 2.5 four datasets reach sigmoid(1.5) = 0.82 at most, less than the published figure.
    """
    return total([matrix(fill(values, aus)[0], "midrange") for values in medians])


def matrix(sums: np.ndarray, shift: str | float = "midrange") -> np.ndarray:
    """sigmoid(sums - shift): `midrange` is (max + min) / 2, `half_range` (the published figure) half
    of max - min, or a number.

    >>> matrix(published()[1], "half_range")[0, :3].round(2).tolist()  # figure 4's first cells
    [0.37, 0.38, 0.42]
    """
    if isinstance(shift, str):
        if shift not in SHIFTS:
            raise errors.unknown("knowledge shift", shift, SHIFTS)
        low, high = np.nanmin(sums), np.nanmax(sums)
        shift = (high + low) / 2 if shift == "midrange" else (high - low) / 2
    return 1 / (1 + np.exp(-(sums - shift)))


def for_orders(
    expressions: tuple[str, ...],
    aus: tuple[int, ...],
    shift: str | float,
    path: str | os.PathLike = "",
) -> np.ndarray:
    """A matrix in another order [len(expressions), len(aus)]; 0.5 where it has no entry.

    `path` names a knowledge.csv, or one of `OWN`; the published one by default. `UNIFORM` is the
    published one's mean in all places: as much weight in sum, and nothing known.
    """
    if path == UNIFORM:
        return np.full((len(expressions), len(aus)), matrix(published()[1], shift).mean())
    if path:
        names, numbers, sums = load(path)
    else:
        (names, sums), numbers = published(), facs.OPENFACE_18
    rows = facs.label_map(expressions, names)
    strange = [
        expression
        for expression, row in zip(expressions, rows, strict=True)
        if row < 0 and facs.class_name(expression) not in facs.EXPRESSIONS
    ]
    if strange:
        raise errors.UserError(
            f"loss.knowledge: {path or 'the published one'} says nothing of {', '.join(strange)}, which are "
            f"no expressions that the library knows; name a knowledge.csv with rows for them, or train "
            f"without AUs: au=none in the configuration's argument"
        )
    columns = facs.au_index(numbers, aus)
    if path and not (any(row >= 0 for row in rows) and any(column >= 0 for column in columns)):
        raise errors.UserError(
            f"knowledge: {path} has none of the run's expressions, or none of its AUs; it has "
            f"{', '.join(names)} and AUs {', '.join(map(str, numbers))}"
        )
    values = np.nan_to_num(matrix(sums, shift), nan=0.5)
    values = np.pad(values, ((0, 1), (0, 1)), constant_values=0.5)  # index -1
    return values[np.ix_(rows, columns)]
