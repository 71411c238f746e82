"""What a run writes about itself: config, versions, metrics as JSON lines and TensorBoard events."""

import importlib.metadata
import json
import logging
import pathlib
import platform
import subprocess
from collections.abc import Mapping
from typing import Any

import jax
from absl import logging as absl_logging
from tensorboardX import SummaryWriter

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
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n")
    temporary.replace(path)


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
            lines = [line for line in path.read_text().splitlines() if _is_before(line, step)]
            temporary = path.with_name(path.name + ".tmp")
            temporary.write_text("".join(line + "\n" for line in lines))
            temporary.replace(path)
        self._lines = path.open("a", buffering=1)
        self._events = SummaryWriter(str(workdir / "tensorboard"), purge_step=step + 1)

    def write(self, step: int, split: str, values: Mapping[str, Any]) -> None:
        """One line {"step", "split", ...values}; numbers also become events `split/name`."""
        if not self._active:
            return
        self._lines.write(json.dumps({"step": step, "split": split, **values}) + "\n")
        for name, value in values.items():
            if isinstance(value, (int, float)):
                self._events.add_scalar(f"{split}/{name}", value, step)

    def close(self) -> None:
        """Ends the files."""
        if self._active:
            self._lines.close()
            self._events.close()


def _is_before(line: str, step: int) -> bool:
    """Whether a run that resumes from `step` will not write this line again."""
    try:
        values = json.loads(line)
    except json.JSONDecodeError:
        return False  # cut off by a kill
    # Lines about the end of a run are written again, as its last checkpoint comes before them.
    return values["step"] <= step and values["split"] in ("train", "validation")
