"""The synthetic datasets: faces drawn by `aufer_jax.synth`, in several processes."""

import json
import os
import pathlib
import pickle
import subprocess
import sys
from collections.abc import Iterator

import tensorflow_datasets as tfds

from aufer_jax import facs, synth
from aufer_jax.data import records
from aufer_jax.data.records import DatasetInfo, Record
from aufer_jax.datasets import store

Job = tuple[str, str, str, int, int]  # kind, dataset, split, image size, seed

_ALONE = 64  # records below which starting processes does not pay
_SERVE = "from aufer_jax.data.builders import synth; synth.serve()"


class Synth(store.Builder):
    """One dialect of synthetic faces, or one set of synthetic clips."""

    name = "synth"
    VERSION = tfds.core.Version(synth.VERSION)

    def __init__(
        self, dataset: DatasetInfo, data_dir: pathlib.Path, *, size: int = 112, seed: int = 0
    ):
        self._size, self._seed = size, seed
        splits = "_".join(f"{split}{count}" for split, count in dataset.splits.items())
        # One folder for each way of drawing, so that a test's few faces are never the real set.
        super().__init__(dataset, data_dir / f"{dataset.name}_{size}px_seed{seed}_{splits}")

    def records(self, split: str) -> Iterator[Record]:
        count = self.dataset.splits[split] or 0
        job = (self.dataset.kind, self.dataset.name, split, self._size, self._seed)
        return draw(job, range(count)) if count < _ALONE else draw_in_processes(job, count)


def draw(job: Job, indices: range) -> Iterator[Record]:
    """The records of a split at the given indices."""
    kind, name, split, size, seed = job
    if kind == records.IMAGE:
        make, made = synth.image_record, synth.DIALECTS[name]
    else:
        make, made = synth.clip_record, synth.CLIP_SETS[name]
    annotated = facs.au_index(synth.AUS, made.aus)
    for index in indices:
        record = make(name, split, index, size=size, seed=seed)
        record |= {field: record[field][..., annotated] for field in ("au", "au_known")}
        note = {"occlusion": record.pop("occlusion", "none")}
        if "true_expression" in record:
            note["true_expression"] = made.expressions[record.pop("true_expression")]
        yield record | {"note": json.dumps(note)}


def draw_in_processes(job: Job, count: int, workers: int | None = None) -> Iterator[Record]:
    """All records of a split, in order, drawn by one process a core.

    The processes are plain interpreters that write pickles to a pipe: unlike multiprocessing this
    needs no guarded main module, so it works from notebooks and one-line scripts.
    """
    workers = workers or os.cpu_count() or 1
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p or "." for p in sys.path)}
    processes = []
    try:
        for worker in range(workers):
            request = json.dumps([job, worker, count, workers])
            command = [sys.executable, "-c", _SERVE, request]
            processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, env=environment))
        for index in range(count):
            yield pickle.load(processes[index % workers].stdout)
    except EOFError as error:
        raise RuntimeError(f"a process that draws {job[1]} has stopped; see its error") from error
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def serve() -> None:
    """Draws the records asked for on the command line and pickles them to standard output."""
    job, start, stop, step = json.loads(sys.argv[1])
    for record in draw(tuple(job), range(start, stop, step)):
        pickle.dump(record, sys.stdout.buffer)
    sys.stdout.buffer.flush()
