"""Sources of clips of every form -> prepared datasets, and what is said about them."""

import subprocess
import sys
import zipfile

import clips_source as sources
import numpy as np
import pytest
from clips_source import records, run

from aufer_jax import cli
from aufer_jax.data.records import DatasetInfo
from aufer_jax.datasets import catalog, clip_files, clips, prepare
from aufer_jax.sources import track_files, videos


def chosen_splits(data_dir, name="mine"):
    lines = (data_dir / name / prepare.SPLITS_FILE).read_text("utf-8").splitlines()[1:]
    return dict(line.rsplit(",", 1) for line in lines)


def class_folders(folder, count, frames=3):
    for i in range(count):
        sources.folder(folder / ("happy" if i % 2 else "SAD") / f"c{i}", frames, first=10 * i)


# --- Folders of frames --------------------------------------------------------------------------


def test_folders_of_frames_become_clips(tmp_path):
    class_folders(tmp_path / "in", 12)
    report = run(tmp_path / "in", tmp_path / "data")
    info = catalog.info("mine", tmp_path / "data")
    assert info.kind == "clip" and info.expressions == ("happiness", "sadness") and info.aus == ()
    assert sum(info.splits.values()) == report.written == 12
    found = records(tmp_path / "data")
    for i in range(12):
        record = found[f"{'happy' if i % 2 else 'SAD'}/c{i}"]
        assert record["frames"] == [sources.frame(10 * i + t) for t in range(3)]  # their own bytes
        assert record["expression"] == (0 if i % 2 else 1)
        assert record["au"].shape == (3, 0) and record["au_known"].shape == (0,)
        assert record["landmarks"].shape == (3, 68, 2) and np.isnan(record["landmarks"]).all()
    assert "12 clips from" in str(report) and "do not redistribute" in info.licence
    assert "Frames: 36, 3 to 3 a clip, median 3; clips with a single frame: 0" in str(report)
    sheet = sources.pixels((tmp_path / "data/mine/contact_sheet.png").read_bytes())
    assert sheet.shape[1] > 500
    again = run(tmp_path / "in", tmp_path / "data")
    assert again.already_prepared and again.counts == report.counts
    (tmp_path / "in/SAD/c0/00002.png").write_bytes(sources.frame(99))
    assert not run(tmp_path / "in", tmp_path / "data").already_prepared


@pytest.mark.parametrize(
    ("order", "expected", "told"),
    [("natural", [9, 10, 11], "taken by number"), ("name", [10, 11, 9], "taken by name")],
)
def test_the_order_of_frames_is_told_where_it_matters(tmp_path, order, expected, told):
    for number in (9, 10, 11):
        sources.write(tmp_path / f"in/happy/a/f{number}.png", sources.frame(number))
    sources.folder(tmp_path / "in/happy/b", 3)
    report = run(tmp_path / "in", tmp_path / "data", frame_order=order)
    record = records(tmp_path / "data")["happy/a"]
    assert record["frames"] == [sources.frame(number) for number in expected]
    (found,) = report.findings.items()
    assert told in found[0] and found[1] == ("happy/a",)


def test_names_with_more_numbers_come_later():
    frames = ["x/1.jpg2.jpg", "x/10.jpg", "x/1.jpg", "x/2.jpg"]
    assert clip_files.in_order(frames, "natural") == (
        "x/1.jpg", "x/1.jpg2.jpg", "x/2.jpg", "x/10.jpg",
    )  # fmt: skip


def test_broken_frames_and_clips_are_left_out_and_named(tmp_path):
    folder = tmp_path / "in/happy"
    sources.folder(folder / "whole", 4)
    sources.folder(folder / "holes", 4, first=20)
    (folder / "holes/00002.png").write_bytes(b"not an image")
    sources.folder(folder / "broken", 2)
    for path in (folder / "broken").iterdir():
        path.write_bytes(b"")
    (folder / "empty").mkdir()
    sources.folder(folder / "single", 1, first=50)
    sources.write(folder / "bad.mp4", b"not a video" * 50)
    sources.write(folder / "thumb.png", sources.frame(3))
    report = run(tmp_path / "in", tmp_path / "data", validation=0, test=0)
    assert set(records(tmp_path / "data")) == {"happy/whole", "happy/holes", "happy/single"}
    frames = [sources.frame(20 + t) for t in (0, 2, 3)]
    assert records(tmp_path / "data")["happy/holes"]["frames"] == frames
    reason = "none of 2 frames can be read: 00001.png: empty file"
    assert report.unreadable == {
        "happy/bad.mp4": "cannot be opened as a video",
        "happy/broken": reason,
        "happy/empty": "empty folder",
    }
    bad = "happy/holes/00002.png: not an image file"
    assert report.findings["Frames left out, not readable"] == (bad,)
    assert report.findings[clips.BESIDE_CLIPS] == ("happy/thumb.png",)
    assert report.clips["single"] == 1 and report.clips["with_bad_frames"] == 1
    assert "clips with a single frame: 1, with frames that cannot be read: 1" in str(report)


