"""A paper's experiment: the rows to train, what is read from them, and what is claimed.

A paper registers its studies, and the numbers it published, under its name.
"""

import csv
import dataclasses
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from aufer_jax import errors


@dataclasses.dataclass(frozen=True)
class Row:
    """One way of training.

    Attributes:
      name: as the table and the claims call it.
      config: the configuration of a recipe.
      changes: values that differ from it, by their dotted keys.
      start: a row trained once, before all others; this one starts from its best state, as the papers'
        start from published weights.
      labelled_by: a row trained once, likewise; what its run takes the faces of this one's auxiliary dataset
        for, which has no expression labels, is what they teach here.
      folds: of its dataset, each a run of its own, judged as one by their pooled predictions; none for
        the configuration as it is.
    """

    name: str
    config: Any
    changes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    start: "Row | None" = None
    labelled_by: "Row | None" = None
    folds: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class Claim:
    """What a paper says: the rows of `order`, the worst first, grow in `metric`.

    With `over`, a row for each of `order`, it is what each has over that one that grows.
    """

    text: str
    order: tuple[str, ...]
    metric: str
    over: tuple[str, ...] = ()

    def __post_init__(self):
        if self.over and len(self.over) != len(self.order):
            raise ValueError(f"over: {self.over} must be as many rows as {self.order}")


@dataclasses.dataclass(frozen=True)
class Trend:
    """What a paper says of an order: the more of something a row has, the more it loses against `base`.

    Attributes:
      text: the claim.
      base: the row against which the others lose, or gain.
      rows: the others.
      metric: in which they do, such as "test_last/accuracy".
      measure: how much of it a row has.
      unit: what it is, in words.
    """

    text: str
    base: str
    rows: tuple[str, ...]
    metric: str
    measure: Callable[[Row], float]
    unit: str


def among(claim: Claim | Trend, rows: Sequence[str]) -> Claim | Trend:
    """What remains of a claim if only some rows are run."""
    if isinstance(claim, Trend):
        left = tuple(name for name in claim.rows if name in rows and claim.base in rows)
        return dataclasses.replace(claim, rows=left)
    pairs = zip(claim.order, claim.over or claim.order, strict=True)
    kept = [pair for pair in pairs if set(pair) <= set(rows)]
    order, over = zip(*kept, strict=True) if kept else ((), ())
    return dataclasses.replace(claim, order=order, over=over if claim.over else ())


@dataclasses.dataclass(frozen=True)
class Study:
    """Rows, what is read from the summary of each run, and what is claimed of it.

    `metrics` maps a column's head to a place in the summary, such as "test_last/accuracy". Beside what a
    run writes there, `au_f1_taught` and `au_auc_taught` are means over the AUs that the row was taught, and
    `au_f1_common` and `au_auc_common` over those that every row with AUs was taught. `columns` maps
    heads to what is told of a row itself. `published` maps some of the metrics' heads to the head and the
    cells, by row, of a column beside it: what the paper has there, see `beside`.
    """

    name: str
    title: str
    rows: tuple[Row, ...]
    metrics: Mapping[str, str]
    claims: tuple[Claim | Trend, ...] = ()
    note: str = ""
    columns: Mapping[str, Callable[[Row], str]] = dataclasses.field(default_factory=dict)
    published: Mapping[str, tuple[str, Mapping[str, str]]] = dataclasses.field(default_factory=dict)


# --- The studies of the papers ------------------------------------------------------------------

# (target, full, aux, recipe) -> the studies by the names of the paper's tables and figures. An empty target
# is the synthetic one; `full` takes the dataset's own recipe, by default what the paper says, in place of
# sizes for two cores.
Studies = Callable[[str, bool, Sequence[str], str], Mapping[str, Study]]


# What is said in the notes of numbers that are another row's, and of those that cannot be as printed.
USELESS = "do not use"
DOUBTS = ("swapped", "not credible", "looks like", "shifted", "mean of classes")
# Datasets of published numbers, as the papers call them.
DATASETS = {
    "rafdb": "RAF-DB", "ferplus": "FERPlus", "affectnet7": "AffectNet-7",
    "dfew": "DFEW", "ferv39k": "FERV39k", "mafw": "MAFW",
}  # fmt: skip


@dataclasses.dataclass(frozen=True)
class Published:
    """A number of a paper: in row and column of a table, of a dataset."""

    table: str
    row: str
    column: str
    dataset: str
    value: float
    note: str

    @property
    def shown(self) -> str:
        """A percentage as a fraction of 1, like ours; with "?" if it cannot be as printed."""
        doubtful = any(words in self.note for words in DOUBTS)
        return f"{self.value / 100:.4f}{'?' if doubtful else ''}"


_PAPERS: dict[str, tuple[Studies, pathlib.Path | None]] = {}


def register(paper: str, studies: Studies, numbers: pathlib.Path | None = None) -> None:
    """Makes a paper's studies known, and the CSV file of its published numbers."""
    _PAPERS[paper] = (studies, numbers)


def papers() -> tuple[str, ...]:
    """The papers whose studies are registered.

    >>> import aufer_jax.papers
    >>> papers()[:3]  # others may follow
    ('mvfer', 'auvit', 'audfer')
    """
    return tuple(_PAPERS)


def studies(
    paper: str, target: str = "", full: bool = False, aux: Sequence[str] = (), recipe: str = ""
) -> Mapping[str, Study]:
    """The studies of a paper, see `Studies`."""
    if recipe and not full:
        raise errors.UserError(f"recipe: {recipe!r} is of a full study; add full")
    return _registered(paper)[0](target, full, aux, recipe)


def published(paper: str) -> tuple[Published, ...]:
    """The numbers of a paper's tables; none where nothing but an abstract was at hand.

    >>> import aufer_jax.papers
    >>> published("auvit")[0].value
    87.3
    """
    path = _registered(paper)[1]
    if path is None:
        return ()
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return tuple(Published(**{**row, "value": float(row["value"])}) for row in rows)


def beside(
    study: Study,
    numbers: Iterable[Published],
    columns: Mapping[str, str],
    called: Callable[[str], str],
) -> Study:
    """The study with columns of the paper's numbers beside its metrics.

    Args:
      study: whose rows they are.
      numbers: of one dataset; of two in the same row and column the first is shown.
      columns: the head of a metric -> the published column that is the same.
      called: the name of a row -> that of the published row.
    """
    known: dict[tuple[str, str], Published] = {}
    for number in numbers:
        if USELESS not in number.note:
            known.setdefault((number.row, number.column), number)
    shown = {}
    for head, column in columns.items():
        pairs = ((row.name, known.get((called(row.name), column))) for row in study.rows)
        if found := {name: number for name, number in pairs if number}:
            (dataset,) = {DATASETS.get(n.dataset, n.dataset) for n in found.values()}
            cells = {name: number.shown for name, number in found.items()}
            shown[head] = (f"published {column} ({dataset})", cells)
    return dataclasses.replace(study, published=shown)


def _registered(paper: str) -> tuple[Studies, pathlib.Path | None]:
    if paper not in _PAPERS:
        raise errors.unknown("paper", paper, _PAPERS)
    return _PAPERS[paper]
