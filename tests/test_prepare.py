"""Sources of faces of every form -> prepared datasets, and what is said about them."""

import dataclasses
import io
import json
import pathlib
import subprocess
import sys
import zipfile
from typing import ClassVar

import cv2
import faces_source as faces
import numpy as np
import pytest
from PIL import Image, ImageOps

from aufer_jax import cli, facs, methods
from aufer_jax import config as config_lib
from aufer_jax.data import (
    batches,
    catalog,
    checking,
    duplicates,
    images,
    media,
    mixture,
    prepare,
    splits,
)
from aufer_jax.data import files as files_lib
from aufer_jax.data.builders.files import Face, FileDataset, Listing
from aufer_jax.data.prepare_report import Report
from aufer_jax.data.views import Spec

COUNT = 30


def run(source, data_dir, **options):
    return prepare.prepare("folder", source, name="mine", data_dir=data_dir, **options)


def all_records(data_dir, name="mine"):
    found = {}
    for split in catalog.info(name, data_dir).splits:
        source = catalog.source(name, split, data_dir)
        found |= {record["key"]: record for record in map(source.__getitem__, range(len(source)))}
    return found


def stored(record):
    return cv2.imdecode(np.frombuffer(record["image"], np.uint8), cv2.IMREAD_COLOR)


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
    with pytest.raises(ValueError, match=r"labels that are no expression.*'strange' on 1 images"):
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


def table(count=COUNT, **columns):
    return [
        {
            "file": f"face{i}.jpg",
            "expression": faces.word(i).upper(),
            "subject": f"person {i % 10}",
            **{name: value(i) for name, value in columns.items()},
        }
        for i in range(count)
    ]


def au_columns(i):
    """AU12 as both, AU28 as presence only, AU04 without suffix, unknown in face 0."""
    au = dict(zip(faces.AUS, faces.face(i)["au"], strict=True))
    present = int(au[12] >= 1)
    return {
        "AU12_r": f"{au[12]:.3f}", " AU12_c": present, "AU28_c": 1 - present,
        "AU4": "" if i == 0 else 2.5,
    }  # fmt: skip


@pytest.fixture(scope="module")
def tabled(tmp_path_factory):
    folder = tmp_path_factory.mktemp("table")
    faces.write_images(folder / "in" / "deep" / "images", COUNT)
    rows = [row | faces.points(i) | au_columns(i) for i, row in enumerate(table())]
    faces.write_csv(folder / "in" / "labels.csv", rows)
    return run(folder / "in", folder / "data"), folder


def test_a_table_gives_landmarks_subjects_and_aus(tabled):
    report, folder = tabled
    info = catalog.info("mine", folder / "data")
    assert info.aus == (4, 12, 28)
    found = all_records(folder / "data")
    for i in range(COUNT):
        record = found[f"deep/images/face{i}.jpg"]
        np.testing.assert_allclose(record["landmarks"], faces.face(i)["landmarks"], atol=1e-4)
        assert record["subject"] == f"person {i % 10}" and record["visible"].all()
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
    with pytest.raises(ValueError, match=r"labels.csv: 100 in row 3, column AU06_c; permitted"):
        run(tmp_path / "in", tmp_path / "data")


# --- Images -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mixed")
    place = folder / "in" / "happy"
    faces.write_images(place, 6)
    gray = cv2.cvtColor(faces.pixels(7), cv2.COLOR_BGR2GRAY)
    (place / "gray.jpg").write_bytes(faces.encoded(gray, ".jpg"))
    for name, (data, _) in (faces.broken() | faces.unusual()).items():
        (place / name).write_bytes(data)
    return run(folder / "in", folder / "data"), folder


@pytest.mark.parametrize("name", faces.broken())
def test_broken_images_are_left_out_and_named(mixed, name):
    report, folder = mixed
    assert report.unreadable[f"happy/{name}"] == faces.broken()[name][1]
    assert f"happy/{name}" not in all_records(folder / "data")
    assert f"- happy/{name}: {faces.broken()[name][1]}" in (
        folder / "data" / "mine" / "report.md"
    ).read_text("utf-8")


