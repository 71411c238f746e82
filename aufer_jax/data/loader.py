"""Deterministic batches through Grain: the whole state of the loader is a step number.

Batch k is a function of the data, the spec, the batch size, the seed and k. How many processes,
workers or threads make it changes nothing, and a resumed run continues at any k. Grain only decides
who makes which batch and when: one element of its dataset is a whole batch, which costs far less than
one element an image.
"""

import collections
import dataclasses
import hashlib
import queue
import signal
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import cv2
from absl import flags, logging

from aufer_jax.data import batches, mixture
from aufer_jax.data.records import Source
from aufer_jax.data.views import Spec
from aufer_jax.errors import UserError

# Grain is imported where it is used: it imports jax, which synthetic-face workers do without.

Data = Source | mixture.Part | mixture.Mixed

_ENDLESS = 2**40  # steps; more than any run takes


class _TrainMaker:
    """Makes this process's rows of batch k of an endless, shuffled stream."""

    def __init__(self, plan: mixture.Plan, batch_size: int, seed: int, process: tuple[int, int]):
        self._plan, self._batch_size = plan, batch_size
        share = batch_size // process[1]
        self._rows = range(process[0] * share, (process[0] + 1) * share)
        self._orders = [mixture.Order(part, seed, i) for i, part in enumerate(plan.parts)]
        self._seeds = [mixture.part_seed(seed, i, "views") for i in range(len(plan.parts))]

    def __call__(self, step: int) -> tuple[batches.Batch, list[batches.Problem]]:
        rows = [self._row(step * self._batch_size + r) for r in self._rows]
        return batches.assemble(rows, self._plan.parts[0].spec)

    def _row(self, position: int) -> batches.Row:
        index, turn = self._plan.slot(position)
        part = self._plan.parts[index]
        rng = None
        if part.spec.train:
            rng = mixture.generator(self._seeds[index], turn)
        return batches.Row(part, self._orders[index][turn], rng)


class _EvalMaker:
    """Makes this process's rows of batch k of one ordered pass; the last batch is padded."""

    def __init__(self, part: mixture.Part, batch_size: int, process: tuple[int, int]):
        self._part, self._batch_size = part, batch_size
        share = batch_size // process[1]
        self._rows = range(process[0] * share, (process[0] + 1) * share)

    def __call__(self, step: int) -> tuple[batches.Batch, list[batches.Problem]]:
        last = len(self._part.source) - 1
        places = [step * self._batch_size + r for r in self._rows]
        rows = [batches.Row(self._part, min(p, last), None, mask=p <= last) for p in places]
        return batches.assemble(rows, self._part.spec)


class Report:
    """What was wrong with the records seen so far: kind -> keys."""

    def __init__(self):
        self.problems: dict[str, set[str]] = collections.defaultdict(set)

    def add(self, problems: list[batches.Problem]) -> None:
        """Counts problems by kind and key; the first of each kind is logged."""
        for kind, key in problems:
            if kind not in self.problems:
                logging.warning("loader: %s in record %r; see the loader's report", kind, key)
            self.problems[kind].add(key)

    def counts(self) -> dict[str, int]:
        """How many records have each kind of problem."""
        return {kind: len(keys) for kind, keys in self.problems.items()}


class Batches(Iterator[batches.Batch]):
    """An iterator of batches that knows its step and what was wrong with the data."""

    def __init__(self, steps: Iterator[Any], start: int):
        self._open = [steps]  # empty once closed
        # Also when the program ends: later, Grain's own clean-up finds its modules gone.
        weakref.finalize(self, _close, self._open)
        self.step = start  # of the next batch
        self.report = Report()

    def __next__(self) -> batches.Batch:
        if not self._open:
            raise StopIteration
        batch, problems = next(self._open[0])
        self.report.add(problems)
        self.step += 1
        return batch

    def close(self) -> None:
        """Stops workers and threads."""
        _close(self._open)


def _close(opened: list[Any]) -> None:
    while opened:
        opened.pop().close()


