"""What a user gets wrong with a source, and that the message says what to do; AUs of many small files."""

import clips_source
import datasets_source
import faces_source as faces
import numpy as np
import prepare_source as sources
import pytest

from aufer_jax import cli
from aufer_jax.datasets import prepare


def said(capsys, *words):
    """What the command answers to a mistake, in one line and without a stack trace."""
    assert cli.main(list(map(str, words))) == 2
    error = capsys.readouterr().err.strip()
    assert "\n" not in error and error.startswith("aufer: ")
    return error


def labelled(folder, rows):
    faces.write_images(folder, 4)
    faces.write_csv(folder / "labels.csv", rows)
    return folder


# --- Names and options --------------------------------------------------------------------------


def test_another_source_does_not_replace_a_dataset_of_that_name(tmp_path):
    for name, count in (("a", 12), ("b", 6)):
        faces.class_folders(tmp_path / name, count)
    sources.run(tmp_path / "a", tmp_path / "data")
    with pytest.raises(ValueError, match=r"name: 'mine' is prepared from .*/a; choose another"):
        sources.run(tmp_path / "b", tmp_path / "data")
    assert len(sources.all_records(tmp_path / "data")) == 12
    (tmp_path / "a").rename(tmp_path / "moved")  # the same files elsewhere are no other dataset
    assert sources.run(tmp_path / "moved", tmp_path / "data").already_prepared


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (("--sorce", "x"), "'--sorce' is not known; choose one of: --expressions, "),
        (("--colour=1",), "Did you mean '--columns'?"),
        (("extra",), "not known: extra; see aufer data prepare folder --help"),
        (("--margin", "0.1"), "--margin is an option of affectnet7, affectnet8 only"),
        (("--sides",), "--sides is an option of rafau only"),
        (("--name", "my faces"), "must be letters, digits"),
        (("--columns", "expresion=x"), "Did you mean 'expression'"),
        (("--au", "au"), "au: "),
    ],
)
def test_options(tmp_path, capsys, monkeypatch, wrong, message):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "au").mkdir()
    source = labelled(tmp_path / "in", sources.table(4))
    words = ("data", "prepare", "folder", "--name", "mine", "--source", source, *wrong)
    assert message in said(capsys, *words, "--data-dir", tmp_path / "data")
    assert not (tmp_path / "data").exists()


def test_files_that_are_not_there_are_compared_with_their_kind(tmp_path, capsys):
    """A source may hold a million other files; not all of them are told."""
    source = labelled(tmp_path / "in", sources.table(4))
    for i in range(30):
        datasets_source.write(source / f"deep/{i}.npy", b"")
    words = ("data", "prepare", "folder", "--name", "mine", "--source", source)
    text = said(capsys, *words, "--labels", "lables.csv")
    assert text.endswith("choose one of: labels.csv. Did you mean 'labels.csv'?")
    assert said(capsys, *words, "--landmarks", "p.npy").count(".npy,") == 19
    text = said(capsys, *words, "--landmarks", tmp_path)
    assert text == f"aufer: landmarks: {tmp_path} is a folder; name one file"


# --- Labels -------------------------------------------------------------------------------------


def test_a_table_that_teaches_nothing_is_refused(tmp_path, capsys):
    rows = [{"file": f"face{i}.jpg", "feeling": faces.word(i)} for i in range(4)]
    source = labelled(tmp_path / "in", rows)
    where = ("--source", source, "--data-dir", tmp_path / "data")
    text = said(capsys, "data", "prepare", "folder", "--name", "mine", *where)
    assert "labels.csv: no column for 'expression'" in text and "has file, feeling" in text
    options = ("--columns", "expression=feeling")
    assert (
        cli.main(["data", "prepare", "folder", "--name", "mine", *map(str, where), *options]) == 0
    )


def test_sources_without_labels_or_images(tmp_path, capsys):
    faces.write_images(tmp_path / "in", 2)
    (tmp_path / "in/my.csv").write_text("file,label\n")
    words = ("data", "prepare", "folder", "--name", "mine", "--source")
    text = said(capsys, *words, tmp_path / "in")
    assert "nor a labels.csv (1): name it with labels, for example my.csv" in text
    (tmp_path / "empty").mkdir()
    assert said(capsys, *words, tmp_path / "empty").endswith("no images (1): the source is empty")
    clips_source.video(tmp_path / "films/happy/a.avi", 2)
    assert "prepared by `aufer data prepare clips`" in said(capsys, *words, tmp_path / "films")


