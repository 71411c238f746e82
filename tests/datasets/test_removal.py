"""Removing datasets: only what was made under their names."""

import faces_source as faces
import pytest
from prepare_source import run

from aufer_jax import cli
from aufer_jax.datasets import catalog, removal


def test_a_prepared_dataset_is_removed_and_its_source_stays(tmp_path, capsys):
    faces.class_folders(tmp_path / "in", 12)
    run(tmp_path / "in", tmp_path / "data")
    (tmp_path / "data" / "mine" / "notes.txt").write_text("my own")
    other = tmp_path / "data" / "other"
    other.mkdir()
    assert cli.main(["data", "remove", "mine", "--data-dir", str(tmp_path / "data")]) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"removed from {tmp_path / 'data' / 'mine'}, 0.")
    assert " MB: dataset.json, report.md, " in said
    assert "\nnot ours, left where they are: notes.txt\n" in said
    assert [p.name for p in (tmp_path / "data" / "mine").iterdir()] == ["notes.txt"]
    assert other.exists() and len(list((tmp_path / "in").rglob("*.jpg"))) == 12
    assert "mine" not in catalog.names(tmp_path / "data")
    run(tmp_path / "in", tmp_path / "data")
    (tmp_path / "data" / "mine" / "notes.txt").unlink()
    removal.remove("mine", tmp_path / "data")
    assert not (tmp_path / "data" / "mine").exists()


def test_the_drawn_faces_of_one_set_are_removed(tmp_path):
    for name in (
        "synth_a_112px_seed0_train4",
        "synth_a_64px_seed1_train4",
        "synth_au_112px_seed0_train4",
    ):
        (tmp_path / name / "synth").mkdir(parents=True)
        (tmp_path / name / "synth" / "x").write_bytes(bytes(7))
    removed = removal.remove("synth_a", tmp_path)
    assert [(path.name, size) for path, size in removed.items()] == [
        ("synth_a_112px_seed0_train4", 7), ("synth_a_64px_seed1_train4", 7),
    ]  # fmt: skip
    assert [path.name for path in tmp_path.iterdir()] == ["synth_au_112px_seed0_train4"]


@pytest.mark.parametrize(
    ("name", "message"),
    [("..", "nor is any other"), ("other", "nor is any other"), ("synth_b", "is not drawn")],
)
def test_what_was_not_made_is_not_removed(tmp_path, name, message):
    (tmp_path / "data" / "other").mkdir(parents=True)
    (tmp_path / "dataset.json").write_text("{}")
    with pytest.raises(ValueError, match=message):
        removal.remove(name, tmp_path / "data")
    assert (tmp_path / "dataset.json").exists() and (tmp_path / "data" / "other").exists()


def test_a_misspelled_name_is_answered_with_what_is_there(tmp_path):
    faces.class_folders(tmp_path / "in", 12)
    run(tmp_path / "in", tmp_path / "data")
    with pytest.raises(ValueError, match=r"choose one of: mine. Did you mean 'mine'\?"):
        removal.remove("mien", tmp_path / "data")


def test_a_wrong_data_dir_is_named(tmp_path, monkeypatch):
    faces.class_folders(tmp_path / "in", 12)
    run(tmp_path / "in", tmp_path / "data")
    monkeypatch.setenv("AUFER_DATA", str(tmp_path / "data"))
    with pytest.raises(ValueError, match=r"nowhere, which does not exist .*; it is in .*data$"):
        catalog.info("mine", tmp_path / "nowhere")
    with pytest.raises(ValueError, match=r"which holds mine .*prepare folder --name my_faces"):
        catalog.info("my_faces")
