"""One thread that predicts for all: what waits becomes one batch, and a clip goes on between batches."""

import collections
import contextlib
import dataclasses
import logging
import threading
import time
from collections.abc import Callable, Generator
from typing import Any

import numpy as np

from aufer_jax.errors import UserError
from aufer_jax.runs import Predictor, pictures, prediction
from aufer_jax.runs.prediction import Options, Part, Seen
from aufer_jax.runs.table import Columns
from aufer_jax.serve import heat
from aufer_jax.serve.limits import Limits
from aufer_jax.serve.metrics import Metrics

log = logging.getLogger(__name__)

PICTURE, CLIP = "picture.png", "clip.mp4"  # names that say what kind it is
_STEP = 1.0  # seconds after which a thread that waits looks whether it is to end


class Full(Exception):
    """No place is left; `after` is in how many seconds one may ask again."""

    def __init__(self, after: int):
        super().__init__("the queue is full")
        self.after = after


@dataclasses.dataclass(frozen=True)
class Found:
    """Some pictures of a job: rows of the table, the mesh of each (None: no face), and their size."""

    columns: Columns
    meshes: list[np.ndarray | None]
    size: tuple[int, int]  # width, height
    overlay: bytes = b""  # a PNG, where one was asked for


@dataclasses.dataclass(frozen=True)
class Problem:
    """What is wrong with an upload, in one line; `broken`: it is our fault."""

    text: str
    broken: bool = False


END = None
Told = Found | Problem | None


@dataclasses.dataclass(eq=False)
class Job:
    """One upload. `tell` is called in the worker's thread, at last with `END`."""

    name: str
    data: bytes
    clip: bool
    tell: Callable[[Told], None]
    kind: str = ""  # of `heat.KINDS`, where an overlay is wanted
    face: int = 0  # of which
    gone: bool = False  # nobody waits for it any more