def test_nothing_else_is_left_out(mixed):
    report, _ = mixed
    assert len(report.unreadable) == len(faces.broken())
    assert len(report.changed) == len(faces.unusual())
    assert report.written == 7 + len(faces.unusual())


@pytest.mark.parametrize("name", faces.unusual())
def test_unusual_images_are_made_plain(mixed, name):
    report, folder = mixed
    record = all_records(folder / "data")[f"happy/{name}"]
    assert report.changed[f"happy/{name}"] == faces.unusual()[name][1]
    assert record["image"].startswith(b"\xff\xd8")
    image, expected = stored(record), faces.pixels(1)
    if name == "wide.jpg":
        assert image.shape == (51, 1024, 3)
        assert image[:, 100].mean() < 10 and image[:, -100].mean() > 190
        return
    rows = slice(12, None) if name == "alpha.png" else slice(None)
    assert np.abs(image[rows].astype(int) - expected[rows]).mean() < 14
    if name == "alpha.png":
        assert image[:9].max() < 40


def test_gray_and_plain_images_keep_their_bytes(mixed):
    found = all_records(mixed[1] / "data")
    assert found["happy/gray.jpg"]["image"] == (mixed[1] / "in/happy/gray.jpg").read_bytes()
    assert found["happy/face2.jpg"]["image"] == faces.face(2)["image"]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_rotated_images_stand_upright_and_points_follow(orientation):
    upright = np.full((48, 64, 3), 30, np.uint8)
    upright[10:13, 40:43] = 255
    data = faces.turned(upright, orientation)
    raw = np.array(Image.open(io.BytesIO(data)).convert("L")).astype(float)
    y, x = np.unravel_index(cv2.blur(raw, (3, 3)).argmax(), raw.shape)
    found, new = images.check(data)
    np.testing.assert_allclose(found.move(np.array([[x, y]])), [[41, 11]], atol=0.01)
    assert (new is None) == (orientation == 1)
    if new is not None:
        shown = cv2.imdecode(np.frombuffer(new, np.uint8), cv2.IMREAD_UNCHANGED)
        assert shown.shape == upright.shape and np.abs(shown.astype(int) - upright).mean() < 3
        assert found.changes == ("rotated upright",)
        oracle = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
        assert oracle.size == (64, 48)


