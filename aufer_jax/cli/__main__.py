"""`python -m aufer_jax.cli`, where the command `aufer` is not on the path."""

import sys

from aufer_jax import cli

sys.exit(cli.main())
