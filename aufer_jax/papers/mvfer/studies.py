"""MV-FER's claim, that accuracy grows as views are added, and what else might explain it."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from aufer_jax import errors
from aufer_jax.datasets import catalog
from aufer_jax.papers.mvfer import recipes
from aufer_jax.papers.mvfer.recipes import photographs, small
from aufer_jax.papers.study import Claim, Row, Study

TARGET = "synth_c"  # turned heads and strong light in every split, and splits of the harder ones
FULL = {
    "small": small.small,
    "photographs": photographs.photographs,
    "colab": photographs.colab,
    "eac": photographs.eac,
    "sane": photographs.sane,
}
# Of synthetic faces, the same in all studies: what two of them share is run once.
SIZES = {"train": 1200, "validation": 210, "test": 1400, "occluded": 350, "pose": 350}
EPOCHS = {300: 22, 600: 15, 1200: 8}  # by the training rows of the study of few labels
NOISES = (0.0, 0.03, 0.06)  # of the landmarks, in distances of the eyes
# Splits beside the test split: drawn ones, and RAN's lists where a dataset was prepared with them.
DRAWN, LISTED = ("occluded", "pose"), ("occluded", "pose30", "pose45")
HEADS = {
    "occluded": "occluded accuracy",
    "pose": "pose accuracy",
    "pose30": "pose 30 accuracy",
    "pose45": "pose 45 accuracy",
}
GROWS = "accuracy grows as the augmented view and then the heatmap view are added"
ACCURACY = "test_last/accuracy"

NOTE = """Rows: `base` the image alone; `base_ops` the image alone with the second view's mirroring and
erasing as plain augmentation, in `twice the images` with as many images a step as `aug`, and as many steps;
`aug` with the mirrored and erased view; `heat` with the heatmap view; `all` three views; `eac` Erasing
Attention Consistency's loss (cross-entropy of the first view only); `balanced` draws all classes equally
often; in `all, view 1's statistics` each view has batch statistics of its own, and inference those of the
image. Same data, first weights, schedule and seeds in all rows."""
NOTE_LC = " The consistency weighs {weight:g}, in `all, lc 5` EAC's 5."
NOTE_POSE = " `pose`: faces turned by 28 to 50 degrees."
NOTE_SMALL = """ A network of 0.15 M parameters at 112 pixels, aligned faces, heatmaps of 56x56, first weights
from synth_b."""
NOTE_ROLES = """What the heatmap adds in each of its roles, with the image alone otherwise (row `heat` of the
ablation). Each landmark of a face is off by a Gaussian of 0, 3 or 6 % of the distance of the eyes (3 % only
in `encoder` and `view+supervise, all`), in training and in the test, always in the same way
(`heatmap.noise`). `supervise`, `view` and `view+supervise` predict from the image; `all` is the mean
prediction of the image, its mirror and the heatmap view, to be compared with `image, flip`; `encoder` always
reads the map."""
NOTE_LABELS = """Rows of the ablation on the first 300, 600 and 1200 training rows{epochs}. The last
claims are about what `all` has over `aug` and over `base`."""


def studies(
    target: str = "", full: bool = False, aux: Sequence[str] = (), recipe: str = ""
) -> dict[str, Study]:
    """Every study by its name; `full` takes the dataset's own recipe instead of sizes for two cores."""
    if aux:
        raise errors.UserError(f"aux: {', '.join(aux)} given, but MV-FER has no auxiliary datasets")
    target = target or TARGET
    recipe = recipe or ("small" if catalog.is_drawn(target) else "photographs")
    if full and recipe not in FULL:
        raise errors.unknown("recipe", recipe, FULL)
    make = _Maker(target, full, recipe)
    found = {"ablation": make.ablation(), "roles": make.roles(), "labels": make.labels()}
    return {name: study for name, study in found.items() if study.rows}


