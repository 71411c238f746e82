"""The recipes as configs and studies take them, what is chosen by itself, and the published numbers."""

import json

import jax
import numpy as np
import pytest
import toydata

from aufer_jax.datasets import catalog
from aufer_jax.papers import study
from aufer_jax.reproduce import plan as runs
from aufer_jax.train import base, workdir
from aufer_jax.train import config as config_lib

# --- Studies --------------------------------------------------------------------------------------

CASES = [
    *(("mvfer", t, ()) for t in ("", "synth_a", "rafdb", "ferplus", "affectnet7", "my_faces")),
    *(("auvit", target, ()) for target in ("", "synth_b", "rafdb", "affectnet7")),
    ("auvit", "my_faces", ("my_aus",)),
    *(("audfer", target, ()) for target in ("", "dfew", "ferv39k", "my_clips")),
]


CHOSEN = [
    *((*case, full, "") for case in CASES for full in (False, True)),
    *(("auvit", t, (), True, "released") for t in ("rafdb", "ferplus", "affectnet8")),
    ("auvit", "rafdb", (), True, "sane"),
    *(("audfer", t, (), True, r) for t in ("dfew", "mafw") for r in ("released", "sane")),
    *(("mvfer", "rafdb", (), True, recipe) for recipe in ("colab", "eac", "sane")),
]


@pytest.mark.parametrize(("paper", "target", "aux", "full", "recipe"), CHOSEN)
def test_every_row_of_a_study_is_valid_and_a_configuration_of_its_own(
    paper, target, aux, full, recipe
):
    for name, found in study.studies(paper, target, full, aux, recipe).items():
        seen: dict[str, str] = {}
        for row in found.rows:
            settings = str(runs.row_config(row, 0, {}).to_json_best_effort(sort_keys=True))
            same = seen.setdefault(settings, row.name)
            assert same == row.name, f"{name}: {row.name} is {same} again"
        rows = {row.name for row in found.rows}
        assert all(study.among(claim, tuple(rows)) == claim for claim in found.claims)


def test_the_full_rows_are_the_recipes_that_a_user_starts():
    rows = {row.name: row for row in study.studies("auvit", "rafdb", True)["table2"].rows}
    config = runs.row_config(rows["AUs rafau"], 0, {})
    started = config_lib.load("configs/auvit.py:rafdb,aux=rafau,variant=vanilla")
    assert config_lib.check(config) == config_lib.check({**started.to_dict(), "note": ""})
    rows = {row.name: row for row in study.studies("audfer", "dfew", True)["table1"].rows}
    config = runs.row_config(rows["mae_dfer + distinct"], 0, {})
    started = config_lib.load("configs/audfer.py:dfew,host=mae_dfer,au=distinct,fold=1")
    assert config_lib.check(config) == config_lib.check({**started.to_dict(), "note": ""})
    assert study.studies("audfer", "ferv39k", True)["table1"].rows[0].config.data.fold == 0


def test_a_full_study_takes_the_recipe_and_the_folds_that_are_named():
    for paper, target, table in (
        ("audfer", "dfew", "table1"), ("auvit", "rafdb", "table3"), ("mvfer", "rafdb", "ablation"),
    ):  # fmt: skip
        rows = study.studies(paper, target, True, recipe="sane")[table].rows
        assert {row.config.train.validation_split for row in rows} == {"validation"}
    rows = study.studies("audfer", "dfew", True, recipe="sane")["table1"].rows
    # As published: Former-DFER's numbers are of all folds pooled, the others' of the first.
    folds = {row.name: row.folds for row in rows}
    assert folds["former_dfer + distinct"] == folds["former_dfer"] == (1, 2, 3, 4, 5)
    assert folds["m3dfel"] == folds["mae_dfer"] == ()
    assert folds["svfap + global"] == folds["s2d"] == (1, 2, 3, 4, 5)
    assert not any(r.folds for r in study.studies("audfer", "ferv39k", True)["table1"].rows)
    with pytest.raises(ValueError, match=r"recipe: 'sane'.*full"):
        study.studies("audfer", "dfew", recipe="sane")
    for paper, target in (("auvit", "rafdb"), ("audfer", "dfew"), ("mvfer", "rafdb")):
        with pytest.raises(ValueError, match="recipe: 'papper'"):
            study.studies(paper, target, True, recipe="papper")


