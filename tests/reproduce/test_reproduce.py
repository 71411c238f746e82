"""Studies: what is run, the table, and the verdicts."""

import copy
import dataclasses
import json
import os
import shutil
import sys

import numpy as np
import pytest

from aufer_jax import cli, reproduce
from aufer_jax.papers import study as papers
from aufer_jax.papers.study import Claim, Row, Study, Trend
from aufer_jax.reproduce import outcomes as outcomes_lib
from aufer_jax.reproduce import plan
from aufer_jax.reproduce import study as study_lib
from aufer_jax.reproduce.outcomes import Outcome
from aufer_jax.train import config as config_lib
from aufer_jax.train import workdir as workdir_lib

STUDY = Study(
    name="toy",
    title="A toy",
    rows=(
        Row("one", config_lib.load("configs/mvfer.py")),
        Row("two", config_lib.load("configs/mvfer.py"), {"train.epochs": 3}),
    ),
    metrics={"test accuracy": "test_last/accuracy", "occluded": "occluded_last/accuracy"},
    claims=(Claim("two is better", ("one", "two"), "test_last/accuracy"),),
)


@pytest.fixture(autouse=True)
def no_papers_are_left(monkeypatch):
    monkeypatch.setattr(papers, "_PAPERS", dict(papers._PAPERS))


def outcomes(*accuracies, seconds=2.0):
    return [Outcome({"test_last": {"accuracy": a}}, seconds) for a in accuracies]


def test_the_table_has_means_deviations_and_costs():
    found = {"one": outcomes(0.1, 0.2, 0.3), "two": outcomes(0.4, 0.4, 0.7, seconds=5.0)}
    one, two = outcomes_lib.table(STUDY, found)
    assert one == {
        "row": "one",
        "test accuracy": "0.200 ± 0.100",
        "occluded": "-",
        "s an epoch": "2.0",
        "cost": "1.00",
    }
    assert two["test accuracy"] == "0.500 ± 0.173" and two["cost"] == "2.50"
    told = dataclasses.replace(
        STUDY, columns={"epochs": lambda row: str(row.changes.get("train.epochs"))}
    )
    assert [row["epochs"] for row in outcomes_lib.table(told, found)] == ["None", "3"]


def test_the_cost_is_of_all_epochs():
    def trained(seconds, epochs):
        return [Outcome({"test_last": {"accuracy": 0.5}}, seconds, epochs=epochs)]

    found = {"one": trained(2.0, 8), "two": trained(2.1, 16)}
    one, two = outcomes_lib.table(STUDY, found)
    assert (one["cost"], two["cost"], two["s an epoch"]) == ("1.00", "2.10", "2.1")


def test_published_numbers_stand_beside_ours(tmp_path):
    numbers = {"test accuracy": ("published accuracy (RAF-DB)", {"two": "0.8730"})}
    study = dataclasses.replace(STUDY, published=numbers, claims=())
    found = {"one": outcomes(0.1, 0.2), "two": outcomes(0.4, 0.4)}
    one, two = outcomes_lib.table(study, found)
    assert list(two)[:3] == ["row", "test accuracy", "published accuracy (RAF-DB)"]
    assert (one["published accuracy (RAF-DB)"], two["published accuracy (RAF-DB)"]) == (
        "-",
        "0.8730",
    )
    outcomes_lib.write(study, found, tmp_path / "x.md", "mine", 1)
    text = (tmp_path / "x.md").read_text()
    assert "Published: what the paper has" in text and "as printed" not in text
    # Of the rows that are asked for, none has a number.
    (alone,) = outcomes_lib.table(dataclasses.replace(study, rows=STUDY.rows[:1]), found)
    assert "published accuracy (RAF-DB)" not in alone
    doubtful = {"test accuracy": ("published accuracy (DFEW)", {"two": "0.6602?"})}
    outcomes_lib.write(
        dataclasses.replace(study, published=doubtful), found, tmp_path / "x.md", "", 1
    )
    assert "with ?, it cannot be as printed" in (tmp_path / "x.md").read_text()


