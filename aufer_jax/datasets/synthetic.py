"""The synthetic datasets: faces drawn by `aufer_jax.synth`, in several processes."""

import functools
import itertools
import json
import os
import pathlib
import pickle
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence

import tqdm
from absl import logging

from aufer_jax import facs, synth
from aufer_jax.data import records
from aufer_jax.data.cores import cores
from aufer_jax.data.records import DatasetInfo, Record
from aufer_jax.datasets import store

Job = tuple[str, str, str, int, int]  # kind, dataset, split, image size, seed

_ALONE = 64  # records below which starting processes is not worth it
_SERVE = "from aufer_jax.datasets import synthetic; synthetic.serve()"


def folder(
    dataset: DatasetInfo, root: pathlib.Path, *, size: int = 112, seed: int = 0
) -> pathlib.Path:
    """One folder for each way of drawing, so that a test's few faces are never the real set."""
    splits = "_".join(f"{split}{count}" for split, count in dataset.splits.items())
    place = root / f"{dataset.name}_{size}px_seed{seed}_{splits}"
    return store.folder(place, "synth", synth.VERSION)


def draw_once(dataset: DatasetInfo, place: pathlib.Path, *, size: int = 112, seed: int = 0) -> None:
    """Draws one dialect of faces, or one set of clips, into a folder unless it is there.

    Of several processes that want the same dataset one draws it while the others wait. One that is damaged
    is drawn again.
    """
    if place.exists() and not _damage(place):
        return
    with store.locked(place.parent.with_suffix(".lock")):
        if place.exists() and (wrong := store.damage(place, whole=True)):
            logging.warning("%s; dataset %s is drawn again", wrong, dataset.name)
            shutil.rmtree(place)
            _damage.cache_clear()
        if not place.exists():
            logging.info("drawing dataset %s in %s", dataset.name, place)
            keys = {
                split: [synth.key(dataset.name, split, index) for index in range(count or 0)]
                for split, count in dataset.splits.items()
            }
            store.write(dataset, place, keys, lambda pieces: _write(dataset, pieces, size, seed))


@functools.cache
def _damage(place: pathlib.Path) -> str:
    """`store.damage`, looked for once in a process."""
    return store.damage(place, whole=True)


def _write(dataset: DatasetInfo, pieces: Sequence[store.Piece], size: int, seed: int) -> None:
    for split, mine in itertools.groupby(pieces, key=lambda piece: piece.split):
        mine = list(mine)
        indices = [index for piece in mine for index in piece.places]
        job = (dataset.kind, dataset.name, split, size, seed)
        drawn = (draw if len(indices) < _ALONE else draw_in_processes)(job, indices)
        title = f"{dataset.name} {split}"
        bar = iter(tqdm.tqdm(drawn, title, len(indices), leave=False, mininterval=1, disable=None))
        for piece in mine:
            store.write_piece(dataset, piece.path, itertools.islice(bar, len(piece.places)))


def draw(job: Job, indices: Iterable[int]) -> Iterator[Record]:
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


def draw_in_processes(
    job: Job, indices: Sequence[int], workers: int | None = None
) -> Iterator[Record]:
    """The same, drawn by one process a core.

    The processes are plain interpreters that write pickles to a pipe: unlike multiprocessing this
    needs no guarded main module, so it works from notebooks and one-line scripts.
    """
    workers = workers or len(cores())
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(p or "." for p in sys.path)}
    pipe, processes = subprocess.PIPE, []
    try:
        for worker in range(workers):
            command = [sys.executable, "-c", _SERVE]
            processes.append(subprocess.Popen(command, stdin=pipe, stdout=pipe, env=environment))
            with processes[-1].stdin as request:
                request.write(json.dumps([job, list(indices[worker::workers])]).encode())
        for place in range(len(indices)):
            yield pickle.load(processes[place % workers].stdout)
    except (EOFError, BrokenPipeError) as error:
        raise RuntimeError(f"a process that draws {job[1]} has stopped; see its error") from error
    finally:
        for process in processes:
            process.kill()
            process.stdout.close()
            process.wait()


def serve() -> None:
    """Draws the records asked for on standard input and pickles them to standard output."""
    job, indices = json.load(sys.stdin)
    for record in draw(tuple(job), indices):
        pickle.dump(record, sys.stdout.buffer)
    sys.stdout.buffer.flush()