def test_hosts_that_the_tables_only_quote_have_rows():
    found = study.studies("audfer", "dfew", True)
    assert found["table2"] is found["table1"]
    rows = {row.name: row for row in found["table1"].rows}
    models = {"svfap": "svfap", "s2d": "s2d_mobilefacenet", "fru_adapter": "fru_adapter"}
    for host, model in (*models.items(), ("clip", "clip"), ("vjepa2", "vjepa2")):
        assert rows[host].config.model.name == rows[f"{host} + global"].config.model.name == model
        assert rows[host].config.loss.au_weight == 0
    assert not any("s2d" in row.name for row in found["table3"].rows)
    small = {row.name for row in study.studies("audfer")["table1"].rows}
    assert {"s2d", "fru_adapter + global", "clip", "vjepa2 + global"} <= small
    peers = {"ec_stfl": "r3d18", "stt": "stt", "dpcnet": "dpcnet", "nr_dfernet": "nr_dfernet"}
    for host, model in peers.items():
        assert rows[host].config.model.name == model and rows[f"{host} + global"].folds
        assert {host, f"{host} + global"} <= small
    columns = found["table2"].columns
    assert columns["GFLOPs, published"](rows["nr_dfernet + global"]) == "6.33"
    assert columns["GFLOPs, published"](rows["stt"]) == "-"
    assert (columns["GMAC"](rows["dpcnet"]), columns["parameters"](rows["dpcnet"])) == (
        "8.614", "24,374,882",
    )  # fmt: skip
    values = {
        (n.table, n.row, n.column): n.value
        for n in study.published("audfer")
        if n.dataset == "dfew"
    }
    for table in ("table1", "table2"):
        assert (values[table, "SVFAP-B", "WAR"], values[table, "SVFAP-B", "UAR"]) == (74.27, 62.83)
        assert (values[table, "S2D", "WAR"], values[table, "S2D", "UAR"]) == (74.81, 65.45)
        assert values[table, "RDFER", "UAR"] == 56.93


def test_the_released_recipe_counts_aus_as_its_script_does():
    for target in ("rafdb", "ferplus", "affectnet7"):
        config = config_lib.load(f"configs/auvit.py:{target},recipe=released")
        intensity = np.array([0, 0.49, 0.5, 0.51, 1, 5], np.float32)
        said = intensity >= config_lib.check(config).data.au_threshold
        np.testing.assert_array_equal(said, intensity > 0.5)
        assert config_lib.load(f"configs/auvit.py:{target}").data.au_threshold == 1


def test_a_weight_of_the_au_loss_that_is_not_the_papers_is_said():
    small, full = (study.studies("auvit", t, f) for t, f in (("", False), ("rafdb", True)))
    assert all("beta = 10 (paper: 1)" in found.note for found in small.values())
    assert not any("paper: 1" in found.note for found in full.values())
    rows = {row.name: runs.row_config(row, 0, {}) for row in small["beta"].rows}
    assert [rows[f"beta {b}"].loss.beta for b in ("0", "1", "5", "10")] == [0, 1, 5, 10]
    assert rows["beta 0"].data.aux == rows["beta 10"].data.aux


def test_occluded_and_turned_faces_have_columns_on_photographs_too():
    assert "occluded_last/accuracy" in study.studies("mvfer")["ablation"].metrics.values()
    found = study.studies("mvfer", "rafdb", True)["ablation"]
    places = {f"{split}_last/accuracy" for split in ("occluded", "pose30", "pose45")}
    assert places <= set(found.metrics.values())
    assert places <= {claim.metric for claim in found.claims}


def test_the_second_row_of_table_3_has_the_au_branch():
    for full, models in ((True, ("vit", "auvit_vanilla")), (False, ("auvit_small",) * 2)):
        vit, branch, *_ = study.studies("auvit", "rafdb", full)["table3"].rows
        vit, branch = (config_lib.check(runs.row_config(row, 0, {})) for row in (vit, branch))
        assert (vit.model["name"], branch.model["name"]) == models
        assert (vit.model["regions"], branch.model["regions"]) == (None, 7)
        assert (vit.data.aux, branch.data.aux) == ((), ("rafau",))


# --- What a config chooses by itself --------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "teachers"),
    [
        ("synth_b", ("synth_au",)),
        ("rafdb", ("rafau",)),
        ("ferplus,recipe=small", ("rafau",)),
        ("my_faces", ()),
        ("my_faces,aux=my_aus", ("my_aus",)),
        ("my_faces,aux=synth_au", ("synth_au",)),
        ("rafdb,aux=", ()),
    ],
)
def test_drawings_teach_aus_to_drawings_only(target, teachers):
    run = config_lib.check(config_lib.load(f"configs/auvit.py:{target}"))
    assert run.data.aux == teachers
    share = run.data.batch_size // (sum(run.data.ratio) if teachers else run.data.ratio[0])
    assert share * run.data.ratio[0] == (16 if "synth_b" in target else 64)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("auvit.py:my_faces", "model.name=auvit_small: small; another: configs/auvit.py:my_faces"),
        ("auvit.py:rafdb,recipe=released", "chosen for rafdb: variant=released, aux=rafau;"),
        ("auvit.py:rafdb,recipe=paper,variant=vit,aux=", ""),
        ("mvfer.py:rafdb", "model=resnet18"),
        ("mvfer.py:rafdb", "EAC's schedule"),
        ("audfer.py:dfew", "recipe=paper, host=m3dfel"),
        ("audfer.py:dfew,host=i3d,recipe=small", ""),
        ("mae_pretrain.py:my_clips", "recipe=paper"),
    ],
)
def test_a_config_says_what_it_chose(text, words):
    note = config_lib.check(config_lib.load(f"configs/{text}")).note
    assert words in note if words else not note