@pytest.mark.parametrize("place", ["columns", "file"])
def test_rows_without_an_image_can_be_skipped(tmp_path, capsys, place):
    """Landmarks and AUs stay with their own rows."""
    rows = [row | {"AU12_r": i / 2} for i, row in enumerate(sources.table(4))]
    points = np.stack([faces.face(i)["landmarks"] for i in range(4)])
    if place == "columns":
        rows = [row | faces.points(i) for i, row in enumerate(rows)]
    source = labelled(tmp_path / "in", rows)
    if place == "file":
        np.save(source / "landmarks_68.npy", points)
    (source / "face1.jpg").unlink()
    where = ("--source", source, "--data-dir", tmp_path / "data")
    text = said(capsys, "data", "prepare", "folder", "--name", "mine", *where)
    assert text.endswith("these files are missing; --skip-missing leaves them out (1): face1.jpg")
    report = sources.run(source, tmp_path / "data", skip_missing=True)
    assert report.findings["Rows of the table without an image"] == ("face1.jpg",)
    found = sources.all_records(tmp_path / "data")
    assert sorted(found) == ["face0.jpg", "face2.jpg", "face3.jpg"]
    for i in (0, 2, 3):
        record = found[f"face{i}.jpg"]
        np.testing.assert_allclose(record["landmarks"], points[i], atol=1e-3)
        assert record["au"][0] == i / 2


# --- AUs in a file for each image ---------------------------------------------------------------


def per_image(confidences, au12):
    """What OpenFace writes for one image: a row a face, blanks after commas, no name of the file."""
    lines = ["face, confidence, gaze_0_x, AU12_r, AU12_c, AU28_c"]
    for i, (sure, value) in enumerate(zip(confidences, au12, strict=True)):
        lines.append(f"{i}, {sure}, 0.1, {value}, {int(value > 1)}, 0")
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("place", ["folder", "inside"])
def test_a_folder_with_a_file_for_each_image(tmp_path, place):
    """Two images of one name are told apart by their folders; of two faces the surer one counts."""
    source = tmp_path / "in"
    for folder, index in (("happy", 0), ("sad", 1)):
        datasets_source.write(source / folder / "x.1.jpg", faces.face(index)["image"])
    datasets_source.write(source / "sad/only.PNG.jpg", faces.face(2)["image"])
    datasets_source.write(source / "sad/alone.jpg", faces.face(3)["image"])
    au = tmp_path / "openface" if place == "folder" else source / "openface"
    datasets_source.write(au / "happy/x.1.csv", per_image([0.9, 0.95], [1.0, 2.0]))
    datasets_source.write(au / "sad/x.1.csv", per_image([0.9], [3.0]))
    datasets_source.write(au / "only.png.csv", per_image([0.5], [4.0]))
    datasets_source.write(au / "nobody.csv", per_image([0.9], [5.0]))
    datasets_source.write(au / "broken.csv", "confidence, AU12_r\n0.9\n")
    datasets_source.write(au / "other.csv", "a,b\n1,2\n")
    named = str(au) if place == "folder" else "openface"
    report = sources.run(source, tmp_path / "data", au=named, validation=0, test=0)
    found = sources.all_records(tmp_path / "data")
    known = {key: r["au"][0] for key, r in found.items() if r["au_known"][0]}
    assert known == {"happy/x.1.jpg": 2.0, "sad/x.1.jpg": 3.0}
    assert report.au_join["matched"] == {"path without suffix": 2, "name without suffix": 1}
    assert report.aus == (12, 28) and report.au_join["not_confident"] == 1
    assert report.au_join["rows_without_image"] == ["nobody.csv"]
    unread = report.findings["AU files that cannot be read"]
    assert [text.split(":")[0].split("/")[-1] for text in unread] == ["broken.csv", "other.csv"]
    (tmp_path / "none").mkdir()
    datasets_source.write(tmp_path / "none/other.csv", "a,b\n1,2\n")
    with pytest.raises(ValueError, match=r"au: no AUs in .*none; other.csv: no column such as"):
        prepare.prepare("folder", source, name="no", au=str(tmp_path / "none"))
