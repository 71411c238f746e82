"""What a run writes about itself: config, versions, metrics as JSON lines and TensorBoard events."""

import contextlib
import importlib.metadata
import json
import logging
import pathlib
import platform
import subprocess
import time
from collections.abc import Mapping
from typing import Any

import jax
from absl import logging as absl_logging
from tensorboardX import event_file_writer, summary
from tensorboardX.proto import event_pb2

from aufer_jax.errors import UserError, brief

log = logging.getLogger("aufer_jax")

PACKAGES = (
    "aufer-jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "grain", "numpy",
    "opencv-python-headless", "tensorflow-datasets", "ml-collections",
)  # fmt: skip


def to_terminal() -> None:
    """Our own messages go to stderr, with the time; of the libraries' only warnings."""
    logging.basicConfig(format="%(asctime)s %(message)s", datefmt="%H:%M:%S", level=logging.WARNING)
    absl_logging.set_verbosity(absl_logging.WARNING)
    log.setLevel(logging.INFO)


def environment() -> dict[str, Any]:
    """Versions, machine and git commit, for `environment.json` and every written result."""
    devices = jax.devices()
    return {
        "commit": _commit(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
        "platform": platform.platform(),
        "devices": f"{len(devices)} x {devices[0].device_kind} ({devices[0].platform})",
        "processes": jax.process_count(),
    }


def _commit() -> str | None:
    """The commit of the source tree, None where it is not one or git is not installed."""
    command = ["git", "describe", "--always", "--dirty", "--abbrev=12"]
    here = pathlib.Path(__file__).parent
    try:
        git = subprocess.run(command, cwd=here, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return git.stdout.strip() or None


def version(package: str) -> str | None:
    """The installed version of a package; None where there is none."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def write_json(path: pathlib.Path, value: Any) -> None:
    """Writes all of it, or nothing."""
    _write(path, json.dumps(value, indent=2, sort_keys=True) + "\n")


def read_json(path: pathlib.Path) -> dict[str, Any]:
    """A table that `write_json` wrote; a UserError with its name if it is none any more."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is damaged: {brief(error)}") from error
    if not isinstance(value, dict):
        raise UserError(f"{path} is damaged: it holds no table")
    return value


def read_lines(path: pathlib.Path) -> list[dict[str, Any]]:
    """The lines of a `metrics.jsonl`; those that are damaged are left out, and that is said."""
    found, damaged = [], 0
    lines = path.read_bytes().splitlines(keepends=True)
    for line in lines:
        try:
            values = json.loads(line)
            found.append({"split": str(values["split"]), **values})
        except (ValueError, TypeError, KeyError, RecursionError):
            # A kill may have cut off the last one.
            damaged += line is not lines[-1] or line.endswith(b"\n")
    if damaged:
        log.warning("%s: %d damaged lines are left out", path, damaged)
    return found


def _write(path: pathlib.Path, text: str) -> None:
    temporary = path.with_name(path.name + ".tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


class Writer:
    """`metrics.jsonl` and TensorBoard events of one run; does nothing on processes but the first.

    A resumed run drops the lines after the step that it resumes from, so the file reads as if the run had
    never stopped.
    """

    def __init__(self, workdir: str | pathlib.Path, *, step: int, active: bool = True) -> None:
        self._active = active
        if not active:
            return
        workdir = pathlib.Path(workdir)
        path = workdir / "metrics.jsonl"
        if path.exists():
            lines = [line for line in read_lines(path) if _is_before(line, step)]
            _write(path, "".join(json.dumps(line) + "\n" for line in lines))
        self._lines = path.open("a", buffering=1, encoding="utf-8")
        self._events = _Events(workdir / "tensorboard", step + 1)

    def write(self, step: int, split: str, values: Mapping[str, Any]) -> None:
        """One line {"step", "split", ...values}; numbers also become events `split/name`."""
        if not self._active:
            return
        self._lines.write(json.dumps({"step": step, "split": split, **values}) + "\n")
        for name, value in values.items():
            if isinstance(value, (int, float)):
                self._events.add(f"{split}/{name}", value, step)
        self._events.flush()

    def close(self) -> None:
        """Ends the files."""
        if self._active:
            with contextlib.closing(self._events), self._lines:
                pass


class _Events:
    """TensorBoard's file, written at once.

    tensorboardX has a thread for it, which a full disk ends: the run then waits for it for ever.
    """

    def __init__(self, folder: pathlib.Path, step: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file = event_file_writer.EventsWriter(str(folder / "events"))
        # What an earlier start has written from this step on is not shown.
        self._add(step, file_version="brain.Event:2")
        self._add(step, session_log=event_pb2.SessionLog(status=1))  # pyright: ignore

    def add(self, name: str, value: float, step: int) -> None:
        self._add(step, summary=summary.scalar(name, value))

    def _add(self, step: int, **what: Any) -> None:
        event = event_pb2.Event(wall_time=time.time(), step=step, **what)  # pyright: ignore
        self._file.write_event(event)

    def flush(self) -> None:
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def _is_before(line: dict[str, Any], step: int) -> bool:
    """Whether a run that resumes from `step` will not write this line again."""
    # Lines about the end of a run are written again, as its last checkpoint comes before them.
    if line["split"] not in ("train", "validation"):
        return False
    return isinstance(line.get("step"), int) and line["step"] <= step