def _begin_worker(worker: int, workers: int) -> None:
    del worker, workers  # Grain gives them; every worker does the same
    # OpenCV's own threads only get in the way of many workers on small images.
    cv2.setNumThreads(1)
    # CTRL-C and SLURM's signal reach workers too, but the run still needs them until its last step.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _iterate(
    make: Callable[[int], Any], steps: range, workers: int, threads: int, prefetch: int
) -> Batches:
    import grain

    if not flags.FLAGS.is_parsed():  # pytest, notebooks: Grain reads absl flags
        flags.FLAGS.mark_as_parsed()
    data = grain.MapDataset.range(steps.start, steps.stop).map(make)
    if workers == 0:
        read = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=prefetch)
        return Batches(iter(data.to_iter_dataset(read)), steps.start)
    read = grain.ReadOptions(num_threads=0, prefetch_buffer_size=0)
    options = grain.MultiprocessingOptions(num_workers=workers, per_worker_buffer_size=prefetch)
    loaded = data.to_iter_dataset(read).mp_prefetch(options, worker_init_fn=_begin_worker)
    return Batches(iter(loaded), steps.start)


def plan(data: Data, spec: Spec | None = None) -> mixture.Plan:
    """The parts a batch is made of, for a source with a spec, a part, or a mixture."""
    if isinstance(data, mixture.Mixed):
        return data
    if isinstance(data, mixture.Part):
        return mixture.Single(data)
    if spec is None:
        raise ValueError("spec: a source needs one; only parts and mixtures bring their own")
    return mixture.Single(mixture.Part(data, spec))


def _check(batch_size: int, process_index: int, process_count: int, period: int = 1) -> None:
    if batch_size < 1 or batch_size % (process_count * period):
        raise UserError(
            f"batch_size: got {batch_size}, must be a multiple of {process_count * period}"
            f" ({process_count} processes, mixing pattern of {period})"
        )
    if not 0 <= process_index < process_count:
        raise ValueError(f"process_index: got {process_index}, it must be 0..{process_count - 1}")


def train_batches(
    data: Data,
    spec: Spec | None = None,
    *,
    batch_size: int,
    seed: int,
    start: int = 0,
    process_index: int = 0,
    process_count: int = 1,
    workers: int = 0,
    threads: int = 2,
    prefetch: int = 4,
) -> Batches:
    """Endless shuffled batches.

    Args:
      data: a source of records (with `spec`), a `mixture.Part` or a `mixture.Mixed`.
      spec: what a batch holds.
      batch_size: rows of the global batch, over all processes.
      seed: of the shuffle and of the random views.
      start: the first step; a run that stopped after step k - 1 continues with `start=k`.
      process_index: which share of the rows this process makes.
      process_count: how many processes share the batch.
      workers: processes that make batches; 0 makes them in `threads` of this one.
      threads: used without workers; 0 makes each batch when it is asked for.
      prefetch: batches made ahead, by each worker if there are some.

    Returns:
      An iterator of dicts of arrays with this process's rows; see docs/design.md.
    """
    parts = plan(data, spec)
    _check(batch_size, process_index, process_count, parts.period)
    make = _TrainMaker(parts, batch_size, seed, (process_index, process_count))
    return _iterate(make, range(start, _ENDLESS), workers, threads, prefetch)