@pytest.mark.parametrize(
    ("differences", "expected"),
    [
        # Of three seeds the interval is the mean +- 4.303 standard errors, here 0.00577 each: from a
        # table of t, two-sided 95 %, 2 degrees of freedom.
        ([0.1, 0.11, 0.12], "held"),
        ([0.015, 0.025, 0.035], "held"),  # 0.025 - 0.0248
        ([0.0145, 0.0245, 0.0345], "undecided"),  # 0.0245 - 0.0248, more than four standard errors
        ([-0.015, -0.025, -0.035], "not held"),
        ([0.1, -0.14, 0.01], "undecided"),
        ([0.02, 0.02], "held"),
        ([0.0, 0.0], "undecided"),
        ([0.1], "undecided (one seed)"),
        ([0.1, np.nan], "not measured"),
    ],
)
def test_a_verdict_is_that_of_a_paired_t_test(differences, expected):
    assert outcomes_lib.verdict(np.array(differences)) == expected


def test_a_claim_is_judged_by_paired_differences():
    found = {"one": outcomes(0.1, 0.5, 0.3), "two": outcomes(0.2, 0.58, 0.42)}
    (row,) = outcomes_lib.verdicts(STUDY, found)
    assert row["step"] == "one < two" and row["seeds for it"] == "3 of 3"
    assert row["difference"] == "+0.100 ± 0.020" and row["verdict"] == "held"


TREND = Trend(
    text="farther is worse",
    base="alone",
    rows=("a", "b", "c"),
    metric="test_last/accuracy",
    measure=lambda row: {"a": 0.1, "b": 0.3, "c": 0.5}[row.name],
    unit="distance",
)


def judged(trend, **accuracies):
    rows = tuple(Row(name, None) for name in accuracies)
    found = {name: outcomes(*each) for name, each in accuracies.items()}
    return outcomes_lib.verdicts(Study("t", "T", rows, {}, (trend,)), found)


def test_a_trend_is_judged_by_the_rank_correlation_of_each_seed():
    """Gains by hand: .02 .01 -.01; .03 -.01 -.10; .01 .02 0: correlations 1, 1 and 1 - 6 * 2 / 24."""
    a, b, c = [0.82, 0.83, 0.81], [0.81, 0.79, 0.82], [0.79, 0.70, 0.80]
    correlation, crossing = judged(TREND, alone=[0.8] * 3, a=a, b=b, c=c)
    assert correlation["difference"] == "+0.833 ± 0.289" and correlation["seeds for it"] == "3 of 3"
    assert correlation["verdict"] == "held"  # 0.833 - 4.303 * 0.289 / sqrt(3)
    # Lines between the rows cross zero at 0.4, 0.1 + 0.2 * 3 / 4 and 0.5.
    assert crossing["difference"] == "0.383 ± 0.126" and crossing["seeds for it"] == "3 of 3"
    assert crossing["verdict"] == "-"
    turned, never = judged(TREND, alone=[0.9] * 3, a=c, b=b, c=a)
    assert (turned["difference"][:3], turned["verdict"]) == ("-0.", "not held")
    assert (never["difference"], never["seeds for it"]) == ("none", "0 of 3")


def test_a_trend_needs_three_rows_that_differ():
    same = [0.7, 0.7]
    correlation, _ = judged(TREND, alone=[0.8, 0.8], a=same, b=same, c=same)
    assert (correlation["difference"], correlation["verdict"]) == ("-", "not measured")
    fewer = papers.among(TREND, ["alone", "c", "a"])
    assert fewer == dataclasses.replace(TREND, rows=("a", "c"))
    assert judged(fewer, alone=[0.8, 0.8], a=same, c=same) == []
    assert papers.among(TREND, ["a", "b", "c"]) == dataclasses.replace(TREND, rows=())


