"""MV-FER's claim, that accuracy grows as views are added, and what else might explain it."""

from collections.abc import Sequence

from aufer_jax import errors
from aufer_jax.datasets import catalog
from aufer_jax.papers.mvfer import recipes
from aufer_jax.papers.mvfer.recipes import photographs, small
from aufer_jax.papers.study import Claim, Row, Study

TARGET = "synth_c"  # turned heads and strong light in every split, and a split of occluded faces
FULL = {
    "small": small.small,
    "photographs": photographs.photographs,
    "colab": photographs.colab,
    "eac": photographs.eac,
}
SIZES = {"train": 2400, "validation": 350, "test": 1400, "occluded": 700}  # of synthetic faces

NOTE = """Rows: `base` the image alone; `base_ops` the image alone with the second view's mirroring and
erasing as plain augmentation; `aug` with the mirrored and erased view; `heat` with the heatmap view; `all`
three views; `eac` Erasing Attention Consistency's loss (cross-entropy of the first view only). Same data,
first weights, schedule and seeds in all rows."""
NOTE_SMALL = """ A network of 0.6 M parameters at 112 pixels, aligned faces, heatmaps of 56x56, first weights
from synth_b; the consistency weighs 1, in `all, lc 5` EAC's 5; in `all, view 1's statistics` each view has
batch statistics of its own, and inference those of the image."""


def studies(
    target: str = "", full: bool = False, aux: Sequence[str] = (), recipe: str = ""
) -> dict[str, Study]:
    """The ablation; `full` takes the dataset's own recipe instead of sizes for two cores."""
    if aux:
        raise errors.UserError(f"aux: {', '.join(aux)} given, but MV-FER has no auxiliary datasets")
    target = target or TARGET
    metrics = {
        "test accuracy": "test_last/accuracy",
        "test UAR": "test_last/uar",
        "test accuracy, best epoch": "test_best/accuracy",
        "occluded accuracy": "occluded_last/accuracy",
    }
    if not catalog.is_drawn(target):  # RAN's lists, where the dataset was prepared with them
        metrics |= {"pose 30 accuracy": "pose30_last/accuracy"}
        metrics |= {"pose 45 accuracy": "pose45_last/accuracy"}
    places = [place for place in metrics.values() if place.endswith("_last/accuracy")]
    text = "accuracy grows as the augmented view and then the heatmap view are added"
    study = Study(
        name=f"mvfer-ablation-{target}{'-full' if full else ''}",
        title=f"MV-FER: views, on {target}",
        rows=tuple(_full(target, recipe) if full else _small(target)),
        metrics=metrics,
        claims=(
            *(Claim(text, ("base", "aug", "all"), place) for place in places),
            Claim("the second view is more than augmentation", ("base_ops", "aug"), places[0]),
        ),
        note=NOTE + ("" if full else NOTE_SMALL),
    )
    return {"ablation": study}


def _full(target: str, recipe: str) -> list[Row]:
    recipe = recipe or ("small" if catalog.is_drawn(target) else "photographs")
    if recipe not in FULL:
        raise errors.unknown("recipe", recipe, FULL)
    rows = []
    for name in recipes.ROWS:
        config = FULL[recipe]()
        recipes.set_target(config, target, name)
        rows.append(Row(name, config))
    return rows


def _small(target: str) -> list[Row]:
    sizes = {"data.sizes": SIZES} if catalog.is_drawn(target) else {}
    start = _first_weights()
    rows = []
    for name in recipes.ROWS:
        config = small.study()
        recipes.set_target(config, target, name)
        rows.append(Row(name, config, sizes, start))
    per_view = {"loss.forward": "separate", "loss.statistics": "first"}
    for name, changes in (
        ("all, lc 5", {"loss.cam_weight": 5.0}),
        ("all, view 1's statistics", per_view),
    ):
        config = small.study()
        recipes.set_target(config, target, "all")
        rows.append(Row(name, config, {**sizes, **changes}, start))
    return rows


def _first_weights() -> Row:
    """In place of weights from millions of faces: expressions of other people in another dataset."""
    config = small.study()
    recipes.set_target(config, "synth_b", "base")
    sizes = {"train": 4000, "validation": 350, "test": 350, "occluded": 350}
    return Row("first weights", config, {"data.sizes": sizes, "optimizer.lr": 1e-3})
