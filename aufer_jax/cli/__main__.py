"""`python -m aufer_jax.cli`, where the command `aufer` is not on the path."""

import sys

from aufer_jax import cli

if __name__ == "__main__":
    sys.exit(cli.main())
