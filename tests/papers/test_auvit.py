"""AU-ViT's method and recipes: the loss by hand, the published schedules, who teaches what."""

import dataclasses
import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toydata

from aufer_jax import facs
from aufer_jax.data import loader
from aufer_jax.papers.auvit import method, slips
from aufer_jax.train import config as config_lib
from aufer_jax.train import setup

RAFDB_STEPS = 10


def run(argument, **changes):
    config = config_lib.load(f"configs/auvit.py{argument}")
    for key, value in changes.items():
        config_lib.set_value(config, key.replace("__", "."), value)
    return config_lib.check(config)


def rates(argument, epochs):
    """The learning rate at the first step of each epoch, counted from 1."""
    rate = slips.rate(run(argument), RAFDB_STEPS)
    return [float(rate((epoch - 1) * RAFDB_STEPS)) for epoch in epochs]


@pytest.mark.parametrize(
    ("argument", "expected"),
    [
        # From the facts: the published schedulers, run.
        (":rafdb,recipe=released", {1: 1e-4, 9: 5e-7, 10: 4.287e-6}),
        (":ferplus,recipe=released", {1: 2e-5, 5: 1e-4, 18: 5e-7, 19: 1.946e-6, 20: 6.199e-6}),
        (":affectnet7,recipe=released", {1: 5e-5}),
        # Linear over ten epochs, then half a cosine over ten: by hand.
        (":rafdb", {1: 0.0, 6: 5e-5, 11: 1e-4, 16: 5e-5}),
    ],
)
def test_learning_rates_are_the_published_ones(argument, expected):
    np.testing.assert_allclose(rates(argument, expected), list(expected.values()), rtol=2e-4)


@pytest.mark.parametrize(
    ("argument", "rows", "regions", "optimizer"),
    [
        (":rafdb", (64, 16), 7, "adam"),
        (":ferplus", (128, 32), 7, "adam"),
        (":affectnet7", (126, 42), 7, "sgd"),
        (":rafdb,recipe=released", (64, 64), 2, "adam"),
        (":ferplus,recipe=released", (128, 64), 2, "adam"),
        (":affectnet8,recipe=released", (256, 64), 7, "sgd"),
    ],
)
def test_recipes(argument, rows, regions, optimizer):
    checked = run(argument)
    share = checked.data.batch_size // sum(checked.data.ratio)
    assert (share * checked.data.ratio[0], share * checked.data.ratio[1]) == rows
    assert checked.model["regions"] == regions and checked.optimizer.name == optimizer
    assert checked.data.aux == ("rafau",)
    assert checked.train.validation_split == "test"  # as published: all training records train
    released = "released" in argument
    assert (checked.augment.grayscale, checked.augment.blur) == ((0, 0) if released else (0.5, 1))


def test_sane_is_paper_with_records_held_out():
    sane, paper = run(":rafdb,recipe=sane"), run(":rafdb", train__validation_split="validation")
    assert "variant=paper" in sane.note
    assert sane == dataclasses.replace(paper, note=sane.note)


def test_a_recipe_that_is_not_there_is_named():
    with pytest.raises(ValueError, match=r"recipe.*Did you mean 'paper'"):
        run(":rafdb,recipe=papr")
    with pytest.raises(ValueError, match=r"target of recipe paper.* rafdb, ferplus"):
        run(":synth_a,recipe=paper")


LOGITS = np.array([[2.0, -1.0, 0.5], [0.0, 1.0, 0.0], [3.0, 0.0, -2.0], [0.3, 0.1, 0.2]])
AU_LOGITS = np.array([[0.5, -2.0], [1.5, 0.0], [-1.0, 3.0], [0.2, -0.4]])
BATCH = {
    "image": np.zeros((4, 2, 2, 3), np.uint8),
    "expression": np.array([0, 2, -1, 1], np.int32),  # the third is auxiliary
    "mask": np.array([True, True, True, False]),  # the fourth cannot be read
    "au": np.array([[0, 0], [0, 0], [1, 0], [1, 1]], np.float32),
    "au_known": np.array([[False, False], [True, False], [True, True], [True, True]]),
}


COUNTS = (50, 30, 20)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softmax(x):
    e = np.exp(x)
    return e / e.sum(-1, keepdims=True)


def measured_loss(batch, logits, au_logits, options, pos_weight, **spec):
    """The method's loss of a network that gives these logits."""
    outputs = {"expression": jnp.asarray(logits), "au": jnp.asarray(au_logits)}
    model = types.SimpleNamespace(apply=lambda variables, x, **_: (outputs, {}))
    preprocess = types.SimpleNamespace(order="RGB", scale=1 / 255, mean=(0.5,) * 3, std=(0.5,) * 3)
    parts = setup.Parts(
        model,
        preprocess,
        jnp.float32,
        setup.Spec(size=2, **spec),
        ("",) * logits.shape[1],
        class_counts=COUNTS,
    )
    batch = {name: jnp.asarray(value) for name, value in batch.items()}
    total, (_, sums) = method.loss(
        {}, {}, batch, jax.random.key(0), parts=parts, options=options, pos_weight=pos_weight
    )
    return float(total), sums


@pytest.mark.parametrize("pos_weight", [np.ones(2), np.array([3.0, 0.5])])
def test_the_loss_by_hand(pos_weight):
    options = method.Options(alpha=2.0, beta=0.5)
    total, sums = measured_loss(BATCH, LOGITS, AU_LOGITS, options, pos_weight)
    p = softmax(LOGITS)
    expression = -(np.log(p[0, 0]) + np.log(p[1, 2])) / 2
    s = sigmoid(AU_LOGITS)
    terms = [-np.log(1 - s[1, 0]), -pos_weight[0] * np.log(s[2, 0]), -np.log(1 - s[2, 1])]
    assert total == pytest.approx(2 * expression + 0.5 * np.mean(terms), rel=1e-5)
    assert float(sums["accuracy"][0]) == 1 and float(sums["accuracy"][1]) == 2


