"""The examples of docs/extending.md, each a file of its own, run as they are printed."""

import importlib.util
import json
import re
import sys

import cv2
import numpy as np
import places
import pytest

from aufer_jax import models
from aufer_jax.models import registry
from aufer_jax.train import base, loop
from aufer_jax.train import config as config_lib

PAGE = (places.ROOT / "docs" / "extending.md").read_text()
FILES = dict(re.findall(r"```python\n# (\w+\.py)\n(.*?)```", PAGE, re.DOTALL))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with all examples, in which Python looks for modules; what they register is forgotten."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("AUFER_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(base, "_METHODS", dict(base._METHODS))
    monkeypatch.setattr(registry, "_TABLE", dict(registry._TABLE))
    yield tmp_path
    for name in FILES:
        sys.modules.pop(name.removesuffix(".py"), None)


def test_the_page_has_the_four():
    assert list(FILES) == ["patches.py", "confidence.py", "mirrored.py", "kindergarten.py"]


@pytest.mark.parametrize("example", ["confidence", "mirrored"])
def test_a_loss_and_a_paper_train_a_model_of_ones_own(folder, example):
    config = config_lib.load(f"{folder}/{example}.py:synth_a,quick")
    config.data.batch_size = config.data.eval_batch_size = 8
    config.data.sizes.update({name: 16 for name in config.data.sizes})
    config.train.epochs = 1
    result = loop.train_and_evaluate(config, folder / "run")
    assert result.finished and "patches" in models.names()
    line = json.loads((folder / "run" / "metrics.jsonl").read_text().splitlines()[0])
    assert np.isfinite(line["loss"])
    assert 0 <= result.summary["test_last"]["accuracy"] <= 1


@pytest.mark.skipif(
    importlib.util.find_spec("aufer_jax.datasets.card") is None, reason="datasets have no cards yet"
)
def test_a_dataset_is_prepared(folder, monkeypatch):
    from aufer_jax.datasets import catalog, prepare

    monkeypatch.setattr(catalog, "_registered", {})
    source = folder / "photographs"
    source.mkdir()
    rng = np.random.default_rng(0)
    for i, word in enumerate(["happy", "sad", "calm"] * 10):
        pixels = rng.integers(0, 256, (48, 48, 3)).astype(np.uint8)
        cv2.imwrite(str(source / f"child{i}_{word}_1.png"), pixels)
    importlib.import_module("kindergarten")
    prepare.prepare("kindergarten", source)
    info = catalog.info("kindergarten")
    assert info.expressions == ("neutral", "happiness", "sadness")
    assert sum(info.splits.values()) == 30
