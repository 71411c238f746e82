"""What a run's training begins with, where that is not chance: the configuration's `init_from`."""

import logging
from typing import Any

from aufer_jax import weights
from aufer_jax.errors import UserError
from aufer_jax.train import checkpoints, workdir
from aufer_jax.train.run import Run
from aufer_jax.weights import loading, shipped

log = logging.getLogger(__name__)


def initial_weights(run: Run, variables: dict[str, Any]) -> dict[str, Any]:
    """Variables with the values of `init_from`: published weights, a shipped network's or a run's best state.

    Several, with commas between them, are taken one after the other: S2D's two networks. Says what was
    taken. A run may be of another architecture with weights in common: MAE-DFER's
    pre-training.
    """
    for place in loading.places(run.init_from):
        variables = {**variables, **_from(place, run.model["name"], variables)}
    return variables


def _from(place: str, name: str, variables: dict[str, Any]) -> dict[str, Any]:
    folder = shipped.place(place)
    if (
        folder.is_dir() and not (folder / "card.json").is_file()
    ):  # that is of `aufer weights convert`
        found = checkpoints.Reader(folder)
        if found.latest_step("best") is None:
            begun = found.latest_step() is not None
            lacks = (
                "has no best state yet; let it validate once"
                if begun
                else "holds no checkpoint of a run"
            )
            raise UserError(f"init_from: {place!r} {lacks}")
        theirs = workdir.saved_config(folder).to_dict()["model"]["name"]
        tensors = weights.to_torch(found.variables(), theirs)
        loaded, report = weights.from_torch(tensors, name, variables)
    else:
        loaded, report = weights.load(folder, name, variables)
    log.info("init_from %s: %s", place, report)
    return loaded