def test_a_soft_label_by_hand():
    """Shares 1/2, 1/4, 1/4 and probabilities 1/2, 1/4, 1/4: 3/2 log 2. The second row has no other label."""
    logits = np.log(np.array([[2.0, 1.0, 1.0], [1.0, 1.0, 2.0], [3.0, 2.0, 1.0], [1.0, 1.0, 1.0]]))
    batch = {**BATCH, "expression": np.array([0, -1, -1, 1], np.int32)}
    batch["expression_target"] = np.array(
        [[0.5, 0.25, 0.25], [0.5, 0.5, 0], [0, 0, 0], [0, 1, 0]], np.float32
    )
    total, sums = measured_loss(
        batch, logits, AU_LOGITS, method.Options(alpha=1.0, beta=0.0), np.ones(2),
        labels="distribution", expressions=("a", "b", "c"),
    )  # fmt: skip
    assert total == pytest.approx((1.5 + 2) / 2 * np.log(2), rel=1e-5)
    assert float(sums["expression_loss"][1]) == 2


def test_the_loss_of_a_published_step():
    """RAF-DB's script: 64 faces and 64 of RAF-AU, weighted AUs, both means added."""
    checked = run(":rafdb,recipe=released")
    spec = types.SimpleNamespace(aus=facs.AU_VIT_21)
    weights = method.positive_weights(checked, types.SimpleNamespace(spec=spec))
    rng = np.random.default_rng(0)
    logits, au_logits = rng.normal(size=(128, 7)), rng.normal(size=(128, 21))
    is_aux = np.arange(128) % 2 == 1
    labels, au = rng.integers(0, 7, 128), rng.integers(0, 2, (128, 21))
    batch = {
        "image": np.zeros((128, 2, 2, 3), np.uint8),
        "expression": np.where(is_aux, -1, labels).astype(np.int32),
        "mask": np.ones(128, bool),
        "au": au.astype(np.float32),
        "au_known": np.repeat(is_aux[:, None], 21, 1),
    }
    total, _ = measured_loss(batch, logits, au_logits, checked.loss, weights)
    p, s = softmax(logits)[~is_aux], sigmoid(au_logits)[is_aux]
    expression = -np.log(p[np.arange(64), labels[~is_aux]]).mean()
    present = au[is_aux]
    published = np.array(method.RELEASED_POS_WEIGHT)
    au_loss = -(published * present * np.log(s) + (1 - present) * np.log(1 - s)).mean()
    assert total == pytest.approx(expression + au_loss, rel=1e-5)


@pytest.fixture
def named_sources(memory_catalog):
    """`target` and `helper` in memory, with the same records."""
    sources = {name: toydata.images(20, name) for name in ("target", "helper")}
    for name, source in sources.items():
        memory_catalog(name, source)
    return sources


def joint(**changes):
    return run(":target,aux=helper,recipe=small", data__batch_size=20, **changes)


@pytest.mark.parametrize(
    ("changes", "target", "aux"),
    [
        ({}, (True, False), (False, True)),
        ({"data__target_aus": True}, (True, True), (False, True)),
        ({"data__aux_expressions": True}, (True, False), (True, True)),
    ],
)
def test_who_teaches_what(named_sources, changes, target, aux):
    task = method.build(joint(**changes))
    batch = next(loader.train_batches(task.train, batch_size=20, seed=0, threads=0))
    is_aux = np.arange(20) % 5 == 4  # four to one
    for rows, (expressions, aus) in ((~is_aux, target), (is_aux, aux)):
        assert (batch["expression"][rows] >= 0).all() == expressions
        assert batch["au_known"][rows].any() == aus
    assert task.annotated_aus == tuple(au for au in facs.AU_VIT_21 if au in toydata.AUS)
    assert method.build(run(":target,aux=,recipe=small", data__batch_size=5)).annotated_aus == ()


def test_an_auxiliary_without_aus_would_teach_nothing(named_sources, memory_catalog):
    bare = toydata.images(20, "helper")
    memory_catalog("helper", dataclasses.replace(bare, info=toydata.info("helper", aus=())))
    with pytest.raises(ValueError, match=r"data\.aux: 'helper' has no AUs, so it teaches nothing"):
        method.build(joint())


def test_positive_weights(named_sources):
    checked = joint(loss__au_pos_weight="train", data__aus="aux")
    parts = setup.parts(checked, field="image", views=("original",))
    assert parts.spec.aus == toydata.AUS
    rows = named_sources["helper"].records
    known = np.stack([row["au_known"] for row in rows])
    present = np.stack([row["au"] >= 1 for row in rows]) & known
    expected = (known.sum(0) - present.sum(0)) / present.sum(0)
    np.testing.assert_allclose(method.positive_weights(checked, parts), expected, rtol=1e-6)
    faint = joint(loss__au_pos_weight="train", data__aus="aux", data__au_labels="intensity")
    parts = setup.parts(faint, field="image", views=("original",))
    np.testing.assert_allclose(method.positive_weights(faint, parts), expected, rtol=1e-6)

    released = joint(loss__au_pos_weight="released")
    parts = setup.parts(released, field="image", views=("original",))
    weights = method.positive_weights(released, parts)
    assert len(weights) == len(facs.AU_VIT_21) and weights[0] == pytest.approx(3.04216867)
    with pytest.raises(ValueError, match="au_vit_21 only"):
        checked = joint(loss__au_pos_weight="released", data__aus="heatmap_23")
        method.positive_weights(checked, setup.parts(checked, field="image", views=("original",)))