@dataclasses.dataclass(frozen=True)
class _Maker:
    """The studies of one target at one size."""

    target: str
    full: bool
    recipe: str

    # ---- Rows

    def config(self, row: str) -> Any:
        config = FULL[self.recipe]() if self.full else small.study()
        recipes.set_target(config, self.target, row)
        return config

    def row(self, name: str, kind: str, changes: Mapping[str, Any] | None = None) -> Row:
        """A row of the ablation with changes."""
        drawn = {"data.sizes": SIZES} if self.drawn else {}
        start = None if self.full else _first_weights()
        return Row(name, self.config(kind), {**drawn, **(changes or {})}, start)

    @property
    def drawn(self) -> bool:
        """Whether there are as many training rows as `SIZES` says."""
        return catalog.is_drawn(self.target) and not self.full

    def limited(
        self, name: str, kind: str, changes: Mapping[str, Any] | None = None, rows: int = 0
    ) -> Row:
        """A row on so many training rows, at the small size at most on those of `SIZES`."""
        rows = rows or (0 if self.full else SIZES["train"])
        whole = not rows or (self.drawn and rows == SIZES["train"])
        limit = {} if whole else {"data.target_rows": rows}
        return self.row(name, kind, {**limit, **(changes or {})})

    # ---- Studies

    def study(self, name: str, rows: Sequence[Row], claims: Sequence[Claim], note: str) -> Study:
        hard = harder(self.target)
        metrics = {
            "test accuracy": ACCURACY,
            "test UAR": "test_last/uar",
            "test accuracy, best epoch": "test_best/accuracy",
            **{HEADS[split]: _accuracy(split) for split in hard},
        }
        # One folder for all: what two studies share is run once.
        folder = f"mvfer-{self.target}{'-full' if self.full else ''}"
        note += (NOTE_POSE if "pose" in hard else "") + ("" if self.full else NOTE_SMALL)
        title = f"MV-FER: {name}, on {self.target}"
        return Study(folder, title, tuple(rows), metrics, tuple(claims), note)

    def ablation(self) -> Study:
        """The views, and beside them what else could explain what they add."""
        base = self.config("base")
        rows = [self.row(name, name) for name in recipes.ROWS]
        rows.insert(2, self.row("base_ops, twice the images", "base_ops", twice(base)))
        weight = base.loss.cam_weight
        if weight != 5:
            rows.append(self.row("all, lc 5", "all", {"loss.cam_weight": 5.0}))
        per_view = {"loss.forward": "separate", "loss.statistics": "first"}
        rows.append(self.row("all, view 1's statistics", "all", per_view))
        views = ("base", "aug", "all")
        balanced = ("base, balanced", "aug, balanced", "all, balanced")
        if not base.data.balanced:
            rows += [
                self.row(name, kind, {"data.balanced": True})
                for name, kind in zip(balanced, views, strict=True)
            ]
        hard = harder(self.target)
        claims = [Claim(GROWS, views, place) for place in (ACCURACY, *map(_accuracy, hard))]
        if not base.data.balanced:
            claims.append(Claim(f"{GROWS}, classes balanced", balanced, ACCURACY))
        claims += [
            Claim("the second view is more than augmentation", (ops, "aug"), ACCURACY)
            for ops in ("base_ops", "base_ops, twice the images")
        ]
        note = NOTE + (NOTE_LC.format(weight=weight) if weight != 5 else "")
        return self.study("views", rows, claims, note)

    def roles(self) -> Study:
        """The heatmap as a target, a view and an input, with landmarks that are exact and that are not."""
        rows = [
            self.limited("image", "base"),
            self.limited("image, flip", "base", {"loss.inference": "flip"}),
        ]
        claims: list[Claim] = []
        for name, role in ROLES.items():
            for noise in role.noises:
                values = {**role.changes, **({"heatmap.noise": noise} if noise else {})}
                rows.append(self.limited(_noisy(name, noise), "heat", values))
                order = (role.without, _noisy(name, noise))
                claims.append(Claim(f"the heatmap helps as {name}", order, ACCURACY))
        claims += [
            Claim(
                "what a map gives to inference is less where its landmarks are less exact",
                tuple(_noisy(name, noise) for noise in reversed(role.noises)),
                ACCURACY,
            )
            for name, role in ROLES.items()
            if role.noises == NOISES
        ]
        return self.study("roles of the heatmap", rows, claims, NOTE_ROLES)

    def labels(self) -> Study:
        """What the views add where there are few labels."""
        kinds = ("base", "aug", "all")
        there = splits(self.target).get("train")
        counts = [n for n in EPOCHS if there is None or n <= there]
        rows = [
            self.limited(f"{kind}, {count}", kind, self.lasting(kind, EPOCHS[count]), count)
            for count in counts
            for kind in kinds
        ]
        claims = [
            Claim(f"{GROWS}, {count} labels", tuple(f"{kind}, {count}" for kind in kinds), ACCURACY)
            for count in counts
        ]
        for what, below in (("the heatmap view adds", "aug"), ("the views add", "base")):
            order, over = (
                tuple(f"{kind}, {count}" for count in reversed(counts)) for kind in ("all", below)
            )
            claims.append(Claim(f"{what} more where labels are fewer", order, ACCURACY, over))
        epochs = "" if self.full else f", for {', '.join(map(str, EPOCHS.values()))} epochs"
        note = NOTE_LABELS.format(epochs=epochs)
        return self.study("few labels", rows, claims, note)

    def lasting(self, kind: str, epochs: int) -> dict[str, Any]:
        """At the small size a row lasts so many epochs."""
        return {} if self.full else lasting(self.config(kind), epochs)


