"""The synthetic datasets: faces drawn by `aufer_jax.data.synth`, in several processes."""

import contextlib
import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import tqdm

from aufer_jax.data import records
from aufer_jax.data.builders import base
from aufer_jax.data.records import DatasetInfo, Record

_ALONE = 64  # records below which starting processes does not pay
_WORKER = "from aufer_jax.data import render_worker; render_worker.main()"


class Synth(base.Builder):
    """One dialect of synthetic faces, or one set of synthetic clips."""

    name = "synth"

    def __init__(
        self, dataset: DatasetInfo, data_dir: os.PathLike, *, size: int = 112, seed: int = 0
    ):
        self._size, self._seed = size, seed
        sizes = "_".join(f"{split}{count}" for split, count in dataset.splits.items())
        super().__init__(dataset, data_dir, f"{dataset.name}_{size}px_seed{seed}_{sizes}")

    def records(self, split: str) -> Iterator[Record]:
        count = self.dataset.splits[split]
        assert count is not None
        job = (self.dataset.name, split, self._size, self._seed)
        drawn = in_order(job, count, workers=os.cpu_count() or 1)
        yield from tqdm.tqdm(drawn, f"{self.dataset.name} {split}", count, leave=False)
