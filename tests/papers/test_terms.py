"""What EC-STFL, STT and DPCNet add to the loss: by hand, against NumPy, over devices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toydata

from aufer_jax import parallel
from aufer_jax.data import records
from aufer_jax.papers.audfer import terms
from aufer_jax.train import base, expression
from aufer_jax.train import config as config_lib


def pairs(features, label, released):
    """EC-STFL's values row by row and pair by pair, and the rows that count."""
    rows = [i for i, name in enumerate(label) if name >= 0]
    values, counted = np.zeros(len(label)), np.zeros(len(label), bool)
    for i in rows:
        near, far = [], []
        for j in rows:
            distance = np.abs(features[i] - features[j]).sum()
            if label[i] != label[j]:
                far.append(1 / (distance + 1e-6))
            elif i != j:
                near.append(distance)
        if released:
            values[i] = sum(near) / (len(near) + 1) * sum(far) / (len(far) + 1) / len(rows)
            counted[i] = True
        elif near and far:
            values[i], counted[i] = np.mean(near) * np.mean(far), True
    return values, counted


@pytest.mark.parametrize("released", [False, True])
def test_clustering_against_numpy(released):
    rng = np.random.default_rng(0)
    features = rng.normal(size=(9, 5)).astype(np.float32)
    label = np.array([0, 1, 0, 2, -1, 1, 0, -1, 3])  # 2 and 3 have nobody like them
    values, counted = terms.clustering(jnp.asarray(features), jnp.asarray(label), released=released)
    expected, rows = pairs(features, label, released)
    np.testing.assert_array_equal(counted, rows)
    np.testing.assert_allclose(np.asarray(values)[rows], expected[rows], rtol=1e-4)


def test_clustering_by_hand():
    """On a line: 0 and 2 of one class, 5 of another."""
    features, label = jnp.array([[0.0], [2.0], [5.0]]), jnp.array([0, 0, 1])
    values, counted = terms.clustering(features, label, released=False)
    np.testing.assert_allclose(values[:2], [2 / 5, 2 / 3], rtol=1e-5)
    assert counted.tolist() == [True, True, False]
    values, counted = terms.clustering(features, label, released=True)
    # Two like it with itself, two unlike it where there is one, three rows; the last has only itself.
    np.testing.assert_allclose(values, [2 / 2 / 5 / 2 / 3, 2 / 2 / 3 / 2 / 3, 0], rtol=1e-4)
    assert counted.all()


@pytest.mark.parametrize("released", [False, True])
def test_clustering_moves_like_rows_together_and_others_apart(released):
    label = jnp.array([0, 0, 1])

    def total(features):
        return terms.clustering(features, label, released=released)[0].sum()

    slope = jax.grad(total)(jnp.array([[0.0], [2.0], [5.0]]))[:, 0]
    assert slope[0] < 0 < slope[1] and slope[2] < 0  # it falls as 0 and 2 meet, and as 5 leaves
    alike = jax.grad(total)(jnp.zeros((3, 1)))  # rows in one place, of whichever class
    assert np.isfinite(alike).all()


def test_clustering_is_the_same_on_many_devices():
    if len(jax.devices()) < 2:
        pytest.skip("needs two devices")
    features = np.random.default_rng(1).normal(size=(8, 3)).astype(np.float32)
    label = np.array([0, 1, 0, -1, 1, 0, 2, 1])

    def slope(features, label):
        def total(features):
            values, counted = terms.clustering(features, label, released=True)
            return jnp.where(counted, values, 0).sum()

        return jax.value_and_grad(total)(features)

    def share(features, label):
        with parallel.batch_split(parallel.Split(axis="batch")):
            return slope(features, label)

    whole = slope(jnp.asarray(features), jnp.asarray(label))
    split = [x.reshape(2, 4, *x.shape[1:]) for x in (features, label)]
    values, slopes = jax.pmap(share, axis_name="batch", devices=jax.devices()[:2])(*split)
    np.testing.assert_allclose(values.sum(), whole[0], rtol=1e-5)
    np.testing.assert_allclose(slopes.reshape(8, 3), whole[1], rtol=1e-4, atol=1e-6)


def test_compact_by_hand():
    """Of the wrong classes one has three times the other's probability."""
    logits = jnp.log(jnp.array([[0.6, 0.3, 0.1]]))
    value = terms.compact(logits, jnp.array([[True, False, False]]))
    expected = (0.75 - 0.5) * np.log(1.5) + (0.25 - 0.5) * np.log(0.5)
    np.testing.assert_allclose(value, [expected], rtol=1e-5)
    assert terms.compact(logits, jnp.ones((1, 3), bool)).tolist() == [0.0]


def test_the_spread_of_features_that_are_all_zero_has_a_slope():
    slope = jax.grad(lambda x: terms.spread(x).sum())(jnp.zeros((1, 2, 3)))
    assert np.isfinite(slope).all()


def test_the_terms_that_are_weighted_and_no_others():
    rng = np.random.default_rng(2)
    outputs = {
        "expression": rng.normal(size=(4, 3)), "features": rng.normal(size=(4, 5)),
        "paths": rng.normal(size=(4, 2, 3)), "views": rng.normal(size=(4, 2, 5)),
    }  # fmt: skip
    outputs = {name: jnp.asarray(value, jnp.float32) for name, value in outputs.items()}
    label = jnp.array([0, 1, -1, 0])
    taught = expression.Taught(jax.nn.one_hot(label, 3), label >= 0, None)
    found = functools.partial(terms.of, outputs, outputs, taught, label)
    assert not list(found(terms.Options()))
    weights = {"ecstfl": 10.0, "compact": 0.5, "paths": 2.0, "views": 3.0}
    for name, weight, values, counted in found(terms.Options(**weights)):
        assert weight == weights.pop(name) and values.shape == (4,)
        np.testing.assert_array_equal(counted, label >= 0)
        assert (values[counted] >= 0).all() and np.isfinite(values).all()
    assert not weights


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"loss.ecstfl_form": "release"},
            r"loss\.ecstfl_form: 'release' .* Did you mean 'released'",
        ),
        ({"loss.compact": -1.0}, r"loss\.compact: -1\.0"),
        ({"loss.paths": 1.0}, r"loss\.paths: 1\.0, but 'r3d18' does not give 'paths'"),
    ],
)
def test_mistakes_are_named(changes, message, memory_catalog):
    info = toydata.info("toyclips", records.CLIP, splits={"train": 8, "validation": 4, "test": 4})
    clips = [toydata.clip_record(i) for i in range(8)]
    memory_catalog("toyclips", records.MemorySource(info, clips))
    config = config_lib.load("configs/audfer.py:toyclips,host=r3d18,recipe=small")
    with config.unlocked():
        for key, value in changes.items():
            config_lib.set_value(config, key, value)
    with pytest.raises(ValueError, match=message):
        base.build(config_lib.check(config))
