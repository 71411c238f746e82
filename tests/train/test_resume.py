"""A run that is killed, at any moment, ends with the numbers of one that was left alone."""

import json
import os
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import orbax.checkpoint as ocp
import places
import pytest
import toy

from aufer_jax.train import checkpoints, experiment, loop, speed

SCRIPT = places.TESTS / "toy_run.py"
SETTINGS = ["train__epochs=3", "train__save_every=1", "train__log_every=2"]


def start(workdir, *, devices=1, settings=SETTINGS, **environment):
    return subprocess.Popen(
        [sys.executable, SCRIPT, str(workdir), *settings],
        env={**os.environ, "XLA_FLAGS": places.xla_flags(devices), **environment},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def finish(process, expected=0):
    output = process.communicate(timeout=240)[0]
    assert process.returncode == expected, output
    return output


def record(workdir):
    """Everything a run has written, but for the times."""
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        for name in speed.TIMES:
            line.pop(name, None)
    return lines, json.loads((workdir / "summary.json").read_text())


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("undisturbed")
    finish(start(workdir))
    return record(workdir)


def test_the_record_is_whole(undisturbed):
    lines, summary = undisturbed
    assert [line["split"] for line in lines[:4]] == ["train", "validation", "train", "validation"]
    assert summary["steps"] == 6
    assert lines[4]["loss"] < lines[0]["loss"]
    assert 0 < summary["test_last"]["accuracy"] < 1  # neither trivial nor dead


@pytest.mark.parametrize(
    "death", [{"AUFER_DIE_AT": "3"}, {"AUFER_DIE_SAVING": "1"}, {"AUFER_DIE_SAVING": "4"}]
)
def test_killed_and_restarted(tmp_path, undisturbed, death):
    finish(start(tmp_path, **death), expected=-signal.SIGKILL)
    finish(start(tmp_path))
    assert record(tmp_path) == undisturbed


def test_a_latest_begins_when_the_best_it_tells_of_is_whole(tmp_path, monkeypatch):
    """Else a run killed in between resumes with the number of a best state that was never written."""
    save, whole = ocp.CheckpointManager.save, []

    def looking(self, *args, **kwargs):
        whole.append(checkpoints.Reader(tmp_path).latest_step("best"))
        return save(self, *args, **kwargs)

    monkeypatch.setattr(ocp.CheckpointManager, "save", looking)
    run = toy.run()
    state = experiment.assemble(run, toy.task(run), jax.devices()[:1]).initial_state()
    saver = checkpoints.Checkpoints(tmp_path)
    saver.save(1, state, {}, kind="best")
    saver.save(1, state, {})
    saver.close()
    assert whole == [None, 1]


def test_sigterm_writes_a_checkpoint_and_exits_cleanly(tmp_path):
    long = ["train__epochs=2000", "train__log_every=2"]
    process = start(tmp_path, settings=long)
    while not list(tmp_path.glob("checkpoints/latest/[0-9]*")):
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    assert "run the same command to resume" in finish(process)
    assert not (tmp_path / "summary.json").exists()
    assert checkpoints.Reader(tmp_path).latest_step() >= 2


def test_two_processes_train_the_numbers_of_one(tmp_path, undisturbed, unused_port):
    """One process with all rows against two processes with half of them each."""
    processes = [
        start(
            tmp_path,
            AUFER_COORDINATOR=f"127.0.0.1:{unused_port}",
            AUFER_PROCESSES="2",
            AUFER_PROCESS=str(index),
        )
        for index in range(2)
    ]
    for process in processes:
        finish(process)
    lines, summary = record(tmp_path)
    for ours, theirs in zip(lines, undisturbed[0], strict=True):
        for name, value in theirs.items():
            if isinstance(value, float):
                np.testing.assert_allclose(ours[name], value, rtol=1e-4, atol=1e-5, err_msg=name)
    assert summary["test_last"]["confusion"] == undisturbed[1]["test_last"]["confusion"]


def test_restores_on_another_number_of_devices(tmp_path):
    run = toy.run()
    four = experiment.assemble(run, toy.task(run), jax.devices()[:4])
    state = four.initial_state()
    saver = checkpoints.Checkpoints(tmp_path)
    saver.save(0, state, {"note": "x"})
    saver.wait()
    expected, steps = jax.device_get(state.params), []
    for count in (1, 2):
        other = experiment.assemble(run, toy.task(run), jax.devices()[:count])
        reader = checkpoints.Reader(tmp_path)
        restored, progress = reader.restore(other.target, other.devices.replicated)
        assert progress == {"note": "x"}
        assert len(jax.tree.leaves(restored.params)[0].sharding.device_set) == count
        jax.tree.map(np.testing.assert_array_equal, jax.device_get(restored.params), expected)
        batch = {k: np.asarray(v) for k, v in other.task.example.items()}
        after, _ = other.train_step(restored, other.devices.put_batch(batch))
        steps.append(jax.device_get(after.params))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), *steps)
    saver.close()


def test_a_workdir_of_another_configuration_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(toy.config(train__epochs=9).to_json_best_effort())
    (tmp_path / "summary.json").write_text("{}")
    with pytest.raises(ValueError, match=r"train\.epochs was 9, is 2; choose another"):
        loop.train_and_evaluate(toy.config(), tmp_path, toy.task(toy.run()))


def test_broken_records_are_named_in_a_report(tmp_path, caplog):
    result = loop.train_and_evaluate(toy.config(), tmp_path, toy.task(toy.run(), broken=(3, 7)))
    assert result.finished
    found = json.loads((tmp_path / "data_problems_0.json").read_text())
    assert set(found["broken image"]) <= {"k3", "k7"}
    assert found["broken image"]


def test_non_finite_loss_stops_the_run_with_the_step(tmp_path):
    config = toy.config(optimizer__lr=1e30, optimizer__name="sgd", schedule__name="constant")
    with pytest.raises(FloatingPointError, match=r"not finite at step [12]"):
        loop.train_and_evaluate(config, tmp_path, toy.task(toy.run()))
