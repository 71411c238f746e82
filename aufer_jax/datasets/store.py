"""What all dataset builders share: the TFDS plumbing, and preparing a dataset exactly once."""

import contextlib
import dataclasses
import fcntl
import io
import os
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow_datasets as tfds
import tqdm
from absl import logging

from aufer_jax.data import records
from aufer_jax.data.records import DatasetInfo, Record
from aufer_jax.datasets import buckets


class Builder(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    """A dataset as ArrayRecord files.

    A subclass sets `name` and gives `records(split)`. TFDS writes into a temporary folder and
    renames it when all splits are whole, so a folder that exists is a dataset that is complete.
    """

    VERSION = tfds.core.Version("1.0.0")
    code_path = None  # TFDS looks for checksums of downloads beside the code; there are none

    def __init_subclass__(cls, **options: Any):
        # The catalog finds our builders; TFDS's own registry allows each name only once.
        super().__init_subclass__(skip_registration=True, **options)

    def __init__(self, dataset: DatasetInfo, data_dir: str | os.PathLike):
        self.dataset = dataset
        super().__init__(data_dir=data_dir, file_format="array_record")

    def write(self) -> None:
        """Writes all splits; what is there when it ends is whole."""
        self.download_and_prepare()

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
        bar = (f"{self.dataset.name} {split}", self.dataset.splits[split])
        for record in tqdm.tqdm(self.records(split), *bar, leave=False, mininterval=1):
            whole = records.complete(record, self.dataset.kind)
            yield whole["key"], whole


@contextlib.contextmanager
def locked(path: pathlib.Path) -> Iterator[None]:
    """Waits until no other process holds the lock file, and holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def _quiet_tfds() -> Iterator[None]:
    # Its bars and messages know nothing of sizes; `Builder` shows a bar that does.
    tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        tfds.enable_progress_bar()


def prepare(make: Callable[[], Builder]) -> Builder:
    """The builder of a prepared dataset; prepares it first if need be.

    Of several processes that prepare the same dataset one does so while the others wait.
    """
    builder = make()
    if builder.data_path.exists():
        return builder
    with locked(pathlib.Path(builder.data_path).parent.with_suffix(".lock")):
        builder = make()
        if not builder.data_path.exists():
            logging.info("preparing dataset %s in %s", builder.dataset.name, builder.data_path)
            with _quiet_tfds(), buckets.used():
                builder.write()
    return builder


class ArrayRecordSource:
    """Random access to the records of one split of a prepared dataset; can be pickled."""

    def __init__(self, dataset: DatasetInfo, builder: Builder, split: str):
        from array_record.python import array_record_data_source

        made_as = "/".join(builder.data_path.parts[-3:])  # variant, builder and version
        self.info = dataclasses.replace(dataset, version=made_as)
        files = builder.info.splits[split].file_instructions
        self._files = array_record_data_source.ArrayRecordDataSource(files)  # pyright: ignore

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> Record:
        if not 0 <= index < len(self):
            raise IndexError(f"record {index} of {len(self)}")
        return records.parse(self._files[index], self.info.kind, len(self.info.aus))
