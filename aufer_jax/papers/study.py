"""What a paper's experiment is: rows that are trained, what is read of them, and what is claimed."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any


@dataclasses.dataclass(frozen=True)
class Row:
    """One way of training.

    Attributes:
      name: as the table and the claims call it.
      config: a config file and its arguments, as `config.load` takes them.
      changes: values set in that config, by their dotted keys.
      start: a row trained once, before all others; this one begins with its best state, as the papers'
        begin with published weights.
    """

    name: str
    config: str
    changes: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    start: "Row | None" = None


@dataclasses.dataclass(frozen=True)
class Claim:
    """What a paper says: the rows of `order`, the worst first, grow in `metric`."""

    text: str
    order: tuple[str, ...]
    metric: str


def among(claim: Claim, rows: Sequence[str]) -> Claim:
    """What is left of a claim if only some rows are run."""
    return dataclasses.replace(claim, order=tuple(name for name in claim.order if name in rows))


@dataclasses.dataclass(frozen=True)
class Study:
    """Rows, what is read from the summary of each run, and what is claimed of it.

    `metrics` maps a column's head to a place in the summary, such as "test_last/accuracy".
    """

    name: str
    title: str
    rows: tuple[Row, ...]
    metrics: Mapping[str, str]
    claims: tuple[Claim, ...] = ()
    note: str = ""
