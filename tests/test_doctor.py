"""`aufer doctor`: what is said of a machine, and of one on which something is broken."""

import json
import re

import cv2
import jax
import pytest

from aufer_jax import cli, doctor
from aufer_jax.train import logs


@pytest.fixture(autouse=True)
def empty(tmp_path, monkeypatch):
    monkeypatch.setenv("AUFER_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)


def advice():
    return {finding.name: finding.advice for finding in doctor.examine() if finding.advice}


def test_a_good_machine(capsys, tmp_path):
    assert cli.main(["doctor", "--json"]) == 0
    said = {finding["name"]: finding["found"] for finding in json.loads(capsys.readouterr().out)}
    assert said["jax"] == jax.__version__
    assert re.fullmatch(r"\d+ x cpu \(cpu\)", said["devices"])
    assert {".jpg", ".png"} <= set(said["pictures"].split())
    assert said["videos"] == "written and read"
    assert said["data"].startswith(f"{tmp_path / 'data'}: ")
    assert said["extra analysis"] == "installed"  # scikit-learn, which the tests need


def test_the_text_marks_what_to_look_at():
    good, bad = doctor.Finding("a", "fine"), doctor.Finding("bc", "gone", "fetch it")
    assert doctor.text([good]).splitlines() == ["  a  fine", "all is well"]
    assert doctor.text([good, bad]).splitlines() == [
        "  a   fine", "! bc  gone", "      -> fetch it", "to look at: 1, marked with !",
    ]  # fmt: skip


def test_a_device_that_is_not_there(monkeypatch):
    def nothing():
        raise RuntimeError("no such backend")

    monkeypatch.setattr(jax, "devices", nothing)
    monkeypatch.setenv("JAX_PLATFORMS", "cuda")
    assert "JAX_PLATFORMS is 'cuda'" in advice()["devices"]


def test_an_unused_gpu(monkeypatch):
    monkeypatch.setattr(doctor.glob, "glob", lambda pattern: ["x"] if "nvidia" in pattern else [])
    assert "pip install 'aufer-jax[cuda]'" in advice()["devices"]


def test_videos_that_cannot_be_read_and_a_missing_package(monkeypatch):
    monkeypatch.setattr(cv2.VideoCapture, "read", lambda self: (False, None), raising=False)
    version = logs.version
    monkeypatch.setattr(logs, "version", lambda name: None if name == "grain" else version(name))
    found = advice()
    assert found["grain"] == "pip install grain"
    assert "videos" in found


def test_a_damaged_dataset_and_a_check_that_fails(tmp_path, monkeypatch):
    (tmp_path / "data" / "mine").mkdir(parents=True)
    (tmp_path / "data" / "mine" / "dataset.json").write_text("{")
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: 1 / 0)
    found = advice()
    assert found["dataset mine"] == "aufer data remove mine, and prepare it again"
    assert found["disk"] == "reinstall aufer-jax"


def test_little_memory_and_a_full_disk(monkeypatch):
    monkeypatch.setattr(doctor, "LITTLE_MEMORY", 1e18)
    monkeypatch.setattr(doctor, "LITTLE_DISK", 1e18)
    assert {"memory", "runs, here", "data"} <= set(advice())
