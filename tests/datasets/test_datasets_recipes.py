"""The papers' datasets of images under the recipes: MV-FER finds them, AU-ViT trains on two of them."""

import json
import os
import subprocess
import sys

import datasets_source as sources
import numpy as np
import places
import pytest

from aufer_jax.datasets import catalog, prepare
from aufer_jax.train import base
from aufer_jax.train import config as config_lib


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """All of them in one data folder."""
    folder = tmp_path_factory.mktemp("prepared")
    sources.rafdb(folder / "rafdb")
    sources.rafdb_lists(folder / "rafdb")
    sources.ferplus(folder / "ferplus", "tables")
    sources.affectnet(folder / "affectnet7", "small")
    sources.rafau(folder / "rafau", 12)
    for name in ("rafdb", "ferplus", "affectnet7", "rafau"):
        prepare.prepare(name, folder / name, data_dir=folder / "data")
    return folder / "data"


@pytest.mark.parametrize(
    ("name", "rows", "targets"),
    [("rafdb", 38, False), ("ferplus", 4, True), ("affectnet7", 12, False)],
)
def test_mvfer_finds_them(prepared, name, rows, targets):
    config = config_lib.load(str(places.ROOT / f"configs/mvfer.py:{name},model=resnet_small"))
    config.data.dir, config.data.size, config.data.batch_size = str(prepared), 32, 4
    task = base.build(config_lib.check(config))
    assert task.expressions == catalog.info(name, prepared).expressions
    assert abs(len(task.train.source) - rows) <= 3
    assert ("expression_target" in task.example) == targets
    assert "test" in task.evaluation_splits
    assert ("occluded" in task.evaluation_splits) == (name == "rafdb")


@pytest.mark.parametrize(
    ("argument", "held_out"),
    [
        ("mvfer.py:rafdb,eac,model=resnet_small", False),
        ("mvfer.py:rafdb,sane,model=resnet_small", True),
        ("auvit.py:rafdb,variant=small", False),
        ("auvit.py:rafdb,variant=small,recipe=released", False),
        ("auvit.py:rafdb,variant=small,recipe=sane", True),
    ],
)
def test_published_recipes_train_on_all_training_records(prepared, argument, held_out):
    config = config_lib.load(str(places.ROOT / f"configs/{argument}"))
    config.data.dir, config.data.size, config.data.batch_size = str(prepared), 32, 10
    splits = catalog.info("rafdb", prepared).splits
    rows = splits["train"] + (0 if held_out else splits["validation"])
    description = base.build(config_lib.check(config)).description
    assert f"on rafdb, {rows} training records" in description
    assert ("ON THE TEST SPLIT" in description) != held_out


def test_auvit_trains_on_rafdb_and_rafau(prepared, tmp_path):
    changes = {
        "data.batch_size": 20, "data.eval_batch_size": 16, "train.epochs": 1,
        "data.dir": prepared,
    }  # fmt: skip
    command = [
        sys.executable, "-m", "aufer_jax.main",
        "--config=configs/auvit.py:rafdb,aux=rafau,variant=small", f"--workdir={tmp_path}",
        *(f"--config.{key}={value}" for key, value in changes.items()),
    ]  # fmt: skip
    one_device = os.environ | {"XLA_FLAGS": places.xla_flags()}
    process = subprocess.run(
        command, cwd=places.ROOT, env=one_device, capture_output=True, text=True, check=False,
        timeout=300,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    assert "on rafdb" in process.stdout and "AUs from rafau" in process.stdout
    summary = json.loads((tmp_path / "summary.json").read_text())
    for split in ("test", "occluded", "pose30", "pose45"):
        assert 0 <= summary[f"{split}_last"]["accuracy"] <= 1
    matrix = np.array(summary["test_last"]["confusion"])
    assert matrix.shape == (7, 7) and matrix.sum() == 14
    assert (matrix.sum(1) == 2).all()