def test_a_claim_on_what_a_row_has_over_another_is_judged_by_differences_of_differences():
    found = {
        "base, 300": outcomes(0.30, 0.40, 0.50),
        "all, 300": outcomes(0.40, 0.49, 0.62),  # 0.10, 0.09 and 0.12 more
        "base, 600": outcomes(0.60, 0.60, 0.60),
        "all, 600": outcomes(0.63, 0.60, 0.66),  # 0.03, 0.00 and 0.06 more
    }
    claim = Claim(
        "more with few", ("all, 600", "all, 300"), "test_last/accuracy", ("base, 600", "base, 300")
    )
    (row,) = outcomes_lib.verdicts(dataclasses.replace(STUDY, claims=(claim,)), found)
    assert row["step"] == "all, 600 - base, 600 < all, 300 - base, 300"
    # 0.07, 0.09 and 0.06: mean 0.0733, squared deviations 0.11, 2.78 and 1.78, times 1e-4.
    assert (row["difference"], row["verdict"]) == ("+0.073 ± 0.015", "held")
    assert row["McNemar's p"] == ""
    kept = papers.among(claim, ("all, 300", "all, 600", "base, 300"))
    assert (kept.order, kept.over) == (("all, 300",), ("base, 300",))
    assert papers.among(claim, ()).order == ()
    with pytest.raises(ValueError, match="as many rows"):
        dataclasses.replace(claim, over=("base, 300",))


def test_a_key_that_is_newer_than_a_run_leaves_its_folder_as_it_was(tmp_path, monkeypatch):
    def folder(**changes):
        (run, _) = plan.plan(STUDY, tmp_path, seeds=(0,), changes=changes).runs
        return run.workdir

    now, other = folder(), folder(**{"heatmap.noise": 0.03})
    identity = workdir_lib.identity
    before = {"heatmap.noise"}  # as if there had been no such key
    monkeypatch.setattr(
        workdir_lib, "identity",
        lambda config: {k: v for k, v in identity(config).items() if k not in before},
    )  # fmt: skip
    assert now == folder() != other


def test_a_row_is_its_config_with_changes_and_seed():
    config = plan.row_config(STUDY.rows[1], 7, {"optimizer.lr": "0.5", "data.ratio": "3+2"})
    assert config.seed == 7 and config.train.epochs == 3
    assert config.optimizer.lr == 0.5 and config.data.ratio == (3, 2)
    with pytest.raises(ValueError, match=r"optimizer\.lrr.*Did you mean 'optimizer\.lr'"):
        plan.row_config(STUDY.rows[0], 0, {"optimizer.lrr": "0.5"})


def test_mistakes_are_named(tmp_path, capsys):
    with pytest.raises(ValueError, match=r"paper.*Did you mean 'mvfer'"):
        reproduce.reproduce("mvferr", command="")
    with pytest.raises(ValueError, match=r"table of mvfer.*Did you mean 'ablation'"):
        reproduce.reproduce("mvfer", ["ablaton"], command="")
    with pytest.raises(ValueError, match=r"row.*Did you mean 'base'"):
        reproduce.reproduce("mvfer", command="", rows=["bass"])
    assert cli.main(["paper", "reproduce", "mvfer", "--set", "train.epochs=3"]) == 2
    assert "--config" in capsys.readouterr().err


def test_studies_without_the_rows_that_are_asked_for_are_left_out(tmp_path, capsys):
    reproduce.reproduce("mvfer", command="", rows=["base"], dry_run=True, seeds=1, runs=tmp_path)
    said = capsys.readouterr().out
    assert "views, on synth_c: 2 runs" in said and "  base: " in said  # and its first weights
    assert "heatmap, on" not in said and "labels, on" not in said


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
    assert (found["two"][0].epoch_seconds, found["two"][0].epochs) == (2, 3)
    starts = [path.read_text() for path in tmp_path.glob("toy/*/starts")]
    assert starts == ["x"] * 4
    outcomes_lib.write(STUDY, found, tmp_path / "toy.md", "the command", 2)
    text = (tmp_path / "toy.md").read_text()
    assert "## A toy: claims" in text and "0.600 ± 0.141" in text
    # Another configuration is another run; another study with the same one takes what is there.
    longer = study_lib.run(STUDY, tmp_path, seeds=(0,), changes={"train.epochs": 9})
    assert len(list(tmp_path.glob("toy/one-seed0-*"))) == 2
    assert longer["one"][0].workdirs != found["one"][0].workdirs
    renamed = dataclasses.replace(STUDY, rows=(dataclasses.replace(STUDY.rows[0], name="alone"),))
    (shared,) = plan.plan(renamed, tmp_path, seeds=(0,)).runs
    assert shared.finished and shared.workdir == found["one"][0].workdirs[0]


