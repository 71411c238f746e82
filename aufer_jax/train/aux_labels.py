"""Expressions of auxiliary faces that have none, as another network or tool has named them, from a table."""

import csv
import dataclasses
import pathlib
from collections.abc import Mapping

import numpy as np

from aufer_jax.data import records
from aufer_jax.errors import UserError

KEYS, CLASSES = (
    ("file", "key"),
    ("predicted", "label"),
)  # the columns; the first that is there counts


@dataclasses.dataclass(frozen=True)
class Labelled:
    """The records of a source with the classes that a table gives them, unknown where it gives none."""

    whole: records.Source
    table: Mapping[str, str]  # key -> class
    info: records.DatasetInfo  # that of the whole, with the classes of the table

    def __len__(self) -> int:
        return len(self.whole)

    def __getitem__(self, index: int) -> records.Record:
        record = self.whole[index]
        said = self.table.get(record["key"], "")
        label = self.info.expressions.index(said) if said else -1
        return {**record, "expression": np.int32(label)}


def labelled(source: records.Source, path: str | pathlib.Path) -> Labelled:
    """The records of a source, labelled by a table as `runs.predictions` writes it."""
    table = read(path)
    if not any(source[index]["key"] in table for index in range(len(source))):
        raise UserError(
            f"data.aux_labels: {str(path)!r} names no record of {source.info.name}, such as "
            f"{source[0]['key']!r}"
        )
    classes = tuple(sorted(set(table.values())))
    return Labelled(source, table, dataclasses.replace(source.info, expressions=classes))


def read(path: str | pathlib.Path) -> dict[str, str]:
    """The class of each record that a table names; those without one are left out."""
    try:
        with pathlib.Path(path).open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise UserError(f"data.aux_labels: {error.strerror}: {str(path)!r}") from None
    heads = rows[0].keys() if rows else ()
    key, name = (next((h for h in known if h in heads), "") for known in (KEYS, CLASSES))
    if not key or not name:
        raise UserError(
            f"data.aux_labels: {str(path)!r} needs a column {' or '.join(KEYS)}, and a column "
            f"{' or '.join(CLASSES)}"
        )
    return {row[key]: row[name] for row in rows if row[name]}
