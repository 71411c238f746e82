"""The papers' clip datasets from files as their authors ship them: labels, folds, clips, AUs."""

import json
import os
import shutil
import subprocess
import sys

import clip_datasets_source as datasets
import clips_source as sources
import numpy as np
import places
import pytest

from aufer_jax import cli, facs
from aufer_jax.data import batches, mixture
from aufer_jax.data.sampling import Sampling
from aufer_jax.data.views import Spec
from aufer_jax.datasets import affwild2, catalog, prepare
from aufer_jax.sources import files


def run(name, source, data_dir, **options):
    return prepare.prepare(name, source, data_dir=data_dir, **options)


def held(name, data_dir):
    """Split -> key -> record."""
    found = {}
    for split in catalog.info(name, data_dir).splits:
        source = catalog.source(name, split, data_dir)
        found[split] = {r["key"]: r for r in map(source.__getitem__, range(len(source)))}
    return found


def labels(name, data_dir):
    """Split -> the end of the key -> class, by name."""
    classes = catalog.info(name, data_dir).expressions
    return {
        split: {key.split("/")[-1]: classes[r["expression"]] for key, r in records.items()}
        for split, records in held(name, data_dir).items()
    }


def batch(name, split, data_dir, rows=4):
    """A batch of the loader, with AU-DFER's AUs."""
    spec = Spec(size=16, aus=facs.OPENFACE_18, clip=Sampling(2), train=False)
    part = mixture.Part(catalog.source(name, split, data_dir), spec)
    made, problems = batches.assemble([batches.Row(part, i, None) for i in range(rows)], spec)
    assert not problems and made["mask"].all()
    assert made["clip"].shape == (rows, 2, 16, 16, 3)
    return made


def folds(found):
    """Fold -> keys, its validation part included."""
    whole = {}
    for split, records in found.items():
        whole.setdefault(split.removesuffix("_validation"), set()).update(records)
    return whole


# --- DFEW ---------------------------------------------------------------------------------------

DFEW = ("happiness", "sadness", "neutral", "anger", "surprise", "disgust", "fear")


@pytest.mark.parametrize("form", ["official", "former_dfer", "mae_dfer"])
def test_dfew(tmp_path, form):
    frames = "Clip/jpg_256" if form == "mae_dfer" else "Clip/clip_224x224"
    datasets.dfew(tmp_path / "in", form=form, frames=frames)
    if form == "mae_dfer":
        sources.folder(tmp_path / "in/Clip/clip_224x224_16f/00001", 1)
        sources.video(tmp_path / "in/Clip/original/00001.mp4", 2)
    report = run("dfew", tmp_path / "in", tmp_path / "data", validation=0.2)
    info = catalog.info("dfew", tmp_path / "data")
    assert info.expressions == DFEW and info.kind == "clip"
    found = labels("dfew", tmp_path / "data")
    parts = folds(found)
    assert set(parts) == {f"fold{k}" for k in range(1, 6)}
    for k in range(1, 6):
        assert parts[f"fold{k}"] == {f"{i:05}" for i in range(1, 36) if i % 5 + 1 == k}
        assert found[f"fold{k}"] and found[f"fold{k}_validation"]
    every = {key: word for records in found.values() for key, word in records.items()}
    assert every == {f"{i:05}": DFEW[i % 7] for i in range(1, 36)}
    assert report.published["fold1"] == dict(
        zip(DFEW, (489, 379, 534, 435, 294, 29, 181), strict=True)
    )
    assert "| fold1 and fold1_validation | 1 | 1 | 1 | 1 | 1 | 1 | 1 | 7 |" in str(report)
    assert "| fold5, published | 489 | 378 | 533 | 434 | 293 | 29 | 180 | 2336 |" in str(report)
    assert report.label_map == dict(zip("1234567", DFEW, strict=True))
    assert not report.unreadable and not report.findings
    if form == "mae_dfer":
        remark = "frames of jpg_256; the source also has clip_224x224_16f, original"
        assert report.remarks == (remark,)
    train = catalog.fold_splits(info, 3)["train"]
    assert (batch("dfew", train, tmp_path / "data")["expression"] >= 0).all()


