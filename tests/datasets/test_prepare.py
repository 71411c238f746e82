"""Sources of faces of every form -> prepared datasets, and what is said about them."""

import zipfile

import faces_source as faces
import numpy as np
import prepare_source
import pytest
from prepare_source import COUNT, all_records, run, table

from aufer_jax import facs
from aufer_jax.datasets import catalog, prepare, splits
from aufer_jax.sources import files as files_lib


@pytest.fixture(scope="module")
def tabled(tmp_path_factory):
    return prepare_source.tabled(tmp_path_factory.mktemp("tabled"))


# --- Class folders ------------------------------------------------------------------------------


def test_class_folders_become_a_dataset(tmp_path):
    spelled = {"happiness": "Happy", "sadness": "SAD"}
    faces.class_folders(tmp_path / "in", COUNT, lambda i: spelled.get(faces.word(i), faces.word(i)))
    report = run(tmp_path / "in", tmp_path / "data")
    info = catalog.info("mine", tmp_path / "data")
    assert info.expressions == tuple(e for e in facs.EXPRESSIONS if e in faces.EXPRESSIONS)
    assert info.aus == () and info.kind == "image"
    assert sum(info.splits.values()) == report.written == COUNT
    assert "do not redistribute" in info.licence
    found = all_records(tmp_path / "data")
    for i in range(COUNT):
        label = spelled.get(faces.word(i), faces.word(i))
        record = found[f"{label}/gesicht_ä{i}.jpg"]
        assert record["image"] == faces.face(i)["image"]
        assert info.expressions[record["expression"]] == faces.word(i)
        assert np.isnan(record["landmarks"]).all() and record["subject"] == ""
    assert report.label_map["SAD"] == "sadness"
    assert "| SAD | " in str(report) and "do not redistribute" in str(report)


@pytest.mark.parametrize("inner", ["", "archive/"])
def test_given_splits_stay_and_validation_comes_from_train(tmp_path, inner):
    for split, count in (("Train", 20), ("test", 6)):
        faces.class_folders(tmp_path / f"in/{inner}{split}", count)
    report = run(tmp_path / "in", tmp_path / "data", validation=0.25)
    lines = (tmp_path / "data" / "mine" / prepare.SPLITS_FILE).read_text("utf-8").splitlines()[1:]
    chosen = dict(line.rsplit(",", 1) for line in lines)
    assert {s for f, s in chosen.items() if f.startswith(f"{inner}test/")} == {"test"}
    assert {s for f, s in chosen.items() if f.startswith(f"{inner}Train/")} == {
        "train",
        "validation",
    }
    sizes = {split: sum(classes.values()) for split, classes in report.counts.items()}
    assert sizes["test"] == 6 and 4 <= sizes["validation"] <= 6
    # The same pictures lie in both folders, and that is said.
    assert {pair[-1] for pair in report.duplicates} == {0} and len(report.duplicates) >= 6


def test_classes_asked_for_keep_their_order_and_others_are_counted(tmp_path):
    faces.class_folders(tmp_path / "in", COUNT)
    (tmp_path / "in" / "strange").mkdir()
    (tmp_path / "in" / "strange" / "a.jpg").write_bytes(faces.face(0)["image"])
    with pytest.raises(ValueError, match=r"labels that are not expressions.*'strange' on 1 images"):
        run(tmp_path / "in", tmp_path / "data")
    assert not (tmp_path / "data").exists()
    report = run(tmp_path / "in", tmp_path / "data", expressions=("sad", "Happy"))
    assert catalog.info("mine", tmp_path / "data").expressions == ("sadness", "happiness")
    wanted = sum(faces.word(i) in ("sadness", "happiness") for i in range(COUNT))
    assert report.written == wanted
    assert report.label_map["strange"] == report.label_map["anger"] == "left out"
    assert report.label_counts["strange"] == 1


