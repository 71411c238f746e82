"""Checkpoints of a run: the latest to resume from, the best to use; written in the background.

Beside its state each holds a JSON `progress` and the checksums of both, which are compared when it is read.
"""

import concurrent.futures
import contextlib
import functools
import json
import logging
import os
import pathlib
import re
import sys
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

import jax
import numpy as np
import orbax.checkpoint as ocp

from aufer_jax import remote
from aufer_jax.errors import UserError, brief
from aufer_jax.train import devices
from aufer_jax.train.state import TrainState

T = TypeVar("T")

log = logging.getLogger(__name__)

KINDS = ("latest", "best")
DAMAGED = "damaged"  # the folder beside them where the damaged ones go
_STEP = re.compile(r"0|[1-9][0-9]{0,17}")
_ITEMS = ("state", "progress")
_SUMS = "checksums"  # in the JSON of `progress`
_PARTS = ("params", "model_state", "opt_state", "ema", "step")
# How the libraries below word what the file system has refused them.
_REFUSED = ("No space left on device", "quota exceeded", "Read-only file system", "File too large")


class Damaged(UserError):
    """A checkpoint that cannot be read, or that holds other numbers than were written."""


def _folder(workdir: str | pathlib.Path, kind: str) -> pathlib.Path:
    return pathlib.Path(workdir).absolute() / "checkpoints" / kind


def _is_ours(path: pathlib.Path) -> bool:
    """Whether it is a checkpoint, whole or not, and nothing else that lies there."""
    return bool(_STEP.fullmatch(path.name)) and any((path / item).is_dir() for item in _ITEMS)


# --- Writing --------------------------------------------------------------------------------------


class Checkpoints:
    """Writes `<workdir>/checkpoints/{latest,best}/<step>/`: the state and a JSON `progress` each.

    A save becomes visible by a rename once it is complete, so a killed run never finds half of one.
    Several processes write together, into a folder that all of them see; where each has its own, as it stands
    for one in a store, the first one writes.
    """

    def __init__(self, workdir: str | pathlib.Path, *, keep: int = 2) -> None:
        self.workdir = workdir
        self._managers: dict[str, ocp.CheckpointManager] = {}
        self._alone = remote.is_kept(workdir) and jax.process_count() > 1
        if self._alone and jax.process_index() != 0:
            self._others = {kind: Reader(workdir).latest_step(kind) for kind in KINDS}
            return
        for name in ("absl", "asyncio"):
            logging.getLogger(name).addFilter(_raised_again)
        _leave_out_late_answers()
        if jax.process_index() == 0:
            for kind in KINDS:
                _set_strangers_aside(workdir, kind)
        for kind, count in zip(KINDS, (keep, 1), strict=True):
            _folder(workdir, kind).mkdir(parents=True, exist_ok=True)
            self._managers[kind] = ocp.CheckpointManager(
                _folder(workdir, kind),
                options=ocp.CheckpointManagerOptions(
                    max_to_keep=count,
                    create=False,
                    # Else threads wait five minutes for a folder for which there was no room.
                    async_options=ocp.AsyncOptions(create_directories_asynchronously=False),
                    # Both managers save the same step at once: their barriers need names of their own.
                    multiprocessing_options=ocp.options.MultiprocessingOptions(
                        barrier_sync_key_prefix=kind,
                        active_processes={0} if self._alone else None,
                    ),
                ),
                item_names=_ITEMS,
            )

    def latest_step(self, kind: str = "latest") -> int | None:
        """The newest step that was saved of a kind, "latest" or "best"; None without one."""
        return self._managers[kind].latest_step() if self._managers else self._others[kind]

    def save(self, step: int, state: TrainState, progress: dict, *, kind: str = "latest") -> None:
        """Copies the state off the devices and writes it in the background.

        A `latest` tells of the best so far, so it is begun only when that one is whole.
        """
        if self.latest_step(kind) == step:
            return
        if self._alone:  # here too all of them gather what they share
            state = devices.fetch(state)
        if not self._managers:
            self._others[kind] = step
            return
        manager = self._managers[kind]
        with self._explained():
            if kind == "latest":
                self._managers["best"].wait_until_finished()
            manager.wait_until_finished()
            now = json.loads(
                json.dumps(progress)
            )  # it is written later, when the next step has changed it
            args = ocp.args.Composite(
                state=ocp.args.StandardSave(state),
                progress=ocp.args.JsonSave({**now, _SUMS: _sums(state, now)}),
            )
            manager.save(step, args=args, force=True)

    def wait(self) -> None:
        """Returns when all that was saved is on disk, or where other processes find it too."""
        with self._explained():
            for manager in self._managers.values():
                manager.wait_until_finished()
        if self._alone:
            remote.share(pathlib.Path(self.workdir))

    def close(self) -> None:
        """Waits, and lets go of the files."""
        with self._explained(), contextlib.ExitStack() as all_of_them:
            for manager in self._managers.values():
                all_of_them.callback(manager.close)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        """One line in place of what the libraries say of a file system that refuses."""
        try:
            yield
        except UserError:
            raise
        except Exception as error:
            refused = next((text for text in _REFUSED if text in str(error)), "")
            if not refused:
                raise
            last = Reader(self.workdir).latest_step()
            has = "there is no earlier one" if last is None else f"that of step {last} is whole"
            raise UserError(
                f"checkpoints: {str(_folder(self.workdir, ''))!r}: {refused.lower()}; {has}"
            ) from error


