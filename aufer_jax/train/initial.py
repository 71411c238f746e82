"""What a run's training begins with, where that is not chance: the configuration's `init_from`."""

import logging
from typing import Any

from aufer_jax import weights
from aufer_jax.errors import UserError
from aufer_jax.train import checkpoints, workdir
from aufer_jax.train.run import Run
from aufer_jax.weights import shipped

log = logging.getLogger(__name__)


def initial_weights(run: Run, variables: dict[str, Any]) -> dict[str, Any]:
    """Variables with the values of `init_from`: published weights, a shipped network's or a run's best state.

    Says what was taken. A run may be of another architecture with weights in common: MAE-DFER's
    pre-training.
    """
    name = run.model["name"]
    folder = shipped.place(run.init_from)
    if (
        folder.is_dir() and not (folder / "card.json").is_file()
    ):  # that is of `aufer weights convert`
        found = checkpoints.Reader(run.init_from)
        if found.latest_step("best") is None:
            raise UserError(f"init_from: {run.init_from!r} holds no checkpoint of a run")
        theirs = workdir.saved_config(run.init_from).to_dict()["model"]["name"]
        tensors = weights.to_torch(found.variables(), theirs)
        loaded, report = weights.from_torch(tensors, name, variables)
    else:
        loaded, report = weights.load(run.init_from, name, variables)
    log.info("init_from %s: %s", run.init_from, report)
    return loaded