def test_numbers_need_names(tmp_path):
    numbers = {e: str(i) for i, e in enumerate(faces.EXPRESSIONS)}
    faces.class_folders(tmp_path / "in", COUNT, lambda i: numbers[faces.word(i)])
    with pytest.raises(ValueError, match="labels are numbers: name their classes"):
        run(tmp_path / "in", tmp_path / "data")
    with pytest.raises(ValueError, match=r"numbers outside 0\.\.1"):
        run(tmp_path / "in", tmp_path / "data", expressions=faces.EXPRESSIONS[:2])
    run(tmp_path / "in", tmp_path / "data", expressions=faces.EXPRESSIONS)
    found = all_records(tmp_path / "data")
    assert all(key.split("/")[0] == str(r["expression"]) for key, r in found.items())
    assert len(found) == COUNT


# --- Tables -------------------------------------------------------------------------------------


def test_a_table_gives_landmarks_subjects_and_aus(tabled):
    report, folder = tabled
    info = catalog.info("mine", folder / "data")
    assert info.aus == (4, 12, 28)
    found = all_records(folder / "data")
    for i in range(COUNT):
        record = found[f"deep/images/face{i}.jpg"]
        np.testing.assert_allclose(record["landmarks"], faces.face(i)["landmarks"], atol=1e-4)
        assert record["subject"] == f"person {i % 10}"
        au12 = faces.face(i)["au"][faces.AUS.index(12)]
        expected = [0 if i == 0 else 2.5, au12, float(au12 < 1)]
        np.testing.assert_allclose(record["au"], expected, atol=1e-3)
        assert record["au_known"].tolist() == [i != 0, True, True]
    assert report.subjects == 10 and report.shared_subjects == 0


def test_subjects_are_not_divided(tabled):
    _, folder = tabled
    found = all_records(folder / "data")
    lines = (folder / "data" / "mine" / "splits.csv").read_text().splitlines()[1:]
    people = {}
    for file, split in (line.split(",") for line in lines):
        people.setdefault(found[file]["subject"], set()).add(split)
    assert all(len(where) == 1 for where in people.values())
    assert set.union(*people.values()) == set(splits.SPLITS)


def test_aus_can_be_presences(tabled, tmp_path):
    run(tabled[1] / "in", tmp_path, au_values="presence")
    record = all_records(tmp_path)["deep/images/face3.jpg"]
    assert record["au"][1] == float(faces.face(3)["au"][faces.AUS.index(12)] >= 1)


def test_an_archive_is_read_in_place(tmp_path):
    faces.write_images(tmp_path / "in" / "images", 12, name="ünï{}.jpg")
    rows = [row | {"file": f"ünï{i}.jpg"} for i, row in enumerate(table(12))]
    faces.write_csv(tmp_path / "in" / "labels.csv", rows)
    points = np.stack([faces.face(i)["landmarks"] for i in range(12)])
    points[5] = np.nan
    np.save(tmp_path / "in" / "landmarks_68.npy", points)
    with zipfile.ZipFile(tmp_path / "faces.zip", "w") as archive:
        for path in (tmp_path / "in").rglob("*.*"):
            archive.write(path, path.relative_to(tmp_path / "in"))
        archive.writestr("__MACOSX/images/._face.jpg", b"shadow")
    report = run(tmp_path / "faces.zip", tmp_path / "data")
    found = all_records(tmp_path / "data")
    for i in (0, 11):
        record = found[f"images/ünï{i}.jpg"]
        np.testing.assert_array_equal(record["landmarks"], points[i])
        assert record["image"] == faces.face(i)["image"]
    assert list(report.without_landmarks) == ["images/ünï5.jpg"] and report.written == 12


def test_folders_tell_what_a_table_leaves_out(tmp_path):
    for split in ("train", "test"):
        faces.class_folders(tmp_path / "in" / split, 4)
    files = files_lib.Files(tmp_path / "in")
    faces.write_csv(tmp_path / "in" / "labels.csv", [{"file": f} for f in files.names])
    run(tmp_path / "in", tmp_path / "data", validation=0)
    info = catalog.info("mine", tmp_path / "data")
    assert dict(info.splits) == {"train": 4, "test": 4}
    for key, record in all_records(tmp_path / "data").items():
        assert key.split("/")[1] == info.expressions[record["expression"]]


def test_decomposed_names_are_found(tmp_path):
    faces.write_images(tmp_path / "in", 2, name="mu\u0308ller{}.jpg")
    rows = [row | {"file": f"m\u00fcller{i}.jpg"} for i, row in enumerate(table(2))]
    faces.write_csv(tmp_path / "in" / "labels.csv", rows)
    assert run(tmp_path / "in", tmp_path / "data", validation=0, test=0).written == 2