def test_dfew_lists_that_contradict_are_told(tmp_path):
    datasets.dfew(tmp_path / "in")
    folder = tmp_path / "in/EmoLabel_DataSplit"
    with (folder / "test(single-labeled)/set_1.csv").open("a") as file:
        file.write("1,2\n5,6\n")  # 1 is in set 2, 5 is here already
    with (folder / "train(single-labeled)/set_3.csv").open("a") as file:
        file.write("2,3\n36,1\n")  # 2 is in test set 3, 36 in none
    report = run("dfew", tmp_path / "in", tmp_path / "data", validation=0)
    assert report.findings == {
        "Clips in the test lists of two sets, taken for the first": ("00001",),
        "Second rows of a clip, not used": ("00005",),
        "Clips in the train and the test list of one set": ("00001, set 1", "00002, set 3"),
        "Clips of the train lists in no test list, not used": ("00036",),
    }
    assert "fold1_validation" not in catalog.info("dfew", tmp_path / "data").splits


def test_dfew_says_what_is_missing(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"lacks EmoLabel_DataSplit/.* ask its authors"):
        run("dfew", tmp_path / "empty", tmp_path / "data")
    datasets.dfew(tmp_path / "in")
    (tmp_path / "in/EmoLabel_DataSplit/test(single-labeled)/set_4.csv").unlink()
    with pytest.raises(ValueError, match=r"lacks EmoLabel_DataSplit"):
        run("dfew", tmp_path / "in", tmp_path / "data")
    datasets.dfew_lists(tmp_path / "lists", 36, "official")
    missing = r"clips that the label files name but the source lacks; .* \(1\): 00036"
    with pytest.raises(ValueError, match=missing):
        run("dfew", tmp_path / "in", tmp_path / "data", lists=str(tmp_path / "lists"))
    with pytest.raises(
        ValueError, match=r"variant, a folder of the source: 'clip_224' is not known"
    ):
        run("dfew", tmp_path / "in", tmp_path / "data", variant="clip_224")
    options = {"lists": str(tmp_path / "lists"), "skip_missing": True}
    assert run("dfew", tmp_path / "in", tmp_path / "data", **options).written == 35
    datasets.dfew_lists(tmp_path / "lists", 35, "former_dfer")
    with pytest.raises(ValueError, match="disagree; name a folder with one of them with lists"):
        run("dfew", tmp_path / "in", tmp_path / "data", **options)


def test_dfew_trains_and_is_evaluated_on_a_fold(tmp_path):
    """Files -> folds with AUs of OpenFace -> AU-DFER on two of five folds' clips -> its test fold."""
    datasets.dfew(tmp_path / "in", draw=True)
    for i in range(1, 36):
        rows = [(t, 0.9, {6, 12} if i % 7 == 0 else {4}) for t in (1, 2, 3)]
        sources.write(tmp_path / f"au/{i:05}.csv", sources.openface(rows))
    data = tmp_path / "data"
    report = run("dfew", tmp_path / "in", data, au=str(tmp_path / "au"), validation=0.2)
    assert report.aus == facs.OPENFACE_18 and report.without_aus == 0
    changes = {
        "data.dir": data, "data.size": 16, "data.frames": 2, "data.batch_size": 8,
        "data.eval_batch_size": 8, "train.epochs": 1,
    }  # fmt: skip
    command = [
        sys.executable, "-m", "aufer_jax.main", f"--workdir={tmp_path / 'run'}",
        "--config=configs/audfer.py:dfew,host=r3d18,recipe=small,fold=2",
        *(f"--config.{key}={value}" for key, value in changes.items()),
    ]  # fmt: skip
    one_device = os.environ | {"XLA_FLAGS": places.xla_flags()}
    process = subprocess.run(
        command, cwd=places.ROOT, env=one_device, capture_output=True, text=True, check=False,
        timeout=600,
    )  # fmt: skip
    assert process.returncode == 0, process.stderr
    summary = json.loads((tmp_path / "run/summary.json").read_text())
    matrix = np.array(summary["test_last"]["confusion"])
    assert (matrix.sum(1) == 1).all() and matrix.shape == (7, 7)  # fold 2 holds each class once


