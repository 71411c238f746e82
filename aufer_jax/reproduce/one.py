"""One run of a study, in a process of its own: trains what its workdir's config.json says."""

import logging
import sys

from absl import logging as absl_logging

from aufer_jax.train import devices


def main(workdir: str) -> None:
    absl_logging.set_verbosity(absl_logging.WARNING)
    logging.basicConfig(level=logging.WARNING)
    logging.getLogger("aufer_jax").setLevel(logging.INFO)
    devices.use_compilation_cache()
    devices.keep_freed_memory()
    from aufer_jax.train import loop  # after JAX has its settings

    loop.train_and_evaluate(loop.saved_config(workdir), workdir)


if __name__ == "__main__":
    main(sys.argv[1])
