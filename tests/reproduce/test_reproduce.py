"""Studies: what is run, the table, and the verdicts."""

import dataclasses
import json
import sys

import numpy as np
import pytest

from aufer_jax import cli, reproduce
from aufer_jax.papers.audfer import studies
from aufer_jax.papers.study import Claim, Row, Study
from aufer_jax.reproduce import study as study_lib
from aufer_jax.reproduce.study import Outcome

STUDY = Study(
    name="toy",
    title="A toy",
    rows=(Row("one", "configs/mvfer.py"), Row("two", "configs/mvfer.py", {"train.epochs": 3})),
    metrics={"test accuracy": "test_last/accuracy", "occluded": "occluded_last/accuracy"},
    claims=(Claim("two is better", ("one", "two"), "test_last/accuracy"),),
)


def outcomes(*accuracies, seconds=2.0):
    return [Outcome({"test_last": {"accuracy": a}}, seconds) for a in accuracies]


def test_the_table_has_means_deviations_and_costs():
    found = {"one": outcomes(0.1, 0.2, 0.3), "two": outcomes(0.4, 0.4, 0.7, seconds=5.0)}
    one, two = study_lib.table(STUDY, found)
    assert one == {
        "row": "one",
        "test accuracy": "0.200 ± 0.100",
        "occluded": "-",
        "s an epoch": "2.0",
        "cost": "1.00",
    }
    assert two["test accuracy"] == "0.500 ± 0.173" and two["cost"] == "2.50"


@pytest.mark.parametrize(
    ("differences", "expected"),
    [
        ([0.1, 0.11, 0.12], "held"),
        ([0.1, -0.08, 0.01], "held, within noise"),
        ([-0.1, -0.11, -0.12], "not held"),
        ([0.1, -0.14, 0.01], "not held, within noise"),
        ([0.1], "held (one seed)"),
        ([0.1, np.nan], "not measured"),
    ],
)
def test_a_verdict_says_what_noise_allows(differences, expected):
    assert study_lib.verdict(np.array(differences)) == expected


def test_a_claim_is_judged_by_paired_differences():
    found = {"one": outcomes(0.1, 0.5, 0.3), "two": outcomes(0.2, 0.58, 0.42)}
    (row,) = study_lib.verdicts(STUDY, found)
    assert row["step"] == "one < two" and row["seeds for it"] == "3 of 3"
    assert row["difference"] == "+0.100 ± 0.020" and row["verdict"] == "held"


def test_a_row_is_its_config_with_changes_and_seed():
    config = study_lib.row_config(STUDY.rows[1], 7, {"optimizer.lr": "0.5", "data.ratio": "3+2"})
    assert config.seed == 7 and config.train.epochs == 3
    assert config.optimizer.lr == 0.5 and config.data.ratio == (3, 2)
    with pytest.raises(ValueError, match=r"optimizer\.lrr.*Did you mean 'optimizer\.lr'"):
        study_lib.row_config(STUDY.rows[0], 0, {"optimizer.lrr": "0.5"})


def test_mistakes_are_named(tmp_path, capsys):
    with pytest.raises(ValueError, match=r"paper.*Did you mean 'mvfer'"):
        reproduce.reproduce("mvferr", command="")
    with pytest.raises(ValueError, match=r"row.*Did you mean 'base'"):
        reproduce.reproduce("mvfer", command="", rows=["bass"])
    assert cli.main(["paper", "reproduce", "mvfer", "--set", "train.epochs=3"]) == 2
    assert "--config" in capsys.readouterr().err


def _fake_run(monkeypatch, text):
    """Runs of a study execute `text` with the workdir in sys.argv[1]."""
    start = study_lib.subprocess.Popen

    def popen(command, **options):
        return start([sys.executable, "-c", text, command[-1]], **options)

    monkeypatch.setattr(study_lib.subprocess, "Popen", popen)


def test_finished_runs_are_not_repeated(tmp_path, monkeypatch):
    write = """
import json, pathlib, sys
workdir = pathlib.Path(sys.argv[1])
seed = json.loads((workdir / "config.json").read_text())["seed"]
lines = [{"split": "train", "seconds": s} for s in (9, 2, 2)]
(workdir / "environment.json").write_text("{}")
(workdir / "metrics.jsonl").write_text("\\n".join(map(json.dumps, lines)))
(workdir / "summary.json").write_text(json.dumps({"test_last": {"accuracy": 0.5 + seed / 10}}))
with (workdir / "starts").open("a") as file:
    file.write("x")
"""
    _fake_run(monkeypatch, write)
    for _ in range(2):
        found = study_lib.run(STUDY, tmp_path, seeds=(0, 2), jobs=2, say=lambda text: None)
    assert [o.summary["test_last"]["accuracy"] for o in found["one"]] == [0.5, 0.7]
    assert found["two"][0].epoch_seconds == 2
    starts = [path.read_text() for path in tmp_path.glob("toy/*/starts")]
    assert starts == ["x"] * 4
    study_lib.write(STUDY, found, tmp_path / "toy.md", "the command", 2)
    text = (tmp_path / "toy.md").read_text()
    assert "## A toy: claims" in text and "0.600 ± 0.141" in text
    changed = json.loads((tmp_path / "toy" / "one-seed0" / "config.json").read_text())
    assert changed["method"] == "mvfer"
    with pytest.raises(ValueError, match="another configuration"):
        study_lib.run(STUDY, tmp_path, seeds=(0,), changes={"train.epochs": 9})


def test_rows_begin_with_the_state_of_their_first_run(tmp_path, monkeypatch):
    write = """
import json, pathlib, sys
workdir = pathlib.Path(sys.argv[1])
(workdir / "environment.json").write_text("{}")
(workdir / "metrics.jsonl").write_text(json.dumps({"split": "train", "seconds": 1}))
begins = json.loads((workdir / "config.json").read_text())["init_from"]
found = not begins or (pathlib.Path(begins) / "summary.json").exists()
(workdir / "summary.json").write_text(json.dumps({"test_last": {"accuracy": float(found)}}))
"""
    _fake_run(monkeypatch, write)
    start, (one, two) = Row("first weights", "configs/mvfer.py"), STUDY.rows
    study = dataclasses.replace(STUDY, rows=(one, dataclasses.replace(two, start=start)))
    found = study_lib.run(study, tmp_path, seeds=(0,), jobs=2, say=lambda text: None)
    assert [found[name][0].summary["test_last"]["accuracy"] for name in found] == [1, 1]
    begins = [
        json.loads((tmp_path / "toy" / name / "config.json").read_text())["init_from"]
        for name in ("one-seed0", "two-seed0")
    ]
    assert begins == ["", str(tmp_path / "toy" / "first_weights")]


def test_a_failed_run_shows_its_log(tmp_path, monkeypatch):
    _fake_run(monkeypatch, "raise SystemExit('out of luck')")
    with pytest.raises(RuntimeError, match="out of luck"):
        study_lib.run(STUDY, tmp_path, seeds=(0,), jobs=1, say=lambda text: None)


@pytest.mark.parametrize(("target", "fold"), [("dfew", 1), ("ferv39k", 0)])
def test_the_full_size_rows_of_audfer_can_be_run(target, fold):
    for study in studies.studies(target, full=True).values():
        for row in study.rows:
            config = study_lib.row_config(row, 0, {})
            assert config.data.fold == fold and config.data.target == target
