"""benchmarks/gpu.py without a GPU: what it makes of what its processes say, and a dry run of all of it."""

import argparse
import importlib.util
import json
import subprocess
import sys
import types

import places
import pytest

SCRIPT = places.ROOT / "benchmarks" / "gpu.py"


@pytest.fixture(scope="module")
def gpu():
    return places.script("gpu")


OURS = {
    "first": 2.0,
    "flops": 3e12,
    "peak": 100e12,
    "device": "H1",
    "version": "JAX 1",
    "parameters": 5,
}
TORCH = {"first": 1.0, "parameters": 5, "version": "PyTorch 2"}


class Scripted:
    """A process of which it is known what it will say."""

    def __init__(self, *said):
        self.said = list(said)

    def answer(self):
        return dict(self.said.pop(0))

    def step(self, count):
        found = self.answer()
        if "seconds" in found:
            found["seconds"] *= count
        return found

    def close(self):
        self.said.clear()


def steps(*seconds):
    return [{"seconds": each, "memory": 2e9} for each in seconds]


def arguments(**changes):
    return argparse.Namespace(**{"dry_run": False, **changes})


def test_a_row_has_medians_of_rounds_in_turns(gpu):
    workers = {
        "ours": Scripted(OURS, *steps(0.5, 0.1, 0.2, 0.1)),
        "torch": Scripted(TORCH, *steps(0.5, 0.2, 0.2, 0.3)),
    }
    row = gpu._row("M3DFEL", 64, gpu._turns(workers, 3, 1.0))
    assert row["ours, samples/s"] == "640.0"
    assert row["PyTorch, samples/s"] == "320.0"
    assert row["ratio"] == "2.00"
    assert row["ours, MFU"] == "30.0 %"
    assert row["PyTorch, MFU"] == "15.0 %"
    assert row["ours, GB"] == "2.00"
    assert (row["ours, first step, s"], row["PyTorch, first step, s"]) == ("2.0", "1.0")
    assert row["parameters"] == "the same"


def test_without_pytorch_its_half_says_so(gpu):
    workers = {
        "ours": Scripted(OURS, *steps(0.5, 0.1)),
        "torch": Scripted({"error": "no PyTorch here: pip install 'aufer-jax[bench]'"}),
    }
    row = gpu._row("M3DFEL", 64, gpu._turns(workers, 1, 1.0))
    assert row["ours, samples/s"] == "640.0"
    assert row["PyTorch, samples/s"].startswith("no PyTorch here")
    assert row["ratio"] == "-"


def test_what_a_process_says_at_its_end_is_its_error(gpu):
    worker = gpu.Worker("-c", "import sys; sys.exit('no PyTorch here')", seconds=60)
    assert worker.answer() == {"error": "no PyTorch here"}
    assert worker.step(1) == {"error": "no PyTorch here"}
    worker.close()
    worker = gpu.Worker("-c", "import time; time.sleep(60)", seconds=0.1)
    assert worker.answer() == {"error": "out of time"}
    worker.close()


def test_a_step_that_does_not_fit_has_half_of_its_rows(gpu, monkeypatch):
    tried = []

    def worker(script, *words, seconds):
        rows = words[words.index("--rows") + 1] if "--rows" in words else words[1]
        tried.append(rows)
        if "gpu_torch" in script:
            full = {"error": "CUDA out of memory."} if rows == "320" else None
            return Scripted(full) if full else Scripted(TORCH, *steps(*[0.1] * 9))
        return Scripted(OURS, *steps(*[0.1] * 9))

    monkeypatch.setattr(gpu, "Worker", worker)
    row = gpu.measure("AU-ViT paper", arguments(), 60.0)
    assert tried == ["320", "320", "160", "160"]
    assert (row["rows"], row["ratio"]) == (160, "1.00")


def test_a_run_that_was_cut_off_goes_on(gpu, monkeypatch, tmp_path, capsys):
    measured, clock = [], iter([0.0, 0.0, 100.0, 440.0, *[0.0] * 99])
    monkeypatch.setattr(gpu, "time", types.SimpleNamespace(monotonic=lambda: next(clock)))

    def measure(title, given, seconds):
        measured.append(title)
        workers = {"ours": Scripted(OURS, *steps(0.5, 0.1))}
        if title in gpu.CASES:
            workers["torch"] = Scripted(TORCH, *steps(0.5, 0.1))
        return gpu._row(title, 10, gpu._turns(workers, 1, 1.0))

    monkeypatch.setattr(gpu, "measure", measure)
    page = tmp_path / "gpu.md"
    words = ["gpu.py", "--out", str(page), "--models", "M3DFEL", "MAE-DFER", "face chain"]
    monkeypatch.setattr(sys, "argv", words)
    gpu.main()
    assert measured == ["M3DFEL", "MAE-DFER"]
    assert "face chain: the time is over" in capsys.readouterr().out
    assert "Face chain" not in page.read_text()
    gpu.main()
    assert measured == ["M3DFEL", "MAE-DFER", "face chain"]
    text = page.read_text()
    assert "## Training steps" in text
    assert "## Face chain" in text
    assert set(json.loads(page.with_suffix(".json").read_text())) == set(measured)


@pytest.mark.slow
def test_a_dry_run_goes_through_all_of_it(gpu, tmp_path):
    """One network of each kind: views of an image, a clip, pre-training."""
    titles = {"MV-FER ResNet-18", "M3DFEL", "MAE-DFER pre-training", gpu.CHAIN}
    command = [sys.executable, str(SCRIPT), "--dry-run", "--state", str(tmp_path / "state.json")]
    command += ["--limit", "600", "--budget", "6000", "--models", *sorted(titles)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=3000)
    assert done.returncode == 0, done.stderr
    rows = json.loads((tmp_path / "state.json").read_text())
    assert set(rows) == titles
    torch = importlib.util.find_spec("torch") is not None
    for title, row in rows.items():
        assert float(row["ours, samples/s"]) > 0, row
        if title in gpu.CASES and torch:
            assert float(row["PyTorch, samples/s"]) > 0, row
            counts = [int(count) for count in row["parameters"].split(", ") if count != "the same"]
            assert not counts or abs(counts[0] / counts[1] - 1) < 0.02, row  # our AU head
        elif title in gpu.CASES:
            assert "no PyTorch" in row["PyTorch, samples/s"]