def test_the_same_clip_twice_is_told(tmp_path):
    for place in ("train/happy/a", "train/sad/b", "test/sad/c"):
        sources.folder(tmp_path / "in" / place, 3)
    sources.folder(tmp_path / "in/train/happy/d", 3, first=40)
    report = run(tmp_path / "in", tmp_path / "data", validation=0)
    assert report.conflicts == (
        ("test/sad/c (sadness)", "train/happy/a (happiness)", "train/sad/b (sadness)"),
    )
    pairs = {(a, b) for a, _, b, _, _ in report.duplicates}
    assert pairs == {("test/sad/c", "train/happy/a"), ("test/sad/c", "train/sad/b")}


# --- Videos -------------------------------------------------------------------------------------


def grey(record):
    return [round(float(sources.pixels(data).mean()) / 8) for data in record["frames"]]


@pytest.mark.parametrize(("name", "code"), [("a.avi", "MJPG"), ("b.mp4", "mp4v")])
@pytest.mark.parametrize("inside", ["folder", "zip"])
def test_videos_are_decoded_and_thinned(tmp_path, name, code, inside):
    sources.video(tmp_path / "in/happy" / name, 30, code=code)
    source = tmp_path / "in"
    if inside == "zip":
        source = tmp_path / "in.zip"
        with zipfile.ZipFile(source, "w") as archive:
            archive.write(tmp_path / "in/happy" / name, f"happy/{name}")
    shares = {"validation": 0, "test": 0}
    run(source, tmp_path / "data", step=4, **shares)
    record = records(tmp_path / "data")[f"happy/{name}"]
    assert grey(record) == [0, 4, 8, 12, 16, 20, 24, 28]
    assert sources.pixels(record["frames"][0]).shape == (48, 64, 3)
    assert all(data.startswith(b"\xff\xd8") for data in record["frames"])
    run(source, tmp_path / "data", step=2, most_frames=5, size=24, side="shorter", **shares)
    record = records(tmp_path / "data")[f"happy/{name}"]
    assert grey(record) == [0, 8, 16, 24]
    assert sources.pixels(record["frames"][0]).shape == (24, 32, 3)


def test_which_frames_are_kept():
    rules = videos.Rules(step=2, most=5)
    assert list(rules.chosen(10)) == [0, 2, 4, 6, 8]
    assert list(rules.chosen(11)) == [0, 4, 8]
    assert list(rules.chosen(30)) == [0, 8, 16, 24]
    assert list(videos.Rules().chosen(3)) == [0, 1, 2] and not videos.Rules().chosen(0)


def test_what_waits_for_writing_can_be_unpacked():
    told = {"au": np.array([[0, np.nan], [1, 2]], np.float32), "data": np.zeros((2, 0))}
    frames, values = videos.unpack(videos.pack({3: b"abc", 7: b"", 9: b"\0z"}, told))
    assert frames == {3: b"abc", 7: b"", 9: b"\0z"} and list(values) == ["au", "data"]
    np.testing.assert_array_equal(values["au"], told["au"])
    assert videos.unpack(None) == ({}, {})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"step": 0}, "step: 0 must be at least 1"),
        ({"most_frames": -1}, "most_frames: -1"),
        ({"size": 4}, "size: 4 must be at least 8"),
        ({"side": "long"}, "side: 'long' is not known"),
        ({"frame_order": "nat"}, "frame_order: 'nat' is not known"),
        ({"au_rows": "rows"}, "au_rows: 'rows' is not known"),
        ({"au": "nowhere"}, "au, a folder, .zip or .csv: 'nowhere' is not known"),
        ({"labels": "no.csv"}, "labels: 'no.csv' is not known"),
    ],
)
def test_wrong_options_are_told(tmp_path, options, message):
    class_folders(tmp_path / "in", 2)
    with pytest.raises(ValueError, match=message):
        run(tmp_path / "in", tmp_path / "data", **options)


