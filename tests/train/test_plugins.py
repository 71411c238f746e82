"""Methods and models of other packages, found by their entry points."""

import sys

import pytest

from aufer_jax import models
from aufer_jax.models import registry
from aufer_jax.train import base

PLUGIN = """
import dataclasses
from flax import linen as nn
from aufer_jax import models
from aufer_jax.models.registry import Architecture, Preprocess, register
from aufer_jax.train import base

@dataclasses.dataclass(frozen=True)
class Options:
    weight: float = 1.0

class Net(nn.Module):
    num_classes: int = 7

base.register("plugged_method", Options, lambda run: None)
register("plugged_model", Architecture(Net, Preprocess(16)))
"""


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A package on the path that offers a method and a model."""
    (tmp_path / "plugged.py").write_text(PLUGIN)
    info = tmp_path / "plugged-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: plugged\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[aufer_jax.methods]\nplugged_method = plugged\n"
        "[aufer_jax.models]\nplugged_model = plugged\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(base, "_METHODS", dict(base._METHODS))
    monkeypatch.setattr(registry, "_TABLE", dict(registry._TABLE))
    yield
    sys.modules.pop("plugged", None)


def test_entry_points_are_loaded_when_they_are_asked_for(installed):
    assert "plugged_method" in base.names() and "plugged_model" in models.names()
    assert "plugged" not in sys.modules
    assert base.registered("plugged_method").options().weight == 1.0
    assert models.options("plugged_model") == ("num_classes",)


def test_a_method_that_nobody_offers_is_named_with_those_that_are(installed):
    with pytest.raises(ValueError, match=r"method: 'plugged' .* auvit, .*plugged_method"):
        base.registered("plugged")
