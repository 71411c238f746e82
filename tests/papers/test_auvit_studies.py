"""AU-ViT's studies: their rows, what they share, and how far apart the dialects of the ladder are."""

import functools
import itertools

import jax
import jax.numpy as jnp
import pytest

from aufer_jax import bias, facs, models
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


@pytest.mark.parametrize(
    ("target", "full", "sets"),
    [("synth_a", False, ("synth_au",)), ("rafdb", True, ("emotionet", "rafau"))],
)
def test_au_sets_are_in_table_2_through_aus_and_through_another_network_s_labels(
    target, full, sets, tmp_path
):
    made = study.studies("auvit", target, full)
    rows = {row.name: row for row in made["table2"].rows}
    claims = {claim.order: claim.text for claim in made["table2"].claims}
    text = "training through AUs is better than through labels of another network"
    for name in sets:
        assert claims[f"labels {name}", f"AUs {name}"] == text
        row = rows[f"labels {name}"]
        run, other = (config_lib.check(plan.row_config(r, 0, {})) for r in (row, row.labelled_by))
        assert run.data.aux == (name,) and run.data.aux_expressions and run.loss.beta == 0
        assert other.data.target not in (target, name)
    labellers = [
        {start.workdir.name for start in plan.plan(made[table], tmp_path, seeds=[0]).starts}
        for table in ("table1", "table2")
    ]
    assert labellers[0] == labellers[1] and len(labellers[0]) == 1
    assert set(sets) <= set(made["table2"].note.replace(",", "").split())


def test_affectnet_with_eight_classes_is_not_taught_by_its_own_images():
    for full in (False, True):
        for found in study.studies("auvit", "affectnet8", full).values():
            assert not any("affectnet7" in row.config.data.aux for row in found.rows)
    assert "labels affectnet7" in {r.name for r in study.studies("auvit", "rafdb")["table1"].rows}


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


def variables_of(run):
    """The shapes of a run's network: seven classes and 21 AUs."""
    options = {key: value for key, value in run.model.items() if key != "name"}
    image = jax.ShapeDtypeStruct((1, run.data.size, run.data.size, 3), jnp.float32)
    keys = {"params": jax.random.key(0), "dropout": jax.random.key(0)}
    model = models.create(run.model["name"], **options)
    return jax.eval_shape(model.init, keys, image)["params"]


def ir50_to_stage_3():
    """The parameters of the CNN embedding, by the layers of face.evoLVe's IR-50."""
    widths = [64] * 4 + [128] * 4 + [256] * 14
    stem = 9 * 3 * 64 + 3 * 64
    units = sum(
        2 * i + 9 * i * o + o + 9 * o * o + 2 * o + (i * o + 2 * o if i != o else 0)
        for i, o in itertools.pairwise(widths)
    )
    return stem + units


def block(c, conv):
    """Of a transformer block with a linear or a convolutional FFN."""
    attention = 2 * 2 * c + (c + 1) * 3 * c + (c + 1) * c
    ffn = (c + 1) * 4 * c + (4 * c + 1) * c
    depth_wise_and_norms = (9 + 1) * 4 * c + 2 * (4 * c + 4 * c + c)
    return attention + ffn + (depth_wise_and_norms if conv else 0)


def au_branch(c):
    """Of seven regions: a norm each, and a head for each of their AUs."""
    return 7 * 2 * c + (c + 1) * (4 + 1 + 4 + 1 + 1 + 1 + 14)


def test_table_3_has_seven_networks_and_the_paper_s_parts():
    def stages(second, conv):
        """Four blocks of 256 and two as wide as `second`, between the CNN and the head."""
        blocks = 4 * block(256, conv) + 2 * block(second, conv)
        return ir50_to_stage_3() + 196 * 256 + blocks + 2 * second + (second + 1) * 7

    merging = (9 + 1) * 512  # a filter for each of 512 outputs
    flatten = (49 * 512 + 1) * 512
    expected = {
        "ViT": 85_804_039,  # torchvision's ViT-B/16 with seven classes
        "+ AU branch only": 85_804_039 + au_branch(768),
        "+ CNN embedding": stages(256, False),
        "+ multi-stage": stages(512, False) + merging,
        "+ Conv-FFN": stages(512, True) + merging,
        "+ patch-flatten": stages(512, True) + merging + flatten,
        "+ AU branch": stages(512, True) + merging + flatten + au_branch(256),
    }
    for full in (False, True):
        runs = checked(study.studies("auvit", "rafdb" if full else "", full)["table3"])
        networks = {name: variables_of(run) for name, run in runs.items()}
        assert len({str(jax.tree.map(lambda x: x.shape, v)) for v in networks.values()}) == 7
        if full:
            counts = {
                name: sum(leaf.size for leaf in jax.tree.leaves(v)) for name, v in networks.items()
            }
            assert counts == expected


def test_table_3_says_that_a_verdict_at_chance_says_nothing():
    assert "that of chance" in SMALL["table3"].note
    assert "chance" not in study.studies("auvit", "rafdb", True)["table3"].note