def test_a_source_without_clips_is_refused(tmp_path):
    sources.write(tmp_path / "in/a.png", sources.frame(0))
    with pytest.raises(ValueError, match=r"no clips \(folders of images, or .mp4 .* a\.png"):
        run(tmp_path / "in", tmp_path / "data")
    sources.folder(tmp_path / "in/a", 2)
    with pytest.raises(ValueError, match=r"neither class folders nor a labels\.csv"):
        run(tmp_path / "in", tmp_path / "data")
    (tmp_path / "in/a.png").unlink()
    for path in (tmp_path / "in/a").iterdir():
        path.write_bytes(b"")
    sources.write(tmp_path / "in/labels.csv", "clip,label\na,happy\n")
    with pytest.raises(ValueError, match=r"no clip of .* is usable: a \(none of 2 frames"):
        run(tmp_path / "in", tmp_path / "data")


# --- Tables and folds ---------------------------------------------------------------------------


def folded(folder):
    """24 clips of 12 people in three folds."""
    lines = ["clip,feeling,subject,split"]
    for i in range(24):
        sources.folder(folder / f"frames/c{i:02}", 2, first=10 * i)
        lines.append(f"c{i:02},{'happy' if i % 2 else 'sad'},p{i // 2},Fold {i // 8 + 1}")
    sources.write(folder / "labels.csv", "\n".join(lines))


def test_folds_are_prepared_once(tmp_path):
    folded(tmp_path / "in")
    report = run(
        tmp_path / "in", tmp_path / "data", columns={"expression": "feeling"}, validation=0.25
    )
    info = catalog.info("mine", tmp_path / "data")
    assert info.splits == {
        "fold1": 6, "fold1_validation": 2, "fold2": 6, "fold2_validation": 2, "fold3": 6,
        "fold3_validation": 2,
    }  # fmt: skip
    assert report.subjects == 12 and report.shared_subjects == 0
    assert "from each fold: validation 0.25 by seed 0, whole subjects" in report.split_rule
    chosen = chosen_splits(tmp_path / "data")
    for i in range(24):
        assert chosen[f"frames/c{i:02}"].removesuffix("_validation") == f"fold{i // 8 + 1}"
    parts = catalog.fold_splits(info, 2)
    assert parts == {
        "train": "fold1+fold3", "validation": "fold1_validation+fold3_validation",
        "test": "fold2+fold2_validation",
    }  # fmt: skip
    held = {
        part: {s[i]["key"] for s in [catalog.source("mine", split, tmp_path / "data")]
               for i in range(len(s))}
        for part, split in parts.items()
    }  # fmt: skip
    assert held["test"] == {f"frames/c{i:02}" for i in range(8, 16)}
    assert len(held["train"]) == 12 and len(held["validation"]) == 4
    assert not held["train"] & held["validation"]
    assert held["train"] | held["validation"] | held["test"] == set(chosen)
    assert len(catalog.source("mine", "fold1[:2]+fold3[50%:]", tmp_path / "data")) == 5
    with pytest.raises(ValueError, match="split of mine: 'fold9' is not known"):
        catalog.source("mine", "fold1+fold9", tmp_path / "data")


def test_splits_of_a_fold():
    def info(*splits):
        return DatasetInfo("x", "clip", (), (), dict.fromkeys(splits, 1), "", "", "")

    whole = info("fold1", "fold2", "fold3")
    assert catalog.fold_splits(whole, 1) == {"train": "fold2+fold3", "test": "fold1"}
    part = info("fold1", "fold1_validation", "fold2")
    assert catalog.fold_splits(part, 2) == {
        "train": "fold1", "validation": "fold1_validation", "test": "fold2",
    }  # fmt: skip
    for number in (0, 4):
        with pytest.raises(
            ValueError, match=f"fold: {number} is not a fold of x, which has 1 to 3"
        ):
            catalog.fold_splits(whole, number)
    with pytest.raises(ValueError, match="fold: x has no folds; its splits are train, test"):
        catalog.fold_splits(info("train", "test"), 1)