def _raised_again(record: logging.LogRecord) -> bool:
    """Leaves out what Orbax's threads log of their errors: the next wait raises them."""
    ours = "orbax" in record.pathname or "never retrieved" in str(record.msg)
    return not (record.levelno >= logging.ERROR and ours)


@functools.cache
def _leave_out_late_answers() -> None:
    """Of TensorStore's threads, to a save that has failed already: its loop is closed, its error was said."""
    shown = sys.unraisablehook

    def show(found: Any) -> None:
        if not (
            isinstance(found.exc_value, RuntimeError) and "loop is closed" in str(found.exc_value)
        ):
            shown(found)

    sys.unraisablehook = show
    warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)


def _set_strangers_aside(workdir: str | pathlib.Path, kind: str) -> None:
    """Moves what has the name of a checkpoint and is none: Orbax would count it among them."""
    folder = _folder(workdir, kind)
    for path in sorted(folder.glob("*")):
        if path.name.isdigit() and not _is_ours(path):
            set_aside(workdir, kind, path.name, "it is no checkpoint")


def set_aside(workdir: str | pathlib.Path, kind: str, name: str | int, why: str) -> None:
    """Moves a checkpoint to `checkpoints/damaged/`, and says so."""
    place = _folder(workdir, DAMAGED)
    place.mkdir(parents=True, exist_ok=True)
    names = (f"{kind}_{name}{'_' * n}" for n in range(1000))
    free = next(place / name for name in names if not (place / name).exists())
    os.replace(_folder(workdir, kind) / str(name), free)
    log.warning("checkpoints/%s/%s is set aside as %s: %s", kind, name, free, why)


# --- Checksums ------------------------------------------------------------------------------------


def _sums(state: TrainState, progress: Mapping[str, Any]) -> dict[str, Any]:
    parts = {name: getattr(state, name) for name in _PARTS}
    return {"state": tree_sums(parts), "progress": _text_sum(progress)}