@pytest.mark.parametrize("form", ["x_0", "names", "npz"])
def test_five_points_lie_where_alignment_looks_for_them(tmp_path, form):
    faces.write_images(tmp_path / "in", 3)
    five = np.arange(30, dtype=np.float32).reshape(3, 5, 2) + 1
    names = ("left_eye", "right_eye", "nose", "mouth_left", "mouth_right")
    columns = [{}, {}, {}]
    if form == "npz":
        np.savez(tmp_path / "p.npz", points=five[::-1], files=[f"face{i}.jpg" for i in (2, 1, 0)])
    else:
        for i, k, a in np.ndindex(3, 5, 2):
            axis = "xy"[a]
            name = f"{axis}_{k}" if form == "x_0" else f"{names[k]}_{axis}"
            columns[i][name] = five[i, k, a]
    faces.write_csv(
        tmp_path / "in" / "labels.csv", [r | c for r, c in zip(table(3), columns, strict=True)]
    )
    options = {"landmarks": str(tmp_path / "p.npz")} if form == "npz" else {}
    run(tmp_path / "in", tmp_path / "data", validation=0, test=0, **options)
    for key, record in all_records(tmp_path / "data").items():
        points, expected = record["landmarks"], five[int(key[4])]
        assert (points[36:42] == expected[0]).all() and (points[42:48] == expected[1]).all()
        np.testing.assert_array_equal(points[[30, 48, 54]], expected[2:])
        assert np.isfinite(points).all(1).sum() == 15


def test_other_column_names_and_kinds_of_csv(tmp_path):
    faces.write_images(tmp_path / "in", 4)
    lines = ["Bild;feeling;Split", *(f"face{i}.jpg;{faces.word(i)};Valid" for i in range(4))]
    (tmp_path / "in" / "my.csv").write_text("\ufeff" + "\n".join(lines), "utf-8")
    columns = {"file": "Bild", "expression": "feeling"}
    run(tmp_path / "in", tmp_path / "data", labels="my.csv", columns=columns)
    assert dict(catalog.info("mine", tmp_path / "data").splits) == {"validation": 4}
    with pytest.raises(ValueError, match="no column for 'file'"):
        run(tmp_path / "in", tmp_path / "data", labels="my.csv")
    with pytest.raises(ValueError, match=r"'feelings' is not known.*'feeling'"):
        run(tmp_path / "in", tmp_path, labels="my.csv", columns={"expression": "feelings"})


# --- AUs of another file ------------------------------------------------------------------------


def test_aus_of_another_file_are_joined_by_name(tmp_path):
    faces.write_images(tmp_path / "in" / "a", 6)
    faces.write_csv(tmp_path / "in" / "labels.csv", table(6))
    rows = [
        {"file": "a/face0.jpg", "confidence": 0.99, "success": 1, "AU06_r": 1.5},
        {"file": "face1.jpg", "confidence": 0.9, "success": 1, "AU06_r": 2.5},
        {"file": "crops/Face2.png", "confidence": 0.85, "success": 1, "AU06_r": 3.5},
        {"file": "face3.jpg", "confidence": 0.7, "success": 1, "AU06_r": 4.5},
        {"file": "face4.jpg", "confidence": 0.95, "success": 0, "AU06_r": 5},
        {"file": "face1.jpg", "confidence": 0.5, "success": 1, "AU06_r": 0.5},
        {"file": "nobody.jpg", "confidence": 0.9, "success": 1, "AU06_r": 1},
    ]
    faces.write_csv(tmp_path / "au.csv", rows)
    report = run(tmp_path / "in", tmp_path / "data", au=str(tmp_path / "au.csv"))
    found = [all_records(tmp_path / "data")[f"a/face{i}.jpg"] for i in range(6)]
    assert [float(r["au"][0]) for r in found] == [1.5, 2.5, 3.5, 0, 0, 0]
    assert [bool(r["au_known"][0]) for r in found] == [True, True, True, False, False, False]
    join = report.au_join
    assert join["matched"] == {"path": 1, "file name": 3, "name without suffix": 1}
    assert join["images_without_row"] == ["a/face5.jpg"]
    assert join["rows_without_image"] == ["nobody.jpg"]
    assert (join["not_confident"], join["rows_of_further_faces"]) == (2, 1)
    assert report.without_aus == 3
    again = run(tmp_path / "in", tmp_path / "data", au=str(tmp_path / "au.csv"), au_confidence=0.6)
    assert again.without_aus == 2


