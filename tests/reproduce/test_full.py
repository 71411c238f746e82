"""A full study on prepared data, from the command's function to the table: two folds of a small DFEW."""

import json
import re

import clip_datasets_source as clips
import pytest
import toymodels
from flax import linen as nn

from aufer_jax import reproduce
from aufer_jax.datasets import prepare
from aufer_jax.models.heads import heads
from aufer_jax.models.registry import Architecture, Preprocess
from aufer_jax.reproduce import one
from aufer_jax.reproduce import study as study_lib
from aufer_jax.train import config as config_lib
from aufer_jax.train import loop


class MeanColour(nn.Module):
    """In place of a host, which would take half a minute to compile."""

    num_classes: int = 7
    num_aus: int | None = None

    @nn.compact
    def __call__(self, x, train=False):
        return heads(x.mean((1, 2, 3)), self.num_classes, self.num_aus)


class Done:
    """A process that has ended well."""

    returncode = 0

    def poll(self):
        return self.returncode


@pytest.fixture(autouse=True)
def small_model():
    toy = Architecture(MeanColour, Preprocess(16, frames=2), input="clip")
    with toymodels.registered(mean_colour_clip=toy):
        yield


@pytest.fixture
def in_this_process(monkeypatch):
    """Runs are made here and at once: to start Python and JAX takes longer than they do."""
    made = []

    def start(workdir, cores):
        made.append(workdir)
        assert one.main(str(workdir)) == 0
        return Done()

    monkeypatch.setattr(study_lib, "_start", start)
    monkeypatch.setattr(study_lib.time, "sleep", lambda seconds: None)
    return made


def test_two_folds_of_a_prepared_dataset_are_run_pooled_and_written(
    tmp_path, in_this_process, monkeypatch
):
    clips.dfew(tmp_path / "in")
    prepare.prepare("dfew", tmp_path / "in", data_dir=tmp_path / "data", validation=0.2)
    changes = {
        "model": config_lib.model("mean_colour_clip"), "data.frames": 2, "data.size": 16, "data.threads": 1,
        "data.dir": str(tmp_path / "data"), "data.batch_size": 4, "data.eval_batch_size": 4,
        "train.epochs": 1,
    }  # fmt: skip
    options = {
        "target": "dfew", "full": True, "recipe": "sane", "folds": [1, 2], "rows": ["former_dfer"],
        "seeds": 1, "jobs": 1, "changes": changes, "runs": tmp_path / "runs", "out": tmp_path / "x.md",
    }  # fmt: skip
    text = reproduce.reproduce("audfer", ["table1"], command="mine", **options).read_text()
    assert len(in_this_process) == 2
    confusion = [[0] * 7] * 7
    for number, workdir in enumerate(in_this_process, 1):
        config = json.loads((workdir / "config.json").read_text())
        assert config["data"]["fold"] == number
        assert config["train"]["validation_split"] == "validation"  # what sane is
        found = json.loads((workdir / "summary.json").read_text())["test_last"]["confusion"]
        confusion = [
            [x + y for x, y in zip(a, b, strict=True)]
            for a, b in zip(confusion, found, strict=True)
        ]
        assert len((workdir / "predictions_test_last.csv").read_text().splitlines()) == 1 + 7
    right = sum(confusion[i][i] for i in range(7))
    (row,) = re.findall(r"^\| former_dfer \| ([\d.]+)", text, re.MULTILINE)
    assert row == f"{right / 14:.3f}"
    monkeypatch.setattr(loop, "train_and_evaluate", lambda *_: pytest.fail("a run was repeated"))
    reproduce.reproduce("audfer", ["table1"], command="mine", **options)