# --- FERV39k ------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["official", "former_dfer"])
def test_ferv39k(tmp_path, form):
    datasets.ferv39k(tmp_path / "in", form)
    report = run("ferv39k", tmp_path / "in", tmp_path / "data")
    info = catalog.info("ferv39k", tmp_path / "data")
    assert info.expressions == DFEW  # the first row of a list is no header
    assert info.splits["train"] + info.splits["validation"] == 21 and info.splits["test"] == 7
    spelled = dict(zip(datasets.FERV39K_WORDS, DFEW, strict=True))
    for split, records in held("ferv39k", tmp_path / "data").items():
        for key, record in records.items():
            _, word, number = key.rsplit("/", 2)
            assert info.expressions[record["expression"]] == spelled[word]
            assert (number == "0003") == (split == "test")
    assert "| test, published | 1473 | 1393 | 1958 | 1487 | 638 | 467 | 431 | 7847 |" in str(report)
    assert "| train and validation | 3 | 3 | 3 | 3 | 3 | 3 | 3 | 21 |" in str(report)
    assert sum(report.published["train"].values()) == 31088
    batch("ferv39k", "train", tmp_path / "data")


def test_ferv39k_takes_no_other_clip_for_a_missing_one(tmp_path):
    datasets.ferv39k(tmp_path / "in", "official")
    folder = tmp_path / "in/2_ClipsforFaceCrop/War/Sad/0003"
    folder.rename(tmp_path / "in/2_ClipsforFaceCrop/War/Fear/9999")
    (tmp_path / "in/2_ClipsforFaceCrop/War/Fear/0003").rename(
        tmp_path / "in/2_ClipsforFaceCrop/0003"
    )
    with pytest.raises(ValueError, match=r"\(2\): War/Sad/0003, War/Fear/0003"):
        run("ferv39k", tmp_path / "in", tmp_path / "data")


def test_ferv39k_tells_where_folder_and_list_disagree(tmp_path):
    datasets.ferv39k(tmp_path / "in", "official")
    path = tmp_path / "in/4_setups/All_scenes/test_All.csv"
    path.write_text(path.read_text().replace("War/Sad/0003 Sad", "War/Sad/0003 Fear"))
    report = run("ferv39k", tmp_path / "in", tmp_path / "data")
    (found,) = report.findings.values()
    assert found == ("War/Sad/0003: Fear",)
    assert report.counts["test"]["fear"] == 2 and report.counts["test"]["sadness"] == 0


# --- MAFW ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["official", "mae_dfer"])
def test_mafw(tmp_path, form):
    datasets.mafw(tmp_path / "in", form)
    report = run("mafw", tmp_path / "in", tmp_path / "data", validation=0)
    assert catalog.info("mafw", tmp_path / "data").expressions == datasets.MAFW_WORDS
    found = labels("mafw", tmp_path / "data")
    assert set(found) == {f"fold{k}" for k in range(1, 6)}
    for k, records in enumerate(found.values(), 1):
        expected = {f"{i:05}": datasets.MAFW_WORDS[i % 11] for i in range(1, 56) if i % 5 + 1 == k}
        assert records == expected
    assert (
        "| fold1, published | 278 | 128 | 125 | 249 | 228 | 294 | 215 | 48 | 184 | 53 | 37 | 1839 |"
        in (str(report))
    )
    assert "fold 2: 11 clips in its list, published 1837" in report.remarks
    batch("mafw", "fold1+fold2", tmp_path / "data")


@pytest.mark.parametrize(
    ("mark", "order"), [(",", sorted(datasets.MAFW_WORDS)), (" ", datasets.MAFW_WORDS)]
)
def test_mafw_numbers_count_as_the_kind_of_list_does(tmp_path, mark, order):
    datasets.mafw_counted(tmp_path, lambda word: f"{mark}{order.index(word)}")
    card = catalog.card("mafw")
    found = card.list(files.Files(tmp_path), card.options(skip_missing=True))
    (first,) = found.faces
    assert (first.file, first.label) == ("data/frames/00001", "anger")
    assert f"numbers of the lists count {', '.join(order)}" in found.remarks
    shutil.rmtree(tmp_path / "split")
    wrong = order[1:] + order[:1]
    datasets.mafw_counted(tmp_path, lambda word: f"{mark}{wrong.index(word)}")
    message = f"do not count {', '.join(order)}; clips of fold 1 .11.: anger .*, published 278"
    with pytest.raises(ValueError, match=message):
        card.list(files.Files(tmp_path), card.options(skip_missing=True))


