"""Checkpoints of a run: the latest ones to go on from, the best one to use, written in the background."""

import pathlib
from typing import Any

import jax
import orbax.checkpoint as ocp

from aufer_jax.train.state import TrainState


class Checkpoints:
    """`<workdir>/checkpoints/{latest,best}/<step>/` with the state and a JSON `progress` each.

    A save becomes visible by a rename once it is whole, so a killed run never finds half of one.
    """

    def __init__(self, workdir: str | pathlib.Path, *, keep: int = 2) -> None:
        folder = pathlib.Path(workdir).absolute() / "checkpoints"
        self._managers = {
            name: ocp.CheckpointManager(
                folder / name,
                options=ocp.CheckpointManagerOptions(
                    max_to_keep=count,
                    create=True,
                    # Both managers save the same step at once: their barriers need names of their own.
                    multiprocessing_options=ocp.options.MultiprocessingOptions(
                        barrier_sync_key_prefix=name
                    ),
                ),
                item_names=("state", "progress"),
            )
            for name, count in (("latest", keep), ("best", 1))
        }

    def latest_step(self, kind: str = "latest") -> int | None:
        return self._managers[kind].latest_step()

    def save(self, step: int, state: TrainState, progress: dict, *, kind: str = "latest") -> None:
        """Copies the state off the devices and writes it in the background."""
        manager = self._managers[kind]
        if manager.latest_step() == step:
            return
        args = ocp.args.Composite(
            state=ocp.args.StandardSave(state), progress=ocp.args.JsonSave(progress)
        )
        manager.save(step, args=args, force=True)

    def restore(self, target: TrainState, sharding: Any, *, kind: str = "latest") -> tuple:
        """(state, progress) of the newest whole checkpoint, laid out by `sharding` on today's devices."""
        manager = self._managers[kind]
        abstract = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), target
        )
        args = ocp.args.Composite(
            state=ocp.args.StandardRestore(abstract), progress=ocp.args.JsonRestore()
        )
        restored = manager.restore(manager.latest_step(), args=args)
        return restored["state"], restored["progress"]

    def wait(self) -> None:
        for manager in self._managers.values():
            manager.wait_until_finished()

    def close(self) -> None:
        for manager in self._managers.values():
            manager.close()
