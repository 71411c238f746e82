"""MV-FER's recipes, and how a run's dataset and its row of the ablation are set in any of them."""

from collections.abc import Mapping
from typing import Any

from aufer_jax import errors

# Which views are trained; what a row does not name stays at its default, which is `all`.
ROWS: Mapping[str, Mapping[str, Any]] = {
    "base": {"ce_views": (1,), "consistency": "none", "heatmap_role": "none"},
    "base_ops": {"ce_views": (1,), "consistency": "none", "heatmap_role": "none"},
    "aug": {"ce_views": (1, 2), "heatmap_role": "none"},
    "heat": {"ce_views": (1, 3), "consistency": "none"},
    "all": {},
    "eac": {"ce_views": (1,), "heatmap_role": "none"},
}
# What votes and soft labels become where they are a dataset's point.
LABELS = {"ferplus": "crossentropy", "affectnetplus": "distribution"}


def set_target(config: Any, target: str, row: str = "all", labels: str = "") -> None:
    """Sets the dataset, what its votes become, and the row of the ablation, in any recipe."""
    config.data.target = target
    config.data.balanced = target.startswith("affectnet")
    config.data.labels = labels or LABELS.get(target, "majority")
    if row not in ROWS:
        raise errors.unknown("config argument ablate", row, ROWS)
    config.loss.update(ROWS[row])
    if row == "base_ops":
        config.augment.flip = 0.5  # half of the images, as over the views of aug
        config.augment.erase = 0.5
