"""AU-ViT's studies: their rows, what they share, and how far apart the dialects of the ladder are."""

import functools

import pytest

from aufer_jax import bias, facs
from aufer_jax.datasets import catalog
from aufer_jax.papers import study
from aufer_jax.papers.auvit import ladder
from aufer_jax.papers.study import Claim, Trend
from aufer_jax.reproduce import plan
from aufer_jax.train import config as config_lib

SMALL = study.studies("auvit")


def checked(found):
    """The checked configuration of each row."""
    return {row.name: config_lib.check(plan.row_config(row, 0, {})) for row in found.rows}


def test_the_distance_of_what_is_to_be_drawn_is_that_of_the_drawings(tmp_path):
    names = ("synth_a", "synth_mix50")
    drawn = [
        catalog.source(name, "train", tmp_path, sizes={"train": 60}, size=32) for name in names
    ]
    found = bias.overall([bias.read_profile(source, facs.COMMON_13) for source in drawn])
    assert ladder.distance(*names, 60) == pytest.approx(found[0, 1])


def test_the_ladder_has_its_rungs_in_the_order_of_their_distances(monkeypatch):
    monkeypatch.setattr(ladder, "distance", functools.partial(ladder.distance, faces=200))
    found = SMALL["ladder"]
    rows = {row.name: row for row in found.rows}
    few, every = (claim for claim in found.claims if isinstance(claim, Trend))
    assert (few.base, every.base) == ("single", "single, all labels")
    assert few.rows == tuple(f"labels synth_mix{n}" for n in (0, 25, 50, 75, 100))
    assert every.rows == tuple(f"labels synth_mix{n}, all labels" for n in (0, 50, 100))
    for trend in (few, every):
        far = [trend.measure(rows[name]) for name in trend.rows]
        assert far == sorted(far) and far[0] < 0.05 and far[-1] > 0.4
    told = found.columns["AU distance"]
    assert told(rows["single"]) == "-"
    assert told(rows["labels synth_mix100"]) == f"{far[-1]:.3f}"
    runs = checked(found)
    assert runs["labels synth_mix25"].data.aux_expressions and not runs["single"].data.aux
    assert {r.data.target_rows for name, r in runs.items() if "all labels" in name} == {0}
    assert {r.data.target_rows for name, r in runs.items() if "all labels" not in name} == {500}


@pytest.mark.parametrize(
    ("full", "target", "named", "other"),
    [
        (False, "synth_a", ("labels synth_au, all labels",), "synth_b"),
        (True, "rafdb", ("labels emotionet", "labels rafau"), "ferplus"),
        (True, "ferplus", ("labels emotionet", "labels rafau"), "rafdb"),
    ],
)
def test_au_sets_are_in_table_1_with_labels_of_another_dataset(full, target, named, other):
    found = study.studies("auvit", target, full)["table1"]
    rows = {row.name: row for row in found.rows if row.labelled_by}
    assert tuple(rows) == named
    for row in rows.values():
        labeller = config_lib.check(plan.row_config(row.labelled_by, 0, {}))
        assert (labeller.data.target, labeller.data.aux) == (other, ())
        run = config_lib.check(plan.row_config(row, 0, {}))
        assert run.data.aux_expressions and run.data.target == target
        assert labeller.model == run.model and labeller.data.target_rows == run.data.target_rows
        assert row.name in {c.order[0] for c in found.claims if isinstance(c, Claim)}


def test_what_studies_share_is_one_run(tmp_path):
    workdirs = {
        name: {r.row.name: r.workdir.name[-8:] for r in plan.plan(s, tmp_path, seeds=[0]).runs}
        for name, s in SMALL.items()
    }
    few, beta, table7, table2 = (workdirs[name] for name in ("few", "beta", "table7", "table2"))
    assert table7["beta 0"] == beta["beta 0"] == few["beta 0, 500 labels"]
    assert table7["AUs synth_au"] == table2["AUs synth_au"] == few["AUs synth_au, 500 labels"]
    assert workdirs["ladder"]["single"] == table2["single"] == few["single, 500 labels"]
    assert few["single, 2000 labels"] == workdirs["table1"]["single, all labels"]


def test_each_number_of_labels_has_about_as_many_steps():
    steps, warm_up = {}, {}
    for name, run in checked(SMALL["few"]).items():
        rows = run.data.target_rows or run.data.sizes["train"]
        each = rows // run.data.target_batch_size
        assert rows == int(name.split(", ")[1].split()[0])
        steps[rows] = each * run.train.epochs
        warm_up[rows] = round(each * run.schedule.warmup_epochs)
    assert steps == {128: 216, 500: 217, 2000: 250, 6000: 375}  # of the last each is seen once
    assert warm_up == {128: 32, 500: 31, 2000: 31, 6000: 31}
    assert checked(SMALL["few"])["beta 0, 6000 labels"].loss.beta == 0


def test_table_7_has_its_control_and_its_factors():
    runs = checked(SMALL["table7"])
    erased = {name: run.augment.erase for name, run in runs.items()}
    assert {name for name, p in erased.items() if p} == {
        "single, erased", "beta 0, erased", "AUs synth_au, erased",
    }  # fmt: skip
    for name in ("beta 0", "beta 0, erased", "beta 0 synth_au_wild"):
        aus = runs[name.replace("beta 0 ", "AUs ").replace("beta 0", "AUs synth_au")]
        assert runs[name].loss.beta == 0 < aus.loss.beta
        assert runs[name].data == aus.data and runs[name].model == aus.model
    full = study.studies("auvit", "rafdb", True)["table7"]
    assert [row.name for row in full.rows] == ["single", "beta 0", "AUs rafau"]
    assert {claim.metric for claim in full.claims} == {"occluded_last/accuracy"}


@pytest.mark.parametrize(("target", "full"), [("synth_a", False), ("rafdb", True)])
def test_table_8_has_the_target_as_its_own_auxiliary(target, full):
    runs = checked(study.studies("auvit", target, full)["table8"])
    for kind in ("token", "branch"):
        assert runs[f"{kind} {target}"].data.aux == (target,)
        assert not runs[f"{kind} {target}"].data.aux_expressions
    assert not any("my_faces" in r.name for r in study.studies("auvit", "my_faces")["table8"].rows)


def test_regions_are_with_and_without_maxout_where_that_differs():
    runs = checked(SMALL["fig10"])
    assert {name: run.model["maxout"] for name, run in runs.items()} == {
        **{f"{n} regions": True for n in (1, 2, 3, 5, 7, 9)},
        **{f"{n} regions, mean": False for n in (5, 7, 9)},  # cheeks; eyes; the mouth's crops
    }
    claims = [
        claim.order
        for claim in SMALL["fig10"].claims
        if isinstance(claim, Claim) and claim.text == "symmetric maxout helps"
    ]
    assert claims == [(f"{n} regions, mean", f"{n} regions") for n in (5, 7, 9)]