class Worker:
    """The thread, its queue, and the network that it applies."""

    def __init__(self, network: Predictor, limits: Limits, metrics: Metrics):
        self.network, self._limits, self._metrics = network, limits, metrics
        self._pictures: collections.deque[Job] = collections.deque()
        self._clips: collections.deque[Job] = collections.deque()
        self._changed = threading.Condition()
        self._ended = False
        self._seconds = 0.1  # that the last batch took
        self._thread = threading.Thread(target=self._work, name="predict", daemon=True)

    def start(self) -> None:
        """Begins to work."""
        self._thread.start()

    def end(self) -> None:
        """Ends soon, after the batch that is under way; what waits is told that it is not done."""
        self._ended = True  # without the lock, as signal handlers call this

    def stop(self) -> None:
        """Ends, and waits for it."""
        self.end()
        with self._changed:
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def alive(self) -> bool:
        """Whether it works."""
        return self._thread.is_alive() and not self._ended

    @property
    def waiting(self) -> int:
        """How many jobs wait."""
        return len(self._pictures) + len(self._clips)

    def put(self, job: Job) -> None:
        """Takes a job on, or raises `Full`."""
        with self._changed:
            if self._ended or self.waiting >= self._limits.queue:
                batches = -(-self.waiting // self._limits.batch)
                raise Full(max(1, round(batches * self._seconds)))
            (self._clips if job.clip else self._pictures).append(job)
            self._changed.notify_all()

    def drop(self, job: Job) -> bool:
        """Forgets a job for which nobody waits any more; False where it has begun, and will tell its end."""
        job.gone = True
        waiting = self._clips if job.clip else self._pictures
        with self._changed:
            if waits := job in waiting:
                waiting.remove(job)
        return waits

    # --- The thread -----------------------------------------------------------------------------

    def _work(self) -> None:
        clip: Generator[None, None, None] | None = None
        while not self._ended:
            batch, next_clip = self._next(clip is None)
            if batch:
                started = time.monotonic()
                self._predict(batch)
                self._seconds = time.monotonic() - started
            if next_clip is not None:
                clip = self._parts(next_clip)
            if clip is not None and next(clip, True):
                clip = None
        if clip is not None:
            clip.close()
        with self._changed:
            left = [*self._pictures, *self._clips]
            self._pictures.clear()
            self._clips.clear()
        for job in left:
            job.tell(Problem("the server ends", broken=True))
            job.tell(END)

    def _next(self, free: bool) -> tuple[list[Job], Job | None]:
        """The pictures that wait, as many as fit a batch, and a clip if none is under way."""
        with self._changed:
            if free and not self.waiting and not self._ended:
                self._changed.wait(_STEP)
            count = min(len(self._pictures), self._limits.batch)
            batch = [self._pictures.popleft() for _ in range(count)]
            clip = self._clips.popleft() if free and self._clips else None
        return batch, clip

    def _stream(self, items: list[pictures.Item], say: pictures.Say) -> Generator[Part, None, None]:
        self._metrics.add("batches")
        for seen, columns in prediction.stream(self.network, items, say, Options()):
            self._metrics.add("pictures", len(seen))
            self._metrics.add("faces", sum(len(one.faces) for one in seen))
            yield seen, columns

    def _predict(self, batch: list[Job]) -> None:
        """Pictures, at once; if that fails each alone, so that one cannot spoil the others."""
        told: list[list[Told]] = [[] for _ in batch]

        def say(line: str) -> None:
            place, _, problem = line.partition(f"-{PICTURE}: ")
            told[int(place)].append(Problem(problem))

        try:
            items: list[pictures.Item] = [
                (f"{place}-{PICTURE}", pictures.Encoded(job.data))
                for place, job in enumerate(batch)
            ]
            for seen, columns in self._stream(items, say):
                for one, rows in _apart(seen, columns):
                    place = int(one.file.partition("-")[0])
                    told[place].append(self._found(batch[place], [one], rows))
        except Exception as error:
            if len(batch) > 1:
                for job in batch:
                    self._predict([job])
                return
            told = [[_failure(error)]]
        for job, lines in zip(batch, told, strict=True):
            for line in lines:
                job.tell(line)
            job.tell(END)

    def _parts(self, job: Job) -> Generator[None, None, None]:
        """A clip; yields after each part of it, so that pictures need not wait for all."""
        problems: list[str] = []
        item: pictures.Item = (CLIP, pictures.Encoded(job.data, self._limits.frames))
        try:
            with contextlib.closing(self._stream([item], problems.append)) as parts:
                while not job.gone and (part := next(parts, None)) is not None:
                    job.tell(self._found(job, *part))
                    yield None
            for line in problems:
                job.tell(Problem(line.removeprefix(f"{CLIP}: ")))
        except GeneratorExit:
            job.tell(Problem("the server ends", broken=True))
            raise
        except Exception as error:
            job.tell(_failure(error))
        finally:
            job.tell(END)

    def _found(self, job: Job, seen: list[Seen], columns: Columns) -> Told:
        columns = {**columns, "file": np.full(len(columns["file"]), job.name)}
        faces = [face for one in seen for face in (one.faces or [None])]
        meshes = [None if face is None else face.reading.mesh[:, :2] for face in faces]
        overlay = b""
        if job.kind:
            try:
                overlay = heat.overlay(self.network, seen[0], columns, job.kind, job.face)
            except UserError as error:
                return Problem(str(error))
        return Found(columns, meshes, seen[0].size, overlay)


def _apart(seen: list[Seen], columns: Columns) -> Generator[tuple[Seen, Columns], None, None]:
    """Each picture of a part with its rows."""
    start = 0
    for one in seen:
        end = start + max(1, len(one.faces))
        yield one, {name: values[start:end] for name, values in columns.items()}
        start = end


def _failure(error: Any) -> Problem:
    if isinstance(error, UserError):
        return Problem(str(error))
    log.error("a prediction failed", exc_info=error)
    return Problem("the prediction failed; the server's log says why", broken=True)
