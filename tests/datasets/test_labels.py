"""What labels mean: other names for them, classes of one's own, and what is said of misspelled ones."""

import faces_source as faces
import pytest
from prepare_source import all_records, run

from aufer_jax import cli
from aufer_jax.datasets import catalog
from aufer_jax.errors import UserError
from aufer_jax.sources.files import Files

WORDS = ("Freude", "joy", "grumpy", "hapiness")


@pytest.fixture
def source(tmp_path):
    """Three faces in each of four class folders."""
    faces.class_folders(tmp_path / "in", 12, lambda i: WORDS[i % 4])
    return tmp_path / "in"


def classes(data_dir):
    """Class folder -> the class that its images have, and all classes in order."""
    names = catalog.info("mine", data_dir).expressions
    meant = (*names, "?")  # -1 is the last
    found = {k.split("/")[0]: meant[r["expression"]] for k, r in all_records(data_dir).items()}
    return found, names


def test_labels_that_are_no_expressions_are_answered_with_the_command_that_helps(source, tmp_path):
    with pytest.raises(ValueError) as error:
        run(source, tmp_path / "data")
    said = str(error.value)
    assert '--map "grumpy=,hapiness=happiness"' in said and "--classes all" in said
    assert "'grumpy' on 3 images, 'hapiness' on 3 images" in said


def test_labels_are_renamed_and_left_out(source, tmp_path):
    command = f"data prepare folder --source {source} --name mine --data-dir {tmp_path / 'data'}"
    assert cli.main([*command.split(), "--map", "HAPINESS=joy,grumpy="]) == 0
    found, names = classes(tmp_path / "data")
    assert names == ("happiness",)
    assert found == {"Freude": "happiness", "joy": "happiness", "hapiness": "happiness"}


def test_a_label_that_does_not_occur_is_not_renamed(source, tmp_path):
    with pytest.raises(ValueError, match=r"map names labels that do not occur.*\(1\): smug"):
        run(source, tmp_path / "data", map={"smug": "contempt"})


def test_classes_of_ones_own(source, tmp_path):
    run(source, tmp_path / "data", classes=("Grumpy", "happy"))
    found, names = classes(tmp_path / "data")
    assert names == ("Grumpy", "happy")
    assert found == {"grumpy": "Grumpy", "joy": "happy", "Freude": "happy"}


def test_every_label_can_be_a_class(source, tmp_path):
    (source / "Unknown").mkdir()
    (source / "Unknown" / "x.jpg").write_bytes(faces.face(3)["image"])
    report = run(source, tmp_path / "data", classes=("all",), map={"hapiness": "joy"})
    found, names = classes(tmp_path / "data")
    assert names == ("Freude", "grumpy", "joy") and found["hapiness"] == "joy"
    assert report.label_map["Unknown"] == "left out"


def test_numbers_count_through_classes_of_ones_own(tmp_path):
    faces.class_folders(tmp_path / "in", 12, lambda i: str(i % 2))
    with pytest.raises(ValueError, match="labels are numbers: name their classes"):
        run(tmp_path / "in", tmp_path / "data", classes=("all",))
    run(tmp_path / "in", tmp_path / "data", classes=("calm_ish", "grumpy"))
    assert classes(tmp_path / "data")[0] == {"0": "calm_ish", "1": "grumpy"}


@pytest.mark.parametrize("word", ["²", "--1", "١", "9" * 400, "1e3"])
def test_what_only_looks_like_a_number_is_a_word(tmp_path, word):
    faces.write_images(tmp_path / "in", 2)
    rows = [{"file": f"face{i}.jpg", "label": label} for i, label in enumerate(("1.0", word))]
    faces.write_csv(tmp_path / "in/labels.csv", rows)
    files, card = Files(tmp_path / "in"), catalog.card("folder")
    with pytest.raises(UserError, match=f"labels that are not expressions.*{word}"):
        card.list(files, card.options())
    found = card.list(files, card.options(classes=("a", "b")))
    assert found.label_map == {"1.0": "b", word: None}


def test_folders_name_classes_of_ones_own_where_a_table_does_not(source, tmp_path):
    rows = [
        {"file": f"{WORDS[i % 4]}/gesicht_ä{i}.jpg", "subject": "abc"[i % 3]} for i in range(12)
    ]
    faces.write_csv(source / "labels.csv", rows)
    run(source, tmp_path / "data", classes=("grumpy",), map={"hapiness": "grumpy"})
    found = {"grumpy": "grumpy", "hapiness": "grumpy", "joy": "?", "Freude": "?"}
    assert classes(tmp_path / "data")[0] == found


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": ("a",), "expressions": ("fear",)}, "give one of them"),
        ({"classes": ("a", "A")}, "names one twice"),
        ({"classes": ("a", "unknown")}, "unknown has another meaning"),
    ],
)
def test_classes_that_say_two_things_are_refused(source, tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        run(source, tmp_path / "data", **options)