def test_mafw7_is_in_the_order_of_dfew(tmp_path):
    datasets.mafw(tmp_path / "in")
    report = run("mafw7", tmp_path / "in", tmp_path / "data", validation=0)
    assert catalog.info("mafw7", tmp_path / "data").expressions == DFEW
    found = labels("mafw7", tmp_path / "data")
    assert found["fold2"] == {
        f"{i:05}": datasets.MAFW_WORDS[i % 11] for i in range(1, 56, 5) if i % 11 < 7
    }
    assert report.written == 35 and report.label_map["contempt"] == "left out"
    assert report.published["fold1"] == {
        "happiness": 249, "sadness": 294, "neutral": 228, "anger": 278, "surprise": 215,
        "disgust": 128, "fear": 125,
    }  # fmt: skip
    batch("mafw7", "fold1", tmp_path / "data")


# --- RAVDESS ------------------------------------------------------------------------------------


def test_ravdess(tmp_path):
    datasets.ravdess(tmp_path / "in")
    report = run("ravdess", tmp_path / "in", tmp_path / "data", validation=0.25)
    info = catalog.info("ravdess", tmp_path / "data")
    assert info.expressions == (
        "neutral", "calm", "happiness", "sadness", "anger", "fear", "disgust", "surprise",
    )  # fmt: skip
    found = held("ravdess", tmp_path / "data")
    assert report.written == 24 * 8 + 8 + 1 and len(found) == 12
    for split, records in found.items():
        for key, record in records.items():
            emotion, actor = int(key.split("-")[2]), int(key.removesuffix(".mp4")[-2:])
            assert record["expression"] == emotion - 1
            assert record["subject"] == f"actor {actor:02}"
            assert split.removesuffix("_validation") == f"fold{(actor + 3) // 4}"
    validating = {r["subject"] for r in found["fold2_validation"].values()}
    assert len(validating) == 1 and not validating & {r["subject"] for r in found["fold2"].values()}
    assert report.published["fold6"]["neutral"] == 16 and report.published["fold6"]["calm"] == 32
    assert report.remarks == (
        "1 clips of another modality than video are left out",
        "1 clips of another channel than speech are left out",
    )
    assert report.findings["Clips whose name is not of seven numbers"] == ("extras/notes",)
    assert report.unreadable == {}
    batch("ravdess", "fold1", tmp_path / "data")


def test_ravdess_without_calm_or_with_song(tmp_path, capsys):
    datasets.ravdess(tmp_path / "in")
    where = ["--source", str(tmp_path / "in"), "--data-dir", str(tmp_path / "data")]
    assert cli.main(["data", "prepare", "ravdess", *where, "--drop-calm", "--channel", "song"]) == 0
    assert "| 02 |" not in capsys.readouterr().out
    info = catalog.info("ravdess", tmp_path / "data")
    assert "calm" not in info.expressions and sum(info.splits.values()) == 1
    assert cli.main(["data", "prepare", "ravdess", *where, "--modality", "audio"]) == 2
    assert "modality: 'audio' is not known" in capsys.readouterr().err


# --- Aff-Wild2 ----------------------------------------------------------------------------------