@pytest.mark.parametrize("width", [1100, 2500, 5000])
def test_points_follow_when_images_shrink(width):
    large = np.zeros((width // 2, width, 3), np.uint8)
    x, y = round(width * 0.7), round(width * 0.2)
    cv2.circle(large, (x, y), width // 50, (255, 255, 255), cv2.FILLED)
    found, new = images.check(faces.encoded(large, ".jpg"))
    gray = cv2.imdecode(np.frombuffer(new, np.uint8), cv2.IMREAD_GRAYSCALE).astype(float)
    assert max(gray.shape) == images.MAX_SIDE == found.width
    rows, columns = np.indices(gray.shape)
    seen = [(gray * columns).sum() / gray.sum(), (gray * rows).sum() / gray.sum()]
    np.testing.assert_allclose(found.move(np.array([[x, y]])), [seen], atol=0.15)


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
    assert "missing files (7): face2.jpg, face3.jpg, face4.jpg, face5.jpg, face6.jpg, ..." in text
    assert "several files of that name (1): face0.jpg" in text
    assert "splits that are not train, validation or test (1): holdout" in text
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"label": "x.csv"}, "option of folder: 'label' is not known.*'labels'"),
        ({"expressions": ("happpy",)}, "'happpy' is not known.*'happy'"),
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


# --- Interruption -------------------------------------------------------------------------------

DYING = """
import os, signal, sys
from aufer_jax.data import checking, prepare
from aufer_jax.data.builders import files
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
dying(*{"checking": (checking.Cache, "add"), "writing": (prepare, "_record")}[sys.argv[4]])
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


# --- Duplicates and splits ----------------------------------------------------------------------


def test_conflicts_and_copies_across_splits_are_told(tmp_path):
    for split, expression, index in (
        ("train", "happy", 0), ("train", "happy", 1), ("train", "sad", 0), ("test", "happy", 2),
    ):  # fmt: skip
        place = tmp_path / "in" / split / expression
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{index}.jpg").write_bytes(faces.face(index, 64)["image"])
    again = cv2.resize(faces.pixels(1, 64), (50, 50), interpolation=cv2.INTER_AREA)
    copy = faces.encoded(again, ".jpg", cv2.IMWRITE_JPEG_QUALITY, 80)
    (tmp_path / "in" / "test" / "happy" / "copy.jpg").write_bytes(copy)
    report = run(tmp_path / "in", tmp_path / "data", validation=0)
    assert report.conflicts == (("train/happy/0.jpg (happiness)", "train/sad/0.jpg (sadness)"),)
    ((*pair, bits),) = report.duplicates
    assert pair == ["test/happy/copy.jpg", "test", "train/happy/1.jpg", "train"] and bits <= 8


def test_near_pairs_are_those_of_a_plain_search():
    rng = np.random.default_rng(0)
    words = rng.integers(0, 2**63, (300, 2), np.uint64)
    words[200:] = words[1:101] ^ (np.uint64(1) << rng.integers(0, 64, (100, 2), np.uint64))
    words[250:] ^= np.uint64(0b11111)
    words[200:230, 1] ^= np.uint64(0b1111100)
    chosen = ["train" if i % 2 else "test" for i in range(300)]
    expected = set()
    for a in range(300):
        for b in range(300):
            bits = [int(x ^ y).bit_count() for x, y in zip(words[a], words[b], strict=True)]
            if max(bits) <= 4 and chosen[a] == "test" and chosen[b] == "train":
                expected.add((a, b, sum(bits)))
    found = duplicates.across_splits([tuple(map(int, w)) for w in words], chosen)
    assert set(found) == expected and len(found) == len(expected) == 20


def test_splits_keep_groups_whole_and_classes_in_proportion():
    rng = np.random.default_rng(3)
    groups = [f"p{i}" for i in rng.integers(0, 150, 3000)]
    labels = rng.choice(4, 3000, p=(0.6, 0.3, 0.08, 0.02))
    chosen = np.array(splits.assign(labels, groups, {"validation": 0.1, "test": 0.2}, seed=0))
    for group in set(groups):
        assert len(set(chosen[np.array(groups) == group])) == 1
    for label in range(4):
        mine = chosen[labels == label]
        assert abs((mine == "validation").mean() - 0.1) < 0.02
        assert abs((mine == "test").mean() - 0.2) < 0.02


def test_no_split_goes_empty_for_lack_of_small_groups():
    chosen = splits.assign(
        np.arange(40) % 7, [f"p{i % 4}" for i in range(40)], {"validation": 0.01, "test": 0.02}, 0
    )
    assert set(chosen) == set(splits.SPLITS)


def test_splits_depend_on_the_seed_and_not_on_the_order():
    labels, groups = np.arange(200) % 3, [f"g{i}" for i in range(200)]
    shares = {"validation": 0.1, "test": 0.2}
    chosen = splits.assign(labels, groups, shares, seed=0)
    assert [chosen.count(s) for s in splits.SPLITS] == [140, 20, 40]
    order = np.random.default_rng(1).permutation(200)
    moved = splits.assign(labels[order], [groups[i] for i in order], shares, seed=0)
    assert moved == [chosen[i] for i in order]
    assert splits.assign(labels, groups, shares, seed=1) != chosen


# --- Afterwards ---------------------------------------------------------------------------------


def test_a_prepared_dataset_is_found_by_name(tabled):
    data = tabled[1] / "data"
    assert "mine" in catalog.names(data) and "synth_a" in catalog.names(data)
    assert "mine" not in catalog.names(data / "nowhere")
    with pytest.raises(ValueError, match=r"'mien' is not known.*Did you mean 'mine'"):
        catalog.info("mien", data)
    source = catalog.source("mine", "train[:3]", data)
    assert len(source) == 3 and source.info.name == "mine"
    with pytest.raises(ValueError, match="only drawn datasets"):
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
    values = config_lib.load(str(pathlib.Path(__file__).parents[1] / "configs/auvit.py"))
    values.data.dir = str(tabled[1] / "data")
    values.data.target, values.data.aux = "mine", ("mine",)
    values.data.batch_size, values.data.sizes = 10, {"train": 12}
    task = methods.build(config_lib.check(values))
    assert task.expressions == catalog.info("mine", values.data.dir).expressions
    assert len(task.train.parts[0].source) == 12
    assert task.evaluation_splits == ("test",)
    assert task.example["image"].shape[0] == 10


def test_the_command_prepares_and_lists(tmp_path, capsys):
    faces.class_folders(tmp_path / "in", 12)
    where = ["--source", str(tmp_path / "in"), "--data-dir", str(tmp_path / "data")]
    assert cli.main(["prepare", "folder", "--name", "mine", *where, "--test", "0"]) == 0
    assert "12 images from" in capsys.readouterr().out
    assert dict(catalog.info("mine", tmp_path / "data").splits).keys() == {"train", "validation"}
    assert cli.main(["datasets", "--data-dir", str(tmp_path / "data")]) == 0
    assert "mine " in capsys.readouterr().out
    assert cli.main(["prepare", "folder", *where]) == 2
    assert "name: say what your dataset" in capsys.readouterr().err


def test_a_hint_tells_how_to_prepare_a_dataset(tmp_path, monkeypatch):
    monkeypatch.setitem(catalog.BUILDERS, "famous", f"{__name__}:Famous")
    hint = "famous is not prepared in .*; run: aufer prepare famous --source DIR; write to its auth"
    with pytest.raises(ValueError, match=hint):
        catalog.info("famous", tmp_path)


def test_workers_change_nothing(tmp_path):
    faces.class_folders(tmp_path / "in", 12)
    files = files_lib.Files(tmp_path / "in")
    found = []
    for workers in (1, 5):
        cache = checking.Cache(tmp_path / f"{workers}.sqlite")
        listed = [Face(name) for name in files.names]
        found.append(media.check_all(listed, media.ImageMedium(files), cache, workers)[0])
        cache.close()
    assert found[0] == found[1] and len(found[0]) == 12


@dataclasses.dataclass(frozen=True)
class Famous(FileDataset):
    """A dataset with a list of its own, numbers as labels, votes, boxes and published counts."""

    name = "famous"
    licence = "research only"
    how_to_get = "write to its authors"
    published: ClassVar = {"train": (2, 2), "test": (1, 0)}

    expressions: tuple[str, ...] = ("happiness", "sadness")

    def listing(self, files):
        files.need(["list.txt", "images"], self.how_to_get)
        rows = [line.split() for line in files.open_text("list.txt").splitlines()]
        listed = [
            Face(f"images/{file}", label, split=split, box=np.array([1, 2, 3, 4]), votes=np.ones(2))
            for file, label, split in rows
        ]
        return Listing(listed, self.expressions, {"1": "happiness", "2": "sadness", "9": None})


def test_a_dataset_of_its_own_kind(tmp_path, monkeypatch):
    monkeypatch.setitem(catalog.BUILDERS, "famous", f"{__name__}:Famous")
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
    record = found["images/face0.jpg"]
    assert record["box"].tolist() == [1, 2, 3, 4] and record["expression_votes"].tolist() == [1, 1]
    assert "| train | 1 | 1 | 2 |\n| train, published | 2 | 2 | 4 |" in str(report)
    assert catalog.info("famous", tmp_path / "data").licence.startswith("research only. ")