def eval_batches(
    data: Source | mixture.Part,
    spec: Spec | None = None,
    *,
    batch_size: int,
    process_index: int = 0,
    process_count: int = 1,
    workers: int = 0,
    threads: int = 2,
    prefetch: int = 4,
) -> Batches:
    """One pass over the data in order, without anything random.

    All batches have the same shape and every process gets the same number; the rows that fill
    the last ones repeat the last record with `mask` False.
    """
    if isinstance(data, mixture.Mixed):
        raise ValueError("data: a mixture is for training; evaluate one of its parts")
    (part,) = plan(data, spec).parts
    part = dataclasses.replace(part, spec=dataclasses.replace(part.spec, train=False))
    _check(batch_size, process_index, process_count)
    make = _EvalMaker(part, batch_size, (process_index, process_count))
    steps = range(-(-len(part.source) // batch_size))
    return _iterate(make, steps, workers, threads, prefetch)


# --- State --------------------------------------------------------------------------------------


def describe(data: Data, spec: Spec | None = None, *, batch_size: int) -> dict[str, str]:
    """All that decides what batch k holds, but the seed: what -> value."""
    parts = plan(data, spec)
    known = {"batch_size": str(batch_size), "ratio": str(parts.ratio)}
    for i, part in enumerate(parts.parts):
        info = part.source.info
        known[f"data {i}"] = f"{info.name} {info.version}, {len(part.source)} records"
        known[f"use {i}"] = f"balanced={part.balanced} expr={part.expressions} aus={part.aus}"
        known |= _fields(f"spec {i}", part.spec)
    known["parts"] = str(len(parts.parts))
    return known


def _fields(name: str, value: Any) -> dict[str, str]:
    """Each field of a dataclass, and of those in it, by its dotted name."""
    if not dataclasses.is_dataclass(value):
        return {name: repr(value)}
    known = {}
    for field in dataclasses.fields(value):
        known |= _fields(f"{name}.{field.name}", getattr(value, field.name))
    return known


@dataclasses.dataclass(frozen=True)
class State:
    """Where a run is in its stream of batches; small enough to go into any checkpoint."""

    step: int  # of the next batch
    seed: int
    description: dict[str, str]

    @property
    def fingerprint(self) -> str:
        """A short hash of the description: equal streams have equal ones."""
        text = repr(sorted(self.description.items()))
        return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """What is saved, the fingerprint beside it."""
        return dataclasses.asdict(self) | {"fingerprint": self.fingerprint}

    @classmethod
    def from_dict(cls, saved: dict[str, Any]) -> "State":
        """The inverse of `to_dict`."""
        return cls(int(saved["step"]), int(saved["seed"]), dict(saved["description"]))

    def check(self, saved: "State") -> None:
        """Raises ValueError if a saved state belongs to another stream than this one.

        What only one of the two descriptions knows is newer than the other, or gone since.
        """
        changes = [
            f"{name}: was {saved.description[name]}, is {self.description[name]}"
            for name in sorted(self.description.keys() & saved.description.keys())
            if saved.description[name] != self.description[name]
        ]
        if saved.seed != self.seed:
            changes.append(f"seed: was {saved.seed}, is {self.seed}")
        if changes:
            raise UserError("the checkpoint was made with other data; " + "; ".join(changes))


# --- Onto the devices ---------------------------------------------------------------------------


class Prefetch(Iterator[Any]):
    """Puts batches on the devices in a thread, ahead of their use.

    `waited_s` is the time the consumer has spent waiting for a batch.
    """

    def __init__(self, batches: Iterator[Any], put: Callable[[Any], Any], ahead: int):
        self.waited_s = 0.0
        self._ready: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue(ahead)
        self._stop = threading.Event()
        self._batches, self._put = batches, put
        self._thread = threading.Thread(target=self._run, name="to_device", daemon=True)
        self._thread.start()
        opened = (self._stop, self._thread, self._ready, batches)
        self._finish = weakref.finalize(self, _shut, *opened)  # at the latest as the program ends

    def _run(self) -> None:
        end: BaseException = StopIteration()
        try:
            for batch in self._batches:
                self._offer((self._put(batch), None))
                if self._stop.is_set():
                    return
        except BaseException as error:  # handed to the consumer
            end = error
        self._offer((None, end))

    def _offer(self, item: tuple[Any, BaseException | None]) -> None:
        while not self._stop.is_set():
            try:
                return self._ready.put(item, timeout=0.1)
            except queue.Full:
                continue

    def __next__(self) -> Any:
        if self._stop.is_set():
            raise StopIteration
        started = time.perf_counter()
        batch, error = self._ready.get()
        self.waited_s += time.perf_counter() - started
        if error is not None:
            self._ready.put((None, error))  # asked again, it ends again
            raise error
        return batch

    def close(self) -> None:
        """Stops the thread and the iterator it reads."""
        self._finish()

    def __enter__(self) -> "Prefetch":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _shut(stop: threading.Event, thread: threading.Thread, ready: queue.Queue, batches: Any):
    stop.set()
    thread.join()
    while not ready.empty():
        ready.get_nowait()
    if hasattr(batches, "close"):
        batches.close()


def to_device(batches: Iterator[Any], put: Callable[[Any], Any], ahead: int = 2) -> Prefetch:
    """Calls `put` on each batch in a background thread, up to `ahead` batches early."""
    return Prefetch(batches, put, ahead)
