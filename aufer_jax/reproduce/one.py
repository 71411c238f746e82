"""One run of a study, in a process of its own: trains what its workdir's config.json says."""

import pathlib
import sys

from aufer_jax import errors
from aufer_jax.train import devices, logs
from aufer_jax.train import workdir as workdir_lib


@errors.boundary
def main(workdir: str) -> None:
    """Trains the run of a workdir, and writes its predictions and figures."""
    logs.to_terminal()
    devices.use_compilation_cache()
    devices.keep_freed_memory()
    import aufer_jax.papers  # noqa: F401  (registers the methods)
    from aufer_jax.report import figures
    from aufer_jax.runs import predictions
    from aufer_jax.train import loop  # after JAX has its settings

    if loop.train_and_evaluate(workdir_lib.saved_config(workdir), workdir).finished:
        figures.write(pathlib.Path(workdir))
        predictions.write(workdir, ["last"])  # of which the claims are


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
