"""The paper's numbers beside those of AU-ViT's studies: which rows of its tables ours are."""

import dataclasses
from collections.abc import Mapping

from aufer_jax.papers import study
from aufer_jax.papers.study import Published, Study

MAIN = "rafdb"
TEACHER = "rafau"  # the paper's best AU teacher; `synth_au` stands for it
# Study -> the tables that have its rows.
TABLES = {
    "table1": ("table1",),
    "table2": ("table1", "table2"),
    "table3": ("table3", "table4", "table5", "table6"),
    "table7": ("table7",),
    "table8": ("table8",),
    "fig10": ("fig10",),
}
COLUMNS = {"test accuracy": "accuracy", "occluded": "occluded accuracy"}
# What the paper calls rows of these tables -> what they are called here.
CALLED: Mapping[str, Mapping[str, str]] = {
    **{table: {"AU-ViT": "+ AU branch"} for table in ("table4", "table5", "table6")},
    "table7": {"ViT": "single", "AU-ViT": f"AUs {TEACHER}"},
}


def beside(studies: Mapping[str, Study], target: str) -> dict[str, Study]:
    """The studies with the paper's numbers on the target, on RAF-DB if it has none there."""
    every = study.published("auvit")
    known = target in {number.dataset for number in every}
    stands = {"synth_au": TEACHER} if known else {target: MAIN, "synth_au": TEACHER}

    def called(row: str) -> str:
        words = row.removesuffix(", all labels").split(" ")
        return " ".join(stands.get(word, word) for word in words)

    def numbers(tables: tuple[str, ...]) -> list[Published]:
        dataset = target if known else MAIN
        return [
            dataclasses.replace(n, row=CALLED.get(n.table, {}).get(n.row, n.row))
            for n in every
            if n.table in tables and n.dataset == dataset
        ]

    return {
        name: study.beside(found, numbers(TABLES.get(name, ())), COLUMNS, called)
        for name, found in studies.items()
    }
