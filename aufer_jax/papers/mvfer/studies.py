"""MV-FER's claim, that accuracy grows as views are added, and what else might explain it."""

from collections.abc import Mapping, Sequence
from typing import Any

from aufer_jax.errors import UserError
from aufer_jax.papers.study import Claim, Row, Study

TARGET = "synth_c"  # turned heads and strong light in every split, and a split of occluded faces
ROWS = ("base", "base_ops", "aug", "heat", "all", "eac")

# Some twenty runs in forty minutes on two cores.
SMALL: Mapping[str, Any] = {
    "data.size": 64,
    "data.align": "5pt",
    "data.batch_size": 32,
    # Of 5, EAC's weight, and 1, the better on the validation split (`aug`, first seed): the class maps of
    # so small a network that was not trained on millions of faces vanish under the larger one.
    "loss.cam_weight": 1.0,
    "optimizer.lr": 5e-4,
    "schedule.gamma": 0.8,
    "train.epochs": 8,
    "train.log_every": 1000,
    "train.keep": 1,
}
PUBLISHED_CAM = {"loss.cam_weight": 5.0}
SMALL_SYNTHETIC: Mapping[str, Any] = {
    "data.sizes": {"train": 2400, "validation": 350, "test": 1400, "occluded": 700},
}
# In place of weights from millions of faces: expressions of other people in another dataset.
START = Row(
    "first weights",
    "configs/mvfer.py:synth_b,model=resnet_small,ablate=base",
    {
        **SMALL,
        "optimizer.lr": 1e-3,
        "data.sizes": {"train": 4000, "validation": 350, "test": 350, "occluded": 350},
    },
)

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
    model = "" if full else "model=resnet_small,"
    changes = {} if full else {**SMALL, **(SMALL_SYNTHETIC if synthetic else {})}
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
    start = None if full else START
    rows = [
        Row(name, f"configs/mvfer.py:{target},{model}ablate={name}", changes, start)
        for name in ROWS
    ]
    if not full:
        published = {**changes, **PUBLISHED_CAM}
        rows.append(
            Row("all, lc 5", f"configs/mvfer.py:{target},{model}ablate=all", published, start)
        )
    return {
        "ablation": Study(
            name=f"mvfer-ablation-{target}{'-full' if full else ''}",
            title=f"MV-FER: views, on {target}",
            rows=tuple(rows),
            metrics=metrics,
            claims=(
                *(Claim(text, ("base", "aug", "all"), place) for place in places),
                Claim("the second view is more than augmentation", ("base_ops", "aug"), places[0]),
            ),
            note=NOTE + ("" if full else NOTE_SMALL),
        )
    }
