"""Metrics against scikit-learn and published results, under any padding and any split."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from published import MAE_DFER_FOLD_1
from sklearn import metrics as oracle

from aufer_jax import facs, losses, parallel
from aufer_jax.datasets import dfew
from aufer_jax.evaluate import metrics

CLASSES, AUS = 7, facs.OPENFACE_18
NAMES = dfew.EXPRESSIONS


@functools.cache
def jitted(num_classes=CLASSES, **options):
    return jax.jit(functools.partial(metrics.counts, num_classes=num_classes, **options))


def data(rows, seed=0):
    """Random outputs and a batch, with unknown labels among the known."""
    rng = np.random.default_rng(seed)
    outputs = {
        "expression": 2 * rng.standard_normal((rows, CLASSES)).astype(np.float32),
        "au": rng.standard_normal((rows, len(AUS))).astype(np.float32),
    }
    batch = {
        "expression": rng.integers(-1, CLASSES, rows).astype(np.int32),
        "au": rng.integers(0, 2, (rows, len(AUS))).astype(np.float32),
        "au_known": rng.random((rows, len(AUS))) < 0.8,
        "mask": np.ones(rows, bool),
    }
    return outputs, batch


def take(tree, rows):
    return jax.tree.map(lambda x: x[rows], tree)


def assert_same(ours, expected):
    assert ours.keys() == expected.keys()
    for name, value in expected.items():
        if np.asarray(value).dtype.kind == "f":
            np.testing.assert_allclose(ours[name], value, rtol=1e-6, err_msg=name)
        else:
            np.testing.assert_array_equal(ours[name], value, err_msg=name)


def summary(outputs, batch):
    return metrics.summarize(jitted()(outputs, batch), expressions=NAMES, aus=AUS)


@pytest.mark.parametrize("seed", range(5))
def test_expression_metrics_equal_scikit_learn(seed):
    outputs, batch = data(64, seed)
    ours = summary(outputs, batch)
    keep = batch["expression"] >= 0
    y, p = batch["expression"][keep], outputs["expression"].argmax(-1)[keep]
    assert ours["accuracy"] == pytest.approx(oracle.accuracy_score(y, p))
    assert ours["uar"] == pytest.approx(oracle.balanced_accuracy_score(y, p))
    assert ours["macro_f1"] == pytest.approx(oracle.f1_score(y, p, average="macro"))
    assert ours["weighted_f1"] == pytest.approx(oracle.f1_score(y, p, average="weighted"))
    z = outputs["expression"][keep].astype(np.float64)
    probability = np.exp(z) / np.exp(z).sum(-1, keepdims=True)
    assert ours["loss"] == pytest.approx(oracle.log_loss(y, probability, labels=range(7)))
    np.testing.assert_array_equal(ours["confusion"], oracle.confusion_matrix(y, p))
    for name, score in (
        ("recall", oracle.recall_score),
        ("precision", oracle.precision_score),
        ("f1", oracle.f1_score),
    ):
        expected = score(y, p, average=None, zero_division=0)
        np.testing.assert_allclose([ours[f"{name}/{e}"] for e in NAMES], expected)


@pytest.mark.parametrize("seed", range(3))
def test_au_metrics_equal_scikit_learn(seed):
    outputs, batch = data(64, seed)
    ours = summary(outputs, batch)
    known, y, p = batch["au_known"], batch["au"] > 0.5, outputs["au"] > 0
    f1 = [oracle.f1_score(y[known[:, j], j], p[known[:, j], j]) for j in range(len(AUS))]
    np.testing.assert_allclose([ours[f"au_f1/AU{au:02d}"] for au in AUS], f1)
    assert ours["au_f1"] == pytest.approx(np.mean(f1))
    assert ours["au_accuracy"] == pytest.approx(oracle.accuracy_score(y[known], p[known]))
    assert ours["au_combined"] == pytest.approx((np.mean(f1) + ours["au_accuracy"]) / 2)
    micro = oracle.f1_score(y[known], p[known])
    assert ours["au_f1_micro"] == pytest.approx(micro)
    auc = [
        oracle.roc_auc_score(y[known[:, j], j], outputs["au"][known[:, j], j])
        for j in range(len(AUS))
    ]
    found = [ours[f"au_auc/AU{au:02d}"] for au in AUS]
    np.testing.assert_allclose(found, auc, atol=0.02)  # a pair within 0.05 is half a win
    assert ours["au_auc"] == pytest.approx(np.mean(auc), abs=0.004)
    probability = 1 / (1 + np.exp(-outputs["au"][known].astype(np.float64)))
    assert ours["au_loss"] == pytest.approx(oracle.log_loss(y[known], probability))


def test_the_area_under_the_curve_is_of_known_labels_and_halves_ties():
    # Hand-worked. AU1: present 2, 0; absent 1, 0 -> wins 1 + 1 + 0 + 1/2 of 4. AU2 is never absent.
    outputs = {
        "expression": np.eye(7)[[0] * 5],
        "au": np.array([[2, 1], [0, 1], [1, 1], [0, 1], [9, 1]]),
    }
    batch = {
        "expression": np.zeros(5, int),
        "mask": np.ones(5, bool),
        "au": np.array([[1, 1], [1, 1], [0, 1], [0, 1], [0, 1]]),
        "au_known": np.array([[1, 1]] * 4 + [[0, 1]], bool),
    }
    ours = metrics.summarize(jitted()(outputs, batch), expressions=NAMES, aus=(1, 2))
    assert ours["au_auc"] == ours["au_auc/AU01"] == 2.5 / 4
    assert "au_auc/AU02" not in ours
    assert metrics.mean_over_aus(ours, "au_f1", (2, 4)) == ours["au_f1/AU02"] == 1
    assert np.isnan(metrics.mean_over_aus(ours, "au_f1", (4,)))


def test_published_confusion_matrix():
    true, predicted = (
        np.repeat(index.ravel(), MAE_DFER_FOLD_1.ravel()) for index in np.indices((7, 7))
    )
    outputs = {"expression": np.eye(7, dtype=np.float32)[predicted]}
    batch = {"expression": true.astype(np.int32), "mask": np.ones(len(true), bool)}
    ours = metrics.summarize(jitted()(outputs, batch), expressions=NAMES)
    np.testing.assert_array_equal(ours["confusion"], MAE_DFER_FOLD_1)
    assert len(true) == sum(dfew.CARD.counts["fold1"])
    assert round(100 * ours["uar"], 2) == 62.59
    assert round(100 * ours["accuracy"], 2) == 74.88
    assert ours["war_plus_uar"] == pytest.approx(0.7488 + 0.6259, abs=1e-4)
    assert round(ours["weighted_f1"], 4) == 0.7441
    assert round(ours["macro_f1"], 4) == 0.6357
    assert ours["combined"] == pytest.approx(0.67 * 0.6357 + 0.33 * 0.7488, abs=1e-4)
    assert not any(name.startswith("au") for name in ours)


@pytest.mark.parametrize("junk", [np.nan, np.inf, -1e30])
def test_padding_may_hold_anything(junk):
    outputs, batch = data(24)
    expected = jitted()(outputs, batch)
    padding = {
        "expression": np.full((8, CLASSES), junk, np.float32),
        "au": np.full((8, len(AUS)), junk, np.float32),
    }
    padding_batch = {
        "expression": np.array([0, 3, 99, -1, 6, 1, 2, -7], np.int32),
        "au": np.full((8, len(AUS)), junk, np.float32),
        "au_known": np.ones((8, len(AUS)), bool),
        "mask": np.zeros(8, bool),
    }
    outputs, batch = jax.tree.map(
        lambda a, b: np.concatenate([a, b]), (outputs, batch), (padding, padding_batch)
    )
    order = np.random.default_rng(1).permutation(32)
    assert_same(jitted()(*take((outputs, batch), order)), expected)


@pytest.mark.parametrize("cuts", [(1, 5, 6, 30), (16,), (8, 16, 24, 32, 40)])
def test_any_split_into_batches_gives_the_same(cuts):
    whole = data(48)
    parts = np.split(np.random.default_rng(2).permutation(48), cuts)
    total = functools.reduce(metrics.add, (jitted()(*take(whole, rows)) for rows in parts))
    expected = jitted()(*whole)
    assert_same(total, expected)
    assert total["confusion"].dtype == np.int64 and total["loss"].dtype == np.float64


def test_devices_share_a_batch():
    whole = data(48)

    def share(outputs, batch):
        with parallel.batch_split(parallel.Split(axis="data")):
            return parallel.psum(metrics.counts(outputs, batch, num_classes=CLASSES))

    shares = jax.tree.map(lambda x: x.reshape(4, 12, *x.shape[1:]), whole)
    total = jax.pmap(share, axis_name="data", out_axes=None)(*shares)  # pyright: ignore
    assert_same(total, jitted()(*whole))


def test_classes_that_do_not_occur_are_left_out():
    # Hand-worked: anger never occurs but is predicted once, fear neither.
    outputs = {"expression": jnp.eye(4)[jnp.array([0, 0, 2, 1])]}
    batch = {"expression": jnp.array([0, 0, 0, 1]), "mask": jnp.ones(4, bool)}
    names = ("happiness", "sadness", "anger", "fear")
    ours = metrics.summarize(jitted(4)(outputs, batch), expressions=names)
    assert ours["uar"] == pytest.approx((2 / 3 + 1) / 2)
    assert ours["macro_f1"] == pytest.approx((0.8 + 1 + 0) / 3)
    assert ours["weighted_f1"] == pytest.approx(0.75 * 0.8 + 0.25)
    assert "recall/anger" not in ours and ours["precision/anger"] == 0
    assert not any(name.endswith("/fear") for name in ours)


def test_aus_without_labels_leave_the_mean():
    # AU1: one hit, one false alarm (F1 2/3); AU2: never present, never predicted (0); AU4 unknown.
    outputs = {"expression": jnp.zeros((2, 7)), "au": jnp.array([[1.0, -1, 1], [1, -1, 1]])}
    batch = {
        "expression": jnp.array([-1, -1]),
        "au": jnp.array([[1.0, 0, jnp.nan], [0, 0, jnp.nan]]),
        "au_known": jnp.array([[True, True, False]] * 2),
        "mask": jnp.ones(2, bool),
    }
    ours = metrics.summarize(jitted()(outputs, batch), expressions=NAMES, aus=(1, 2, 4))
    loss = float(losses.au_cross_entropy(outputs["au"], batch["au"], batch["au_known"]).sum()) / 4
    assert ours == {
        "au_f1": pytest.approx(1 / 3),
        "au_f1_micro": pytest.approx(2 / 3),
        "au_auc": 0.5,  # AU1, with one logit for both
        "au_auc/AU01": 0.5,
        "au_accuracy": 0.75,
        "au_combined": pytest.approx((1 / 3 + 0.75) / 2),
        "au_loss": pytest.approx(loss),
        "au_f1/AU01": pytest.approx(2 / 3),
        "au_f1/AU02": 0.0,
    }


def test_nothing_known_gives_nothing():
    outputs, batch = data(4)
    batch = batch | {"mask": np.zeros(4, bool)}
    assert summary(outputs, batch) == {}


def test_au_threshold_is_the_labels():
    outputs, batch = data(1)
    batch = batch | {"au": np.full((1, len(AUS)), 0.7, np.float32), "au_known": batch["au"] >= 0}
    sums = jitted(au_threshold=0.8)(outputs, batch)
    assert sums["au_tp"].sum() == 0 and sums["au_fp"].sum() + sums["au_tn"].sum() == len(AUS)
    assert jitted()(outputs, batch)["au_fp"].sum() == 0


def test_calibration_error_by_hand():
    # Confidences 0.6 (right), 0.6 (wrong), 0.9 (right), 0.9 (right), of two classes.
    z = np.log(np.array([[0.6, 0.4], [0.6, 0.4], [0.1, 0.9], [0.1, 0.9]], np.float32))
    batch = {"expression": jnp.array([0, 1, 1, 1]), "mask": jnp.ones(4, bool)}
    ours = metrics.summarize(
        jitted(2, bins=4)({"expression": z}, batch), expressions=("neutral", "fear")
    )
    assert ours["ece"] == pytest.approx((abs(1.2 - 1) + abs(1.8 - 2)) / 4, abs=1e-6)
    np.testing.assert_allclose(ours["calibration"], [[2, 0.6, 0.5], [2, 0.9, 1.0]], rtol=1e-6)


def test_certain_predictions_fall_in_the_last_bin():
    outputs = {"expression": 1e3 * jnp.eye(2)}
    batch = {"expression": jnp.array([0, 1]), "mask": jnp.ones(2, bool)}
    assert jitted(2)(outputs, batch)["bin_samples"].tolist() == [0] * 14 + [2]


def test_the_loss_is_told_of_what_has_no_classes():
    assert metrics.line("test", {"loss": 0.5}) == "test: loss 0.5000"
    told = metrics.line("test", {"accuracy": 0.5, "loss": 0.5})
    assert told == "test: accuracy 0.5000"


def test_wrong_names_and_labels_are_refused():
    outputs, batch = data(8)
    sums = jitted()(outputs, batch)
    with pytest.raises(ValueError, match="7 names"):
        metrics.summarize(sums, expressions=NAMES[:6], aus=AUS)
    with pytest.raises(ValueError, match="18 numbers"):
        metrics.summarize(sums, expressions=NAMES)
    batch["expression"][:] = [7, 0, 0, 0, 0, 0, 0, 0]
    with pytest.raises(ValueError, match=r"1 of 8 labels .* 0\.\.6"):
        summary(outputs, batch)