def test_rows_without_a_clip_are_told(tmp_path):
    sources.folder(tmp_path / "in/a/x1", 2)
    sources.folder(tmp_path / "in/b/x1", 2)
    sources.video(tmp_path / "in/b/film.avi", 2)
    text = "video,emotion,split\nx1,happy,train\nx2,sad,train\nfilm,sad,third\n"
    sources.write(tmp_path / "in/labels.csv", text)
    message = (
        r"several clips of that name \(1\): x1; missing clips \(1\): x2; "
        r"splits that are not train, validation, test or fold1 on \(1\): third"
    )
    with pytest.raises(ValueError, match=message):
        run(tmp_path / "in", tmp_path / "data")
    text = "video,emotion\na/x1,happy\nb/x1,sad\nfilm.avi,sad\n"
    sources.write(tmp_path / "in/labels.csv", text)
    run(tmp_path / "in", tmp_path / "data", validation=0, test=0)
    assert set(records(tmp_path / "data")) == {"a/x1", "b/x1", "b/film.avi"}


# --- Action Units -------------------------------------------------------------------------------


def au(record, number, info):
    return record["au"][:, info.aus.index(number)]


def with_aus(folder):
    """A clip of 5 frames: frame 3 has no row, frame 4 is not confident, the rows are in disorder."""
    sources.folder(folder / "in/happy/one", 5)
    sources.folder(folder / "in/sad/two", 3, first=20)
    sources.folder(folder / "in/sad/three", 3, first=40)
    rows = [(5, 0.95, {12}), (1, 0.98, {6, 12, 28}), (2, 0.9, set()), (4, 0.3, {6, 12})]
    rows.append((2, 0.2, {45}))  # another face
    sources.write(folder / "au/one.csv", sources.openface(rows))
    sources.write(folder / "au/two.csv", "frame,x_0\n1,2\n")
    sources.write(folder / "au/four.csv", sources.openface([(1, 1, {6})]))


def test_aus_are_joined_by_frame_number(tmp_path):
    with_aus(tmp_path)
    report = run(tmp_path / "in", tmp_path / "data", au=str(tmp_path / "au"), validation=0, test=0)
    info = catalog.info("mine", tmp_path / "data")
    assert info.aus == sources.AUS
    found = records(tmp_path / "data")
    one, nan = found["happy/one"], np.nan
    np.testing.assert_array_equal(au(one, 12, info), [1, 0, nan, nan, 1])
    np.testing.assert_array_equal(au(one, 6, info), [1, 0, nan, nan, 0])
    np.testing.assert_array_equal(au(one, 28, info), [1, 0, nan, nan, 0])
    assert one["au_known"].all()
    for key in ("sad/two", "sad/three"):
        assert np.isnan(found[key]["au"]).all() and not found[key]["au_known"].any()
    assert report.au_join["matched"] == {"name": 2}
    assert report.au_join["images_without_row"] == ["sad/three"]
    assert report.au_join["rows_without_image"] == ["four.csv"]
    assert report.without_aus == 2 and report.clips["frames_with_aus"] == 3
    (told,) = report.findings[videos.NO_TRACK]
    assert told.startswith("sad/two: ")
    assert "2 clips have none that is known" in str(report)
    assert "matched 2 by name; 1 rows of further faces in the same frame" in str(report)


def test_aus_follow_the_frames_that_are_kept(tmp_path):
    for number in (2, 9, 10, 11):  # by name: 10 11 2 9
        sources.write(tmp_path / f"in/happy/a/f{number}.png", sources.frame(number))
    (tmp_path / "in/happy/a/f9.png").write_bytes(b"broken")
    rows = [(1, 1, {1}), (2, 1, {2}), (3, 1, {4}), (4, 1, {5}), (10, 1, {25}), (11, 1, {26})]
    sources.write(tmp_path / "au/a.csv", sources.openface(rows))
    options = {"au": str(tmp_path / "au"), "validation": 0, "test": 0}
    for au_rows, expected in (("order", [4, 1, 2]), ("number", [2, 25, 26])):
        run(tmp_path / "in", tmp_path / "data", au_rows=au_rows, **options)
        info = catalog.info("mine", tmp_path / "data")
        record = records(tmp_path / "data")["happy/a"]
        assert record["frames"] == [sources.frame(number) for number in (2, 10, 11)]
        assert [info.aus[row.argmax()] for row in record["au"]] == expected
    run(tmp_path / "in", tmp_path / "data", au_values="intensity", **options)
    info = catalog.info("mine", tmp_path / "data")
    assert au(records(tmp_path / "data")["happy/a"], 4, info).tolist() == [2.5, 0, 0]


