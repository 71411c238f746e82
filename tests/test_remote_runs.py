"""Runs and datasets whose place is in a store: numbers are those of a disk, and what is sent is found."""

import json
import logging

import fsspec
import numpy as np
import pytest
import toy
import toydata
from finished import images, memory_catalog, save
from places import stored

from aufer_jax import cli, main, pages, remote
from aufer_jax.data import records
from aufer_jax.datasets import catalog, removal, store
from aufer_jax.errors import UserError
from aufer_jax.runs import Predictor
from aufer_jax.train import loop, speed

# --- Runs -------------------------------------------------------------------------------------------


def record(url):
    """Everything a run has written, but for the times."""
    held = stored(url)
    lines = [json.loads(line) for line in held["metrics.jsonl"].splitlines()]
    for line in lines:
        for name in speed.TIMES:
            line.pop(name, None)
    return lines, json.loads(held["summary.json"])


def test_a_run_goes_on_elsewhere_with_the_numbers_of_one_on_a_disk(
    bucket, elsewhere, tmp_path, monkeypatch, caplog
):
    caplog.set_level(logging.INFO, "aufer_jax")
    monkeypatch.setattr(remote, "EVERY_S", 0.1)
    config = toy.config(train__save_every=1)
    task = toy.task(toy.config_lib.check(config))
    loop.train_and_evaluate(config, tmp_path / "disk", task)
    end, seen = loop._end_of_epoch, []

    def killed(*given):
        seen.append(given)
        if len(seen) == 2:
            raise KeyboardInterrupt  # after the last step, before its checkpoint
        return end(*given)

    monkeypatch.setattr(loop, "_end_of_epoch", killed)
    with pytest.raises(KeyboardInterrupt):
        loop.train_and_evaluate(config, f"{bucket}/run", task)
    assert "let no second run use it" in caplog.text
    elsewhere()
    found = loop.train_and_evaluate(config, f"{bucket}/run", task)
    assert found.finished
    assert "own checkpoint of step 3" in caplog.text
    assert record(f"{bucket}/run") == record(f"file://{tmp_path / 'disk'}")
    again = loop.train_and_evaluate(config, f"{bucket}/run", task)
    assert again.state is None  # it has finished
    other = toy.config(train__save_every=1, seed=9)
    with pytest.raises(UserError, match=rf"'{bucket}/run' holds .*--workdir={bucket}/run-2"):
        loop.train_and_evaluate(other, f"{bucket}/run", task)


@pytest.fixture
def finished(bucket, tmp_path, monkeypatch):
    memory_catalog(monkeypatch)
    save(tmp_path / "run", images("mvfer"))
    fs, base = fsspec.core.url_to_fs(f"{bucket}/run")
    fs.put(str(tmp_path / "run"), base, recursive=True)
    return f"{bucket}/run"


def test_a_finished_run_is_applied_and_shown_from_there(finished, tmp_path, capsys):
    far, near = Predictor.load(finished), Predictor.load(tmp_path / "run")
    pixels = np.zeros((1, far.size, far.size, 3), np.uint8)
    for name, value in near(pixels).items():
        np.testing.assert_array_equal(far(pixels)[name], value)
    assert pages.write([finished]).read_text() == pages.write([tmp_path / "run"]).read_text()
    assert cli.main(["run", "report", finished]) in (0, None)
    assert "report/index.html" in stored(finished)
    assert b"<html" in stored(finished)["report/index.html"]


def test_a_trace_stays_on_this_machine(bucket):
    with pytest.raises(UserError, match="must be a folder of this machine"):
        main.start(["--config=configs/auvit.py", f"--profile={bucket}/trace"], "aufer train")


# --- Datasets ---------------------------------------------------------------------------------------


def test_a_dataset_is_sent_found_fetched_once_and_removed(bucket, elsewhere):
    faces = toydata.images(6, "my_faces")
    info = faces.info
    place = catalog.root(bucket) / "my_faces"
    rows = {split: [faces[i] for i in range(6)] for split in info.splits}
    store.write_records(info, store.folder(place / "0123456789abcdef"), rows)
    catalog.publish(info, place, "0123456789abcdef")
    remote.send(place, catalog.RECORD)
    elsewhere()
    remote.catalogue.cache_clear()
    assert "my_faces" in catalog.names(bucket)
    assert not list(catalog.root(bucket).rglob("*.array_record*"))
    source = catalog.source("my_faces", "train", bucket)
    assert len(source) == 6
    keys = {source[i]["key"] for i in range(6)}
    assert keys == {faces[i]["key"] for i in range(6)}
    held = stored(bucket)
    fs, base = fsspec.core.url_to_fs(bucket)
    fs.rm(f"{base}/my_faces/0123456789abcdef", recursive=True)
    assert len(catalog.source("my_faces", "train", bucket)) == 6  # from this machine
    for name, content in held.items():
        fs.pipe_file(f"{base}/{name}", content)
    removal.remove("my_faces", bucket)
    assert stored(bucket) == {}
    with pytest.raises(UserError, match=f"is not in {bucket}"):
        catalog.source("my_faces", "train", bucket)


def test_prepare_sends_the_dataset(bucket, tmp_path):
    folder = tmp_path / "faces"
    for i, label in enumerate(["anger", "happiness"] * 6):
        (folder / label).mkdir(parents=True, exist_ok=True)
        (folder / label / f"{i}.png").write_bytes(toydata.encode(toydata.picture(i, 64)))
    words = [
        "data",
        "prepare",
        "folder",
        "--name",
        "mine",
        "--source",
        str(folder),
        "--data-dir",
        bucket,
    ]
    assert cli.main(words) in (0, None)
    assert {"mine/dataset.json", "mine/report.json"} <= stored(bucket).keys()
    assert any("array_record" in name for name in stored(bucket))
    remote.catalogue.cache_clear()
    assert cli.main(words) in (0, None)  # from the same files already
    assert catalog.info("mine", bucket).kind == records.IMAGE
