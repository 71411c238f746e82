"""docs/models.md lists every architecture with its exact number of parameters."""

import pathlib
import re

import pytest

from aufer_jax import models
from aufer_jax.models import table

TEXT = (pathlib.Path(__file__).parents[1] / "docs" / "models.md").read_text()
LISTED = {
    name: int(count.replace(",", ""))
    for name, count in re.findall(r"^\| `(\w+)` .* ([\d,]+) \|$", TEXT, re.MULTILINE)
}


def test_every_architecture_is_listed():
    assert set(LISTED) == set(models.names())


@pytest.mark.parametrize("name", models.names())
def test_count(name):
    assert table.parameters(name) == LISTED[name]
