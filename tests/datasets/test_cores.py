"""Work is shared among the cores of this process, which may be fewer than the machine's."""

import io
import os
import pickle
import subprocess

import numpy as np
import pytest

from aufer_jax.datasets import checking, local, synthetic
from aufer_jax.datasets.items import Items
from aufer_jax.train import checkpoints, devices


@pytest.fixture(autouse=True)
def one_of_many(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {3}, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)


def test_drawing(monkeypatch):
    made = []

    class Process:
        def __init__(self, command, **pipes):
            made.append(command)
            self.stdin = io.BytesIO()
            self.stdout = io.BytesIO(pickle.dumps("first") + pickle.dumps("second"))
            self.kill = self.wait = lambda: None

    monkeypatch.setattr(subprocess, "Popen", Process)
    job = ("image", "synth_a", "train", 32, 0)
    assert list(synthetic.draw_in_processes(job, [0, 1])) == ["first", "second"]
    assert len(made) == 1


def test_checking(monkeypatch, tmp_path):
    threads = []

    def in_threads(work, names, workers, ahead):
        threads.append(workers)
        return iter(())

    monkeypatch.setattr(checking, "_in_threads", in_threads)
    cache = checking.Cache(tmp_path / "checked.sqlite", None)
    checking.check_all({}, str, cache)
    local.Local(Items.__new__(Items), "image", tmp_path).check([])
    assert threads == [1, 1]


def test_checksums(monkeypatch):
    threads, pool = [], checkpoints.concurrent.futures.ThreadPoolExecutor
    monkeypatch.setattr(
        checkpoints.concurrent.futures,
        "ThreadPoolExecutor",
        lambda workers: threads.append(workers) or pool(workers),
    )
    assert set(checkpoints.tree_sums({"a": np.zeros(3)})) == {"a"}
    assert threads == [1] and devices.cores() == [3]
