"""AU-ViT's tables and figures: what auxiliary datasets teach through labels, and what through AUs.

At the small size, where a ViT on pixels learns nothing from so few faces, other networks stand for the
paper's: the final network with and without its AU branch for `vanilla` and `vit`, and in figure 9 and
Table VIII forms of the ViT on a small CNN. The notes of the tables say so.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from aufer_jax import facs, synth
from aufer_jax.datasets import catalog
from aufer_jax.papers.auvit import ladder, published, recipes
from aufer_jax.papers.auvit.recipes import small
from aufer_jax.papers.study import Claim, Row, Study, Trend

TARGET = "synth_a"
BETAS = (0.0, 1.0, 5.0, 10.0)  # the paper's is 1, that of runs on two cores 10
SYNTHETIC = ("synth_b", "synth_c", "synth_d", "synth_au")
PUBLISHED = ("rafdb", "ferplus", "affectnet7", "emotionet", "rafau")
LABELLED = ("synth_b", "synth_c", "synth_d", "rafdb", "ferplus", "affectnet7")
# The paper's advanced modules, as Table III adds one after the other.
MODULES = {
    "+ CNN embedding": "cnn_embedding",
    "+ multi-stage": "multistage",
    "+ Conv-FFN": "conv_ffn",
    "+ patch-flatten": "patch_flatten",
}
STAND_IN = (
    " At this size the network is AU-ViT's small one, without its AU branch in place of a ViT."
)
ERASED: Mapping[str, Any] = {"augment.erase": 0.5}
LOOSE = "synth_au_wild"
CHANCE = (
    " Where the UAR of two rows is that of chance, one over the number of classes, the verdict on them says "
    "nothing about a part."
)
PIXELS = f" At this size a ViT on pixels learns nothing.{CHANCE}"
CNN_VIT = f" At this size a ViT on a small CNN is in place of the ViT on pixels.{CHANCE}"


def studies(
    target: str = "", full: bool = False, aux: Sequence[str] = (), recipe: str = ""
) -> dict[str, Study]:
    """Every experiment by the name of its table or figure in the paper.

    `aux` are the auxiliary datasets; by default the paper's, or all that is like them.
    """
    target = target or TARGET
    make = _Maker(target, full, tuple(aux) or _auxiliaries(target), recipe)
    found = {
        "table1": make.naive(),
        "table2": make.joint(),
        "table3": make.modules(),
        "fig9": make.positions(),
        "fig10": make.regions(),
        "beta": make.betas(),
        "table7": make.occlusion(),
        "table8": make.token(),
    }
    if make.few:
        found |= {"ladder": make.ladder(), "few": make.labels()}
    return published.beside(found, target)


def _auxiliaries(target: str) -> tuple[str, ...]:
    """Those with expression labels first; the last is the best AU teacher."""
    names = SYNTHETIC if catalog.is_drawn(target) else PUBLISHED
    itself = "affectnet7" if target == "affectnet8" else target  # the same images
    return tuple(name for name in names if name != itself)


class _Maker:
    """The studies of one target at one size."""

    def __init__(self, target: str, full: bool, aux: tuple[str, ...], recipe: str):
        self.target, self.full, self.aux = target, full, aux
        self.named = recipe or ("paper" if target in recipes.PUBLISHED else "small")
        self.labelled = tuple(name for name in aux if name in LABELLED)
        # These have no expression labels of their own, but those of a network that learned another's.
        self.unlabelled = tuple(n for n in aux if n not in LABELLED) if self.labelled else ()
        self.best = aux[-1]
        self.occluded = catalog.is_drawn(target) or full
        self.few = catalog.is_drawn(target) and not full  # labels
        # Of a user's own faces it is not known whether they have AUs.
        known = catalog.is_drawn(target) or target in PUBLISHED
        self.own = (target,) if known and target not in aux else ()

    # ---- Rows

    def recipe(self) -> Any:
        if self.few:
            return small.few_labels()
        if not self.full:
            return small.study()
        return recipes.create(self.named, self.target)

    def row(
        self,
        name: str,
        aux: Sequence[str] = (),
        changes: Mapping[str, Any] | None = None,
        *,
        variant: str = "",
        naive: bool = False,
    ) -> Row:
        """A recipe with these teachers, and another network if one is named."""
        config = self.recipe()
        if variant:
            recipes.set_network(config, variant)
        recipes.teach(config, self.target, aux, naive=naive)
        return Row(name, config, changes or {})

    def basic(
        self, name: str, aux: Sequence[str] = (), *, branch: bool, naive: bool = False
    ) -> Row:
        """The basic AU-ViT, with or without its AU branch, or what stands for it."""
        if self.full:
            return self.row(name, aux, variant="vanilla" if branch else "vit", naive=naive)
        return self.row(name, aux, {} if branch else {"model.regions": None}, naive=naive)

    def on_cnn(self, name: str, aux: Sequence[str] = (), **options: Any) -> Row:
        """A ViT on a small CNN."""
        row = self.row(name, aux)
        row.config.model = small.cnn_vit(**options)
        return row

    def branch(self, name: str, aux: Sequence[str], after: int) -> Row:
        """A ViT with the AU branch after this block."""
        if self.full:
            return self.row(name, aux, {"model.supervise_layer": after}, variant="vanilla")
        return self.on_cnn(name, aux, regions=7, supervise_layer=after)

    # ---- Tables and figures

    def study(
        self, title: str, rows: Sequence[Row], claims: Sequence[Claim | Trend], note: str
    ) -> Study:
        metrics = {
            "test accuracy": "test_last/accuracy",
            "test UAR": "test_last/uar",
            "best epoch": "test_best/accuracy",
            "AU F1, taught": "test_last/au_f1_taught",
            "AU F1, common": "test_last/au_f1_common",
            "AU AUC, common": "test_last/au_auc_common",
            "AU F1 micro": "test_last/au_f1_micro",
        }
        if self.occluded:
            metrics["occluded"] = "occluded_last/accuracy"
        title = f"AU-ViT, {title}, on {self.target}"
        # One folder for all: what two tables share is run once.
        folder = f"auvit-{self.target}{'-full' if self.full else ''}"
        note = f"{note.strip()} {self.beta()}".strip()
        return Study(folder, title, tuple(rows), metrics, tuple(claims), note)

    def naive(self) -> Study:
        """On all labels of the target; the other studies of synthetic faces have few."""
        rows = [self.basic("single", branch=False)]
        rows += [
            self.basic(f"labels {name}", [name], branch=False, naive=True) for name in self.labelled
        ]
        rows += [self.pseudo(name) for name in self.unlabelled]
        if self.few:
            rows = [_all_labels(row) for row in rows]
        text = "training on the labels of both datasets is worse than on the target's alone"
        claims = [Claim(text, (row.name, rows[0].name), "test_last/accuracy") for row in rows[1:]]
        note = (
            f"`single` trains on the target alone; `labels X` on {self.mixture()}, X with its own "
            f"expression labels, one head for both.{self.told_pseudo()}{self.stand_in(STAND_IN)}"
        )
        return self.study("table I: naive joint training", rows, claims, note)

    def pseudo(self, name: str) -> Row:
        """A dataset without labels has those of another tool: a network that never saw the target."""
        other = self.labelled[0]
        labeller = self.basic(f"{other} alone", branch=False)
        labeller.config.data.target = other
        row = self.basic(f"labels {name}", [name], branch=False, naive=True)
        by = _all_labels(labeller) if self.few else labeller
        return dataclasses.replace(row, labelled_by=by)

    def told_pseudo(self) -> str:
        if not self.unlabelled:
            return ""
        return (
            f" What {', '.join(self.unlabelled)} show, without labels of their own, a network trained on "
            f"{self.labelled[0]} has said, or the table that data.aux_labels names."
        )

    def ladder(self) -> Study:
        """Other people who look as the target's do, and show their expressions less and less as these."""

        def steps(names: Iterable[str]) -> list[Row]:
            single = self.basic("single", branch=False)
            more = [self.basic(f"labels {n}", [n], branch=False, naive=True) for n in names]
            return [single, *more]

        few, names = steps(synth.LADDER), tuple(synth.LADDER)
        every = [_all_labels(row) for row in steps((names[0], names[2], names[4]))]
        far = "training on the labels of the dataset that is farthest is worse than without it"
        claims: list[Claim | Trend] = []
        for base, *rows in (few, every):
            order = tuple(row.name for row in rows)
            text = "degradation by joint training follows the AU distance"
            place = "test_last/accuracy"
            claims.append(Trend(text, base.name, order, place, self.distance, "AU distance"))
            claims.append(Claim(far, (order[-1], base.name), place))
        note = (
            "`single` and `labels X` as in table I, with 500 labels of the target or with all 2000. "
            "synth_mixN has the camera, shares and label noise of synth_a, and other people; N per cent of "
            "its faces show expressions as those of synth_d. AU distance: of X to the target, the mean over "
            f"expressions of 1 - cosine of the shares of faces with each of 13 AUs.{self.stand_in(STAND_IN)}"
        )
        title = "ladder: joint training and AU distance"
        study = self.study(title, [*few, *every], claims, note)
        return dataclasses.replace(study, columns={"AU distance": self.told_distance})

    def distance(self, row: Row) -> float:
        """The AU distance of a row's auxiliary dataset to the target."""
        return ladder.distance(self.target, row.config.data.aux[0])

    def told_distance(self, row: Row) -> str:
        return f"{self.distance(row):.3f}" if row.config.data.aux else "-"

    def joint(self) -> Study:
        single = self.basic("single", branch=False)
        naive = [self.basic(f"labels {n}", [n], branch=False, naive=True) for n in self.labelled]
        naive += [self.pseudo(name) for name in self.unlabelled]
        through = [self.basic(f"AUs {n}", [n], branch=True) for n in self.aux]
        claims = []
        for row, other in zip(through, self.aux, strict=True):
            for place in self.places():
                text = "training through AUs is better than on the target alone"
                claims.append(Claim(text, ("single", row.name), place))
            if other in (*self.labelled, *self.unlabelled):
                text = "training through AUs is better than through labels"
                text += " of another network" if other in self.unlabelled else ""
                claims.append(Claim(text, (f"labels {other}", row.name), "test_last/accuracy"))
        few = ", but all of them with 500 labels of the target" if self.few else ""
        note = (
            f"`AUs X`: {self.mixture()}, X without expression labels, through the AU branch; `single` and "
            f"`labels X` as in table I{few}.{self.told_pseudo()}{self.stand_in(STAND_IN)}"
        )
        rows = [single, *naive, *through]
        return self.study("table II: joint training through AUs", rows, claims, note)

    def modules(self) -> Study:
        best = [self.best]
        off = {f"model.{module}": False for module in MODULES.values()}
        if self.full:
            rows = [
                self.row("ViT", variant="vit"),
                self.row("+ AU branch only", best, variant="vanilla"),
            ]
        else:
            pixels = {**off, "model.patch": 8}  # tokens of the same grid
            rows = [
                self.row("ViT", (), {**pixels, "model.regions": None}),
                self.row("+ AU branch only", best, {**pixels, "model.regions": 7}),
            ]
        on = dict(off)
        for name, module in MODULES.items():
            on |= {f"model.{module}": True}
            rows.append(self.row(name, (), {**on, "model.regions": None}))
        rows.append(self.row("+ AU branch", best, {**on, "model.regions": 7}))
        order = tuple(row.name for row in rows if row.name != "+ AU branch only")
        claims = [
            Claim("every part adds accuracy", order, "test_last/accuracy"),
            Claim(
                "the AU branch alone adds accuracy",
                ("ViT", "+ AU branch only"),
                "test_last/accuracy",
            ),
        ]
        note = "Cumulative from top to bottom; the second row is the first with the AU branch."
        return self.study("table III: its parts", rows, claims, note + self.stand_in(PIXELS))

    def positions(self) -> Study:
        depth = 12 if self.full else 4
        rows = [self.branch(f"after block {n}", [self.best], n) for n in range(1, depth + 1)]
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
        title = "figure 9: where the AU branch is"
        return self.study(title, rows, claims, self.stand_in(CNN_VIT))

    def regions(self) -> Study:
        rows = [
            self.row(f"{n} regions", [self.best], {"model.regions": n, "model.maxout": True})
            for n in (1, 2, 3, 5, 7, 9)
        ]
        shared = [n for n in facs.REGIONS if _has_maxout(n)]
        for n in shared:
            without = {"model.regions": n, "model.maxout": False}
            rows.append(self.row(f"{n} regions, mean", [self.best], without))
        claims = [
            Claim("seven regions are best", (f"{n} regions", "7 regions"), "test_last/accuracy")
            for n in (1, 2, 3, 5, 9)
        ]
        for place in self.places()[-1:]:
            claims += [
                Claim("symmetric maxout helps", (f"{n} regions, mean", f"{n} regions"), place)
                for n in shared
            ]
        note = (
            "An AU that several regions read has the maximum of their logits, in the rows `mean` their mean; "
            "with 1, 2 or 3 regions each AU is read by one."
        )
        return self.study("figures 10 and 11: regions", rows, claims, note)

    def betas(self) -> Study:
        """The control beta 0 has the auxiliary images, as BatchNorm sees them, but learns nothing of them."""
        single = self.basic("single", branch=False)
        rows = [single]
        for beta in BETAS:
            row = self.basic(f"beta {beta:g}", [self.best], branch=True)
            rows.append(_changed(row, {"loss.beta": beta}))
        claims = [
            Claim("the AU loss helps", (worse, row.name), place)
            for place in self.places()
            for row in rows[2:]
            for worse in ("single", rows[1].name)
        ]
        note = (
            f"The weight of the AU loss, with {self.best} as auxiliary; at 0 its images still pass through "
            f"the network.{self.stand_in(STAND_IN)}"
        )
        return self.study("beta", rows, claims, note)

    def occlusion(self) -> Study:
        """With the exact control, and on drawn faces with erasing and occluded teachers as factors."""
        place, rows = self.places()[-1], self.arms()
        single, control, aus = (row.name for row in rows)
        text = "AUs help with occlusion"
        claims = [Claim(text, (worse, aus), place) for worse in (single, control)]
        note = f"`beta 0` sees the images of {self.best} and learns nothing of them."
        if self.few:
            erased = [_changed(row, ERASED, f"{row.name}, erased") for row in rows]
            loose = [
                self.without_aus(f"beta 0 {LOOSE}", LOOSE),
                self.basic(f"AUs {LOOSE}", [LOOSE], branch=True),
            ]
            for worse, better in (
                *((erased[i].name, erased[2].name) for i in (0, 1)),
                (loose[0].name, loose[1].name),
            ):
                claims.append(Claim(text, (worse, better), place))
            claims += [
                Claim("erasing helps with occlusion", (row.name, hidden.name), place)
                for row, hidden in zip(rows, erased, strict=True)
            ]
            text = "occluded and turned auxiliary faces help with occlusion"
            claims.append(Claim(text, (aus, loose[1].name), place))
            rows += [*erased, *loose]
            note += (
                " `erased`: half of the training faces of both datasets lose a box of 2 to 25 % of the area. "
                f"{LOOSE} is synth_au with three in ten faces occluded, and heads turned as in synth_c."
            )
        return self.study("table VII: occlusion", rows, claims, note + self.stand_in(STAND_IN))

    def arms(self) -> list[Row]:
        """The target alone, with the best auxiliary's images, and with its AUs."""
        through = self.basic(f"AUs {self.best}", [self.best], branch=True)
        return [
            self.basic("single", branch=False),
            self.without_aus("beta 0", self.best),
            through,
        ]

    def without_aus(self, name: str, aux: str) -> Row:
        """The exact control of a row with AUs: the images of the auxiliary, and no AU loss."""
        return _changed(self.basic(name, [aux], branch=True), {"loss.beta": 0.0})

    def labels(self) -> Study:
        """How much AUs are worth at how many labels; all rows make about as many steps."""
        rows, claims = [], []
        for count, changes in small.LABELS.items():
            one, control, aus = (
                _changed(row, changes, f"{row.name}, {count} labels") for row in self.arms()
            )
            rows += [one, control, aus]
            claims += [
                Claim("the AU loss helps", (worse.name, aus.name), place)
                for place in self.places()
                for worse in (one, control)
            ]
        note = (
            f"2000 faces of {self.best} teach AUs; `beta 0` sees them and learns nothing of them. With 6000 "
            f"labels there are 6000 of them, too.{self.stand_in(STAND_IN)}"
        )
        return self.study("number of labels", rows, claims, note)

    def token(self) -> Study:
        rows, claims = [], []
        rows.append(self.row("ViT", variant="vit") if self.full else self.on_cnn("ViT"))
        for name in (*self.own, *self.aux):
            if self.full:
                rows.append(self.row(f"token {name}", [name], variant="token"))
            else:
                rows.append(self.on_cnn(f"token {name}", [name], au_token="intended"))
            rows.append(self.branch(f"branch {name}", [name], 10 if self.full else 3))
            order = (f"token {name}", f"branch {name}")
            claims.append(Claim("the AU branch beats the AU token", order, "test_last/accuracy"))
            order = ("ViT", f"branch {name}")
            claims.append(Claim("the AU branch helps", order, "test_last/accuracy"))
        note = (
            f"`ViT` trains on the target alone; `token X` and `branch X` on {self.mixture()}, X "
            "without expression labels."
        )
        if self.own:
            note += f" As X, {self.target} has the faces of its training split, with their AUs."
        note += self.stand_in(CNN_VIT)
        return self.study("table VIII: AU token or AU branch", rows, claims, note)

    # ---- Words

    def places(self) -> list[str]:
        return ["test_last/accuracy", *(["occluded_last/accuracy"] if self.occluded else [])]

    def beta(self) -> str:
        """Said where it is not the paper's."""
        beta = self.recipe().loss.beta
        return "" if beta == 1 else f"The AU loss weighs beta = {beta:g} (paper: 1)."

    def mixture(self) -> str:
        return "as many rows of X as of the target" if self.few else "the recipe's rows of both"

    def stand_in(self, text: str) -> str:
        return "" if self.full else text


def _changed(row: Row, changes: Mapping[str, Any], name: str = "") -> Row:
    """A row with more changes, under another name if one is given."""
    return dataclasses.replace(row, name=name or row.name, changes={**row.changes, **changes})


def _all_labels(row: Row) -> Row:
    return _changed(row, small.ALL_LABELS, f"{row.name}, all labels")


def _has_maxout(scheme: int) -> bool:
    """Whether several regions of a scheme read the same AU."""
    aus = [au for region in facs.regions(scheme) for au in region.aus]
    return len(set(aus)) < len(aus)
