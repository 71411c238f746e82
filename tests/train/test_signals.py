"""Real signals to real runs: a checkpoint and exit code 0, whatever the run is doing."""

import json
import os
import signal
import subprocess
import sys
import time

import places
import pytest
import toy

from aufer_jax.train import checkpoints, loop, preemption, progress, speed
from aufer_jax.train import config as config_lib

SCRIPT = places.TESTS / "toy_run.py"
LONG = ["train__epochs=2000", "train__save_every=1"]


def start(*command):
    return subprocess.Popen(
        [sys.executable, *command],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def finish(process, code):
    output = process.communicate(timeout=240)[0]
    assert process.returncode == code, output
    return output


def test_ctrl_c_writes_a_checkpoint_and_the_run_goes_on(tmp_path):
    process = start(SCRIPT, str(tmp_path), *LONG)
    while not list(tmp_path.glob("checkpoints/latest/[0-9]*")):
        assert process.poll() is None, process.stdout.read()
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    output = finish(process, 0)
    step = checkpoints.Reader(tmp_path).latest_step()
    assert f"stopped at step {step}; run the same command to resume" in output
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert all(json.loads(line)["step"] <= step for line in lines)


SETTING_UP = """
import sys, time
from aufer_jax.train import preemption
with preemption.Stop(program=True) as stop:
    if {taken}: stop.first_step_taken()
    print("ready", flush=True)
    time.sleep(60)
    sum(range(10**11))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_before_the_first_step_the_run_ends_at_once(number):
    process = start("-c", SETTING_UP.format(taken=False))
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    assert "stopped before the first step, there is nothing to save" in finish(process, 0)


@pytest.mark.parametrize("first", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_after_a_signal_exits_at_once(first):
    process = start("-c", SETTING_UP.format(taken=True))
    assert process.stdout.readline() == "ready\n"
    process.send_signal(first)
    time.sleep(0.3)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert "interrupted" in finish(process, 130)


class StopAfter(preemption.Stop):
    """Asked in the middle of a step."""

    def __init__(self, step):
        super().__init__()
        self.step = step

    def requested(self, step):
        self.asked = step >= self.step
        return self.asked


def test_a_run_that_is_stopped_before_an_epoch_is_validated_is_the_same_run(tmp_path):
    config = toy.config(train__log_every=1)
    task = toy.task(config_lib.check(config), 32)

    def lines(name):
        with (tmp_path / name / "metrics.jsonl").open() as file:
            found = [json.loads(line) for line in file]
        return [{k: v for k, v in f.items() if k not in speed.TIMES} for f in found]

    loop.train_and_evaluate(config, tmp_path / "whole", task)
    with StopAfter(step=2) as stop:
        assert not loop.train_and_evaluate(config, tmp_path / "run", task, stop=stop).finished
    assert lines("run") == []
    assert loop.train_and_evaluate(config, tmp_path / "run", task).finished
    assert lines("run") == lines("whole")


def test_a_notebook_gets_its_signals_back():
    before = signal.getsignal(signal.SIGINT)
    with preemption.Stop() as stop:
        assert not stop.requested(1)
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.requested(2)
        with pytest.raises(preemption.Stopped):
            stop.leaves(print)()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(1)
    assert signal.getsignal(signal.SIGINT) is before


def test_the_time_left(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    clock = progress.Clock(steps_per_epoch=10, total_steps=30)
    now[0] += 20  # compiling
    clock.done(0)
    assert clock.text() == ""
    for step in range(1, 6):
        now[0] += 2
        clock.done(step)
    assert clock.left() == (10, 50)
    for step in range(6, 11):
        now[0] += 2
        clock.done(step)
    now[0] += 7
    clock.evaluated()
    assert clock.left() == (27, 54)
    assert clock.text() == ", epoch ends in 0:00:27, run in 0:00:54"


def test_the_run_s_time_is_told_once_as_soon_as_steps_are_measured(monkeypatch, capsys):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    clock = progress.Clock(steps_per_epoch=100, total_steps=400)
    display = progress.Display(0, 400, active=True)
    other = progress.Display(0, 400, active=False)  # of another process
    now[0] += 20  # compiling
    clock.done(0)
    for step in range(1, 10):
        now[0] += 0.6
        clock.done(step)
        assert not display.is_due()
        display.expect(step, clock.expected())
        other.expect(step, clock.expected())
    said = "step 4 of 400, about 4 min left, without validation, measured on this machine\n"
    assert capsys.readouterr().out == said
    clock.evaluated()
    now[0] += 5
    clock.evaluated()
    assert clock.expected() == "about 4 min left, measured on this machine"


def test_a_limit_on_the_time(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    clock = progress.Clock(steps_per_epoch=10, total_steps=30, limit_s=5)
    clock.done(0)
    now[0] += 4
    clock.done(1)
    assert not clock.is_over() and clock.left() == (1, 1)
    now[0] += 2
    assert clock.is_over()
