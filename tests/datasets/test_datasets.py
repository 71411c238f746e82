"""The papers' datasets from files as their authors ship them: labels, AUs, votes, splits, subsets."""

import pathlib

import cv2
import datasets_source as sources
import faces_source as faces
import numpy as np
import pytest

from aufer_jax import cli
from aufer_jax.datasets import catalog, prepare
from aufer_jax.sources import images


def run(name, source, data_dir, **options):
    return prepare.prepare(name, source, data_dir=data_dir, **options)


def records(name, split, data_dir):
    source = catalog.source(name, split, data_dir)
    return {record["key"]: record for record in map(source.__getitem__, range(len(source)))}


def labels(name, split, data_dir):
    """The stem of every file of a split -> its class, by name."""
    info = catalog.info(name, data_dir)
    return {
        pathlib.PurePosixPath(key).stem: info.expressions[record["expression"]]
        for key, record in records(name, split, data_dir).items()
    }


def shape(record):
    return cv2.imdecode(np.frombuffer(record["image"], np.uint8), cv2.IMREAD_COLOR).shape


# --- RAF-DB -------------------------------------------------------------------------------------

RAFDB = ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")


@pytest.fixture(scope="module")
def rafdb(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rafdb")
    sources.rafdb(folder / "in" / "basic")
    sources.rafdb_lists(folder / "lists")
    return run("rafdb", folder / "in", folder / "data", lists=str(folder / "lists")), folder


def test_rafdb(rafdb):
    report, folder = rafdb
    info = catalog.info("rafdb", folder / "data")
    assert info.expressions == RAFDB and info.aus == ()
    assert labels("rafdb", "test", folder / "data") == {
        f"test_{i:04}_aligned": word
        for i, word in enumerate(
            2 * ["happiness", "neutral", "surprise", "fear", "disgust", "sadness", "anger"], 1
        )
    }
    assert info.splits["test"] == 14 and info.splits["train"] + info.splits["validation"] == 42
    assert 3 <= info.splits["validation"] <= 7
    record = records("rafdb", "test", folder / "data")["basic/Image/aligned/test_0001_aligned.jpg"]
    assert record["image"] == faces.face(42)["image"] and np.isnan(record["landmarks"]).all()
    assert report.label_map == dict(zip("1234567", RAFDB, strict=True))
    assert report.published["test"]["happiness"] == 1185
    text = str(report)
    assert "| 4 | 8 | happiness | 3 |" in text
    assert "| train and validation | 6 | 6 | 6 | 6 | 6 | 6 | 6 | 42 |" in text
    assert "| train, published | 1290 | 281 | 717 | 4772 | 1982 | 705 | 2524 | 12271 |" in text
    assert "test fear 2, published 74" in text and "no redistribution" in text
    assert any("Annotation are not used" in remark for remark in report.remarks)


def test_rafdb_occlusion_and_pose_are_splits_of_test_images(rafdb):
    report, folder = rafdb
    data = folder / "data"
    sizes = catalog.info("rafdb", data).splits
    assert {split: sizes[split] for split in ("occluded", "pose30", "pose45")} == {
        "occluded": 2, "pose30": 2, "pose45": 1,
    }  # fmt: skip
    assert labels("rafdb", "occluded", data) == {
        "test_0001_aligned": "happiness", "test_0002_aligned": "neutral",
    }  # fmt: skip
    test, occluded = records("rafdb", "test", data), records("rafdb", "occluded", data)
    for key, record in occluded.items():
        assert record["image"] == test[key]["image"]
    assert [r["note"] for _, r in sorted(occluded.items())] == ["occlusion 4", "occlusion 1"]
    list_name = "rafdb_occlusion_list.txt (occluded)"
    assert dict(report.findings) == {
        f"Rows of {list_name} without a test image": ("test_0999_aligned",),
        f"Rows of {list_name} with another label than the test set": (
            "basic/Image/aligned/test_0002_aligned.jpg: anger there, neutral here",
        ),
    }
    assert report.counts["occluded"]["neutral"] == report.counts["occluded"]["happiness"] == 1
    assert not report.duplicates and report.images == 56
    lines = (data / "rafdb" / "splits.csv").read_text().splitlines()
    mine = [line.split(",")[1] for line in lines if "test_0001" in line]
    assert mine == ["test", "occluded", "pose30"]


def test_rafdb_says_what_is_missing(tmp_path):
    with pytest.raises(ValueError, match=r"lacks EmoLabel/list_patition_label.txt; ask .*research"):
        (tmp_path / "empty").mkdir()
        run("rafdb", tmp_path / "empty", tmp_path / "data")
    sources.rafdb(tmp_path / "in")
    (tmp_path / "in/Image/aligned/test_0002_aligned.jpg").unlink()
    missing = r"--skip-missing leaves them out \(1\): Image/aligned/test_0002_aligned.jpg"
    with pytest.raises(ValueError, match=missing):
        run("rafdb", tmp_path / "in", tmp_path / "data")
    report = run("rafdb", tmp_path / "in", tmp_path / "data", skip_missing=True)
    (found,) = report.findings.items()
    assert found[1] == ("Image/aligned/test_0002_aligned.jpg",) and report.written == 55
    place = tmp_path / "in/EmoLabel/list_patition_label.txt"
    place.write_text("train_00001.jpg 8\nother_1.jpg 1\ntrain_00002.jpg\n")
    with pytest.raises(
        ValueError, match=r"and a label \(2\): 2: other_1.jpg 1, 3: train_00002"
    ) as e:
        run("rafdb", tmp_path / "in", tmp_path / "data2")
    assert "labels that are not one of 1, 2, 3, 4, 5, 6, 7 (1): 8 of Image/al" in str(e.value)
    assert not (tmp_path / "data2").exists()


def test_lists_that_are_not_lists_are_named(tmp_path):
    sources.rafdb(tmp_path / "in")
    (tmp_path / "lists").mkdir()
    with pytest.raises(ValueError, match=r"lists: .* holds none of rafdb_occlusion_list.txt"):
        run("rafdb", tmp_path / "in", tmp_path / "data", lists=str(tmp_path / "lists"))
    sources.write(tmp_path / "in/rafdb_occlusion_list.txt", "test_0001_aligned 3 4\ntest_0002 1")
    with pytest.raises(ValueError, match=r"line 2, 'test_0002 1', is not of the form test_0003"):
        run("rafdb", tmp_path / "in", tmp_path / "data")


def test_classes_can_be_chosen(tmp_path):
    sources.rafdb(tmp_path / "in")
    wanted = ("sadness", "happiness")
    report = run("rafdb", tmp_path / "in", tmp_path / "data", expressions=wanted)
    assert catalog.info("rafdb", tmp_path / "data").expressions == wanted
    assert report.published["test"] == {"sadness": 478, "happiness": 1185}
    assert report.label_map["1"] == "left out" and report.written == 16
    with pytest.raises(ValueError, match="expressions of rafdb: 'contempt' is not known"):
        run("rafdb", tmp_path / "in", tmp_path / "data", expressions=("contempt",))


def test_openface_rows_are_joined_to_aligned_images(tmp_path):
    sources.rafdb(tmp_path / "in")
    rows = [
        {"file": "train_00001.jpg", " confidence": 0.98, " AU06_r": 2.5, " AU12_r": 0},
        {"file": "test_0001_aligned.jpg", " confidence": 0.9, " AU06_r": 0, " AU12_r": 3},
        {"file": "test_0002.jpg", " confidence": 0.5, " AU06_r": 1, " AU12_r": 1},
    ]
    faces.write_csv(tmp_path / "au.csv", rows)
    report = run(
        "rafdb", tmp_path / "in", tmp_path / "data", au=str(tmp_path / "au.csv"), validation=0
    )
    assert catalog.info("rafdb", tmp_path / "data").aus == (6, 12)
    assert report.au_join["matched"] == {"file name": 1, "name without _aligned": 2}
    test, train = (records("rafdb", split, tmp_path / "data") for split in ("test", "train"))
    assert train["Image/aligned/train_00001_aligned.jpg"]["au"].tolist() == [2.5, 0]
    assert test["Image/aligned/test_0001_aligned.jpg"]["au"].tolist() == [0, 3]
    assert not test["Image/aligned/test_0002_aligned.jpg"]["au_known"].any()


# --- FERPlus ------------------------------------------------------------------------------------

FERPLUS = (
    "neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt",
)  # fmt: skip


@pytest.mark.parametrize("form", ["folders", "tables"])
def test_ferplus(tmp_path, form):
    sources.ferplus(tmp_path / "in", form)
    sources.ferplus_lists(tmp_path / "in")
    report = run("ferplus", tmp_path / "in", tmp_path / "data")
    data = tmp_path / "data"
    assert catalog.info("ferplus", data).expressions == FERPLUS
    assert labels("ferplus", "train", data) == {
        "fer0000000": "neutral", "fer0000001": "happiness", "fer0000003": "happiness",
        "fer0000006": "contempt",
    }  # fmt: skip
    assert labels("ferplus", "validation", data) == {
        "fer0000007": "anger", "fer0000008": "surprise",
    }  # fmt: skip
    assert labels("ferplus", "test", data) == {"fer0000009": "disgust", "fer0000010": "fear"}
    assert labels("ferplus", "occluded", data) == labels("ferplus", "test", data)
    assert labels("ferplus", "pose45", data) == {"fer0000010": "fear"}
    for key, record in (
        records("ferplus", "train", data) | records("ferplus", "test", data)
    ).items():
        place = int(key[-11:-4])
        assert record["expression_votes"].tolist() == list(sources.FERPLUS[place][2:])
        pixels = cv2.imdecode(np.frombuffer(record["image"], np.uint8), cv2.IMREAD_UNCHANGED)
        np.testing.assert_array_equal(pixels, sources.gray(place))
    assert report.label_counts["no majority"] == 2 and report.label_counts["unknown"] == 1
    assert report.label_map["no majority"] == report.label_map["not a face"] == "left out"
    assert report.published["validation"]["anger"] == 287
    wrong = "Rows of pose_45_ferplus_list.txt (pose45) with another label than the test set"
    (conflict,) = report.findings[wrong]
    assert conflict.endswith("FER2013Test/fer0000010.png: surprise there, fear here")
    left = report.findings[
        "Rows of jianfei_occlusion_list.txt (occluded) whose test image is left out for its label"
    ]
    assert left == ("fer0000011",)
    if form == "tables":
        assert report.findings["Rows without an image name, left out by the authors"] == (
            "fer2013new.csv, row 6",
        )


def test_ferplus_votes_without_majority_can_stay(tmp_path):
    sources.ferplus(tmp_path / "in", "tables")
    report = run("ferplus", tmp_path / "in", tmp_path / "data", undecided=True)
    record = records("ferplus", "train", tmp_path / "data")["FER2013Train/fer0000002.png"]
    assert record["expression"] == -1 and record["expression_votes"][:2].tolist() == [5, 5]
    assert report.written == 9 and "fer0000011" not in labels("ferplus", "test", tmp_path / "data")


def test_ferplus_votes_follow_the_classes_that_are_kept(tmp_path):
    sources.ferplus(tmp_path / "in", "folders")
    wanted = ("happiness", "neutral", "fear", "disgust", "anger", "surprise")
    run("ferplus", tmp_path / "in", tmp_path / "data", expressions=wanted)
    found = records("ferplus", "train", tmp_path / "data")
    # Behind them: sadness, contempt, unknown, not a face.
    assert found["data/FER2013Train/fer0000003.png"]["expression_votes"].tolist() == [
        5, 0, 1, 0, 0, 0, 4, 0, 0, 0,
    ]  # fmt: skip
    assert len(found) == 3


def test_ferplus_tables_must_be_alike(tmp_path):
    sources.ferplus(tmp_path / "in", "tables")
    place = tmp_path / "in" / "fer2013.csv"
    whole = place.read_text()
    place.write_text(whole.replace("PublicTest", "Training", 1))
    with pytest.raises(ValueError, match=r"usage differs between .* \(1\): 9"):
        run("ferplus", tmp_path / "in", tmp_path / "data")
    place.write_text("\n".join(whole.splitlines()[:-1]))
    with pytest.raises(ValueError, match=r"fer2013new.csv has 12 rows, fer2013.csv 11"):
        run("ferplus", tmp_path / "in", tmp_path / "data")
    lines = whole.splitlines()
    place.write_text("\n".join([lines[0], "0,1 2 3,Training", *lines[2:]]))
    with pytest.raises(ValueError, match="row 2 has not 48 x 48 pixels"):
        run("ferplus", tmp_path / "in", tmp_path / "data")
    place.unlink()
    with pytest.raises(
        ValueError, match=r"lacks FER2013Train/, .*or fer2013.csv and fer2013new.csv"
    ):
        run("ferplus", tmp_path / "in", tmp_path / "data")


# --- AffectNet ----------------------------------------------------------------------------------

AFFECTNET = (
    "neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt",
)  # fmt: skip


@pytest.mark.parametrize("form", ["full", "small", "lists"])
@pytest.mark.parametrize("classes", [7, 8])
def test_affectnet(tmp_path, form, classes):
    name, data = f"affectnet{classes}", tmp_path / "data"
    sources.affectnet(tmp_path / "in", form)
    sources.affectnet_lists(tmp_path / "lists")
    report = run(name, tmp_path / "in", data, lists=str(tmp_path / "lists"), validation=0)
    info = catalog.info(name, data)
    assert info.expressions == AFFECTNET[:classes]
    assert labels(name, "test", data) == {f"ba{i:02}": AFFECTNET[i] for i in range(classes)}
    assert labels(name, "train", data) == {
        f"aa{i:02}": AFFECTNET[i % 8] for i in range(16) if i % 8 < classes
    }
    assert report.label_map["7"] == ("contempt" if classes == 8 else "left out")
    assert report.label_counts["8"] == report.label_counts["10"] == 1
    assert report.published["test"] == dict.fromkeys(AFFECTNET[:classes], 500)
    assert sum(report.published["train"].values()) == (287651 if classes == 8 else 283901)
    assert info.splits["occluded"] == (2 if classes == 8 else 1)
    assert labels(name, "pose45", data) == {"ba03": "surprise"}
    title = "occlusion_affectnet_list.txt (occluded)"
    assert report.findings[f"Rows of {title} without a test image"] == ("ffff",)
    left = f"Rows of {title} whose test image is left out for its label"
    assert report.findings.get(left, ()) == (("ba07",) if classes == 7 else ())
    (key,) = (k for k in records(name, "test", data) if "ba02" in k)
    record, drawn = records(name, "test", data)[key], faces.face(20)
    if form == "full":
        left_, top, width, height = sources.BOX
        assert shape(record) == (height, width, 3)
        expected = drawn["landmarks"] - (left_, top)
        np.testing.assert_allclose(record["landmarks"], expected, atol=1e-3)
        assert report.findings["Rows without a face box, left out"] == ("12/ac00.jpg",)
    else:
        assert record["image"] == drawn["image"]
    if form == "small":
        np.testing.assert_allclose(record["landmarks"], drawn["landmarks"], atol=1e-4)
        (unused,) = report.findings["Images without an annotation, not used"]
        assert unused.endswith("val_set/images/bz99.jpg")
    if form == "lists":
        assert np.isnan(record["landmarks"]).all()


def test_affectnet_face_boxes_can_be_wider(tmp_path):
    sources.affectnet(tmp_path / "in", "full")
    run("affectnet7", tmp_path / "in", tmp_path / "data", margin=0.1, validation=0)
    record = next(iter(records("affectnet7", "test", tmp_path / "data").values()))
    # 3 pixels on each side; 3.2 above (4 - 3.2, rounded: 1) and below (39.2: 39).
    assert shape(record) == (38, 36, 3)


def test_affectnet_lists_of_objects_are_not_opened(tmp_path):
    sources.affectnet(tmp_path / "in", "lists")
    listed = np.array([("images/train/0/aa00.jpg", 0)], dtype=object)
    np.save(tmp_path / "in/train_list.npy", listed, allow_pickle=True)
    with pytest.raises(ValueError, match=r"train_list.npy cannot be read .*astype\(str\)"):
        run("affectnet7", tmp_path / "in", tmp_path / "data")
    (tmp_path / "in/train_list.npy").unlink()
    with pytest.raises(ValueError, match=r"no images for a split \(1\): train"):
        run("affectnet7", tmp_path / "in", tmp_path / "data")


# --- Cutting ------------------------------------------------------------------------------------


def test_cuts_follow_rotation_and_broken_images_stay_broken():
    upright = np.zeros((40, 60, 3), np.uint8)
    upright[20:, 30:] = 255
    whole = images.Cut(0.5, 0.5, 1.0, 1.0, shares=True)
    for orientation in (1, 6):
        found, stored = images.check(faces.turned(upright, orientation), whole)
        shown = cv2.imdecode(np.frombuffer(stored, np.uint8), cv2.IMREAD_COLOR)
        assert shown.shape == (20, 30, 3) and shown.min() > 200 and "cut" in found.changes
    # In the file the white part lies at the left, below: rows 30 to 59, columns 20 to 39 of 60 x 40.
    found, stored = images.check(faces.turned(upright, 6), images.Cut(20, 0, 40, 30))
    moved = found.move(np.array([[20.0, 0.0]]))
    assert stored is not None and np.isfinite(moved).all()
    cut = faces.broken()["cut.jpg"]
    assert images.check(cut[0], whole)[0].problem == cut[1]
    assert (
        "inside the cut"
        in images.check(faces.face(0)["image"], images.Cut(50, 50, 60, 60))[0].problem
    )


# --- RAF-AU -------------------------------------------------------------------------------------


def test_rafau(tmp_path):
    sources.rafau(tmp_path / "in")
    data = tmp_path / "data"
    report = run("rafau", tmp_path / "in", data, validation=0.4, sides=True)
    info = catalog.info("rafau", data)
    assert info.aus == (
        1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 16, 17, 18, 20, 22, 23, 24, 25, 26, 27,
    )  # fmt: skip
    assert info.expressions == () and dict(info.splits) == {"train": 3, "validation": 2}
    found = records("rafau", "train", data) | records("rafau", "validation", data)
    for name, (_, spots) in sources.RAFAU_ROWS.items():
        record = found[f"aligned/{name}_aligned.jpg"]
        assert np.flatnonzero(record["au"]).tolist() == sorted(spots)
        assert record["au_known"].all() and record["expression"] == -1
    assert found["aligned/0003_aligned.jpg"]["note"] == "L12 R14"
    assert report.findings == {"Labels that are not AUs, not used": ("0005.jpg: ??",)}
    assert "AUs that are not among the 21, with their images: 43 (1)" in report.remarks
    assert report.published == {}
    run("rafau", tmp_path / "in", data, validation=0.4)
    found = records("rafau", "train", data) | records("rafau", "validation", data)
    assert {record["note"] for record in found.values()} == {""}


def test_rafau_split_lists(tmp_path):
    sources.rafau(tmp_path / "in")
    sources.rafau_split_lists(tmp_path / "in")
    report = run("rafau", tmp_path / "in", tmp_path / "data", validation=0)
    assert dict(catalog.info("rafau", tmp_path / "data").splits) == {"train": 3, "test": 2}
    test = records("rafau", "test", tmp_path / "data")
    assert np.flatnonzero(test["aligned/0004_aligned.jpg"]["au"]).tolist() == [2, 20]
    train = records("rafau", "train", tmp_path / "data")
    assert np.flatnonzero(train["aligned/0002_aligned.jpg"]["au"]).tolist() == [0]
    (disagreeing,) = (v for k, v in report.findings.items() if k.startswith("Images whose AUs"))
    assert disagreeing == ("0002.jpg",)
    (tmp_path / "in/aligned_split_test_label.txt").unlink()
    with pytest.raises(ValueError, match=r"lacks aligned_split_test_label.txt, the other half"):
        run("rafau", tmp_path / "in", tmp_path / "data")
    with pytest.raises(ValueError, match="rafau has no expression labels"):
        run("rafau", tmp_path / "in", tmp_path / "data", expressions=("fear",))


# --- EmotioNet ----------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["table", "challenge"])
def test_emotionet(tmp_path, form):
    sources.emotionet(tmp_path / "in", form)
    data = tmp_path / "data"
    report = run("emotionet", tmp_path / "in", data, validation=0)
    aus = catalog.info("emotionet", data).aus
    assert aus == (1, 2, 4, 5, 6, 9, 10, 12, 15, 17, 18, 20, 24, 25, 26, 28, 43)
    found = [record for _, record in sorted(records("emotionet", "train", data).items())]
    # AU 1 first, AU 26 in place 14, AU 43 last; all others are unknown, never 0.
    known = [np.flatnonzero(record["au_known"]).tolist() for record in found]
    assert known == [[0, 16], [0, 14, 16], [14, 16]]
    assert [record["au"][[0, 14, 16]].tolist() for record in found] == [
        [1, 0, 1],
        [0, 0, 1],
        [0, 1, 1],
    ]
    assert [shape(record) for record in found] == [(32, 28, 3)] * 3
    assert report.findings == {
        "Rows of the label files without an image": ("N_0000000003_00003.jpg",)
    }
    assert "AUs that are not kept, with the images that have them: 7 (3)" in report.remarks
    run("emotionet", tmp_path / "in", data, validation=0, cut=(0, 0, 1, 1))
    whole = records("emotionet", "train", data)["images/N_0000000000_00000.jpg"]
    assert whole["image"] == faces.face(0)["image"]


def test_emotionet_says_what_is_wrong(tmp_path):
    sources.emotionet(tmp_path / "in", "table")
    table = tmp_path / "in/EmotioNet_FACS_aws_2020_24600.csv"
    table.write_text(table.read_text().replace("'999'", "'7'", 1))
    with pytest.raises(ValueError, match="AUs that are not 0, 1 or 999"):
        run("emotionet", tmp_path / "in", tmp_path / "data")
    table.rename(table.with_suffix(".xlsx"))
    with pytest.raises(ValueError, match=r"save the .xlsx file as CSV"):
        run("emotionet", tmp_path / "in", tmp_path / "data")
    with pytest.raises(ValueError, match="must be left, top, right, bottom"):
        run("emotionet", tmp_path / "in", tmp_path / "data", cut=(0.5, 0, 0.2, 1))


# --- By name ------------------------------------------------------------------------------------


def test_unprepared_datasets_are_known(tmp_path, capsys):
    assert cli.main(["data", "list", "--data-dir", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    for name in ("rafdb", "ferplus", "affectnet7", "affectnet8", "rafau", "emotionet"):
        assert f"not prepared: aufer data prepare {name} --source DIR" in out
        with pytest.raises(
            ValueError, match=f"{name} is not prepared in .*prepare {name} --source"
        ):
            catalog.info(name, tmp_path)
    with pytest.raises(ValueError, match="whdeng"):
        catalog.info("rafdb", tmp_path)
    with pytest.raises(ValueError, match="Did you mean 'rafdb'"):
        catalog.info("rafbd", tmp_path)


def test_the_command_takes_the_options_of_datasets(tmp_path, capsys):
    sources.ferplus(tmp_path / "in", "folders")
    where = ["--source", str(tmp_path / "in"), "--data-dir", str(tmp_path / "data")]
    assert cli.main(["data", "prepare", "ferplus", *where, "--undecided"]) == 0
    assert "| no majority, kept for its votes | 1 | unknown |" in capsys.readouterr().out
    assert cli.main(["data", "prepare", "ferplus", *where, "--sides"]) == 2
    assert "--sides is an option of rafau only" in capsys.readouterr().err
    assert cli.main(["data", "list", "--data-dir", str(tmp_path / "data")]) == 0
    out = capsys.readouterr().out
    assert "prepare rafdb" in out and "prepare ferplus" not in out
