"""The papers' numbers beside ours: which stands beside which row, and of which dataset."""

import pytest

from aufer_jax.papers import study

# As printed in the papers, by study, metric and row.
CASES = [
    ("auvit", "rafdb", "table1", "test accuracy", "labels rafau", "0.8272"),
    ("auvit", "affectnet7", "table1", "test accuracy", "single", "0.6005"),
    ("auvit", "ferplus", "table2", "test accuracy", "labels rafdb", "0.8654"),  # of table I
    ("auvit", "ferplus", "table2", "test accuracy", "AUs emotionet", "0.8853"),
    ("auvit", "rafdb", "table3", "test accuracy", "+ Conv-FFN", "0.9022"),
    ("auvit", "affectnet7", "table3", "test accuracy", "+ AU branch", "0.6559"),  # of table V
    ("auvit", "ferplus", "table7", "occluded", "single", "0.8148"),
    ("auvit", "rafdb", "table7", "occluded", "AUs rafau", "0.8802"),
    ("auvit", "rafdb", "table8", "test accuracy", "token rafdb", "0.8735"),
    ("auvit", "rafdb", "fig10", "test accuracy", "1 regions", "0.9009"),
    ("audfer", "dfew", "table1", "WAR", "m3dfel + global", "0.6553"),
    ("audfer", "ferv39k", "table2", "UAR", "mae_dfer + distinct", "0.4248"),
    ("audfer", "dfew", "table1", "happiness recall", "i3d", "0.7861"),
    ("audfer", "dfew", "table1", "fear recall", "c3d", "0.0051?"),
    ("audfer", "dfew", "table1", "WAR", "fru_adapter", "0.6602?"),  # its columns are swapped
    ("audfer", "dfew", "table1", "happiness recall", "fru_adapter", None),  # another row's numbers
    ("audfer", "dfew", "table1", "WAR", "c3d + global", None),
    ("audfer", "dfew", "table3", "disgust recall", "m3dfel + minor", "0.1724"),
    ("audfer", "mafw7", "table1", "WAR", "m3dfel", "0.3639"),
    ("audfer", "mafw", "table1", "WAR", "m3dfel", None),  # the paper's is of seven classes
    # On synthetic data RAF-DB's and DFEW's numbers.
    ("auvit", "", "table1", "test accuracy", "single, all labels", "0.8730"),
    ("auvit", "", "table2", "test accuracy", "AUs synth_au", "0.8880"),  # of RAF-AU
    ("auvit", "", "table2", "test accuracy", "AUs synth_b", None),
    ("auvit", "", "table3", "test accuracy", "ViT", "0.8730"),
    ("auvit", "", "table7", "occluded", "AUs synth_au", "0.8802"),
    ("auvit", "", "table7", "occluded", "single, erased", None),
    ("auvit", "", "table8", "test accuracy", "branch synth_a", "0.8781"),
    ("audfer", "", "table1", "UAR", "former_dfer + distinct", "0.5402"),
    ("audfer", "", "table1", "UAR", "clip", None),
    ("audfer", "", "table3", "WAR", "m3dfel + distinct", "0.6480"),
]  # fmt: skip
TITLES = {
    "rafdb": "RAF-DB", "ferplus": "FERPlus", "affectnet7": "AffectNet-7", "dfew": "DFEW",
    "ferv39k": "FERV39k", "mafw": "MAFW", "mafw7": "MAFW",
}  # fmt: skip


@pytest.mark.parametrize(("paper", "target", "table", "head", "row", "number"), CASES)
def test_the_papers_number_stands_beside_ours(paper, target, table, head, row, number):
    found = study.studies(paper, target, bool(target))[table]
    assert row in {r.name for r in found.rows} and head in found.metrics
    column, numbers = found.published[head]
    title = TITLES[target] if target else {"auvit": "RAF-DB", "audfer": "DFEW"}[paper]
    assert column.startswith("published ") and column.endswith(f" ({title})")
    assert numbers.get(row) == number


@pytest.mark.parametrize(
    ("paper", "names"),
    [
        ("auvit", {"table1", "table2", "table3", "table7", "table8", "fig10"}),
        ("audfer", {"table1", "table2", "table3"}),
        ("mvfer", set()),  # of its paper there are no numbers
    ],
)
def test_the_studies_that_have_published_numbers(paper, names):
    assert {name for name, found in study.studies(paper).items() if found.published} == names


def test_numbers_of_another_dataset_are_not_shown_for_one_that_the_paper_has():
    found = study.studies("auvit", "ferplus", True)
    assert not found["table8"].published and not found["fig10"].published  # RAF-DB's alone