def test_aus_of_a_video_follow_its_frames(tmp_path):
    sources.video(tmp_path / "in/happy/film.avi", 8)
    rows = [(n + 1, 1, {sources.AUS[n]}) for n in range(8)]
    lines = sources.openface(rows).splitlines()
    other = sources.openface([(1, 1, set())]).splitlines()[1]
    text = "\n".join(
        ["video, " + lines[0], f"other, {other}", *(f"film.avi, {r}" for r in lines[1:])]
    )
    sources.write(tmp_path / "all.csv", text)
    report = run(
        tmp_path / "in", tmp_path / "data", au=str(tmp_path / "all.csv"), step=3, validation=0,
        test=0,
    )  # fmt: skip
    info = catalog.info("mine", tmp_path / "data")
    record = records(tmp_path / "data")["happy/film.avi"]
    found = [info.aus[row.argmax()] for row in record["au"]]
    assert found == [sources.AUS[n] for n in (0, 3, 6)]
    assert report.au_join["rows_without_image"] == ["other"]


def test_aus_are_found_by_as_much_of_the_name_as_is_needed():
    found, ways = track_files.match(
        ["in/a/happy/01", "in/b/happy/01", "in/b/Sad/02.mp4", "in/c/03"],
        ["x/a/happy/01.csv", "x/b/happy/01.csv", "02.csv", "y/03.csv", "z/03.csv"],
    )
    assert found == {
        "in/a/happy/01": "x/a/happy/01.csv", "in/b/happy/01": "x/b/happy/01.csv",
        "in/b/Sad/02.mp4": "02.csv",
    }  # fmt: skip
    assert ways == {"last 3 parts": 2, "name": 1}
    # One track is never the track of two clips.
    assert track_files.match(["a/01", "b/01"], ["01.csv"])[0] == {}


# --- Interruption and the command ---------------------------------------------------------------

DYING = """
import os, signal, sys
from aufer_jax.datasets import checking, items, prepare
checking._COMMIT_S = 0
left = [int(sys.argv[3])]
def dying(target, name):
    whole = getattr(target, name)
    def part(*arguments):
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        return whole(*arguments)
    setattr(target, name, part)
dying(*{"checking": (checking.Cache, "add"), "writing": (items, "record")}[sys.argv[4]])
prepare.prepare("clips", sys.argv[1], name="mine", data_dir=sys.argv[2], step=2)
"""


@pytest.mark.parametrize(("when", "steps", "known"), [("checking", 4, 3), ("writing", 3, 7)])
def test_a_killed_preparation_is_completed(tmp_path, when, steps, known):
    class_folders(tmp_path / "in", 6)
    sources.video(tmp_path / "in/happy/film.avi", 9)
    command = [sys.executable, "-c", DYING, tmp_path / "in", tmp_path / "data", str(steps), when]
    process = subprocess.run(list(map(str, command)), capture_output=True, check=False)
    assert process.returncode == -9, process.stderr
    assert "mine" not in catalog.names(tmp_path / "data")
    report = run(tmp_path / "in", tmp_path / "data", step=2)
    assert report.from_cache == known and report.written == 7
    assert grey(records(tmp_path / "data")["happy/film.avi"]) == [0, 2, 4, 6, 8]


def test_the_command(tmp_path, capsys):
    class_folders(tmp_path / "in", 6)
    where = ["--data-dir", str(tmp_path / "data")]
    command = ["data", "prepare", "clips", "--source", str(tmp_path / "in"), *where]
    assert cli.main([*command, "--name", "mine", "--step", "2", "--workers", "1"]) == 0
    assert "6 clips from" in capsys.readouterr().out
    assert cli.main(command) == 2
    assert "give your dataset a name" in capsys.readouterr().err
    assert cli.main(["data", "list", *where]) == 0
    out = capsys.readouterr().out
    assert "mine           clip" in out and "aufer data prepare clips --name NAME" in out
