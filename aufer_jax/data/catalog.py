"""The datasets by name: what they hold, how to get them, and their records."""

import dataclasses
import functools
import importlib
import os
import pathlib
from collections.abc import Mapping
from typing import Any

from aufer_jax.data import records, synth
from aufer_jax.data.records import DatasetInfo
from aufer_jax.suggest import unknown

DATA_VARIABLE = "AUFER_DATA"


def _synthetic(kind: str, made: synth.Dialect | synth.ClipSet) -> DatasetInfo:
    return DatasetInfo(
        name=made.name,
        kind=kind,
        expressions=made.expressions if getattr(made, "labelled", True) else (),
        aus=made.aus,
        splits=dict(made.sizes),
        licence="Apache-2.0",
        how_to_get="drawn by aufer_jax on first use",
        builder="aufer_jax.data.builders.synth:Synth",
    )


@functools.cache
def _datasets() -> dict[str, DatasetInfo]:
    rows = [_synthetic(records.IMAGE, dialect) for dialect in synth.DIALECTS.values()]
    rows += [_synthetic(records.CLIP, clips) for clips in synth.CLIP_SETS.values()]
    return {row.name: row for row in rows}


def names() -> tuple[str, ...]:
    """The names of all datasets."""
    return tuple(_datasets())


def info(name: str) -> DatasetInfo:
    """What is known of a dataset."""
    if name not in _datasets():
        raise unknown("dataset", name, names())
    return _datasets()[name]


def default_data_dir() -> pathlib.Path:
    """Where prepared datasets are kept: $AUFER_DATA, or a folder in the user's cache."""
    return pathlib.Path(os.environ.get(DATA_VARIABLE, "~/.cache/aufer_jax")).expanduser()


def source(
    name: str,
    split: str,
    data_dir: str | os.PathLike | None = None,
    prepare: bool = True,
    sizes: Mapping[str, int] | None = None,
    **options: Any,
) -> records.Source:
    """Random access to the records of a split.

    Args:
      name: one of `names()`.
      split: one of the dataset's splits, or a piece of one such as "train[:100]".
      data_dir: where prepared datasets are kept; default `default_data_dir()`.
      prepare: prepares the dataset if it is not there; without it that is an error.
      sizes: other sizes for splits of a synthetic dataset, for example {"train": 64}.
      **options: of the dataset's builder.

    Returns:
      A sequence of records with an `info`; see `records`.
    """
    from aufer_jax.data.builders import base

    dataset = info(name)
    piece = split.split("[")[0]
    for wanted in (piece, *(sizes or ())):
        if wanted not in dataset.splits:
            raise unknown(f"split of {name}", wanted, dataset.splits)
    dataset = dataclasses.replace(dataset, splits={**dataset.splits, **(sizes or {})})
    root = pathlib.Path(data_dir) if data_dir else default_data_dir()
    module, attribute = dataset.builder.split(":")
    make = functools.partial(
        getattr(importlib.import_module(module), attribute), dataset, root, **options
    )
    builder = base.prepare(make) if prepare else make()
    if not builder.data_path.exists():
        raise ValueError(f"dataset: {name} is not prepared in {root}; {dataset.how_to_get}")
    return base.ArrayRecordSource(dataset, builder, split)
