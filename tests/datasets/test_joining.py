"""Rows, landmarks and tracks are joined to images and clips by name: to one only, and never to another's."""

import dataclasses
import os
import pathlib

import numpy as np
import pytest

from aufer_jax.datasets import au_join, catalog, items, job
from aufer_jax.datasets.listing import Face, Listing
from aufer_jax.faces import crops
from aufer_jax.knowledge import estimate
from aufer_jax.sources import tables, track_files
from aufer_jax.sources.files import Files, joined

TRACK = "frame,success,confidence,AU06_r,AU12_r\n1,1,0.98,2.0,3.5\n2,1,0.98,2.0,3.5\n"


def source(folder, *names):
    """A folder with files that nobody opens."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


def listed(folder, **options):
    card = catalog.card("folder")
    return card.list(Files(folder), card.options(**options))


def landmarks(path, files, **others):
    points = np.arange(len(files))[:, None, None] + np.zeros((1, 68, 2), np.float32)
    np.savez(path, files=np.array(files), points=points + 1, **others)
    return str(path)


def rows(text):
    table = tables.Table("au.csv", text)
    found = tables.action_units(table)
    assert found is not None
    return table, found


# --- Files --------------------------------------------------------------------------------------


def test_a_row_of_a_missing_file_takes_no_other_of_that_name(tmp_path):
    folder = source(tmp_path / "in", "happy/1.jpg", "sad/2.jpg")
    (folder / "labels.csv").write_text("file,label\nhappy/1.jpg,happy\nangry/2.jpg,anger\n")
    with pytest.raises(ValueError, match=r"these files are missing.*\(1\): angry/2\.jpg"):
        listed(folder)
    found = listed(folder, skip_missing=True)
    assert [(face.file, face.label) for face in found.faces] == [("happy/1.jpg", "happy")]
    files, made = Files(folder), {"happy/1.jpg": "a.jpg", "sad/2.jpg": "b.jpg"}
    assert crops._carry_labels(files, tmp_path, made) == (1, 1)
    assert (tmp_path / "labels.csv").read_text().split() == ["file,label", "a.jpg,happy"]


@pytest.mark.parametrize(
    ("written", "found"),
    [
        ("sad/2.jpg", ["in/sad/2.jpg"]),
        ("/home/me/in/sad/2.jpg", ["in/sad/2.jpg"]),
        (r".\sad\2.jpg", ["in/sad/2.jpg"]),
        ("ad/2.jpg", []),
        ("2.jpg", ["in/sad/2.jpg"]),
        ("1.jpg", ["in/happy/1.jpg", "in/sad/1.jpg"]),
    ],
)
def test_a_name_means_the_files_that_end_alike(tmp_path, written, found):
    folder = source(tmp_path, "in/happy/1.jpg", "in/sad/1.jpg", "in/sad/2.jpg")
    assert Files(folder).find(written) == found


def test_two_files_of_a_name_are_told_as_such(tmp_path):
    listing = Listing(Files(source(tmp_path, "a/x.jpg", "b/x.jpg", "b/y.jpg")))
    assert listing.find("x.jpg") == "" and listing.missing == []
    with pytest.raises(ValueError, match=r"of several files \(1\): x\.jpg \(a/x\.jpg, b/x\.jpg"):
        listing.check()
    assert listing.find("no.jpg", "y.jpg") == "b/y.jpg" and listing.find("a/x.jpg") == "a/x.jpg"
    assert listing.find("c/y.jpg") == "" and listing.missing == ["c/y.jpg"]


def test_published_images_are_found_in_any_folder(tmp_path):
    folder = source(tmp_path, "flat/train_00001_aligned.jpg")
    (folder / "list_patition_label.txt").write_text("train_00001.jpg 4\n")
    card = catalog.card("rafdb")
    (face,) = card.list(Files(folder), card.options()).faces
    assert face.file == "flat/train_00001_aligned.jpg"


def test_empty_folders_below_a_link_upward_are_found_once(tmp_path):
    (tmp_path / "empty").mkdir()
    os.symlink(tmp_path, tmp_path / "up")
    assert Files(tmp_path).empty_folders() == ["empty"]


# --- Landmarks ----------------------------------------------------------------------------------


def test_landmarks_are_not_another_face_s(tmp_path):
    folder = source(tmp_path / "in", "happy/1.jpg", "sad/1.jpg", "sad/2.jpg", "sad/3.jpg")
    path = landmarks(tmp_path / "l.npz", ["happy/1.jpg", "happy/2.jpg", "3.jpg"])
    found = listed(folder, landmarks=path)
    marks = {f.file: None if f.landmarks is None else f.landmarks[0, 0] for f in found.faces}
    assert marks == {"happy/1.jpg": 1, "sad/1.jpg": None, "sad/2.jpg": None, "sad/3.jpg": 3}
    assert f"{path}: 1 faces of files not listed" in found.remarks


def test_paths_are_joined_where_one_could_be_meant():
    assert joined(["a/1.jpg", "b/1.jpg"], ["1.jpg"]) == {}
    assert joined(["a/1.jpg", "b/1.jpg"], ["x/a/1.jpg", "x/b/1.jpg"]) == {
        "a/1.jpg": "x/a/1.jpg", "b/1.jpg": "x/b/1.jpg",
    }  # fmt: skip
    assert joined(["1.jpg", "a/1.jpg"], ["1.jpg"]) == {"1.jpg": "1.jpg"}
    assert joined(["x/a/1.jpg"], ["a/1.jpg", "/x/a/1.jpg"]) == {}


def test_other_blendshapes_are_another_dataset(tmp_path):
    folder, card = source(tmp_path / "in", "happy/1.jpg", "sad/2.jpg"), catalog.card("folder")

    def name(**others):
        path = landmarks(tmp_path / "l.npz", ["happy/1.jpg", "sad/2.jpg"], **others)
        options = card.options(landmarks=path)
        made = card.list(Files(folder), options)
        held = items.of(card, made, options)
        held = dataclasses.replace(held, files=_Same(pathlib.Path()))
        return job.Job("a", card, made, held, {}, 0, tmp_path).fingerprint()

    shapes = np.zeros((2, 52), np.float32)
    features = np.zeros((2, 512), np.float16)
    names = [name(), name(blendshapes=shapes), name(blendshapes=shapes + 1)]
    names += [name(blendshapes=shapes, mesh_features=features)]
    names += [name(blendshapes=shapes, mesh_features=features + 1)]
    assert len(set(names)) == 5
    assert names[0] == "75b54c60e6c7f537"  # as it was before there were any


@dataclasses.dataclass(frozen=True)
class _Same:
    """Files that never change."""

    source: pathlib.Path

    def stamp(self, name):
        return name


# --- AUs of images ------------------------------------------------------------------------------


def test_a_row_is_of_one_image(tmp_path):
    table, found = rows("file,AU06_r\nhappy/1.jpg,3\n2.jpg,1\n3.jpg,2\n")
    faces = [Face(n) for n in ("sad/1.jpg", "happy/1.jpg", "a/2.jpg", "b/2.png", "b/3.jpg")]
    join = au_join.join_rows(faces, table, found)
    told = {face.file: None if face.au is None else face.au[0] for face in faces}
    # Of the two images called 2, one is so called in the table.
    assert told == {
        "sad/1.jpg": None, "happy/1.jpg": 3, "a/2.jpg": 1, "b/2.png": None, "b/3.jpg": 2,
    }  # fmt: skip
    assert join["matched"] == {"path": 1, "file name": 2}
    assert join["images_without_row"] == ["sad/1.jpg", "b/2.png"]


def test_py_feat_says_how_sure_it_is():
    table, found = rows(
        "input,frame,FaceScore,AU06\n1.jpg,0,0.31,0.1\n1.jpg,0,0.99,0.9\n2.jpg,0,0.5,1\n"
    )
    faces = [Face("1.jpg"), Face("2.jpg")]
    assert au_join.join_rows(faces, table, found)["not_confident"] == 1
    assert faces[0].au[0] == 1 and not faces[1].au_known[0]
    table, found = rows("file,confidence,FaceScore,AU06\n1.jpg,0.9,0.1,1\n")
    assert found.confidence[0] == np.float32(0.9)


def test_py_feat_s_files_of_single_images_say_it_too(tmp_path):
    (tmp_path / "1.csv").write_text("FaceScore,AU06\n0.31,0.1\n0.99,0.9\n")
    (tmp_path / "2.csv").write_text("Confidence,AU06\n0.95,1\n")
    table, unread = au_join.one_table(track_files.find(str(tmp_path), Files(tmp_path)), "")
    assert not unread and table.texts("confidence") == ["0.31", "0.99", "0.95"]


# --- Tracks of clips ----------------------------------------------------------------------------


def test_a_track_is_of_one_clip():
    two = ["happy/001", "sad/001"]
    assert track_files.match(two, ["happy/001"])[0] == {"happy/001": "happy/001"}
    clips = ["x/Action/Happy/0267", "x/Crime/Happy/0267", "x/War/Sad/0003"]
    found, ways = track_files.match(clips, ["Action/Happy/0267", "Sad/0003"])
    assert found == {clips[0]: "Action/Happy/0267", clips[2]: "Sad/0003"}
    assert ways == {"last 3 parts": 1, "last 2 parts": 1}


def test_a_track_has_the_label_of_its_own_row(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/1.csv").write_text(TRACK)
    (tmp_path / "labels.csv").write_text("file,expression\na/1.mp4,happy\nb/1.mp4,sad\n")
    found = estimate.from_tracks(tmp_path, estimate.Options(aus=(6, 12)))
    assert found.expressions == ("happiness",)
    assert found.left_out["in labels.csv, without a track"] == ["b/1.mp4"]