def tree_sums(tree: Any) -> dict[str, int]:
    """CRC-32 of every array by its path, however it is spread over devices."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    # Here, not in the threads: processes gather in one order.
    copies = {_path(keys): devices.one_copy(leaf) for keys, leaf in leaves}
    with concurrent.futures.ThreadPoolExecutor(min(8, len(devices.cores()))) as pool:
        return dict(zip(copies, pool.map(_sum, copies.values()), strict=True))


def _sum(array: Any) -> int:
    if isinstance(array, jax.Array) and array.is_fully_replicated:
        array = array.addressable_data(0)
    held = np.ascontiguousarray(array)
    return zlib.crc32(held.reshape(-1).view(np.uint8).data, zlib.crc32(repr(held.shape).encode()))


def _path(keys: Any) -> str:
    """The same for tuples and what Orbax makes of them: lists, and dicts for named tuples."""
    names = (getattr(key, "key", getattr(key, "idx", getattr(key, "name", key))) for key in keys)
    return "/".join(map(str, names))


def _text_sum(progress: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(progress, sort_keys=True).encode())


# --- Reading --------------------------------------------------------------------------------------


class Reader:
    """Reads the checkpoints of a workdir and leaves no trace in it."""

    def __init__(self, workdir: str | pathlib.Path) -> None:
        self._workdir = workdir

    def steps(self, kind: str = "latest") -> list[int]:
        """The steps of all complete checkpoints, the newest first."""
        found = (path for path in _folder(self._workdir, kind).glob("*") if _is_ours(path))
        return sorted((int(path.name) for path in found), reverse=True)

    def latest_step(self, kind: str = "latest") -> int | None:
        """The step of the newest complete checkpoint."""
        return next(iter(self.steps(kind)), None)

    def restore(
        self, target: TrainState, sharding: Any, *, kind: str = "latest", step: int | None = None
    ) -> tuple[TrainState, dict]:
        """State and progress of the newest complete checkpoint (or of `step`), laid out on today's devices.

        `sharding` is one for all arrays, or a state of one for each; how they were saved does not matter.
        Raises `Damaged` if they are not those that were written.
        """
        abstract = jax.tree.map(
            lambda x, where: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where),
            target,
            jax.tree.broadcast(sharding, target),
        )
        args = ocp.args.Composite(
            state=ocp.args.StandardRestore(abstract), progress=ocp.args.JsonRestore()
        )

        def read(folder: pathlib.Path) -> Any:
            # No CheckpointManager: one that only reads warns of everything that it would write.
            with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as reader:
                restored = reader.restore(folder, args=args)
            return restored["state"], restored["progress"]

        folder = self._place(kind, step)
        state, progress = _readable(folder, read)
        _compare(folder, progress, {name: getattr(state, name) for name in _PARTS})
        return state, progress

    def variables(self, *, kind: str = "best") -> dict[str, Any]:
        """Parameters (their moving average, if there is one) and model state, whatever their shapes.

        In NumPy, so that they may have been saved on other devices. Raises `Damaged` as `restore` does.
        """

        def read(folder: pathlib.Path) -> Any:
            handler = ocp.PyTreeCheckpointHandler()
            tree = handler.metadata(folder / "state").tree  # pyright: ignore[reportArgumentType]
            chosen = "ema" if tree["ema"] else "params"
            wanted = {name: tree[name] for name in (chosen, "model_state")}
            in_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), wanted)
            args = ocp.args.PyTreeRestore(wanted, restore_args=in_numpy, partial_restore=True)
            state = handler.restore(folder / "state", args=args)  # pyright: ignore[reportArgumentType]
            return (
                chosen,
                {name: state[name] for name in (chosen, "model_state")},
                _progress(folder),
            )

        folder = self._place(kind)
        chosen, state, progress = _readable(folder, read)
        _compare(folder, progress, state)
        return {"params": state[chosen], **state["model_state"]}

    def usable(self) -> str | None:
        """The kind to apply: the best, or the latest of a run that has chosen none yet; None: there is none.

        A best that was chosen and is not there is told.
        """
        if self.latest_step("best") is not None:
            return "best"
        if self.latest_step() is None:
            return None
        best = _readable(self._place("latest"), _progress).get("best")
        if best:
            log.warning(
                "%s: the best state, of step %s, is missing; the latest is taken",
                _folder(self._workdir, "best"), best["step"],
            )  # fmt: skip
        return "latest"

    def _place(self, kind: str, step: int | None = None) -> pathlib.Path:
        chosen = self.latest_step(kind) if step is None else step
        return _folder(self._workdir, kind) / str(chosen)


def resume(
    workdir: str | pathlib.Path, target: TrainState, sharding: Any
) -> tuple[TrainState, dict] | None:
    """The run's newest whole checkpoint; the damaged ones before it are set aside. None: there is none."""
    reader, damaged = Reader(workdir), {}
    for step in reader.steps():
        try:
            state, progress = reader.restore(target, sharding, step=step)
        except Damaged as error:
            damaged[step] = error
            continue
        if jax.process_index() == 0:
            for other, why in damaged.items():
                set_aside(workdir, "latest", other, f"{why}; going on from step {step}")
            _note_best(reader, progress.get("best"), step)
        return state, progress
    if damaged:
        raise next(iter(damaged.values()))
    return None


def _note_best(reader: Reader, best: dict | None, step: int) -> None:
    """Says if the best state that a checkpoint tells of is gone."""
    there = reader.latest_step("best")
    # A newer one belongs to steps that a kill has undone, and that are taken again.
    if best and (there is None or there < best["step"] or best["step"] < there <= step):
        log.warning(
            "checkpoints/best: the best state so far, of step %s, is missing; it is not replaced",
            best["step"],
        )


def _progress(folder: pathlib.Path) -> Any:
    with ocp.Checkpointer(ocp.JsonCheckpointHandler()) as reader:
        return reader.restore(folder / "progress")


def _readable(folder: pathlib.Path, read: Callable[[pathlib.Path], T]) -> T:
    if not folder.is_dir():
        raise Damaged(f"{folder} is missing")
    try:
        return read(folder)
    except (MemoryError, PermissionError):
        raise
    except Exception as error:  # Orbax and TensorStore raise errors of many kinds
        raise Damaged(f"{folder} is damaged, or of another network: {brief(error)}") from error


def _compare(folder: pathlib.Path, progress: Any, state: Any) -> None:
    """Raises unless both are what the checksums say, which are taken out of `progress`."""
    if not isinstance(progress, dict):
        raise Damaged(f"{folder} is damaged: its progress is no table")
    sums = progress.pop(_SUMS, None)
    if sums is None and "best" in progress and not any(map(_are_sums, progress.values())):
        log.info("%s is of an earlier version, without checksums: not verified", folder)
        return
    if sums is None or not _are_sums(sums) or sums["progress"] != _text_sum(progress):
        raise Damaged(f"{folder} is damaged: its progress is not what was written")
    found = tree_sums(state)
    other = [path for path, value in found.items() if sums["state"].get(path) != value]
    if other:
        more = f" and {len(other) - 1} more" if other[1:] else ""
        raise Damaged(f"{folder} is damaged: {other[0]}{more} is not what was written")


def _are_sums(value: Any) -> bool:
    return isinstance(value, dict) and {"state", "progress"} <= value.keys()
