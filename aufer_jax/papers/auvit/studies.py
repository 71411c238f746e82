"""AU-ViT's tables and figures: what auxiliary datasets teach through labels, and what through AUs."""

from collections.abc import Mapping, Sequence
from typing import Any

from aufer_jax.papers.study import Claim, Row, Study

TARGET = "synth_a"
SYNTHETIC = ("synth_b", "synth_c", "synth_d", "synth_au")
PUBLISHED = ("rafdb", "ferplus", "affectnet7", "emotionet", "rafau")
LABELLED = ("synth_b", "synth_c", "synth_d", "rafdb", "ferplus", "affectnet7")

# What all rows share at this size: few labels, so that auxiliary data matter.
SMALL: Mapping[str, Any] = {
    "data.size": 112,
    "data.align": "5pt",
    "data.batch_size": 40,  # 32 + 8
    "data.eval_batch_size": 140,
    "train.epochs": 8,
    "optimizer.lr": 2e-3,
    "train.log_every": 1000,
    "train.keep": 1,
}
TARGET_ROWS = 32
SMALL_SYNTHETIC: Mapping[str, Any] = {
    "data.sizes": {"train": 2000, "validation": 350, "test": 1400, "occluded": 700},
    "data.target_rows": 500,
    "data.ratio": (1, 1),  # a quarter of the rows is too little to learn AUs from in so few steps
    "data.batch_size": 2 * TARGET_ROWS,
    "train.epochs": 20,
}
ALL_LABELS: Mapping[str, Any] = {"data.target_rows": 0, "train.epochs": 6}
CNN_VIT: Mapping[str, Any] = {  # a ViT with a class token on the same small CNN, for the AU token
    "model.ir_units": (1, 1),
    "model.ir_channels": (16, 48),
    "model.ir_strides": (1, 2),
    "model.stem_kernel": 5,
    "model.stem_stride": 4,
    "model.depth": 4,
    "model.heads": 4,
    "model.mlp_ratio": 2.0,
    "model.attention_dropout": 0.0,
}


def studies(target: str = "", full: bool = False, aux: Sequence[str] = ()) -> dict[str, Study]:
    """Every experiment by the name of its table or figure in the paper.

    `aux` are the auxiliary datasets; by default the paper's, or all that is like them.
    """
    target = target or TARGET
    synthetic = target.startswith("synth_")
    size = {} if full else {**SMALL, **(SMALL_SYNTHETIC if synthetic else {})}
    make = _Maker(target, full, size, aux or _auxiliaries(target))
    return {
        "table1": make.naive(),
        "table2": make.joint(),
        "table3": make.switches(),
        "fig9": make.positions(),
        "fig10": make.regions(),
        "table7": make.occlusion(),
        "table8": make.token(),
    }


def _auxiliaries(target: str) -> tuple[str, ...]:
    """Those with expression labels first; the last is the best AU teacher."""
    names = SYNTHETIC if target.startswith("synth_") else PUBLISHED
    return tuple(name for name in names if name != target)


