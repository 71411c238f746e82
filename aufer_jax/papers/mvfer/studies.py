"""MV-FER's claim, that accuracy grows as views are added, and what else might explain it."""

from collections.abc import Sequence

from aufer_jax.errors import UserError
from aufer_jax.papers.mvfer import recipes
from aufer_jax.papers.mvfer.recipes import photographs, small
from aufer_jax.papers.study import Claim, Row, Study

TARGET = "synth_c"  # turned heads and strong light in every split, and a split of occluded faces
SIZES = {"train": 2400, "validation": 350, "test": 1400, "occluded": 700}  # of synthetic faces

NOTE = """Rows: `base` the image alone; `base_ops` the image alone with the second view's mirroring and
erasing as plain augmentation; `aug` with the mirrored and erased view; `heat` with the heatmap view; `all`
three views; `eac` Erasing Attention Consistency's loss (cross-entropy of the first view only). Same data,
first weights, schedule and seeds in all rows."""
NOTE_SMALL = """ A network of 0.6 M parameters at 64 pixels, aligned faces, first weights from synth_b; the
consistency weighs 1, in `all, lc 5` EAC's 5."""


def studies(target: str = "", full: bool = False, aux: Sequence[str] = ()) -> dict[str, Study]:
    """The ablation; `full` takes the dataset's own recipe instead of sizes for two cores."""
    if aux:
        raise UserError(f"aux: {', '.join(aux)} given, but MV-FER has no auxiliary datasets")
    target = target or TARGET
    synthetic = target.startswith("synth_")
    metrics = {
        "test accuracy": "test_last/accuracy",
        "test UAR": "test_last/uar",
        "test accuracy, best epoch": "test_best/accuracy",
    }
    if synthetic:
        metrics["occluded accuracy"] = "occluded_last/accuracy"
    # The synthetic test split is balanced: its UAR is its accuracy.
    places = [metrics["test accuracy"], metrics.get("occluded accuracy", metrics["test UAR"])]
    text = "accuracy grows as the augmented view and then the heatmap view are added"
    study = Study(
        name=f"mvfer-ablation-{target}{'-full' if full else ''}",
        title=f"MV-FER: views, on {target}",
        rows=tuple(_full(target) if full else _small(target)),
        metrics=metrics,
        claims=(
            *(Claim(text, ("base", "aug", "all"), place) for place in places),
            Claim("the second view is more than augmentation", ("base_ops", "aug"), places[0]),
        ),
        note=NOTE + ("" if full else NOTE_SMALL),
    )
    return {"ablation": study}


def _full(target: str) -> list[Row]:
    rows = []
    for name in recipes.ROWS:
        config = small.small() if target.startswith("synth_") else photographs.photographs()
        recipes.set_target(config, target, name)
        rows.append(Row(name, config))
    return rows


def _small(target: str) -> list[Row]:
    sizes = {"data.sizes": SIZES} if target.startswith("synth_") else {}
    start = _first_weights()
    rows = []
    for name in recipes.ROWS:
        config = small.study()
        recipes.set_target(config, target, name)
        rows.append(Row(name, config, sizes, start))
    config = small.study()
    recipes.set_target(config, target, "all")
    return [*rows, Row("all, lc 5", config, {**sizes, "loss.cam_weight": 5.0}, start)]


def _first_weights() -> Row:
    """In place of weights from millions of faces: expressions of other people in another dataset."""
    config = small.study()
    recipes.set_target(config, "synth_b", "base")
    sizes = {"train": 4000, "validation": 350, "test": 350, "occluded": 350}
    return Row("first weights", config, {"data.sizes": sizes, "optimizer.lr": 1e-3})