def test_runs_without_the_cores_of_linux(tmp_path, monkeypatch):
    """As on macOS and Windows, whose Python can neither ask nor say which cores a process has."""
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.delattr(os, "sched_setaffinity", raising=False)
    assert study_lib.default_jobs() == os.cpu_count()
    write = """
import pathlib, sys
workdir = pathlib.Path(sys.argv[1])
(workdir / "environment.json").write_text("{}")
(workdir / "metrics.jsonl").write_text('{"split": "train", "seconds": 1}')
(workdir / "summary.json").write_text("{}")
"""
    _fake_run(monkeypatch, write)
    found = study_lib.run(STUDY, tmp_path, seeds=(0,), jobs=2, say=lambda text: None)
    assert list(found) == ["one", "two"]


def test_an_outside_paper_brings_its_studies(tmp_path, monkeypatch):
    asked = []

    def studies(target, full, aux, recipe):
        asked.append((target, full, aux, recipe))
        return {"table1": STUDY}

    papers.register("outside", studies)
    monkeypatch.setattr(study_lib, "run", lambda study, *_, **__: {
        "one": outcomes(0.1, 0.2), "two": outcomes(0.3, 0.4),
    })  # fmt: skip
    path = reproduce.reproduce(
        "outside", command="mine", target="faces", aux=["more"], full=True, out=tmp_path / "x.md"
    )
    assert asked == [("faces", True, ["more"], "")]
    assert "| two is better |" in path.read_text()
    assert papers.published("outside") == ()


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
    start, (one, two) = Row("first weights", STUDY.rows[0].config), STUDY.rows
    study = dataclasses.replace(STUDY, rows=(one, dataclasses.replace(two, start=start)))
    found = study_lib.run(study, tmp_path, seeds=(0,), jobs=2, say=lambda text: None)
    assert [found[name][0].summary["test_last"]["accuracy"] for name in found] == [1, 1]
    begins = [
        json.loads((found[name][0].workdirs[0] / "config.json").read_text())["init_from"]
        for name in ("one", "two")
    ]
    (started,) = tmp_path.glob("toy/first_weights-*")
    assert begins == ["", str(started)]
    shutil.rmtree(started)  # nothing begins with it any more
    study_lib.run(study, tmp_path, seeds=(0,), jobs=2, say=lambda text: None)
    assert not started.exists()
    begun = plan.with_weights(study, {"two": "weights.pth"}).rows
    assert [row.changes.get("init_from") for row in begun] == [None, "weights.pth"]
    assert begun[1].start is None
    assert all(r.changes["init_from"] for r in plan.with_weights(study, {"resnet_small": "x"}).rows)


def test_the_hours_of_a_run_are_those_of_its_products():
    """By hand: RAF-DB's 12,271 pictures, 60 epochs, torchvision's 1.81 billion products of a ResNet-18."""
    rows = {row.name: row for row in papers.studies("mvfer", "rafdb", True)["ablation"].rows}
    base, every = (plan.row_config(rows[name], 0, {}) for name in ("base", "all"))
    assert (base.train.epochs, base.data.size, base.model.name) == (60, 224, "resnet18")
    expected = 12_271 * 60 * 1.81e9 * 2 * 3 / (0.35 * 989e12) / 3600
    assert plan.gpu_hours(base) == pytest.approx(expected, rel=0.02)
    assert plan.gpu_hours(every) == pytest.approx(3 * expected, rel=0.02)  # three views
    few = plan.row_config(rows["base"], 0, {"data.target_rows": 1227})
    assert plan.gpu_hours(few) == pytest.approx(expected / 10, rel=0.02)


def test_the_hours_of_a_frozen_run_are_those_of_what_it_computes():
    """With all but the head frozen, forward; with only the first convolution trained, also back to it."""
    rows = {row.name: row for row in papers.studies("mvfer", "rafdb", True)["ablation"].rows}
    once = plan.gpu_hours(plan.row_config(rows["base"], 0, {})) / 3

    def hours(trained):
        return plan.gpu_hours(plan.row_config(rows["base"], 0, {"optimizer.freeze": (trained,)}))

    assert hours(r"^(?!fc)") == pytest.approx(once, rel=0.01)
    assert hours(r"^(?!conv1)") == pytest.approx(2 * once, rel=0.08)


