"""MV-FER's claim, that accuracy grows as views are added, and what else might explain it."""

from collections.abc import Mapping, Sequence
from typing import Any

from aufer_jax.reproduce.study import Claim, Row, Study

TARGET = "synth_c"  # turned heads and strong light in every split, and a split of occluded faces
ROWS = ("base", "base_ops", "aug", "heat", "all", "eac")

# Eighteen runs in forty minutes on two cores.
SMALL: Mapping[str, Any] = {
    "data.size": 64,
    "data.align": "5pt",
    "data.batch_size": 32,
    "optimizer.lr": 1e-3,
    "schedule.gamma": 0.85,
    "train.epochs": 12,
    "train.log_every": 1000,
    "train.keep": 1,
}
SMALL_SYNTHETIC: Mapping[str, Any] = {
    "data.sizes": {"train": 2400, "validation": 350, "test": 1400, "occluded": 700},
}

NOTE = """Rows: `base` the image alone; `base_ops` the image alone with the second view's mirroring and
erasing as plain augmentation; `aug` with the mirrored and erased view; `heat` with the heatmap view; `all`
three views; `eac` Erasing Attention Consistency's loss (cross-entropy of the first view only). Same data,
first weights, schedule and seeds in all rows."""


def studies(target: str = "", full: bool = False, aux: Sequence[str] = ()) -> dict[str, Study]:
    """The ablation; `full` takes the dataset's own recipe instead of sizes for two cores."""
    if aux:
        raise ValueError(f"aux: {', '.join(aux)} given, but MV-FER has no auxiliary datasets")
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
    places = [metrics["test accuracy"], metrics.get("occluded accuracy")]
    text = "accuracy grows as the augmented view and then the heatmap view are added"
    return {
        "ablation": Study(
            name=f"mvfer-ablation-{target}",
            title=f"MV-FER: views, on {target}",
            rows=tuple(
                Row(name, f"configs/mvfer.py:{target},{model}ablate={name}", changes)
                for name in ROWS
            ),
            metrics=metrics,
            claims=(
                *(Claim(text, ("base", "aug", "all"), place) for place in places if place),
                Claim("the second view is more than augmentation", ("base_ops", "aug"), places[0]),
            ),
            note=NOTE,
        )
    }
