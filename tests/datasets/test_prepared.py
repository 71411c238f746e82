"""Prepared datasets: after an interruption, prepared again, and found by all commands."""

import json
import subprocess
import sys

import cv2
import faces_source as faces
import numpy as np
import places
import prepare_source
import pytest
from prepare_source import COUNT, all_records, run

from aufer_jax import cli
from aufer_jax.data import batches, mixture
from aufer_jax.data.views import Spec
from aufer_jax.datasets import catalog, checking, items, prepare
from aufer_jax.datasets.card import Card
from aufer_jax.datasets.listing import Face, Listing
from aufer_jax.datasets.local import Local
from aufer_jax.datasets.prepare_report import Report
from aufer_jax.sources import files as files_lib
from aufer_jax.sources import images
from aufer_jax.train import base
from aufer_jax.train import config as config_lib


@pytest.fixture(scope="module")
def tabled(tmp_path_factory):
    return prepare_source.tabled(tmp_path_factory.mktemp("tabled"))


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    return prepare_source.mixed(tmp_path_factory.mktemp("mixed"))


# --- Interruption -------------------------------------------------------------------------------

DYING = """
import os, signal, sys
from aufer_jax.datasets import checking, items, prepare
checking._COMMIT_S = 0
left = [int(sys.argv[3])]
def step():
    left[0] -= 1
    if not left[0]:
        os.kill(os.getpid(), signal.SIGKILL)
def dying(target, name):
    whole = getattr(target, name)
    def part(*arguments):
        step()
        return whole(*arguments)
    setattr(target, name, part)
dying(*{"checking": (checking.Cache, "add"), "writing": (items, "record")}[sys.argv[4]])
prepare.prepare("folder", sys.argv[1], name="mine", data_dir=sys.argv[2])
"""


@pytest.mark.parametrize(("when", "steps", "known"), [("checking", 9, 8), ("writing", 25, COUNT)])
def test_a_killed_preparation_is_completed(tmp_path, when, steps, known):
    faces.class_folders(tmp_path / "in", COUNT)
    command = [sys.executable, "-c", DYING, tmp_path / "in", tmp_path / "data", str(steps), when]
    process = subprocess.run(list(map(str, command)), capture_output=True, check=False)
    assert process.returncode == -9, process.stderr
    assert "mine" not in catalog.names(tmp_path / "data")
    report = run(tmp_path / "in", tmp_path / "data")
    assert report.from_cache == known
    assert len(all_records(tmp_path / "data")) == COUNT
    left = {path.name for path in (tmp_path / "data" / "mine").iterdir()}
    made = catalog.prepared("mine", tmp_path / "data")["records"]
    assert left == {
        ".lock", "NOTICE", made, "contact_sheet.png", "dataset.json", "report.json", "report.md",
        "splits.csv",
    }  # fmt: skip
    assert not list((tmp_path / "data").rglob("*incomplete*"))


def test_preparing_again_changes_nothing_unless_the_source_has_changed(tmp_path):
    faces.class_folders(tmp_path / "in", 12)
    first = run(tmp_path / "in", tmp_path / "data")
    made = catalog.prepared("mine", tmp_path / "data")["records"]
    again = run(tmp_path / "in", tmp_path / "data")
    assert again.already_prepared and again.counts == first.counts
    assert "already prepared" in str(again)
    other = run(tmp_path / "in", tmp_path / "data", seed=1)
    assert not other.already_prepared
    place = next((tmp_path / "in").rglob("*.jpg"))
    place.with_name("new.jpg").write_bytes(faces.face(20)["image"])
    assert run(tmp_path / "in", tmp_path / "data", seed=1).written == 13
    now = catalog.prepared("mine", tmp_path / "data")["records"]
    kept = [path.name for path in (tmp_path / "data" / "mine").iterdir() if path.is_dir()]
    assert kept == [now] and now != made


def test_what_was_checked_before_a_file_changed_is_forgotten(tmp_path):
    cache = checking.Cache(tmp_path / "c.sqlite")
    cache.add("a", "1", images.Checked(digest="x"), None)
    cache.add("b", "1", images.Checked(problem="bad", likeness=(2**64 - 1, 3)), b"new")
    cache.close()
    cache = checking.Cache(tmp_path / "c.sqlite")
    assert cache.known({"a": "2", "b": "1"}) == {
        "b": images.Checked(problem="bad", likeness=(2**64 - 1, 3))
    }
    assert cache.stored("b") == b"new"
    cache.close()


# --- Afterwards ---------------------------------------------------------------------------------


def test_a_prepared_dataset_is_found_by_name(tabled):
    data = tabled[1] / "data"
    assert "mine" in catalog.names(data) and "synth_a" in catalog.names(data)
    assert "mine" not in catalog.names(data / "nowhere")
    with pytest.raises(ValueError, match=r"'mien' is not known.*Did you mean 'mine'"):
        catalog.info("mien", data)
    source = catalog.source("mine", "train[:3]", data)
    assert len(source) == 3 and source.info.name == "mine"
    with pytest.raises(ValueError, match="only synthetic datasets"):
        catalog.source("mine", "train", data, sizes={"train": 2})


def test_the_report_can_be_read_again(tabled):
    report, folder = tabled
    again = Report.read(folder / "data" / "mine")
    assert json.loads(json.dumps(again.counts)) == report.counts
    assert str(again).splitlines() == str(report).splitlines()


