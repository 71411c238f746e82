"""What a line of metrics.jsonl says of speed: by hand, and of a run."""

import json
import types

import pytest
import toy

from aufer_jax.train import chips, free, loop, progress, speed


@pytest.fixture
def clock(monkeypatch):
    now = types.SimpleNamespace(value=100.0)
    monkeypatch.setattr("time.monotonic", lambda: now.value)
    return now


def test_by_hand(clock, monkeypatch):
    monkeypatch.setattr(chips, "peak_bytes", lambda devices: 3_000_000_000)
    measured = speed.Speed(rows=64, count=4, flops=8e12, peak=10e12)
    measured.start(10)
    assert measured.values(10) == {}
    clock.value += 5
    # 20 steps in 5 s: 4 a second, of 16 rows and 2 TFLOP on each device.
    assert measured.values(30) == {
        "steps_per_s": 4.0,
        "samples_per_s_device": 64.0,
        "tflops_per_s_device": 8.0,
        "mfu": 0.8,
        "peak_device_bytes": 3e9,
    }
    assert set(measured.values(30)) < set(speed.TIMES)
    assert speed.brief(measured.values(30)) == ", 64 rows/s a device, 80 % MFU"
    measured.start(30)
    assert measured.values(30) == {}
    assert speed.brief({}) == ""


@pytest.mark.parametrize(
    ("kind", "bfloat16", "float32", "gigabytes"),
    [
        ("NVIDIA A100-SXM4-40GB", 312, 156, 40),
        ("NVIDIA H100 80GB HBM3", 989, 494, 80),
        ("NVIDIA H100 PCIe", 756, 378, 80),
        ("NVIDIA H200", 989, 494, 141),
        ("Tesla V100-SXM2-16GB", 125, 15.7, 16),
        ("Tesla T4", 65, 8.1, 16),
        ("NVIDIA L4", 121, 60, 24),
        ("NVIDIA GeForce RTX 4090", 165, 82.6, 24),
        ("TPU v4", 275, 275, 32),
        ("TPU v5 lite", 197, 197, 16),
        ("TPU v5", 459, 459, 95),
        ("TPU v5p", 459, 459, 95),
        ("TPU v6 lite", 918, 918, 32),
        ("NVIDIA L40S", 0, 0, 0),
        ("NVIDIA A10G", 0, 0, 0),
        ("cpu", 0, 0, 0),
    ],
)
def test_chips_by_the_name_that_they_give_themselves(kind, bfloat16, float32, gigabytes):
    assert chips.chip(kind, "bfloat16") == chips.Chip(kind, bfloat16 * 1e12, gigabytes * 10**9)
    assert chips.chip(kind, "float32").peak == float32 * 1e12


def test_a_chips_own_word_comes_first():
    device = types.SimpleNamespace(
        device_kind="NVIDIA A100-SXM4-80GB",
        memory_stats=lambda: {"bytes_limit": 80, "peak_bytes_in_use": 7},
    )
    assert chips.of([device], "bfloat16").memory == 80
    assert chips.of([device], "bfloat16", peak_tflops=2).peak == 2e12
    assert chips.peak_bytes([device, device]) == 7

    def raises():
        raise RuntimeError("not there")

    device.memory_stats = raises
    assert chips.of([device], "bfloat16").memory == 40_000_000_000
    assert chips.peak_bytes([device]) == 0


@pytest.mark.parametrize(("platform", "counted"), [("cuda", True), ("tpu", True), ("cpu", False)])
def test_an_accelerators_flops_are_counted_without_its_peak(platform, counted):
    on = types.SimpleNamespace(count=1, lowered_for=platform)
    train = toy.run().train
    told = speed.of(train, 16, on, lambda: 8e12)
    told.start(-1)
    assert ("tflops_per_s_device" in told.values(0)) == counted


@pytest.mark.parametrize("peak", [0.0, 1.0])
def test_a_run_tells_its_speed(tmp_path, capsys, monkeypatch, peak):
    monkeypatch.setattr(progress, "MEASURED_SECONDS", 0.0)
    config = toy.config(train__epochs=2, train__peak_tflops=peak)
    loop.train_and_evaluate(config, tmp_path, toy.task(toy.config_lib.check(config)))
    line = json.loads((tmp_path / "metrics.jsonl").read_text().splitlines()[0])
    pace = line["steps_per_s"]
    assert line["samples_per_s_device"] == pytest.approx(pace * 16 / 4, rel=1e-3)  # four devices
    assert ("tflops_per_s_device" in line) == (peak > 0)
    assert ("mfu" in line) == (peak > 0)
    if peak:
        assert line["mfu"] == pytest.approx(line["tflops_per_s_device"], rel=1e-3)
    assert pace > 2 / line["seconds"]  # the time to compile is not in it
    assert "peak_device_bytes" not in line  # a CPU's is the host's
    said = capsys.readouterr().out
    assert "rows/s a device" in said
    assert ("MFU" in said) == (peak > 0)
    assert said.count("left, without validation, measured on this machine") == 1
    assert "train.peak_tflops" in free.KEYS