class _Maker:
    """The studies of one target at one size."""

    def __init__(self, target: str, full: bool, size: Mapping[str, Any], aux: Sequence[str]):
        self.target, self.full, self.size, self.aux = target, full, size, tuple(aux)
        self.labelled = tuple(name for name in aux if name in LABELLED)
        self.best = self.aux[-1]
        self.occluded = target.startswith("synth_") or full
        self.few = "data.target_rows" in size

    def row(self, name: str, arguments: str, changes: Mapping[str, Any] | None = None) -> Row:
        """The steps of a row without auxiliary data have the target rows of the others."""
        alone = arguments.startswith("aux=,") and not self.full
        rows = {"data.batch_size": TARGET_ROWS} if alone else {}
        config = f"configs/auvit.py:{self.target},{arguments}".rstrip(",")
        return Row(name, config, {**self.size, **rows, **(changes or {})})

    def study(
        self, name: str, title: str, rows: Sequence[Row], claims: Sequence[Claim], note: str
    ) -> Study:
        metrics = {
            "test accuracy": "test_last/accuracy",
            "test UAR": "test_last/uar",
            "best epoch": "test_best/accuracy",
            "AU F1": "test_last/au_f1",
        }
        if self.occluded:
            metrics["occluded"] = "occluded_last/accuracy"
        title = f"AU-ViT, {title}, on {self.target}"
        # One folder for all: what two tables share is run once.
        folder = f"auvit-{self.target}{'-full' if self.full else ''}"
        return Study(folder, title, tuple(rows), metrics, tuple(claims), note)

    def plain(self, name: str, arguments: str, branch: bool) -> Row:
        """A row with or without an AU branch: of a ViT; at the small size, where a ViT learns nothing
        from so few faces, of the final network."""
        if self.full:
            return self.row(
                name, f"{arguments.rstrip(',')},variant={'vanilla' if branch else 'vit'}"
            )
        return self.row(name, arguments, {} if branch else {"model.regions": None})

    def naive(self) -> Study:
        """On all labels of the target; the other studies of synthetic faces have few."""
        rows = [self.all_labels(self.plain("single", "aux=,", branch=False))]
        rows += [
            self.all_labels(self.plain(f"labels {name}", f"aux={name},naive", branch=False))
            for name in self.labelled
        ]
        text = "training on the labels of both datasets is worse than on the target's alone"
        claims = [Claim(text, (row.name, rows[0].name), "test_last/accuracy") for row in rows[1:]]
        note = (
            f"`single` trains on the target alone; `labels X` on {self.mixture()}, X with its own "
            "expression labels, one head for both."
        )
        return self.study("table1", "table I: naive joint training", rows, claims, note)

    def joint(self) -> Study:
        single = self.plain("single", "aux=,", branch=False)
        naive = [self.plain(f"labels {n}", f"aux={n},naive", branch=False) for n in self.labelled]
        through = [self.plain(f"AUs {n}", f"aux={n}", branch=True) for n in self.aux]
        claims = []
        for row in through:
            other = row.name.removeprefix("AUs ")
            for place in self._places():
                text = "training through AUs is better than on the target alone"
                claims.append(Claim(text, ("single", row.name), place))
            if other in self.labelled:
                text = "training through AUs is better than through labels"
                claims.append(Claim(text, (f"labels {other}", row.name), "test_last/accuracy"))
        note = (
            f"`AUs X`: {self.mixture()}, X without expression labels, through the AU branch; "
            "`single` and `labels X` as in table I"
            + (", but all of them with 500 labels of the target." if self.few else ".")
        )
        rows = [single, *naive, *through]
        return self.study("table2", "table II: joint training through AUs", rows, claims, note)

    def all_labels(self, row: Row) -> Row:
        if not self.few:
            return row
        return Row(f"{row.name}, all labels", row.config, {**row.changes, **ALL_LABELS})

    def mixture(self) -> str:
        return "as many rows of X as of the target" if self.few else "the recipe's rows of both"

    def _places(self) -> list[str]:
        return ["test_last/accuracy", *(["occluded_last/accuracy"] if self.occluded else [])]

    def switches(self) -> Study:
        steps = (
            ("ViT", {"cnn_embedding": False, "regions": None}),
            ("+ AU branch only", {"cnn_embedding": False}),
            ("+ CNN embedding", {"cnn_embedding": True, "regions": None}),
            ("+ multi-stage", {"multistage": True}),
            ("+ Conv-FFN", {"conv_ffn": True}),
            ("+ patch-flatten", {"patch_flatten": True}),
            ("+ AU branch", {"regions": 7}),
        )
        chosen = {"multistage": False, "conv_ffn": False, "patch_flatten": False, "regions": 7}
        rows = []
        for name, change in steps:
            chosen |= change
            model = {f"model.{key}": value for key, value in chosen.items()}
            if not chosen["cnn_embedding"]:
                model["model.patch"] = 8  # tokens of the same grid
            aux = self.best if chosen["regions"] else ","
            rows.append(self.row(name, f"aux={aux}", model))
        order = tuple(name for name, _ in steps if name != "+ AU branch only")
        claims = [
            Claim("every part adds accuracy", order, "test_last/accuracy"),
            Claim(
                "the AU branch alone adds accuracy",
                ("ViT", "+ AU branch only"),
                "test_last/accuracy",
            ),
        ]
        note = "Cumulative from top to bottom; the second row is the first with the AU branch."
        return self.study("table3", "table III: its parts", rows, claims, note)

    def positions(self) -> Study:
        depth = 12 if self.full else 4
        rows = [
            self.row(
                f"after block {n}",
                f"aux={self.best},variant={self._vit('vanilla')}",
                self._branch(n),
            )
            for n in range(1, depth + 1)
        ]
        late = 10 if self.full else depth - 1
        claims = [
            Claim(
                "a late branch is better than an early one",
                ("after block 1", f"after block {late}"),
                "test_last/accuracy",
            ),
            Claim(
                "after the last block it is worse again",
                (f"after block {depth}", f"after block {late}"),
                "test_last/accuracy",
            ),
        ]
        return self.study("fig9", "figure 9: where the AU branch is", rows, claims, "")

    def regions(self) -> Study:
        rows = [
            self.row(
                f"{n} regions{'' if maxout else ', mean'}",
                f"aux={self.best}",
                {"model.regions": n, "model.maxout": maxout},
            )
            for n, maxout in (
                (1, True),
                (2, True),
                (3, True),
                (5, True),
                (7, True),
                (9, True),
                (7, False),
            )
        ]
        claims = [
            Claim("seven regions are best", (f"{n} regions", "7 regions"), "test_last/accuracy")
            for n in (1, 2, 3, 5, 9)
        ]
        for place in self._places()[-1:]:
            claims.append(Claim("symmetric maxout helps", ("7 regions, mean", "7 regions"), place))
        return self.study("fig10", "figures 10 and 11: regions", rows, claims, "")

    def occlusion(self) -> Study:
        rows = [
            self.plain("single", "aux=,", branch=False),
            self.plain(f"AUs {self.best}", f"aux={self.best}", branch=True),
        ]
        order = ("single", f"AUs {self.best}")
        claims = [Claim("AUs help with occlusion", order, self._places()[-1])]
        return self.study("table7", "table VII: occlusion", rows, claims, "")

    def token(self) -> Study:
        vit, token, branch = (self._vit(name) for name in ("vit", "token", "vanilla"))
        small = {} if self.full else CNN_VIT
        au_token = {} if self.full else {**CNN_VIT, "model.au_token": "intended"}
        rows, claims = [self.row("ViT", f"aux=,variant={vit}", small)], []
        for name in self.aux:
            rows.append(self.row(f"token {name}", f"aux={name},variant={token}", au_token))
            changes = self._branch(10 if self.full else 3)
            rows.append(self.row(f"branch {name}", f"aux={name},variant={branch}", changes))
            order = (f"token {name}", f"branch {name}")
            claims.append(Claim("the AU branch beats the AU token", order, "test_last/accuracy"))
            order = ("ViT", f"branch {name}")
            claims.append(Claim("the AU branch helps", order, "test_last/accuracy"))
        note = (
            f"`ViT` trains on the target alone; `token X` and `branch X` on {self.mixture()}, X "
            "without expression labels."
        )
        return self.study("table8", "table VIII: AU token or AU branch", rows, claims, note)

    def _vit(self, variant: str) -> str:
        """At the small size all are forms of the ViT on a CNN: one on pixels learns nothing there."""
        return variant if self.full else "cnn_vit"

    def _branch(self, after: int) -> Mapping[str, Any]:
        place = {"model.supervise_layer": after}
        return place if self.full else {**CNN_VIT, "model.regions": 7, **place}