class Role(NamedTuple):
    """A role of the heatmap: the row without it that predicts from as many images, and its options."""

    without: str
    changes: Mapping[str, Any]
    noises: tuple[float, ...] = NOISES


ENDS = (NOISES[0], NOISES[-1])  # 3 % where the question is what is left to inference
ROLES = {
    "supervise": Role("image", {"loss.heatmap_role": "supervise"}, ENDS),
    "view": Role("image", {"loss.heatmap_role": "view"}, ENDS),
    "view+supervise": Role("image", {}, ENDS),
    "view, all": Role("image, flip", {"loss.heatmap_role": "view", "loss.inference": "all"}, ENDS),
    "view+supervise, all": Role("image, flip", {"loss.inference": "all"}),
    "encoder": Role("image", {"loss.heatmap_role": "encoder"}),
}


def _noisy(name: str, noise: float) -> str:
    return f"{name}, {noise:.0%}" if noise else name


def _accuracy(split: str) -> str:
    return f"{split}_last/accuracy"


def splits(target: str) -> Mapping[str, int | None]:
    """The splits of a dataset, with their records; none where it is not prepared yet."""
    try:
        return catalog.info(target).splits
    except errors.UserError:
        return {}


def harder(target: str) -> tuple[str, ...]:
    """The splits of harder faces that a dataset has; all that it can have where it is not prepared yet."""
    possible, there = DRAWN if catalog.is_drawn(target) else LISTED, splits(target)
    return tuple(split for split in possible if not there or split in there)


def lasting(config: Any, epochs: int | None) -> dict[str, Any]:
    """So many epochs, with a rate that ends where the configuration's does; None: its own."""
    if epochs is None or epochs == config.train.epochs:
        return {}
    gamma = config.schedule.gamma ** (config.train.epochs / epochs)
    return {"train.epochs": epochs, "schedule.gamma": gamma}


def twice(config: Any) -> dict[str, Any]:
    """Twice as many rows a step in as many steps, so that each row is seen twice as often."""
    return {
        "data.batch_size": 2 * config.data.batch_size,
        **lasting(config, 2 * config.train.epochs),
    }


def _first_weights() -> Row:
    """In place of weights from millions of faces: expressions of other people in another dataset."""
    config = small.study()
    recipes.set_target(config, "synth_b", "base")
    sizes = {"train": 4000, "validation": 350, "test": 350, "occluded": 350}
    return Row("first weights", config, {"data.sizes": sizes, "optimizer.lr": 1e-3})
