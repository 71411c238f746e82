"""Where the numbers of a run go: trackers of four methods, JSON lines and TensorBoard always among them."""

import contextlib
import json
import logging
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from tensorboardX import event_file_writer, summary
from tensorboardX.proto import event_pb2

from aufer_jax.errors import brief
from aufer_jax.train import logs

log = logging.getLogger(__name__)


class Tracker:
    """A place that the numbers of a run go to; what it has no use for it need not define."""

    def config(self, values: Mapping[str, Any]) -> None:
        """The run's configuration, section by section; before all else, at every start."""

    def scalars(self, step: int, split: str, values: Mapping[str, Any]) -> None:
        """What was measured of a split at a step; lists, such as a confusion matrix, may be left out."""

    def summary(self, values: Mapping[str, Any]) -> None:
        """The run has come to its end: what its `summary.json` has. Its splits went through `scalars`."""

    def close(self) -> None:
        """Nothing more comes; of a run that has been stopped or has failed, too."""


class Together(Tracker):
    """Several trackers as one; without any, nothing is tracked.

    >>> Together([]).scalars(1, "train", {"loss": 0.5})
    """

    def __init__(self, trackers: Sequence[Tracker]) -> None:
        self._trackers = tuple(trackers)

    def config(self, values: Mapping[str, Any]) -> None:
        """Told to each."""
        for tracker in self._trackers:
            tracker.config(values)

    def scalars(self, step: int, split: str, values: Mapping[str, Any]) -> None:
        """Told to each."""
        for tracker in self._trackers:
            tracker.scalars(step, split, values)

    def summary(self, values: Mapping[str, Any]) -> None:
        """Told to each."""
        for tracker in self._trackers:
            tracker.summary(values)

    def close(self) -> None:
        """Closes all of them, whatever happens to one."""
        with contextlib.ExitStack() as closing:
            for tracker in reversed(self._trackers):
                closing.callback(tracker.close)


class Aside(Tracker):
    """A tracker that never ends a run: its first failure is said in one line, the rest is silence.

    >>> Aside("mine", Tracker).close()
    """

    def __init__(self, name: str, begin: Callable[[], Tracker]) -> None:
        self._name = name
        self._tracker: Tracker | None = None
        self._try(lambda: setattr(self, "_tracker", begin()))

    def _try(self, what: Callable[[], None]) -> None:
        try:
            what()
        except Exception as error:  # whatever a network, a disk or a package comes up with
            log.warning("%s: %s; the run goes on without it", self._name, brief(error))
            self._tracker = None

    def _tell(self, what: Callable[[Tracker], None]) -> None:
        tracker = self._tracker
        if tracker is not None:
            self._try(lambda: what(tracker))

    def config(self, values: Mapping[str, Any]) -> None:
        """Told to it, unless it has failed."""
        self._tell(lambda tracker: tracker.config(values))

    def scalars(self, step: int, split: str, values: Mapping[str, Any]) -> None:
        """Told to it, unless it has failed."""
        self._tell(lambda tracker: tracker.scalars(step, split, values))

    def summary(self, values: Mapping[str, Any]) -> None:
        """Told to it, unless it has failed."""
        self._tell(lambda tracker: tracker.summary(values))

    def close(self) -> None:
        """Closes it, unless it has failed."""
        self._tell(lambda tracker: tracker.close())


def in_workdir(workdir: str | pathlib.Path, step: int) -> list[Tracker]:
    """The two that every run has, in its own folder; a run resumed from `step` goes on with their files."""
    folder = pathlib.Path(workdir)
    return [JsonLines(folder / "metrics.jsonl", step), TensorBoard(folder / "tensorboard", step)]


def numbers(split: str, values: Mapping[str, Any]) -> dict[str, float]:
    """What of a line is a number, by `split/name`.

    >>> numbers("test", {"accuracy": 0.5, "confusion": [[1, 0], [1, 0]]})
    {'test/accuracy': 0.5}
    """
    return {f"{split}/{k}": v for k, v in values.items() if isinstance(v, (int, float))}


class JsonLines(Tracker):
    """One line {"step", "split", ...values} for all that was measured.

    A resumed run drops the lines after the step that it resumes from, so the file reads as if the run had
    never stopped.
    """

    def __init__(self, path: pathlib.Path, step: int) -> None:
        if path.exists():
            lines = [line for line in logs.read_lines(path) if _is_before(line, step)]
            logs.write_text(path, "".join(json.dumps(line) + "\n" for line in lines))
        self._file = path.open("a", buffering=1, encoding="utf-8")

    def scalars(self, step: int, split: str, values: Mapping[str, Any]) -> None:
        """Lists and all."""
        self._file.write(json.dumps({"step": step, "split": split, **values}) + "\n")

    def close(self) -> None:
        """Ends the file."""
        self._file.close()


class TensorBoard(Tracker):
    """TensorBoard's events, written at once.

    tensorboardX has a thread for it, which a full disk ends: the run then waits for it for ever.
    """

    def __init__(self, folder: pathlib.Path, step: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = event_file_writer.EventsWriter(str(folder / "events"))
        # What an earlier start has written after this step is not shown.
        self._add(step + 1, file_version="brain.Event:2")
        self._add(step + 1, session_log=event_pb2.SessionLog(status=1))  # pyright: ignore

    def scalars(self, step: int, split: str, values: Mapping[str, Any]) -> None:
        """An event for each number."""
        for name, value in numbers(split, values).items():
            self._add(step, summary=summary.scalar(name, value))
        self._file.flush()

    def close(self) -> None:
        """Ends the file."""
        self._file.close()

    def _add(self, step: int, **what: Any) -> None:
        event = event_pb2.Event(wall_time=time.time(), step=step, **what)  # pyright: ignore
        self._file.write_event(event)


def _is_before(line: dict[str, Any], step: int) -> bool:
    """Whether a run that resumes from `step` will not write this line again."""
    # Lines about the end of a run are written again, as its last checkpoint comes before them.
    if line["split"] not in ("train", "validation"):
        return False
    return isinstance(line.get("step"), int) and line["step"] <= step
