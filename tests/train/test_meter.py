"""What the steps log: scores of a batch by hand, and their sums over an epoch."""

import jax.numpy as jnp
import pytest

from aufer_jax.train import base, meter


def test_scores_of_a_batch_count_the_rows_whose_class_is_known():
    logits = jnp.eye(3)[jnp.array([0, 0, 1, 2, 2, 0])]
    batch = {
        "expression": jnp.array([0, 1, 1, 2, -1, 0]),
        "mask": jnp.array([True, True, True, True, True, False]),
    }
    found = base.scores(logits, batch, ("neutral", "anger", "fear"))
    assert {name: (float(n), float(d)) for name, (n, d) in found.items()} == {
        "accuracy": (3, 4), "recall/neutral": (1, 1), "recall/anger": (1, 2), "recall/fear": (1, 1),
    }  # fmt: skip


def test_an_epochs_uar_is_the_mean_of_the_classes_that_it_had():
    kept = meter.Meter({}, {}, 0)
    for anger in ((1, 4), (2, 4)):
        pairs = {"recall/anger": anger, "recall/neutral": (1, 1), "recall/fear": (0, 0)}
        kept.add({"sums": pairs, "norms": {"grad": 1.0}})
    kept.flush(None)
    line = kept.take(0.0)
    assert line["uar"] == pytest.approx((3 / 8 + 1) / 2)
    assert line["recall/anger"] == 3 / 8 and "recall/fear" not in line
