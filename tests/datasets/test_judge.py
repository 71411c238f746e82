"""What is said of a dataset before any training, on counts made by hand and on prepared folders."""

import dataclasses
import json

import clips_source
import faces_source as faces
import pytest
from prepare_source import run, table

from aufer_jax.datasets import catalog, inspection, judge, prepare

GOOD = judge.Facts(
    unit="image",
    counts={
        "train": {"neutral": 60, "happiness": 40},
        "validation": {"neutral": 5, "happiness": 5},
        "test": {"neutral": 6, "happiness": 4},
    },
    without_landmarks=0,
    without_aus=0,
    subjects=12,
    shared_subjects=0,
)


def said(**changes):
    return judge.judge(dataclasses.replace(GOOD, **changes))


def counts(train, **others):
    names = ("neutral", "happiness", "contempt")[: len(train)]
    return {s: dict(zip(names, n, strict=True)) for s, n in {"train": train, **others}.items()}


def test_of_a_good_dataset_nothing_is_said():
    assert said() == []


def test_one_class():
    lines = said(counts=counts([50], validation=[9], test=[9]))
    assert lines == ["only neutral occurs in training: there is nothing to tell apart"]


def test_classes_too_few_or_not_measured():
    few, empty, skewed = said(counts=counts([3394, 40, 4], validation=[9, 0, 0], test=[9, 1, 1]))
    assert few.startswith("fewer than 20 training images: contempt 4 (0 in validation); hardly")
    assert empty == "validation has no images of happiness: their recall is not measured there"
    assert skewed.startswith("neutral is 848 times as frequent in training as contempt")
    assert "data.balanced=true" in skewed and "train.best_metric=uar" in skewed


def test_missing_splits():
    lines = said(counts=counts([50, 50]))
    assert [line.split(":")[0] for line in lines] == [
        "there is no validation split", "there is no test split",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"duplicates": 7}, "7 pairs of images look the same and are in different splits"),
        ({"shared_subjects": 4}, "4 of 12 people are in more than one split"),
        ({"conflicts": 2}, "2 files occur with different labels"),
        ({"without_landmarks": 120}, "no image has landmarks"),
        ({"without_landmarks": 9}, "9 of 120 images lack landmarks"),
        ({"without_aus": 120}, "no image has AUs: they teach none (AU-ViT takes AUs from data.aux"),
        ({"subjects": 0}, "nobody is named"),
    ],
)
def test_other_findings(changes, line):
    (found,) = said(**changes)
    assert found.startswith(line)


def test_what_guessing_reaches():
    found = judge.chance(GOOD)
    assert found["test"] == ("neutral", 0.6, 0.5) and found["validation"] == ("neutral", 0.5, 0.5)
    never = dataclasses.replace(GOOD, counts=counts([9, 1, 1], test=[0, 3, 1]))
    assert judge.chance(never)["test"] == ("neutral", 0, 0)
    nobody = dataclasses.replace(GOOD, counts={"train": {"unknown": 9}})
    assert judge.chance(nobody) == {} and "split" not in " ".join(judge.judge(nobody))


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A report on a few faces without landmarks, people or contempt, and the folder it is about."""
    folder = tmp_path_factory.mktemp("judged")
    faces.class_folders(folder / "in", 30)
    return run(folder / "in", folder / "data"), folder / "data"


def test_the_report_says_it(prepared):
    report, data_dir = prepared
    text = (data_dir / "mine" / "report.md").read_text("utf-8")
    assert f"## Before you train: {len(report.judged)}" in text
    assert "no image has landmarks" in text and "fewer than 20 training images" in str(report)
    assert f"| always {report.chance['test'][0]} | train | validation | test |" in text
    kept = json.loads((data_dir / "mine" / "report.json").read_text("utf-8"))
    assert kept["judged"] == report.judged and kept["chance"]["test"] == list(report.chance["test"])


def test_inspection_says_it_too(prepared, tmp_path):
    report, data_dir = prepared
    found = inspection.inspect("mine", data_dir=data_dir, out=tmp_path, samples=0)
    assert found.facts == judge.Facts(**report.facts)
    assert all(f"- {line}\n" in str(found) for line in report.judged)


def test_a_run_says_it_in_five_lines(prepared):
    report, data_dir = prepared
    splits = {name: name for name in catalog.info("mine", data_dir).splits}
    lines = judge.of_run("mine", data_dir, splits)
    assert 1 < len(lines) <= 5 and lines[0] == report.judged[0]
    assert lines[-1].startswith(f"always {report.chance['test'][0]}: validation accuracy 0.")
    assert "train" not in lines[-1]
    assert judge.of_run("synth_a", data_dir, {"train": "train"}) == []


def test_a_run_on_folds_counts_what_it_trains_on(tmp_path):
    rows = table(split=lambda i: f"fold{i % 3 + 1}")
    faces.write_images(tmp_path / "in", len(rows))
    faces.write_csv(tmp_path / "in" / "labels.csv", rows)
    run(tmp_path / "in", tmp_path / "data", validation=0.0)
    whole = judge.of_prepared("mine", tmp_path / "data")
    assert (
        whole is not None
        and whole.subjects == 10
        and set(whole.counts) == {"fold1", "fold2", "fold3"}
    )
    (line, *_) = judge.of_run("mine", tmp_path / "data", {"train": "fold1+fold2", "test": "fold3"})
    name = next(iter(whole.classes))
    both = sum(whole.counts[fold][name] for fold in ("fold1", "fold2"))
    assert f"{name} {both}" in line


def test_clips_are_judged_alike(tmp_path):
    for i in range(6):
        split = ("train", "test")[i // 4]
        clips_source.folder(tmp_path / "in" / split / ("happy", "sad")[i % 2] / f"c{i}", 3, first=i)
    prepare.prepare(
        "clips", tmp_path / "in", name="mine", data_dir=tmp_path / "data", validation=0.0
    )
    facts = judge.of_prepared("mine", tmp_path / "data")
    assert facts is not None and facts.unit == "clip"
    assert facts.without_landmarks == facts.without_aus == 6
    assert "no clip has AUs" in " ".join(judge.judge(facts))
    found = inspection.inspect("mine", data_dir=tmp_path / "data", out=tmp_path, samples=0)
    assert found.facts == facts
