"""What a run says and writes about itself: messages, versions, JSON files and lines."""

import contextlib
import importlib.metadata
import json
import logging
import pathlib
import platform
import subprocess
from typing import Any

import jax
from absl import logging as absl_logging

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
    """A table as text; all of it, or nothing."""
    write_text(path, json.dumps(value, indent=2, sort_keys=True) + "\n")


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


def write_text(path: pathlib.Path, text: str) -> None:
    """Writes all of it, or nothing."""
    temporary = path.with_name(path.name + ".tmp")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
