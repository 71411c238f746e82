"""What all dataset builders share: the TFDS plumbing, and preparing a dataset exactly once."""

import contextlib
import fcntl
import logging
import os
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow_datasets as tfds

from aufer_jax.data import records
from aufer_jax.data.records import DatasetInfo, Record


class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """A dataset as ArrayRecord files.

    A subclass sets `name` and gives `records(split)`. TFDS writes into a temporary folder and
    renames it when all splits are whole, so a folder that exists is a dataset that is complete.
    """

    VERSION = tfds.core.Version("1.0.0")

    def __init__(self, dataset: DatasetInfo, data_dir: os.PathLike, variant: str | None = None):
        """`variant` names the folder of a dataset that one builder makes in several ways."""
        self.dataset = dataset
        config = variant and tfds.core.BuilderConfig(name=variant, version=self.VERSION)
        super().__init__(data_dir=data_dir, config=config, file_format="array_record")

    def records(self, split: str) -> Iterator[Record]:
        """The records of a split, each with a key of its own; see `records.complete`."""
        raise TypeError(f"{type(self).__name__} does not say what its records are ({split})")

    def _info(self) -> tfds.core.DatasetInfo:
        dataset = self.dataset
        return tfds.core.DatasetInfo(
            builder=self,
            description=f"{dataset.name}: {dataset.how_to_get}",
            features=records.features(dataset.kind, len(dataset.aus)),
            license=dataset.licence,
            metadata=tfds.core.MetadataDict(
                kind=dataset.kind, expressions=list(dataset.expressions), aus=list(dataset.aus)
            ),
        )

    def _split_generators(self, dl_manager: Any) -> dict[str, Any]:
        del dl_manager
        return {split: self._generate_examples(split) for split in self.dataset.splits}

    def _generate_examples(self, split: str) -> Iterator[tuple[str, Record]]:
        for record in self.records(split):
            whole = records.complete(record, self.dataset.kind)
            yield whole["key"], whole


@contextlib.contextmanager
def _locked(path: pathlib.Path) -> Iterator[None]:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def prepare(make: Callable[[], Builder]) -> Builder:
    """The builder of a prepared dataset; prepares it first if need be.

    Of several processes that prepare the same dataset one does so while the others wait.
    """
    builder = make()
    if builder.data_path.exists():
        return builder
    with _locked(builder.data_path.parent.with_suffix(".lock")):
        builder = make()
        if not builder.data_path.exists():
            logging.info("preparing %s in %s", builder.dataset.name, builder.data_path)
            builder.download_and_prepare()
    return builder


class ArrayRecordSource:
    """Random access to the records of one split of a prepared dataset; can be pickled."""

    def __init__(self, dataset: DatasetInfo, builder: Builder, split: str):
        from array_record.python import array_record_data_source

        self.info = dataset
        files = builder.info.splits[split].file_instructions
        self._files = array_record_data_source.ArrayRecordDataSource(files)

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> Record:
        raw = self._files[int(np.arange(len(self))[index])]
        return records.parse(raw, self.info.kind, len(self.info.aus))