def test_the_contact_sheet_has_a_row_for_each_class(tabled):
    report, folder = tabled
    sheet = cv2.imread(str(folder / "data" / "mine" / "contact_sheet.png"))
    classes = len(next(iter(report.counts.values())))
    assert sheet.shape[0] // (128 + 4) == classes
    green = (sheet[..., 1] > 200) & (sheet[..., 0] < 100) & (sheet[..., 2] < 100)
    assert green.sum() > 1000


@pytest.mark.parametrize("landmarks", [True, False])
def test_batches_are_made_of_it_with_or_without_labels(tabled, mixed, landmarks):
    data = (tabled if landmarks else mixed)[1] / "data"
    part = mixture.Part(catalog.source("mine", "train", data), Spec(size=32, align="5pt"))
    rows = [batches.Row(part, i, None) for i in range(3)]
    batch, problems = batches.assemble(rows, part.spec)
    assert batch["mask"].all() and batch["image"].shape == (3, 32, 32, 3)
    assert batch["landmarks_valid"].all() == landmarks
    assert bool(problems) != landmarks


def test_a_configuration_finds_it_in_its_data_folder(tabled):
    values = config_lib.load(str(places.ROOT / "configs/auvit.py"))
    values.data.dir = str(tabled[1] / "data")
    values.data.target, values.data.aux = "mine", ("mine",)
    values.data.batch_size, values.data.sizes = 12, {"train": 12}
    task = base.build(config_lib.check(values))
    assert task.expressions == catalog.info("mine", values.data.dir).expressions
    assert len(task.train.parts[0].source) == 12
    assert task.evaluation_splits == ("test",)
    assert task.example["image"].shape[0] == 12


def test_the_command_prepares_and_lists(tmp_path, capsys):
    faces.class_folders(tmp_path / "in", 12)
    where = ["--source", str(tmp_path / "in"), "--data-dir", str(tmp_path / "data")]
    assert cli.main(["data", "prepare", "folder", "--name", "mine", *where, "--test", "0"]) == 0
    assert "12 images from" in capsys.readouterr().out
    assert dict(catalog.info("mine", tmp_path / "data").splits).keys() == {"train", "validation"}
    assert cli.main(["data", "list", "--data-dir", str(tmp_path / "data")]) == 0
    assert "mine " in capsys.readouterr().out
    assert cli.main(["data", "prepare", "folder", *where]) == 2
    assert "name: give your dataset a name" in capsys.readouterr().err


def test_a_hint_tells_how_to_prepare_a_dataset(tmp_path, monkeypatch):
    monkeypatch.setattr(catalog, "_registered", {"famous": FAMOUS})
    hint = "famous is not prepared in .*; run: aufer data prepare famous --source DIR; write to its auth"
    with pytest.raises(ValueError, match=hint):
        catalog.info("famous", tmp_path)


def test_workers_change_nothing(tmp_path):
    faces.class_folders(tmp_path / "in", 12)
    files = files_lib.Files(tmp_path / "in")
    found = []
    for workers in (1, 5):
        local = Local(items.ImageItems(files), "image", tmp_path / f"{workers}", workers)
        listed = [Face(name) for name in files.names]
        found.append(local.check(listed)[0])
        local.close()
    assert found[0] == found[1] and len(found[0]) == 12


def read_famous(card, files, options):
    """A list of its own, numbers as labels, votes and published counts."""
    files.need(["list.txt", "images"], card.how_to_get)
    listing = Listing(files, card.expressions, {"1": "happiness", "2": "sadness", "9": None})
    listing.published = dict(card.counts)
    for line in files.open_text("list.txt").splitlines():
        file, label, split = line.split()
        listing.add(Face(f"images/{file}", label, split=split, votes=np.ones(2)))
    return listing


FAMOUS = Card(
    "famous",
    read_famous,
    licence="research only",
    how_to_get="write to its authors",
    expressions=("happiness", "sadness"),
    counts={"train": (2, 2), "test": (1, 0)},
)


def test_a_dataset_of_its_own_kind(tmp_path, monkeypatch):
    monkeypatch.setattr(catalog, "_registered", {"famous": FAMOUS})
    faces.write_images(tmp_path / "in" / "images", 5)
    with pytest.raises(ValueError, match=r"lacks list\.txt; write to its authors"):
        prepare.prepare("famous", tmp_path / "in", data_dir=tmp_path / "data")
    lines = ("face0.jpg 2 train", "face1.jpg 1 train", "face2.jpg 9 train", "face3.jpg 1 test")
    (tmp_path / "in" / "list.txt").write_text("\n".join(lines))
    report = prepare.prepare("famous", tmp_path / "in", data_dir=tmp_path / "data", validation=0)
    found = all_records(tmp_path / "data", "famous")
    assert {k: r["expression"] for k, r in found.items()} == {
        "images/face0.jpg": 1, "images/face1.jpg": 0, "images/face3.jpg": 0,
    }  # fmt: skip
    assert found["images/face0.jpg"]["expression_votes"].tolist() == [1, 1]
    assert "| train | 1 | 1 | 2 |\n| train, published | 2 | 2 | 4 |" in str(report)
    assert catalog.info("famous", tmp_path / "data").licence.startswith("research only. ")