def test_rows_are_taught_what_the_run_of_another_row_says(tmp_path, monkeypatch):
    write = """
import json, pathlib, sys
workdir = pathlib.Path(sys.argv[1])
(workdir / "environment.json").write_text("{}")
(workdir / "metrics.jsonl").write_text(json.dumps({"split": "train", "seconds": 1}))
table = json.loads((workdir / "config.json").read_text())["data"]["aux_labels"]
found = not table or pathlib.Path(table).exists()
(workdir / "summary.json").write_text(json.dumps({"test_last": {"accuracy": float(found)}}))
"""
    _fake_run(monkeypatch, write)
    made = []

    def label(table):
        assert (table.by.workdir / "summary.json").exists()
        table.path.write_text("file,predicted")
        made.append((table.by.row.name, table.dataset))

    monkeypatch.setattr(study_lib, "_label", label)
    one, two = STUDY.rows
    config = copy.deepcopy(two.config)
    config.data.aux, config.data.aux_expressions = ("helper",), True
    config.data.batch_size = 40
    two = dataclasses.replace(two, config=config, labelled_by=Row("labeller", one.config))
    study = dataclasses.replace(STUDY, rows=(one, two))
    for _ in range(2):
        found = study_lib.run(study, tmp_path, seeds=(0, 1), jobs=2, say=lambda text: None)
    assert made == [("labeller", "helper")]
    assert [o.summary["test_last"]["accuracy"] for o in found["two"]] == [1, 1]

    def tables(runs):
        return [plan.settings(run.config)["data"]["aux_labels"] for run in runs]

    planned = plan.plan(study, tmp_path, seeds=(0,))
    (labeller,) = planned.starts
    assert tables(planned.runs) == ["", str(labeller.workdir / "labels_helper.csv")]
    # A table of the caller's own: nobody is trained for it, and other rows stay as they are.
    own = plan.plan(study, tmp_path, seeds=(0,), changes={"data.aux_labels": "mine.csv"})
    assert (own.starts, own.tables, tables(own.runs)) == ((), (), ["", "mine.csv"])
    begun = plan.with_weights(study, {"labeller": "x.pth", "one": "y.pth"}).rows[1]
    assert begun.labelled_by.changes["init_from"] == "x.pth" and "init_from" not in begun.changes


def test_a_failed_run_shows_its_log(tmp_path, monkeypatch):
    _fake_run(monkeypatch, "raise SystemExit('out of luck')")
    with pytest.raises(RuntimeError, match="out of luck"):
        study_lib.run(STUDY, tmp_path, seeds=(0,), jobs=1, say=lambda text: None)


# --- Folds, AUs, records --------------------------------------------------------------------------


def test_folds_are_runs_of_their_own_and_judged_as_one(tmp_path, monkeypatch, capsys):
    write = """
import json, pathlib, sys
workdir = pathlib.Path(sys.argv[1])
fold = json.loads((workdir / "config.json").read_text())["data"]["fold"]
confusion = {1: [[3, 1], [0, 4]], 2: [[0, 0], [2, 2]]}[fold]
summary = {"expressions": ["sadness", "happiness"], "test_last": {
    "accuracy": 9, "uar": 9, "au_f1": fold / 10, "confusion": confusion}}
(workdir / "environment.json").write_text("{}")
(workdir / "metrics.jsonl").write_text('{"split": "train", "seconds": 1}')
(workdir / "summary.json").write_text(json.dumps(summary))
"""
    _fake_run(monkeypatch, write)
    papers.register("folded", lambda *_: {"t": dataclasses.replace(STUDY, claims=())})
    path = tmp_path / "x.md"
    options = {"folds": [1, 2], "seeds": 1, "runs": tmp_path, "out": path}
    reproduce.reproduce("folded", command="", dry_run=True, **options)
    said = capsys.readouterr().out
    assert "4 runs" in said and "train.epochs = 3" in said and not path.exists()
    assert said.count("fold 2: ") == 2 and not list(tmp_path.glob("*/*"))
    reproduce.reproduce("folded", command="", jobs=2, **options)
    assert "0.750 [" in path.read_text()  # 9 of 12
    reproduce.reproduce("folded", command="", dry_run=True, **options)
    assert capsys.readouterr().out.count("(finished)") == 4


