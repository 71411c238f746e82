"""Names the expressions of a dataset's training faces by a finished run: `label RUN DATASET FILE.csv`."""

import dataclasses
import os
import pathlib
import sys

from aufer_jax import errors
from aufer_jax.train import devices


@errors.boundary
def main(workdir: str, dataset: str, path: str) -> None:
    """Writes what the run's best state takes each face for; as many faces as its configuration trains on."""
    devices.use_compilation_cache()
    import aufer_jax.papers  # noqa: F401  (registers the methods)
    from aufer_jax.data import mixture
    from aufer_jax.runs import predictions
    from aufer_jax.runs.predictor import Predictor
    from aufer_jax.train import setup  # after JAX has its settings

    predictor = Predictor.load(workdir)
    run, spec = predictor.run, predictor.inference.spec
    if run is None:
        raise errors.UserError(f"workdir: {workdir!r} holds converted weights; a run has data")
    part = mixture.Part(setup.source(run, dataset, "train"), spec)
    inference = dataclasses.replace(predictor.inference, evaluation=lambda split: part)
    there = dataclasses.replace(predictor, inference=inference)
    unfinished = pathlib.Path(f"{path}.new")
    predictions.predict(there, "train").save(unfinished)
    os.replace(unfinished, path)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