def test_affwild2(tmp_path):
    datasets.affwild2(tmp_path / "in")
    options = {"window": 4, "shortest": 3, "validation": 0}
    report = run("affwild2", tmp_path / "in", tmp_path / "data", **options)
    info = catalog.info("affwild2", tmp_path / "data")
    assert info.expressions == (
        "neutral", "anger", "disgust", "fear", "happiness", "sadness", "surprise",
    )  # fmt: skip
    found = held("affwild2", tmp_path / "data")
    clips = {
        split: {
            key.removeprefix("cropped_aligned/"): info.expressions[r["expression"]]
            for key, r in records.items()
        }
        for split, records in found.items()
    }
    assert clips == {
        "train": {
            "v1/00001-00004": "neutral", "v1/00006-00008": "happiness",
            "v2_left/00001-00003": "anger", "v2_right/00001-00004": "surprise",
        },
        "test": {
            "v4/00001-00003": "sadness", "v4/00006-00008": "disgust", "v4/00009-00011": "disgust",
            "v4/00012-00014": "disgust",
        },
    }  # fmt: skip
    one = found["train"]["cropped_aligned/v1/00001-00004"]
    assert one["frames"] == [sources.frame(t) for t in (0, 1, 3)]
    assert {r["subject"] for r in found["train"].values()} == {"v1", "v2"}
    assert report.findings == {
        affwild2.SHORT: ("cropped_aligned/v1: 10 to 11",),
        affwild2.BEYOND: ("cropped_aligned/v2_left: 2",),
        affwild2.WITHOUT_FRAMES: ("annotations/EXPR_Set/Validation_Set/v3.txt",),
    }
    assert "4 frames are not annotated or of other expressions" in report.remarks
    batch("affwild2", "train", tmp_path / "data")


@pytest.mark.parametrize(
    ("au_rows", "first", "second"),
    [("number", (1, 2, 4), (6, 7, 8)), ("order", (1, 2, 3), (5, 6, 7))],
)
def test_affwild2_aus_are_those_of_the_frames(tmp_path, au_rows, first, second):
    """Frame 3 is missing, so in the folder frame 4 is the third."""
    datasets.affwild2(tmp_path / "in")
    rows = [(number, 1, {sources.AUS[number - 1]}) for number in range(1, 12)]
    sources.write(tmp_path / "au/v1.csv", sources.openface(rows))
    options = {"window": 4, "shortest": 3, "au_rows": au_rows}
    run("affwild2", tmp_path / "in", tmp_path / "data", au=str(tmp_path / "au"), **options)
    info = catalog.info("affwild2", tmp_path / "data")
    found = {
        k: v for records in held("affwild2", tmp_path / "data").values() for k, v in records.items()
    }
    for key, numbers in (("v1/00001-00004", first), ("v1/00006-00008", second)):
        record = found[f"cropped_aligned/{key}"]
        present = [info.aus[row.argmax()] for row in record["au"]]
        assert present == [sources.AUS[number - 1] for number in numbers]
    assert not found["cropped_aligned/v4/00001-00003"]["au_known"].any()


def test_affwild2_label_files_are_checked(tmp_path):
    datasets.affwild2(tmp_path / "in")
    path = tmp_path / "in/annotations/EXPR_Set/Train_Set/v1.txt"
    path.write_text("Anger,Neutral\n0\nx\n")
    message = (
        r"first line is not neutral,anger.* v1.txt: Anger,Neutral.*that are not a label \(1\): 3: x"
    )
    with pytest.raises(ValueError, match=message.replace(" v1", ".*v1")):
        run("affwild2", tmp_path / "in", tmp_path / "data")


def test_runs_and_pieces():
    said = ["0", "0", "1", "1", "0", "0"]
    assert list(affwild2.runs(said, [1, 2, 3, 4, 5, 6])) == [
        ("0", [1, 2]), ("1", [3, 4]), ("0", [5, 6]),
    ]  # fmt: skip
    assert list(affwild2.runs(said, [1, 5, 6])) == [("0", [1]), ("0", [5, 6])]
    assert [len(p) for p in affwild2.pieces(range(10), 4)] == [3, 3, 4]
    assert [list(p) for p in affwild2.pieces(range(3), 0)] == [[0, 1, 2]]


def test_they_are_known(capsys, tmp_path):
    assert cli.main(["data", "list", "--data-dir", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    for name in ("dfew", "ferv39k", "mafw", "mafw7", "ravdess", "affwild2"):
        assert f"aufer data prepare {name} --source DIR" in out
        card = catalog.card(name)
        assert card.licence and card.how_to_get and "redistribute" in card.redistribution