def test_probabilities_become_presences(tmp_path):
    faces.write_images(tmp_path / "in", 3)
    rows = [{"input": f"/x/face{i}.jpg", "AU06": p} for i, p in enumerate((0.2, 0.5, 0.9))]
    faces.write_csv(tmp_path / "au.csv", rows)
    report = run(tmp_path / "in", tmp_path / "data", au=str(tmp_path / "au.csv"))
    found = all_records(tmp_path / "data")
    assert [found[f"face{i}.jpg"]["au"][0] for i in range(3)] == [0, 1, 1]
    assert {r["expression"] for r in found.values()} == {-1}
    assert catalog.info("mine", tmp_path / "data").expressions == ()
    assert "probabilities" in report.remarks[0]


def test_aus_out_of_range_are_named(tmp_path):
    faces.write_images(tmp_path / "in", 2)
    rows = [row | {"AU06_c": value} for row, value in zip(table(2), (1, 100), strict=True)]
    faces.write_csv(tmp_path / "in" / "labels.csv", rows)
    with pytest.raises(ValueError, match=r"labels.csv: 100 in row 3, column AU06_c; it must be"):
        run(tmp_path / "in", tmp_path / "data")


# --- What is wrong with a source ----------------------------------------------------------------


def test_everything_missing_is_told_at_once_and_nothing_is_written(tmp_path):
    faces.write_images(tmp_path / "in" / "a", 2)
    faces.write_images(tmp_path / "in" / "b", 1)
    rows = [row | {"split": "train"} for row in table(9)]
    rows[1]["split"] = "holdout"
    faces.write_csv(tmp_path / "in" / "labels.csv", rows)
    with pytest.raises(ValueError) as error:
        run(tmp_path / "in", tmp_path / "data")
    text = str(error.value)
    assert "leaves them out (7): face2.jpg, face3.jpg, face4.jpg, face5.jpg, face6.jpg, ..." in text
    assert "several files of that name (1): face0.jpg" in text
    assert "splits that are not train, validation or test (1): holdout" in text
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label": "x.csv"}, "option of folder: 'label' is not known.*'labels'"),
        ({"expressions": ("happpy",)}, "'happpy' is not known.*'happiness'"),
        ({"au_values": "presense"}, "'presence'"),
        ({"validation": 0.5, "test": 0.5}, "leave nothing to train on"),
        ({"name": "synth_a"}, "another dataset"),
        ({"name": "../up"}, "letters, digits"),
        ({"labels": "lables.csv"}, "labels: 'lables.csv' is not known"),
    ],
)
def test_wrong_options_are_named(tmp_path, options, message):
    faces.class_folders(tmp_path / "in", 2)
    options = {"name": "mine", "data_dir": tmp_path / "data"} | options
    with pytest.raises(ValueError, match=message):
        prepare.prepare("folder", tmp_path / "in", **options)
    assert not (tmp_path / "data").exists()


def test_unknown_datasets_and_sources_are_named(tmp_path):
    with pytest.raises(ValueError, match=r"'foldr' is not known.*'folder'"):
        prepare.prepare("foldr", tmp_path)
    with pytest.raises(ValueError, match="does not exist"):
        run(tmp_path / "no", tmp_path)
    with pytest.raises(ValueError, match="no images"):
        run(tmp_path, tmp_path / "data")
    (tmp_path / "in").mkdir()
    faces.write_images(tmp_path / "in", 1)
    with pytest.raises(ValueError, match=r"neither class folders nor a labels\.csv"):
        run(tmp_path / "in", tmp_path / "data")


def test_a_source_without_one_usable_image_is_refused(tmp_path):
    (tmp_path / "in" / "sad").mkdir(parents=True)
    (tmp_path / "in" / "sad" / "a.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match=r"no image of .* is usable: sad/a.jpg \(empty file\)"):
        run(tmp_path / "in", tmp_path / "data")
    assert "mine" not in catalog.names(tmp_path / "data")
