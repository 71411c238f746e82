"""Weights & Biases, MLflow and trackio themselves, without a network: a run that is stopped and goes on.

What they have stored is read by their own readers. Each needs its extra: pip install 'aufer-jax[wandb]'.
"""

import importlib.util
import json
import os
import subprocess
import sys

import places
import pytest

from aufer_jax.train import run

INSTALLED = [name for name in run.TRACKERS if importlib.util.find_spec(name) is not None]

# Each prints a list of runs: their id, configuration, and pairs of steps and values.
READERS = {
    "wandb": """
import glob, json, struct
from wandb.proto import wandb_internal_pb2
def records(data):  # LevelDB's log: blocks of 32 KiB, records of a checksum, a length and a kind
    place, whole = 7, b""
    while place + 7 <= len(data):
        if 32768 - place % 32768 < 7:
            place += 32768 - place % 32768
            continue
        _, size, kind = struct.unpack("<IHB", data[place : place + 7])
        whole += data[place + 7 : place + 7 + size]
        place += 7 + size
        if kind in (1, 4):
            record, whole = wandb_internal_pb2.Record.FromString(whole), b""
            yield record
runs = []
for path in sorted(glob.glob(f"{workdir}/wandb/offline-run-*/*.wandb")):
    config, lines, name = {}, [], ""
    for record in records(open(path, "rb").read()):
        kind = record.WhichOneof("record_type")
        for item in record.run.config.update if kind == "run" else record.config.update:
            key = item.key or ".".join(item.nested_key)
            config[key] = json.loads(item.value_json)
        if kind == "run":
            name = record.run.run_id
        if kind == "history":
            values = {i.key or i.nested_key[0]: json.loads(i.value_json) for i in record.history.item}
            lines.append((values.pop("step"), values))
        if kind == "summary":
            values = {item.key: json.loads(item.value_json) for item in record.summary.update}
            lines.append((values.get("run/steps"), values))
    runs.append((name, config["train"]["epochs"], lines))
""",
    "mlflow": """
import mlflow
client = mlflow.MlflowClient()
experiment = client.get_experiment_by_name("aufer_jax")
runs = []
for found in client.search_runs([experiment.experiment_id]):
    lines = [
        (metric.step, {metric.key: metric.value})
        for key in found.data.metrics
        for metric in client.get_metric_history(found.info.run_id, key)
    ]
    assert found.info.status == "FINISHED"
    assert found.data.params["data.aux"] == "[]"
    runs.append((found.info.run_id, int(found.data.params["train.epochs"]), lines))
""",
    "trackio": """
import trackio
from trackio.sqlite_storage import SQLiteStorage
runs = []
for found in trackio.Api().runs("aufer_jax"):
    logged = SQLiteStorage.get_logs("aufer_jax", found.name)
    lines = [(line.pop("step"), line) for line in logged]
    runs.append((found.name, found.config["train"]["epochs"], lines))
""",
}


@pytest.fixture(scope="module")
def tracked(tmp_path_factory):
    """The workdir of the run, and the environment that says where its numbers are."""
    place = tmp_path_factory.mktemp("tracked")
    where = {
        **os.environ,
        "WANDB_MODE": "offline",
        "MLFLOW_TRACKING_URI": f"sqlite:///{place / 'mlflow.db'}",
        "TRACKIO_DIR": str(place / "trackio"),
        "HF_HUB_OFFLINE": "1",
    }
    for stops in ({"AUFER_STOP_AT": "3"}, {}):  # in the second of two epochs
        done = subprocess.run(
            [
                sys.executable, str(places.TESTS / "toy_run.py"), str(place / "run"),
                f"train__trackers={json.dumps(INSTALLED)}",
            ],
            env=where | stops, cwd=place, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert ("run the same command to resume" in done.stdout) == bool(stops)
        assert "the run goes on without it" not in done.stderr
    return place / "run", where


@pytest.mark.parametrize("name", READERS)
def test_what_a_stopped_run_and_its_second_start_have_stored(name, request):
    if name not in INSTALLED:
        pytest.skip(f"pip install 'aufer-jax[{name}]'")
    workdir, where = request.getfixturevalue("tracked")
    script = (
        f"workdir = {str(workdir)!r}\n{READERS[name]}\nimport json; print('#', json.dumps(runs))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env=where, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    runs = json.loads(done.stdout.rpartition("# ")[2])
    assert {found[0] for found in runs} == {
        json.loads((workdir / "trackers.json").read_text())[name]
    }
    assert {found[1] for found in runs} == {2}
    stored = {
        (step, key): value
        for found in runs
        for step, values in found[2]
        for key, value in values.items()
    }
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert len(lines) == 6
    for line in lines:
        step, split = line.pop("step"), line.pop("split")
        for key, value in line.items():
            if isinstance(value, (int, float)):
                assert stored[step, f"{split}/{key}"] == pytest.approx(value, nan_ok=True), key
    assert stored[4, "run/steps"] == 4 and stored[4, "chosen/epoch"] in (1, 2)
