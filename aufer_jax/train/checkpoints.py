"""Checkpoints of a run: the latest to resume from, the best to use; written in the background."""

import pathlib
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from aufer_jax.train.state import TrainState

KINDS = ("latest", "best")


def _folder(workdir: str | pathlib.Path, kind: str) -> pathlib.Path:
    return pathlib.Path(workdir).absolute() / "checkpoints" / kind


class Checkpoints:
    """Writes `<workdir>/checkpoints/{latest,best}/<step>/`: the state and a JSON `progress` each.

    A save becomes visible by a rename once it is complete, so a killed run never finds half of one.
    """

    def __init__(self, workdir: str | pathlib.Path, *, keep: int = 2) -> None:
        self.workdir = workdir
        self._managers = {
            kind: ocp.CheckpointManager(
                _folder(workdir, kind),
                options=ocp.CheckpointManagerOptions(
                    max_to_keep=count,
                    create=True,
                    # Both managers save the same step at once: their barriers need names of their own.
                    multiprocessing_options=ocp.options.MultiprocessingOptions(
                        barrier_sync_key_prefix=kind
                    ),
                ),
                item_names=("state", "progress"),
            )
            for kind, count in zip(KINDS, (keep, 1), strict=True)
        }

    def latest_step(self, kind: str = "latest") -> int | None:
        """The newest step that was saved of a kind, "latest" or "best"; None without one."""
        return self._managers[kind].latest_step()

    def save(self, step: int, state: TrainState, progress: dict, *, kind: str = "latest") -> None:
        """Copies the state off the devices and writes it in the background.

        A `latest` tells of the best so far, so it is begun only when that one is whole.
        """
        manager = self._managers[kind]
        if manager.latest_step() == step:
            return
        if kind == "latest":
            self._managers["best"].wait_until_finished()
        args = ocp.args.Composite(
            state=ocp.args.StandardSave(state), progress=ocp.args.JsonSave(progress)
        )
        manager.save(step, args=args, force=True)

    def wait(self) -> None:
        """Returns when all that was saved is on disk."""
        for manager in self._managers.values():
            manager.wait_until_finished()

    def close(self) -> None:
        """Waits, and lets go of the files."""
        for manager in self._managers.values():
            manager.close()


class Reader:
    """Reads the checkpoints of a workdir and leaves no trace in it."""

    def __init__(self, workdir: str | pathlib.Path) -> None:
        self._workdir = workdir

    def latest_step(self, kind: str = "latest") -> int | None:
        """The step of the newest complete checkpoint."""
        folder = _folder(self._workdir, kind)
        steps = [int(path.name) for path in folder.glob("*") if path.name.isdigit()]
        return max(steps, default=None)

    def restore(
        self, target: TrainState, sharding: Any, *, kind: str = "latest"
    ) -> tuple[TrainState, dict]:
        """State and progress of the newest complete checkpoint, laid out on today's devices."""
        abstract = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), target
        )
        args = ocp.args.Composite(
            state=ocp.args.StandardRestore(abstract), progress=ocp.args.JsonRestore()
        )
        folder = _folder(self._workdir, kind) / str(self.latest_step(kind))
        # No CheckpointManager: one that only reads warns of everything that it would write.
        with ocp.Checkpointer(ocp.CompositeCheckpointHandler()) as reader:
            restored = reader.restore(folder, args=args)
        return restored["state"], restored["progress"]

    def variables(self, *, kind: str = "best") -> dict[str, Any]:
        """Parameters (their moving average, if there is one) and model state, whatever their shapes.

        In NumPy, so that they may have been saved on other devices.
        """
        folder = _folder(self._workdir, kind) / str(self.latest_step(kind)) / "state"
        handler = ocp.PyTreeCheckpointHandler()
        tree = handler.metadata(folder).tree  # pyright: ignore[reportArgumentType]
        chosen = "ema" if tree["ema"] else "params"
        wanted = {name: tree[name] for name in (chosen, "model_state")}
        in_numpy = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), wanted)
        args = ocp.args.PyTreeRestore(wanted, restore_args=in_numpy, partial_restore=True)
        state = handler.restore(folder, args=args)  # pyright: ignore[reportArgumentType]
        return {"params": state[chosen], **state["model_state"]}