def test_folds_are_pooled_by_their_counts():
    def fold(confusion, au_f1):
        values = {"accuracy": 9, "uar": 9, "au_f1": au_f1, "confusion": confusion}
        return Outcome({"expressions": ["sad", "happy"], "test_last": values}, 2.0, 3.0)

    one = outcomes_lib.pooled([fold([[3, 1], [0, 4]], 0.1), fold([[0, 0], [2, 2]], 0.2)])
    assert outcomes_lib.lookup(one.summary, "test_last/accuracy") == 9 / 12
    assert outcomes_lib.lookup(one.summary, "test_last/uar") == (3 / 4 + 6 / 8) / 2
    assert outcomes_lib.lookup(one.summary, "test_last/au_f1") == pytest.approx(0.15)
    assert one.seconds == 6


def test_au_scores_are_over_the_aus_that_were_taught_and_over_those_common_to_all():
    values = {
        "au_f1": 0.5,
        "au_f1/AU01": 0.9,
        "au_f1/AU02": 0.6,
        "au_f1/AU04": 0.3,
        "au_auc/AU02": 1,
    }

    def row(*taught):
        return [Outcome({"test_last": values}, 1.0, taught=taught)]

    given = {"alone": row(), "a": row(1, 2, 9), "b": row(2, 4, 9)}
    assert outcomes_lib.common_aus(given) == (2,)
    found = outcomes_lib.with_au_means(given)
    scores = {name: rows[0].summary["test_last"] for name, rows in found.items()}
    assert scores["a"]["au_f1_taught"] == pytest.approx(0.75)
    assert scores["b"]["au_f1_taught"] == pytest.approx(0.45)  # AU9 has no labels in the test split
    assert scores["a"]["au_f1_common"] == scores["b"]["au_f1_common"] == 0.6
    assert scores["b"]["au_auc_common"] == 1
    assert "au_f1_taught" not in scores["alone"]


def test_a_head_that_was_taught_no_aus_has_no_au_scores():
    values = {"accuracy": 0.5, "au_f1": 0.2, "au_f1_micro": 0.263, "au_f1/AU01": 0.2}
    study = dataclasses.replace(STUDY, metrics={"AU F1 micro": "test_last/au_f1_micro"}, claims=())
    rows = {
        name: [Outcome({"annotated_aus": [1], "test_last": values}, 1.0, taught=taught)]
        for name, taught in (("one", ()), ("two", (1,)))
    }
    found = outcomes_lib.with_au_means(rows)
    cells = [row["AU F1 micro"] for row in outcomes_lib.table(study, found)]
    assert cells == ["-", "0.263"]
    assert outcomes_lib.lookup(found["one"][0].summary, "test_last/accuracy") == 0.5


def test_a_run_was_taught_the_aus_of_its_data_if_its_loss_had_them(tmp_path):
    (tmp_path / "summary.json").write_text('{"annotated_aus": [1, 12]}')
    (tmp_path / "environment.json").write_text("{}")
    for logged, expected in (({"au_loss": 1.0}, (1, 12)), ({}, ())):
        line = {"split": "train", "seconds": 1, **logged}
        (tmp_path / "metrics.jsonl").write_text(json.dumps(line))
        assert outcomes_lib.read(tmp_path).taught == expected


def test_a_claim_on_accuracy_has_mcnemars_p(tmp_path):
    def outcome(name, said):
        folder = tmp_path / name
        folder.mkdir()
        lines = [f"{i},happy,{'happy' if right else 'sad'}" for i, right in enumerate(said)]
        text = "\n".join(["file,label,predicted", *lines, "9,,sad"])
        (folder / "predictions_test_last.csv").write_text(text)
        return Outcome({"test_last": {"accuracy": np.mean(said)}}, 1.0, workdirs=(folder,))

    found = {"one": [outcome("a", [0, 0, 0, 0, 0, 1])], "two": [outcome("b", [1] * 6)]}
    (row,) = outcomes_lib.verdicts(STUDY, found)
    assert row["McNemar's p"] == "0.062"  # 2 / 2^5
    assert (
        outcomes_lib.verdicts(STUDY, {"one": outcomes(0.1), "two": found["two"]})[0]["McNemar's p"]
        == ""
    )
