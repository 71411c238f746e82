"""The command as a whole: its help, its verbs and where their options come from."""

import json
import os
import subprocess
import sys
import types

import pytest

from aufer_jax import cli, errors, main
from aufer_jax.cli import parse
from aufer_jax.datasets import catalog


def leaves(group, prog="aufer"):
    for word, verb in group.verbs().items():
        if isinstance(verb, parse.Group):
            yield from leaves(verb, f"{prog} {word}")
        else:
            yield f"{prog} {word}", verb


VERBS = dict(leaves(cli.ROOT))


def run(*words):
    command = [sys.executable, "-X", "importtime", "-m", "aufer_jax.cli", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_the_verbs():
    mine = [prog for prog in VERBS if not prog.startswith("aufer data prepare ")]
    assert mine == [
        "aufer train", "aufer check", "aufer evaluate", "aufer predict", "aufer serve", "aufer doctor",
        "aufer completion", "aufer data list", "aufer data inspect", "aufer data bias", "aufer data remove",
        "aufer faces align", "aufer faces landmarks", "aufer faces aus", "aufer run report",
        "aufer run watch", "aufer run explain", "aufer run tsne", "aufer run export",
        "aufer run curves", "aufer run pool", "aufer paper reproduce",
        "aufer paper knowledge", "aufer weights convert", "aufer weights models",
    ]  # fmt: skip
    assert {prog.split()[-1] for prog in VERBS if prog not in mine} == set(catalog.cards())


@pytest.mark.parametrize("prog", VERBS)
def test_every_verb_helps(prog, capsys):
    with pytest.raises(SystemExit, match="0"):
        cli.main([*prog.split()[1:], "--help"])
    said = capsys.readouterr().out
    assert said.startswith(f"usage: {prog} ")
    assert "None" not in said


@pytest.mark.parametrize("words", [["--help"], ["data", "--help"]])
def test_the_list_of_verbs_needs_none_of_what_is_slow_to_import(words):
    done = run(*words)
    assert done.returncode == 0
    loaded = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert not loaded & {"numpy", "jax", "tyro", "cv2", "ml_collections"}
    assert len(loaded) < 300


def test_a_datasets_options_are_under_that_dataset_only():
    def own(name):
        return set(parse._options(VERBS[f"aufer data prepare {name}"]))

    assert "--margin" in own("affectnet7")
    assert not {"--margin", "--undecided", "--cut"} & own("dfew")
    assert "--cut" in own("emotionet")


def test_values_with_commas_reach_the_datasets_options(monkeypatch):
    given = {}
    report = types.SimpleNamespace(folder="x", name="x")
    monkeypatch.setattr(
        "aufer_jax.datasets.prepare.prepare", lambda *a, **k: given.update(k) or report
    )
    words = "data prepare folder --source x --expressions happiness,anger --columns file=image,split=set"
    assert cli.main(words.split()) == 0
    assert given["expressions"] == ("happiness", "anger")
    assert given["columns"] == {"file": "image", "split": "set"}
    assert given["skip_missing"] is False
    words = "data prepare emotionet --source x --cut 0,0.1,1,1"
    assert cli.main(words.split()) == 0
    assert given["cut"] == (0.0, 0.1, 1.0, 1.0)


def test_overrides_are_written_as_for_a_training(monkeypatch):
    given = {}
    monkeypatch.setattr("aufer_jax.reproduce.reproduce", lambda *a, **k: given.update(k, args=a))
    words = [
        "paper",
        "reproduce",
        "mvfer",
        "--config.train.epochs=3",
        "--rows",
        "all, lc 5",
        "base",
    ]
    assert cli.main([*words, "--config.data.align", ""]) == 0
    assert given["changes"] == {"train.epochs": "3", "data.align": ""}
    assert given["rows"] == ("all, lc 5", "base")
    assert given["args"] == ("mvfer", ())


def test_overrides_are_taken_out_of_a_command_line():
    words = ["--config=a.py", "--config.a.b=c=d", "--config.e", "1", "--config.f", "--workdir", "x"]
    rest, changes = main.overrides(words)
    assert rest == ["--config=a.py", "--workdir", "x"]
    assert changes == {"a.b": "c=d", "e": "1", "f": "true"}


def test_curves_are_drawn_in_the_first_runs_folder(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for run in ("a", "b"):
        lines = [
            {"step": 1, "split": split, "epoch": 1, "loss": 1.0}
            for split in ("train", "validation")
        ]
        (tmp_path / run).mkdir()
        (tmp_path / run / "metrics.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert cli.main(["run", "curves", "a", "b"]) == 0
    assert (tmp_path / "a" / "figures" / "curves_compared.png").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"a", "b"}


def test_version(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == "aufer 0.1.0\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_knows_verbs_and_options(shell, capsys):
    assert cli.main(["completion", shell]) == 0
    script = capsys.readouterr().out
    for word in ("reproduce", "emotionet", "--perplexity", "--undecided"):
        assert word in script


def test_a_closed_pipe_is_no_mistake():
    code = (
        "from aufer_jax import errors\n"
        "exit(errors.boundary(lambda: [print('x' * 99) for _ in range(9**5)])())"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 141


def test_our_own_mistakes_keep_their_traceback(tmp_path):
    ours = FileNotFoundError(2, "gone", f"{os.path.dirname(errors.__file__)}/data/x.json")
    for mistake in (ValueError("shapes"), KeyError("x"), OSError(9, "broken"), ours):
        with pytest.raises(type(mistake)):
            errors.boundary(raising(mistake))()
    assert errors.boundary(raising(FileNotFoundError(2, "gone", str(tmp_path / "x"))))() == 2


def raising(mistake):
    def program():
        raise mistake

    return program


@pytest.mark.parametrize(
    ("kind", "expressions", "words"),
    [
        ("image", ["anger"], "run explain RUN"),
        ("clip", ["anger"], "predict CLIP --model RUN"),
        ("image", [], "predict IMAGE --model RUN"),
    ],
)
def test_what_comes_after_an_evaluation(tmp_path, monkeypatch, capsys, kind, expressions, words):
    labels = {"kind": kind, "expressions": expressions, "aus": [12]}
    (tmp_path / "labels.json").write_text(json.dumps(labels))
    monkeypatch.setattr("aufer_jax.runs.evaluate", lambda *_, **__: {})
    assert cli.main(["evaluate", str(tmp_path)]) == 0
    assert capsys.readouterr().out == f"Next: aufer {words.replace('RUN', str(tmp_path))}\n"
