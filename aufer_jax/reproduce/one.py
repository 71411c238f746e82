"""One run of a study, in a process of its own: trains what its workdir's config.json says."""

import logging
import pathlib
import sys

from absl import logging as absl_logging

from aufer_jax.train import devices
from aufer_jax.train import workdir as workdir_lib


def main(workdir: str) -> None:
    absl_logging.set_verbosity(absl_logging.WARNING)
    logging.basicConfig(level=logging.WARNING)
    logging.getLogger("aufer_jax").setLevel(logging.INFO)
    devices.use_compilation_cache()
    devices.keep_freed_memory()
    import aufer_jax.papers  # noqa: F401  (registers the methods)
    from aufer_jax.report import figures
    from aufer_jax.train import loop  # after JAX has its settings

    if loop.train_and_evaluate(workdir_lib.saved_config(workdir), workdir).finished:
        figures.write(pathlib.Path(workdir))


if __name__ == "__main__":
    main(sys.argv[1])
