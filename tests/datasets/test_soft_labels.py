"""Votes and soft labels of three datasets: from files as their authors ship them to targets of a batch."""

import json

import clip_datasets_source as clips
import datasets_source as sources
import numpy as np
import pytest

from aufer_jax.data import loader
from aufer_jax.data import records as records_lib
from aufer_jax.data.mixture import Part
from aufer_jax.data.sampling import Sampling
from aufer_jax.data.views import Spec
from aufer_jax.datasets import catalog, prepare


def run(name, source, data_dir, **options):
    return prepare.prepare(name, source, data_dir=data_dir, **options)


def records(name, split, data_dir):
    """The last part of the key, without suffix -> record."""
    source = catalog.source(name, split, data_dir)
    found = map(source.__getitem__, range(len(source)))
    return {record["key"].split("/")[-1].split(".")[0]: record for record in found}


def targets(name, split, data_dir, classes=None, clip=None):
    """The same -> what a batch of `data.labels=distribution` teaches, and its label."""
    source = catalog.source(name, split, data_dir)
    spec = Spec(
        size=8, aus=(1,), labels="distribution", clip=clip,
        expressions=classes or catalog.info(name, data_dir).expressions,
    )  # fmt: skip
    stream = loader.train_batches(Part(source, spec), batch_size=len(source), seed=0, threads=0)
    batch = next(stream)
    found = {}
    for stem, record in records(name, split, data_dir).items():
        (row,) = np.flatnonzero(batch["id"] == records_lib.key_id(record["key"]))
        found[stem] = batch["expression_target"][row], int(batch["expression"][row])
    return found


# --- AffectNet+ -----------------------------------------------------------------------------------


def test_affectnetplus(tmp_path):
    sources.affectnetplus(tmp_path / "in")
    report = run("affectnetplus", tmp_path / "in", tmp_path / "data", validation=0)
    train = targets("affectnetplus", "train", tmp_path / "data")
    assert {name: label for name, (_, label) in train.items()} == {
        "10": 0, "11": 1, "12": 7, "13": 6, "14": 2,
    }  # fmt: skip
    np.testing.assert_allclose(train["10"][0], [0.6, 0.2, 0.2, 0, 0, 0, 0, 0], atol=1e-6)
    np.testing.assert_allclose(train["11"][0], [0.25, 0.5, 0, 0, 0, 0, 0, 0.25], atol=1e-6)
    np.testing.assert_array_equal(train["14"][0], np.eye(8)[2])  # its label: there is nothing else
    notes = {
        name: r["note"] for name, r in records("affectnetplus", "train", tmp_path / "data").items()
    }
    assert notes == {
        "10": "easy", "11": "challenging", "12": "difficult", "13": "difficult", "14": "easy",
    }  # fmt: skip
    (left,) = report.findings["Soft labels that are not eight shares, not used"]
    assert left.endswith("train_set/images/14.jpg") and report.label_counts["10"] == 1
    splits = catalog.info("affectnetplus", tmp_path / "data").splits
    assert splits == {"train": 5, "test": 8, "easy": 3, "challenging": 3, "difficult": 2}
    record = records("affectnetplus", "difficult", tmp_path / "data")["25"]
    np.testing.assert_allclose(record["landmarks"], sources.faces.face(11)["landmarks"], atol=1e-3)


def test_affectnetplus_of_seven_classes(tmp_path):
    sources.affectnetplus(tmp_path / "in")
    seven = catalog.card("affectnet7").expressions
    run("affectnetplus", tmp_path / "in", tmp_path / "data", validation=0, expressions=seven)
    train = targets("affectnetplus", "train", tmp_path / "data")
    assert train.keys() == {"10", "11", "13", "14"}  # 12 is contempt
    np.testing.assert_allclose(train["11"][0], [1 / 3, 2 / 3, 0, 0, 0, 0, 0], atol=1e-6)


def test_subsets_of_affectnetplus(tmp_path):
    sources.affectnetplus(tmp_path / "in")
    subset = ("easy", "challenging")
    report = run("affectnetplus", tmp_path / "in", tmp_path / "data", validation=0, subset=subset)
    assert records("affectnetplus", "train", tmp_path / "data").keys() == {"10", "11", "14"}
    assert catalog.info("affectnetplus", tmp_path / "data").splits == {"train": 3, "test": 6}
    assert "only easy, challenging; left out: 5 difficult" in report.remarks
    with pytest.raises(ValueError, match=r"subset: 'esay' .* Did you mean 'easy'"):
        run("affectnetplus", tmp_path / "in", tmp_path / "data", subset=("esay",))


def test_images_that_nobody_labelled_teach_their_soft_labels(tmp_path):
    sources.affectnetplus(tmp_path / "in")
    run("affectnetplus", tmp_path / "in", tmp_path / "data", validation=0, automatic=True)
    target, label = targets("affectnetplus", "train", tmp_path / "data")["30"]
    assert target.tolist() == [0, 0, 0, 0.5, 0.5, 0, 0, 0] and label == -1


