"""Where tests find what they read."""

import pathlib

TESTS = pathlib.Path(__file__).parent
GOLDEN = TESTS / "golden"
ROOT = TESTS.parent
