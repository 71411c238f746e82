"""The losses against NumPy, hand-worked numbers, the golden fixture, and at their extremes."""

import jax
import jax.numpy as jnp
import numpy as np
import places
import pytest
from flax import linen as nn
from golden_losses import audfer_loss
from golden_rule import inputs, load

from aufer_jax import losses, parallel
from aufer_jax.data import views
from aufer_jax.models.registry import Preprocess
from aufer_jax.train import expression, setup

RNG = np.random.default_rng(0)
EXTREME = np.array([[1e4, -1e4, 0.0], [-1e4, -1e4, 1e4], [0.0, 0.0, 0.0]], np.float32)


def softmax(z):
    z = np.asarray(z, np.float64)
    e = np.exp(z - z.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def logits(*shape):
    return (3 * RNG.standard_normal(shape)).astype(np.float32)


def assert_finite_gradient(function, *arguments):
    """The sum of `function` has a finite gradient in every argument."""
    indices = tuple(range(len(arguments)))
    gradients = jax.grad(lambda *a: jnp.sum(function(*a)), indices)(*map(jnp.asarray, arguments))
    for gradient in gradients:
        assert np.isfinite(gradient).all()


def test_audfer_fixture():
    fixture = load(places.GOLDEN / "audfer_loss.json")
    ours = audfer_loss(fixture["config"], {}, inputs(fixture))
    assert ours.keys() == fixture["outputs"].keys()
    for name, reference in fixture["outputs"].items():
        np.testing.assert_allclose(ours[name], reference, rtol=2e-6, atol=1e-6, err_msg=name)


# --- masked_mean --------------------------------------------------------------------------------


def test_masked_mean_is_the_mean_of_what_the_mask_keeps():
    values, mask = np.array([1.0, np.nan, 3.0, 8.0], np.float32), np.array([1, 0, 1, 1], bool)
    assert losses.masked_mean(jnp.asarray(values), jnp.asarray(mask)) == 4.0
    gradient = jax.grad(losses.masked_mean)(jnp.asarray(values), jnp.asarray(mask))
    np.testing.assert_allclose(gradient, [1 / 3, 0, 1 / 3, 1 / 3], rtol=1e-6)


def test_masked_mean_of_one_and_of_none():
    assert losses.masked_mean(jnp.array([5.0, 2.0]), jnp.array([True, False])) == 5.0
    assert losses.masked_mean(jnp.ones(3), jnp.zeros(3, bool)) == 0.0


def test_masked_mean_refuses_to_broadcast():
    with pytest.raises(ValueError, match=r"\(2,\).*\(2, 3\)"):
        losses.masked_mean(jnp.ones((2, 3)), jnp.ones(2, bool))


def test_masked_mean_shares_add_up_to_the_global_mean():
    devices = 4
    values = jnp.asarray(logits(devices, 3))
    mask = jnp.asarray([[1, 1, 1], [0, 0, 0], [1, 0, 0], [0, 1, 1]], bool)

    def share(v, m):
        with parallel.batch_split(parallel.Split(axis="data")):
            return losses.masked_mean(v, m)

    shares = jax.pmap(share, axis_name="data")(values, mask)
    gradient = jax.pmap(jax.grad(share), axis_name="data")(values, mask)
    np.testing.assert_allclose(shares.sum(), values[mask].mean(), rtol=1e-6)
    np.testing.assert_allclose(gradient, np.where(mask, 1 / 6, 0), rtol=1e-6)


# --- Classification -----------------------------------------------------------------------------


def test_cross_entropy_matches_numpy():
    z, y = logits(5, 7), np.array([0, 6, 3, 3, 1])
    expected = -np.log(softmax(z)[np.arange(5), y])
    np.testing.assert_allclose(losses.cross_entropy(z, y), expected, rtol=1e-5)
    one_hot = np.eye(7, dtype=np.float32)[y]
    np.testing.assert_allclose(losses.cross_entropy(z, one_hot), expected, rtol=1e-5)


def test_cross_entropy_smooths_integer_and_soft_labels():
    z = logits(4, 3)
    votes = RNG.dirichlet(np.ones(3), 4).astype(np.float32)
    expected = -((0.9 * votes + 0.1 / 3) * np.log(softmax(z))).sum(-1)
    np.testing.assert_allclose(losses.cross_entropy(z, votes, smoothing=0.1), expected, rtol=1e-5)
    # Two classes at logits 0 and ln 3: p = 1/4, 3/4; targets 0.05, 0.95.
    worked = -(0.05 * np.log(0.25) + 0.95 * np.log(0.75))
    z = np.array([[0.0, np.log(3.0)]], np.float32)
    np.testing.assert_allclose(
        losses.cross_entropy(z, np.array([1]), smoothing=0.1), [worked], rtol=1e-6
    )


@pytest.mark.parametrize("loss", [losses.cross_entropy, losses.focal_loss])
def test_unknown_labels_give_nothing(loss):
    z = jnp.asarray(logits(2, 7))
    values, pullback = jax.vjp(lambda z: loss(z, jnp.array([-1, 2])), z)
    assert values[0] == 0 and values[1] > 0
    (gradient,) = pullback(jnp.ones(2))
    assert not gradient[0].any() and gradient[1].any()


def test_smoothed_cross_entropy_ignores_unknown_labels():
    z = logits(1, 7)
    assert losses.cross_entropy(z, np.array([-1]), smoothing=0.1)[0] == 0


def test_multi_target_is_the_best_of_the_target_s_classes():
    z = np.log([[0.6, 0.3, 0.1], [0.6, 0.3, 0.1], [0.9989, 0.0001, 0.001], [0.2, 0.3, 0.5]])
    targets = np.array([[0.5, 0.5, 0], [0, 0.7, 0.3], [0, 1, 0], [0, 0, 0]])
    # Third row: the wrong class counts 0.001 of 0.9989, more than the right one's 0.0001.
    expected = [-np.log(0.6), -np.log(0.3), -np.log(0.0009989), 0]
    ours = losses.multi_target(jnp.asarray(z), jnp.asarray(targets))
    np.testing.assert_allclose(ours, expected, rtol=1e-5)


def test_multi_target_matches_numpy_and_stays_finite():
    z, targets = logits(9, 8), RNG.dirichlet(np.ones(8), 9) * (RNG.random((9, 8)) < 0.4)
    weight = (1 - 0.001) * (targets > 0) + 0.001
    expected = -np.log((weight * softmax(z)).max(-1)) * targets.any(-1)
    ours = losses.multi_target(jnp.asarray(z), jnp.asarray(targets, jnp.float32))
    np.testing.assert_allclose(ours, expected, rtol=1e-5)
    one_hot = jnp.eye(3)
    assert np.isfinite(losses.multi_target(jnp.asarray(EXTREME), one_hot)).all()
    assert_finite_gradient(lambda z: losses.multi_target(z, one_hot), EXTREME)


@pytest.mark.parametrize("labels", ["majority", "probability", "crossentropy", "multi_target"])
def test_the_expression_loss_follows_the_labels(labels):
    z = logits(4, 3)
    batch = {
        "mask": jnp.array([True, True, True, False]),
        "expression": jnp.array([-1, 1, -1, 0]),
        "expression_target": jnp.array([[0.25, 0.75, 0], [1, 0, 0], [0, 0, 0], [1.0, 0, 0]]),
    }
    smoothing = 0.0 if labels == "multi_target" else 0.1
    names = ("a", "b", "c")
    spec = views.Spec(labels=labels, expressions=names)
    parts = setup.Parts(nn.Module(), Preprocess(8), jnp.float32, spec, names)
    options = expression.Options(label_smoothing=smoothing)
    taught, _ = expression.taught(batch, None, parts, options)
    loss = expression.loss(z, taught, parts, options)
    log_p = np.log(softmax(z))
    if labels == "majority":
        expected, rows = -0.9 * log_p[1, 1] - 0.1 * log_p[1].mean(), [1]
    elif labels == "multi_target":
        first = np.log(np.array([1, 1, 0.001])) + log_p[0]
        expected, rows = [-first.max(), -(np.log([1, 0.001, 0.001]) + log_p[1]).max()], [0, 1]
    else:
        targets = 0.9 * np.array(batch["expression_target"][:2]) + 0.1 / 3
        expected, rows = -(targets * log_p[:2]).sum(-1), [0, 1]
    np.testing.assert_allclose(loss[np.array(rows)], expected, rtol=1e-5)
    assert np.flatnonzero(taught.mask).tolist() == rows


def test_focal_loss_matches_numpy():
    z, y = logits(5, 7), np.array([0, 6, 3, 3, 1])
    p = softmax(z)[np.arange(5), y]
    for gamma in (0.5, 2.0):
        expected = -((1 - p) ** gamma) * np.log(p)
        np.testing.assert_allclose(losses.focal_loss(z, y, gamma=gamma), expected, rtol=1e-5)
    np.testing.assert_allclose(
        losses.focal_loss(z, y, gamma=0.0), losses.cross_entropy(z, y), rtol=1e-5
    )


def test_adjusted_logits_minimise_at_balanced_scores():
    counts = (90, 9, 1)
    adjusted = losses.adjust_logits(np.zeros((1, 3), np.float32), counts)
    np.testing.assert_allclose(softmax(adjusted)[0], [0.9, 0.09, 0.01], rtol=1e-5)
    half = losses.adjust_logits(np.zeros((1, 3), np.float32), counts, tau=0.5)
    np.testing.assert_allclose(half, adjusted / 2, rtol=1e-6)


@pytest.mark.parametrize("counts", [(3, 0, 1), (3, 1)])
def test_adjust_logits_refuses_impossible_counts(counts):
    with pytest.raises(ValueError, match="3 positive numbers"):
        losses.adjust_logits(np.zeros((1, 3), np.float32), counts)


# --- Action Units -------------------------------------------------------------------------------


def test_au_cross_entropy_matches_numpy():
    z, known = logits(6, 4), RNG.random((6, 4)) < 0.7
    y = (RNG.random((6, 4)) < 0.4).astype(np.float32)
    y[0, 0] = 0.3  # a mixed label
    pos_weight, weight = RNG.uniform(0.5, 9, 4), RNG.uniform(0.5, 5, (6, 4))
    p = 1 / (1 + np.exp(-z.astype(np.float64)))
    expected = -weight * (pos_weight * y * np.log(p) + (1 - y) * np.log(1 - p)) * known
    ours = losses.au_cross_entropy(
        z, np.where(known, y, 999), known, pos_weight=pos_weight, weight=weight
    )
    np.testing.assert_allclose(ours, expected, rtol=1e-4, atol=1e-6)


def test_unknown_aus_give_nothing_whatever_they_hold():
    z, known = jnp.asarray(logits(1, 3)), jnp.array([[True, False, False]])
    y = jnp.array([[1.0, jnp.nan, jnp.inf]])
    values, pullback = jax.vjp(lambda z: losses.au_cross_entropy(z, y, known), z)
    (gradient,) = pullback(jnp.ones((1, 3)))
    assert values[0, 0] > 0 and not values[0, 1:].any()
    assert gradient[0, 0] != 0 and not gradient[0, 1:].any()


NOTHING = np.zeros((2, 3), np.float32)


@pytest.mark.parametrize(
    "loss",
    [
        lambda z: losses.cross_entropy(z, np.array([-1, -1])),
        lambda z: losses.cross_entropy(z, NOTHING, smoothing=0.1),
        lambda z: losses.focal_loss(z, NOTHING, gamma=0.5),
        lambda z: losses.multi_target(z, NOTHING),
        lambda z: losses.au_cross_entropy(z, NOTHING, NOTHING.astype(bool)),
    ],
)
def test_where_nothing_is_known_loss_and_gradient_are_zero_beside_nan(loss):
    z = np.full((2, 3), np.nan, np.float32)
    z[1] = np.inf

    def mean(z):
        values = loss(z)
        return losses.masked_mean(values, np.zeros(values.shape, bool))

    value, gradient = jax.value_and_grad(mean)(z)
    assert value == 0
    np.testing.assert_array_equal(gradient, 0)
    np.testing.assert_array_equal(loss(z), 0)


# --- Views --------------------------------------------------------------------------------------


def test_cam_consistency():
    maps, other = logits(2, 3, 4, 7), logits(2, 3, 4, 7)
    np.testing.assert_allclose(losses.cam_consistency(maps, maps[:, :, ::-1]), [0, 0])
    expected = ((maps - other[:, :, ::-1]) ** 2).mean((1, 2, 3))
    np.testing.assert_allclose(losses.cam_consistency(maps, other), expected, rtol=1e-5)


def test_js_consistency_matches_entropies():
    views = [logits(5, 7) for _ in range(3)]
    p = np.stack([softmax(z) for z in views])
    entropy = lambda q: -(q * np.log(q)).sum(-1)  # noqa: E731
    expected = entropy(p.mean(0)) - entropy(p).mean(0)
    np.testing.assert_allclose(losses.js_consistency(views), expected, rtol=1e-4)
    np.testing.assert_allclose(losses.js_consistency([views[0]] * 2), np.zeros(5), atol=1e-6)
    # Two certain and opposite predictions are ln 2 apart.
    opposite = [np.array([[50.0, 0.0]], np.float32), np.array([[0.0, 50.0]], np.float32)]
    np.testing.assert_allclose(losses.js_consistency(opposite), [np.log(2)], rtol=1e-6)


def test_heatmap_alignment_matches_numpy():
    a, h = RNG.random((3, 4, 5)).astype(np.float32), RNG.random((3, 4, 5)).astype(np.float32)

    def cosine(x, y):
        x, y = x.reshape(3, -1), y.reshape(3, -1)
        return (x * y).sum(-1) / np.linalg.norm(x, axis=-1) / np.linalg.norm(y, axis=-1)

    flat = a.reshape(3, -1)
    standard = (flat - flat.mean(-1, keepdims=True)) / (flat.std(-1, ddof=1, keepdims=True) + 1e-4)
    expected = {
        "cosine": 1 - cosine(a, h),
        "std_cosine": 1 - cosine(standard, h),
        "mse": ((a - h) ** 2).mean((1, 2)),
    }
    assert tuple(expected) == losses.ALIGNMENTS
    for kind, values in expected.items():
        ours = losses.heatmap_alignment(a, h, kind=kind)
        np.testing.assert_allclose(ours, values, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(losses.heatmap_alignment(a, 2 * a), np.zeros(3), atol=1e-6)


def test_heatmap_alignment_refuses():
    maps = np.ones((1, 2, 2), np.float32)
    with pytest.raises(ValueError, match="Did you mean 'cosine'"):
        losses.heatmap_alignment(maps, maps, kind="cosin")
    with pytest.raises(ValueError, match=r"\(1, 4, 4\).*\(1, 2, 2\)"):
        losses.heatmap_alignment(maps, np.ones((1, 4, 4), np.float32))


# --- Extremes -----------------------------------------------------------------------------------

LABELS = jnp.array([1, 0, -1])
HALF_KNOWN = jnp.array([[True, False, True]] * 3)


@pytest.mark.parametrize(
    "function",
    [
        lambda z: losses.cross_entropy(z, LABELS, smoothing=0.1),
        lambda z: losses.focal_loss(z, LABELS, gamma=0.5),
        lambda z: losses.focal_loss(z, LABELS, gamma=2.0),
        lambda z: losses.adjust_logits(z, (1, 10, 100)),
        lambda z: losses.au_cross_entropy(z, jnp.eye(3), HALF_KNOWN, pos_weight=130.0),
        lambda z: losses.js_consistency([z, -z, z[::-1]]),
        lambda z: losses.masked_mean(losses.cross_entropy(z, LABELS), LABELS >= 0),
    ],
)
def test_certain_predictions_have_finite_gradients(function):
    assert np.isfinite(function(jnp.asarray(EXTREME))).all()
    assert_finite_gradient(function, EXTREME)


@pytest.mark.parametrize("kind", losses.ALIGNMENTS)
def test_blank_maps_have_finite_gradients(kind):
    blank, some = np.zeros((1, 3, 3), np.float32), np.ones((1, 3, 3), np.float32)
    for a, h in ((blank, some), (some, blank), (blank, blank)):
        assert_finite_gradient(lambda a, h: losses.heatmap_alignment(a, h, kind=kind), a, h)
    if kind != "mse":
        assert losses.heatmap_alignment(blank, some, kind=kind) == 1.0


def test_losses_are_float32_whatever_they_are_given():
    z = jnp.asarray(logits(2, 3), jnp.bfloat16)
    y = jnp.array([0, 1])
    known = jnp.ones((2, 3), bool)
    for value in (
        losses.cross_entropy(z, y),
        losses.focal_loss(z, y),
        losses.au_cross_entropy(z, known.astype(jnp.bfloat16), known),
        losses.js_consistency([z, z]),
    ):
        assert value.dtype == jnp.float32
