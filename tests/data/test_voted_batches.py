"""What votes become in batches: a distribution, or one class a visit, in training only."""

import contextlib
import itertools

import numpy as np
import pytest
import toydata

from aufer_jax.data import loader, mixture, records, views

VOTES = [[2, 5, 3, 0], [8, 0, 1, 1], [0, 2, 0, 8], []]  # neutral, happiness, anger, none of them


def taken(data, count, spec=None):
    made = loader.train_batches(data, spec, batch_size=4, seed=3, threads=0)
    with contextlib.closing(made) as stream:
        return list(itertools.islice(stream, count))


def voted(labels, steps=1, classes=toydata.EXPRESSIONS, **options):
    found = [toydata.image_record(i, expression_votes=VOTES[i], expression=2) for i in range(4)]
    source = records.MemorySource(toydata.info(), found)
    spec = views.Spec(size=8, aus=(1,), labels=labels, expressions=classes)
    part = mixture.Part(source, spec, **options)
    batches = taken(part, steps)
    keys = {records.key_id(r["key"]): i for i, r in enumerate(found)}
    rows = {i: [] for i in range(4)}
    for batch in batches:
        for key, target in zip(batch["id"], batch["expression_target"], strict=True):
            rows[keys[int(key)]].append(target)
    return np.array([rows[i] for i in range(4)]), spec, source


@pytest.mark.parametrize("labels", ["crossentropy", "multi_target"])
def test_votes_become_a_distribution(labels):
    targets, _, _ = voted(labels)
    expected = [[0, 0.625, 0.375], [1, 0, 0], [0, 0, 0], [0, 0, 1]]
    np.testing.assert_allclose(targets[:, 0], expected, atol=1e-6)


def test_one_class_a_visit_is_drawn_from_the_votes():
    targets, _, _ = voted("probability", steps=200)
    assert ((targets == 0) | (targets == 1)).all()
    assert abs(targets[0, :, 1].mean() - 0.625) < 3 * np.sqrt(0.625 * 0.375 / 200)
    np.testing.assert_array_equal(targets.sum(-1)[[0, 1, 3]], 1)
    assert not targets[2].any() and targets[3, :, 2].all()
    np.testing.assert_array_equal(voted("probability", steps=3)[0], targets[:, :3])


def test_votes_follow_the_order_of_the_classes():
    targets, _, _ = voted("crossentropy", classes=("surprise", "anger", "happiness"))
    # The second face's foremost class is not wanted; the others keep what is wanted of them.
    expected = [[0, 0.375, 0.625], [0, 0, 0], [0, 0, 0], [0, 1, 0]]
    np.testing.assert_allclose(targets[:, 0], expected, atol=1e-6)
    targets, _, _ = voted("crossentropy", classes=("happiness", "neutral"))
    np.testing.assert_allclose(targets[:, 0], [[1, 0], [0, 1], [0, 0], [0, 0]], atol=1e-6)


def test_votes_teach_only_in_training_and_where_expressions_do():
    targets, spec, source = voted("crossentropy", expressions=False)
    assert not targets.any()
    (batch,) = loader.eval_batches(source, spec, batch_size=4)
    assert "expression_target" not in batch
    (batch,) = taken(source, 1, views.Spec(size=8))
    assert "expression_target" not in batch