def test_the_first_line_of_a_run_says_it(monkeypatch):
    faces = toydata.images(20, name="my_faces")
    monkeypatch.setattr(catalog, "info", lambda name, data_dir=None: faces.info)
    monkeypatch.setattr(catalog, "source", lambda name, split, data_dir=None, sizes=None: faces)
    config = config_lib.load("configs/auvit.py:my_faces")
    config.data.batch_size = 4
    task = base.build(config_lib.check(config))
    assert "\n    data.aus=none: no AUs, so no AU head; configs/auvit.py:my_faces,aux=NAME" in (
        task.description
    )
    shapes = jax.eval_shape(task.method.init, jax.random.key(0), task.example)
    params = shapes.pop("params")
    assert "au" not in jax.eval_shape(task.method.predict, params, shapes, task.example)


def test_a_run_goes_on_whatever_is_said_of_it(tmp_path):
    config = json.loads(config_lib.default("auvit").to_json_best_effort())
    workdir.begin(tmp_path, config, base.Labels("image", ("sadness",), ()))
    workdir.refuse_another_run(tmp_path, {**config, "note": "chosen for synth_a: recipe=small"})


# --- Published numbers ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("paper", "table", "row", "column", "dataset", "value"),
    [  # typed from the papers, not from our files
        ("auvit", "table1", "single", "accuracy", "ferplus", 87.91),
        ("auvit", "table1", "labels rafau", "accuracy", "rafdb", 82.72),
        ("auvit", "table2", "AUs emotionet", "accuracy", "affectnet7", 61.17),
        ("auvit", "table3", "+ AU branch only", "accuracy", "rafdb", 88.8),
        ("auvit", "table3", "+ AU branch", "accuracy", "rafdb", 91.1),
        ("auvit", "table4", "AU-ViT", "accuracy", "ferplus", 90.15),
        ("auvit", "table5", "VTFF", "accuracy", "affectnet7", 64.8),
        ("auvit", "table6", "TransFER", "accuracy", "rafdb", 90.91),
        ("auvit", "table7", "ASF-CVT", "occluded accuracy", "affectnet7", 62.98),
        ("auvit", "table8", "token emotionet", "accuracy", "rafdb", 87.03),
        ("audfer", "table1", "M3DFEL + AU", "UAR", "mafw", 36.15),
        ("audfer", "table2", "Former-DFER + AU", "sadness recall", "dfew", 65.98),
        ("audfer", "table3", "MAE-DFER + distinct", "WAR", "dfew", 75.01),
        ("audfer", "table3", "M3DFEL + minor", "disgust recall", "dfew", 17.24),
    ],
)
def test_published_numbers(paper, table, row, column, dataset, value):
    (found,) = (
        n.value
        for n in study.published(paper)
        if (n.table, n.row, n.column, n.dataset) == (table, row, column, dataset)
    )
    assert found == value


def test_published_tables_are_whole_and_say_what_is_wrong_with_them():
    auvit, audfer = study.published("auvit"), study.published("audfer")
    assert {n.table for n in auvit} == {*(f"table{i}" for i in range(1, 9)), "fig10"}
    assert {n.table for n in audfer} == {"table1", "table2", "table3"}
    for numbers in (auvit, audfer):
        places = [(n.table, n.row, n.column, n.dataset) for n in numbers]
        assert len(places) == len(set(places))
        assert all(0 <= n.value <= 100 for n in numbers)
    assert any("do not use" in n.note for n in audfer)
    assert study.published("mvfer") == ()  # its abstract has none
    with pytest.raises(ValueError, match=r"paper: 'auvitt' .* Did you mean 'auvit'"):
        study.published("auvitt")


def test_rows_of_studies_are_called_as_the_published_ones():
    published = {(n.table, n.row) for n in study.published("auvit")}
    for table in ("table1", "table2", "table3", "table8"):
        rows = study.studies("auvit", "rafdb", True)[table].rows
        # Table II sets the AUs beside the rows of Table I.
        printed = {row.name: "table1" if row.name.startswith("labels ") else table for row in rows}
        ours = {(where, name) for name, where in printed.items() if name != "single"}
        assert ours <= published
