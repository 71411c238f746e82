"""Every configuration, end to end, as a user starts it: train, evaluate, again."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parents[1]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


def main(*arguments, data):
    process = subprocess.run(
        [sys.executable, "-m", "aufer_jax.main", *map(str, arguments)],
        cwd=ROOT, env={**os.environ, "AUFER_DATA": str(data)},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    return process.returncode, process.stdout, process.stderr


@pytest.mark.parametrize("config", ["auvit", "mvfer", "audfer"])
def test_trains_evaluates_and_finds_its_own_work(config, data, tmp_path):
    arguments = [f"--config=configs/{config}.py:quick", f"--workdir={tmp_path}"]
    code, out, err = main(*arguments, data=data)
    assert code == 0, err
    assert "synthetic" in out
    assert "epoch 2/2" in out
    written = {path.name for path in tmp_path.iterdir()}
    assert written >= {
        "config.json", "environment.json", "metrics.jsonl", "summary.json", "tensorboard",
        "checkpoints", "figures",
    }  # fmt: skip
    summary = json.loads((tmp_path / "summary.json").read_text())
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert {json.loads(line)["split"] for line in lines} >= {"train", "validation", "test_last"}

    code, out, err = main(*arguments, "--mode=eval", data=data)
    assert code == 0, err
    assert f"accuracy {summary['test_best']['accuracy']:.4f}" in out

    code, out, err = main(*arguments, data=data)
    assert code == 0, err
    assert "finished run" in out
    assert f"accuracy {summary['test_last']['accuracy']:.4f}" in out
    assert (tmp_path / "metrics.jsonl").read_text().splitlines() == lines


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config=configs/auvit.py:synth_x"], "Did you mean 'synth_"),
        (["--config=configs/auvit.py:synth_a,axu=synth_b"], "Did you mean 'aux'"),
        (["--config=configs/auvit.py", "--config.train.parallel=pmpa"], "Did you mean 'pmap'"),
        (["--config=configs/auvit.py", "--config.trian.epochs=3"], "Did you mean"),
        (
            ["--config=configs/auvit.py", "--config.model.name=auvit_smal"],
            "Did you mean 'auvit_small'",
        ),
        (["--config=configs/auvit.py:synth_clips"], "holds clips"),
    ],
)
def test_mistakes_are_named_before_anything_is_prepared(arguments, message, data, tmp_path):
    code, _, err = main(*arguments, f"--workdir={tmp_path / 'run'}", data=tmp_path / "data")
    assert code != 0
    assert message in err, err[-2000:]
    assert not (tmp_path / "data").exists()