def test_files_of_affectnetplus_that_are_missing_or_broken(tmp_path):
    with pytest.raises(
        ValueError, match=r"lacks train_set and validation_set with images and anno"
    ):
        (tmp_path / "empty").mkdir()
        run("affectnetplus", tmp_path / "empty", tmp_path / "data")
    sources.affectnetplus(tmp_path / "in")
    place = tmp_path / "in/AffectNet+/human_annotated/train_set"
    (place / "annotations/10.json").write_text("[1")
    (place / "annotations/11.json").write_text("[" * 9999)
    with pytest.raises(ValueError, match=r"annotations that are no JSON object \(2\): .*/10.json"):
        run("affectnetplus", tmp_path / "in", tmp_path / "data")
    for name in ("10", "11"):
        (place / f"annotations/{name}.json").write_text(json.dumps({"human-label": None}))
    with pytest.raises(ValueError, match=r"labels that are not one of 0, .* None of .*/10.jpg"):
        run("affectnetplus", tmp_path / "in", tmp_path / "data")
    for name in ("10", "11"):
        (place / f"annotations/{name}.json").write_text(
            json.dumps({"human-label": 1, "meta-data": {"landmark-68": {"x": 1}}, "subset": [3]})
        )
    (place / "images/12.jpg").unlink()
    with pytest.raises(ValueError, match=r"lacks; --skip-missing leaves them out \(1\): .*12.jpg"):
        run("affectnetplus", tmp_path / "in", tmp_path / "data")
    report = run("affectnetplus", tmp_path / "in", tmp_path / "data", skip_missing=True)
    assert len(report.findings["Landmarks that are not 68 points, not used"]) == 2


# --- FERPlus --------------------------------------------------------------------------------------


def test_votes_of_ferplus_as_they_are(tmp_path):
    sources.ferplus(tmp_path / "in", "tables")
    run("ferplus", tmp_path / "in", tmp_path / "data", undecided=True)
    train = targets("ferplus", "train", tmp_path / "data")
    # Happiness 5, sadness 4, fear 1; other rules would not count the single vote.
    np.testing.assert_allclose(train["fer0000003"][0], [0, 0.5, 0, 0.4, 0, 0, 0.1, 0], atol=1e-6)
    # Contempt 7, unknown 3.
    np.testing.assert_array_equal(train["fer0000006"][0], np.eye(8)[7])
    target, label = train["fer0000002"]
    assert target[:2].tolist() == [0.5, 0.5] and label == -1


# --- DFEW -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("header", [True, False])
def test_votes_of_dfew_teach_clips(tmp_path, header):
    clips.dfew(tmp_path / "in")
    clips.dfew_annotation(tmp_path / "in", header=header)
    report = run("dfew", tmp_path / "in", tmp_path / "data", validation=0)
    assert report.remarks == ("votes from Annotation/annotation.csv",) and not report.findings
    assert records("dfew", "fold2", tmp_path / "data")["00006"]["expression_votes"].tolist() == [
        3, 0, 0, 0, 0, 0, 7,
    ]  # fmt: skip
    taught = targets("dfew", "fold2", tmp_path / "data", clip=Sampling(2))
    for name, (target, label) in taught.items():
        expected = 0.7 * np.eye(7)[label] + 0.3 * np.eye(7)[(label + 1) % 7]
        np.testing.assert_allclose(target, expected, atol=1e-6, err_msg=name)
    order = ("fear", "happiness", "sadness")
    target, label = targets("dfew", "fold2", tmp_path / "data", order, Sampling(2))["00006"]
    np.testing.assert_allclose(target, [0.7, 0.3, 0], atol=1e-6)
    assert label == 0


def test_tables_of_dfew_that_do_not_fit_are_told(tmp_path):
    clips.dfew(tmp_path / "in")
    place = tmp_path / "in/Annotation/annotation.csv"
    clips.clips.write(place.with_suffix(".xlsx"), "PK")
    report = run("dfew", tmp_path / "in", tmp_path / "a", validation=0)
    said = "Annotation/annotation.xlsx has the votes; save it as annotation.csv for data.labels"
    assert report.remarks == (said,)
    clips.dfew_annotation(tmp_path / "in")
    lines = place.read_text().splitlines()
    place.write_text(
        "\n".join([*lines[:3], "7,0,3,0,0,0,0,3.mp4,1", *lines[5:]])
    )  # 3 changed, 4 gone
    report = run("dfew", tmp_path / "in", tmp_path / "b", validation=0)
    assert report.findings == {
        "Clips without votes": ("Clip/clip_224x224/00004",),
        "Clips whose label is not the class with most votes": ("Clip/clip_224x224/00003",),
    }
    place.write_text("\n".join([*lines[:3], "7,0,three,0,0,0,0,3,1"]))
    with pytest.raises(ValueError, match=r"are not seven votes and a clip \(1\): 4"):
        run("dfew", tmp_path / "in", tmp_path / "c")
