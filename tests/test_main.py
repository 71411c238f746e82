"""Every configuration, end to end, as a user starts it: train, evaluate, again."""

import json

import places
import pytest

from aufer_jax import main
from aufer_jax.train import config as config_lib
from aufer_jax.train import devices, loop

# Rows of a step, and the splits.
ROWS = {"auvit": 24, "mvfer": 8, "audfer": 8}
SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


@pytest.mark.parametrize("config", ["auvit", "mvfer", "audfer"])
def test_trains_evaluates_and_finds_its_own_work(config, data, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("AUFER_DATA", str(data))
    monkeypatch.setattr(devices, "keep_freed_memory", lambda: None)  # of this process
    run = tmp_path / "run"
    arguments = [f"--config=configs/{config}.py:quick", f"--workdir={run}"]
    arguments.append("--config.train.time_limit=0")  # both epochs, however slow the machine
    rows, splits = ROWS[config], (*SPLITS, *["occluded"] * (config != "audfer"))
    arguments += [f"--config.data.{key}={rows}" for key in ("batch_size", "eval_batch_size")]
    arguments += [f"--config.data.sizes.{split}={rows}" for split in splits]

    assert main.main(arguments) == 0
    out, err = capfd.readouterr()
    assert "synthetic" in out
    assert "epoch 2/2" in out
    assert "WARNING" not in err and "CheckpointManager" not in err and "\r" not in out + err
    written = {path.name for path in run.iterdir()}
    assert written >= {
        "config.json", "environment.json", "metrics.jsonl", "summary.json", "tensorboard",
        "checkpoints", "figures", "report", "resources.json",
    }  # fmt: skip
    summary = json.loads((run / "summary.json").read_text())
    lines = (run / "metrics.jsonl").read_text().splitlines()
    assert {json.loads(line)["split"] for line in lines} >= {"train", "validation", "test_last"}

    assert main.main([*arguments, "--mode=eval"]) == 0
    assert f"accuracy {summary['test_best']['accuracy']:.4f}" in capfd.readouterr().out

    assert main.main(arguments) == 0
    out = capfd.readouterr().out
    assert "finished run" in out
    assert f"accuracy {summary['test_last']['accuracy']:.4f}" in out
    assert (run / "metrics.jsonl").read_text().splitlines() == lines


@pytest.mark.parametrize(
    ("text", "change", "message"),
    [
        ("configs/auvit.py:synth_x", {}, "Did you mean 'synth_"),
        ("configs/auvit.py:synth_a,axu=synth_b", {}, "Did you mean 'aux'"),
        ("configs/auvit.py:synth_a,aux=synth_uu", {}, "Did you mean 'synth_au'"),
        ("configs/auvit.py", {"train.parallel": "pmpa"}, "Did you mean 'pmap'"),
        ("configs/auvit.py", {"model.name": "auvit_smal"}, "Did you mean 'auvit_small'"),
        ("configs/auvit.py", {"model.depht": (1, 1)}, "Did you mean 'depth'"),
        ("configs/auvit.py", {"augment.filp": 0.5}, "Did you mean 'flip'"),
        ("configs/auvit.py:synth_clips", {}, "holds clips"),
        ("configs/auvit.py:aux=synth_clips", {}, "data.aux: 'synth_clips' holds clips, not images"),
        ("configs/auvit.py:variant=papre", {}, "Did you mean 'auvit_paper'"),
        ("configs/auvit.py", {"train.best_metric": "acuracy"}, "Did you mean 'accuracy'"),
        ("configs/auvit.py", {"optimizer.name": "adan"}, "Did you mean 'adam"),
        ("configs/audfer.py:au=minro", {}, "loss.au: 'minro' .* Did you mean 'minor'"),
        ("configs/auvit.py:synth_au", {}, "no expression labels"),
        ("configs/auvit.py", {"data.batch_size": 83}, "multiple of 2"),
    ],
)
def test_mistakes_are_named_before_anything_is_prepared(
    text, change, message, monkeypatch, tmp_path
):
    monkeypatch.setenv("AUFER_DATA", str(tmp_path / "data"))
    with pytest.raises(ValueError, match=message):
        config = config_lib.load(str(places.ROOT / text))
        for path, value in change.items():
            section, leaf = path.split(".")
            with config.unlocked():
                config[section][leaf] = value
        loop.train_and_evaluate(config, tmp_path / "run")
    assert not (tmp_path / "data").exists()
    assert not (tmp_path / "run").exists()
