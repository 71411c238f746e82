"""jit, pmap and two processes take the same steps, where rounding is ruled out: in float64."""

import os
import subprocess
import sys

import numpy as np
import places
import pytest

SCRIPT = places.TESTS / "train" / "double.py"


def start(out, mode, count, devices, **environment):
    return subprocess.Popen(
        [sys.executable, SCRIPT, out, mode, str(count)],
        env={**os.environ, "XLA_FLAGS": places.xla_flags(devices), **environment},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def finish(processes, out):
    for process in processes:
        output = process.communicate(timeout=240)[0]
        assert process.returncode == 0, output
    return dict(np.load(out))


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    out = tmp_path_factory.mktemp("alone") / "jit.npz"
    return finish([start(out, "jit", 1, 1)], out)


def test_the_steps_change_everything_that_is_trained(alone):
    first, last = ({k[1:]: v for k, v in alone.items() if k[0] == step} for step in "02")
    assert all((first[name] != last[name]).any() for name in first)


@pytest.mark.parametrize("way", ["pmap", "pmap on two devices", "two processes"])
def test_every_way_takes_the_same_steps(alone, way, tmp_path, unused_port):
    out = tmp_path / "out.npz"
    if way == "two processes":
        place = {"AUFER_COORDINATOR": f"127.0.0.1:{unused_port}", "AUFER_PROCESSES": "2"}
        processes = [start(out, "jit", 2, 1, AUFER_PROCESS=str(i), **place) for i in range(2)]
    else:
        devices = 2 if "two" in way else 1
        processes = [start(out, "pmap", devices, devices)]
    found = finish(processes, out)
    assert found.keys() == alone.keys()
    for name, value in alone.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-10, atol=1e-12, err_msg=name)
