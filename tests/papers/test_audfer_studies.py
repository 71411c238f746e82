"""AU-DFER's studies: the hosts of its tables, what is claimed of the strategies, and the capped weights."""

import pytest

from aufer_jax.papers import study
from aufer_jax.papers.audfer import studies
from aufer_jax.reproduce import plan

FULL = study.studies("audfer", "dfew", True)
SMALL = study.studies("audfer")
CNNS = {
    "c3d": "c3d", "p3d": "p3d63", "i3d": "i3d", "r2plus1d18": "r2plus1d18", "r3d18": "r3d18",
    "resnet18_lstm": "resnet18_lstm",
}  # fmt: skip


def test_every_network_of_tables_1_and_2_that_is_here_has_rows():
    rows = {row.name: row for row in FULL["table1"].rows}
    for host, model in CNNS.items():
        alone, with_aus = rows[host], rows[f"{host} + global"]
        assert alone.config.model.name == with_aus.config.model.name == model
        assert (alone.config.loss.au_weight, with_aus.config.loss.au_weight) == (0, 0.25)
        assert alone.folds == with_aus.folds == (1, 2, 3, 4, 5)  # as copied from other papers
    printed = {n.row for n in study.published("audfer") if n.table == "table1"}
    ours = {studies.PUBLISHED[name] for name in rows if name in studies.PUBLISHED}
    with_aus = {"M3DFEL + AU", "MAE-DFER + AU", "Former-DFER + AU"}
    assert printed - ours == {"SVFAP-S", "RDFER", *with_aus}
    assert FULL["table2"].columns["GFLOPs, published"](rows["c3d"]) == "38.57"
    small = {row.name for row in SMALL["table1"].rows}
    assert small.isdisjoint({"c3d", "p3d", "i3d", "r2plus1d18", "resnet18_lstm"})


def test_a_note_says_what_is_published_and_which_folds_are_pooled():
    for found in (FULL, SMALL):
        assert "r3d18, svfap" in found["table1"].note.replace("resnet18_lstm, ", "")
    assert "former_dfer: folds pooled" in FULL["table3"].note  # and no host that it has not
    assert "folds pooled" not in FULL["knowledge"].note


def test_the_best_strategy_of_each_host_is_claimed():
    best = {"m3dfel": "global", "mae_dfer": "distinct", "former_dfer": "distinct"}
    for found, hosts in ((FULL, best), (SMALL, {"m3dfel", "former_dfer"})):
        claims = [c for c in found["table3"].claims if "the best for" in c.text]
        assert len(claims) == 4 * len(hosts)  # over two strategies, in WAR and UAR
        for claim in claims:
            host, strategy = claim.order[1].split(" + ")
            assert best[host] == strategy and claim.order[0].split(" + ")[0] == host
            assert claim.text == f"{strategy} positive weights are the best for {host}"


def test_the_strategies_are_compared_on_the_minor_classes():
    claims = {(c.order, c.metric) for c in SMALL["table3"].claims if "minor classes" in c.text}
    assert claims == {
        ((f"{host} + global", f"{host} + {strategy}"), f"test_last/recall/{name}")
        for host in ("m3dfel", "former_dfer")
        for strategy in ("distinct", "minor")
        for name in ("surprise", "disgust", "fear")
    }


@pytest.mark.parametrize(("found", "there"), [(FULL, True), (SMALL, False)])
def test_published_knowledge_with_capped_weights_is_a_row_of_the_full_study(found, there):
    rows = {row.name: row for row in found["knowledge"].rows}
    assert ("weights up to 10" in rows) == there
    if there:
        capped, whole = (
            plan.row_config(rows[n], 0, {}).loss for n in ("weights up to 10", "m3dfel + global")
        )
        assert (capped.positive_cap, whole.positive_cap) == (10, 0)
        assert capped.knowledge == whole.knowledge
