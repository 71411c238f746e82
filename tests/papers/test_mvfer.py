"""MV-FER's loss: against NumPy, what teaches it, and what reaches which parameter."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import places
import pytest
import toydata
from golden_rule import load
from mvfer_source import NO_LANDMARKS, PLAIN, SIDE, Stub, stub_batch, stub_parts, value

from aufer_jax.papers.mvfer import method, views
from aufer_jax.train import config as config_lib

# --- The loss against NumPy -----------------------------------------------------------------------


def numpy_network(params, pixels):
    """What `Stub` gives, in float64."""
    p = jax.tree.map(lambda a: np.asarray(a, np.float64), params)
    x = (pixels / 255 - np.array(PLAIN.mean)) / np.array(PLAIN.std)
    cells = x.reshape(len(x), SIDE, 4, SIDE, 4, 3).mean((2, 4))
    features = np.maximum(cells @ p["conv"]["kernel"] + p["conv"]["bias"], 0)
    cam = features @ p["fc"]["kernel"]
    return cam.mean((1, 2)) + p["fc"]["bias"], cam, features.mean(-1)


def numpy_loss(params, batch):
    """Section c1 of the method, term by term and row by row."""
    image, maps = batch["image"].astype(np.float64), batch["heatmap"].astype(np.float64)
    z1, cam1, attention = numpy_network(params, image)
    z2, cam2, _ = numpy_network(params, batch["image_erased"].astype(np.float64))
    z3, _, _ = numpy_network(params, image * (0.3 + 0.7 * maps))

    def log_softmax(z):
        return z - np.log(np.exp(z).sum())

    def mean(rows):
        rows = list(rows)
        return sum(rows) / len(rows)

    rows = np.flatnonzero(batch["mask"])
    labelled = [i for i in rows if batch["expression"][i] >= 0]
    faces = [i for i in rows if batch["landmarks_valid"][i]]
    ce = {
        name: mean(-log_softmax(z[i])[batch["expression"][i]] for i in used)
        for name, z, used in (
            ("original", z1, labelled),
            ("erased", z2, labelled),
            ("heatmap", z3, [i for i in labelled if i in faces]),
        )
    }
    cam = mean(((cam1[i] - cam2[i][:, ::-1]) ** 2).mean() for i in rows)

    def distance(i):
        a, h = attention[i].ravel(), maps[i].reshape(SIDE, 4, SIDE, 4).mean((1, 3)).ravel()
        return 1 - (a @ h) / (np.linalg.norm(a) * np.linalg.norm(h))

    align = mean(distance(i) for i in faces)

    def js(i):
        p = [np.exp(log_softmax(z[i])) for z in ((z1, z2, z3) if i in faces else (z1, z2))]
        entropy = lambda q: -(q * np.log(q)).sum()  # noqa: E731
        return entropy(np.mean(p, 0)) - np.mean([entropy(q) for q in p])

    return ce | {"cam": cam, "alignment": align, "js": mean(js(i) for i in rows)}


@pytest.mark.parametrize(
    ("options", "weights"),
    [
        ({}, {"original": 1, "erased": 1, "heatmap": 1, "cam": 5, "alignment": 1}),
        (
            {"consistency": "cam+js", "cam_weight": 2.0, "js_weight": 3.0, "align_weight": 0.5,
             "erased_weight": 0.25, "heatmap_weight": 0.75},
            {"original": 1, "erased": 0.25, "heatmap": 0.75, "cam": 2, "js": 3, "alignment": 0.5},
        ),
    ],
)  # fmt: skip
def test_loss_is_the_sum_of_its_terms_over_what_is_known(options, weights):
    batch, options = stub_batch(), method.Options(**options)
    params = method.init(jax.random.key(1), batch, parts=stub_parts(), options=options)["params"]
    total, means, _, _ = value(options, batch)
    expected = numpy_loss(params, batch)
    for name in weights:
        np.testing.assert_allclose(means[f"{name}_loss"], expected[name], rtol=1e-4, err_msg=name)
    np.testing.assert_allclose(total, sum(w * expected[k] for k, w in weights.items()), rtol=1e-5)
    assert {name for name in means if name.endswith("_loss")} == {
        f"{name}_loss" for name in weights
    }


@pytest.mark.parametrize("labels", ["crossentropy", "distribution"])
def test_votes_teach_every_view(labels):
    batch, parts = stub_batch(), stub_parts(labels=labels, expressions=toydata.EXPRESSIONS)
    batch["expression_target"] = np.random.default_rng(3).dirichlet(np.ones(3), 6).astype("f")
    batch["expression_target"][3] = 0
    options = method.Options()
    params = method.init(jax.random.key(1), batch, parts=parts, options=options)["params"]
    means = value(options, batch, parts)[1]
    for name, field in (("original", "image"), ("erased", "image_erased")):
        z, _, _ = numpy_network(params, batch[field].astype(np.float64))
        log_p = z - np.log(np.exp(z).sum(-1, keepdims=True))
        ce = -(batch["expression_target"] * log_p).sum(-1)[[0, 1, 2, 4]].mean()
        assert means[f"{name}_loss"] == pytest.approx(ce, rel=1e-4)


def test_eac_is_its_published_loss(monkeypatch):
    """Cross-entropy of view 1 and five times the fixture's consistency, from the fixture's maps."""
    fixture = load(places.GOLDEN / "eac_resnet50.json")["outputs"]
    given = [
        {"expression": fixture[f"logits{n}"], "cam": np.moveaxis(fixture[f"cam{n}"], 1, -1)}
        for n in ("", "2")
    ]
    monkeypatch.setattr(views, "forward", lambda *_, **__: (given, {}))
    batch = {"image": np.zeros((2, 1, 1, 3)), "image_erased": np.zeros((2, 1, 1, 3)),
             "expression": np.array([3, 5]), "mask": np.ones(2, bool)}  # fmt: skip
    options = config_lib.check(config_lib.load("configs/mvfer.py:eac")).loss
    parts = dataclasses.replace(stub_parts(), expressions=("",) * 7)
    total, (_, sums) = method.loss(
        {}, {}, jax.tree.map(jnp.asarray, batch), None, parts=parts, options=options
    )
    z = fixture["logits"].astype(np.float64)
    ce = (np.log(np.exp(z).sum(-1)) - z[np.arange(2), [3, 5]]).mean()
    np.testing.assert_allclose(sums["cam_loss"][0] / 2, fixture["ac_loss"][0], rtol=1e-5)
    np.testing.assert_allclose(total, ce + 5 * fixture["ac_loss"][0], rtol=1e-6)


# --- What teaches, and what it reaches ----------------------------------------------------------


def test_a_mirror_equivariant_network_is_consistent_and_another_is_not():
    batch = stub_batch()
    batch["image_erased"] = batch["image"][:, :, ::-1].copy()
    assert value(method.Options(), batch)[1]["cam_loss"] < 1e-10
    uneven = stub_parts(Stub(uneven=True))
    assert value(method.Options(), batch, uneven)[1]["cam_loss"] > 1e-4


@pytest.mark.parametrize("options", [{}, {"consistency": "js"}])
def test_faces_without_landmarks_teach_the_heatmap_terms_nothing(options):
    """Their images change the image terms only; gradients stay finite whatever they hold."""
    options = method.Options(**options)
    batch = stub_batch()
    other = {k: v.copy() for k, v in batch.items()}
    other["image"][list(NO_LANDMARKS)] = 255 - other["image"][list(NO_LANDMARKS)]
    (total, means, gradients, _), (_, changed, _, _) = value(options, batch), value(options, other)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves((total, gradients)))
    for name in ("heatmap_loss", "alignment_loss"):
        assert means[name] == pytest.approx(changed[name], rel=1e-6)
    assert means["original_loss"] != pytest.approx(changed["original_loss"], rel=1e-3)


def test_a_batch_without_any_landmarks_has_no_heatmap_terms():
    batch = stub_batch()
    batch["landmarks_valid"][:], batch["heatmap"][:] = False, 0
    _, means, gradients, _ = value(method.Options(), batch)
    assert means["heatmap_loss"] == means["alignment_loss"] == 0
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))


def test_no_gradient_reaches_the_classifier_through_class_maps():
    less = value(method.Options(cam_weight=0.1), stub_batch())[2]
    more = value(method.Options(cam_weight=50.0), stub_batch())[2]
    np.testing.assert_allclose(less["fc"]["kernel"], more["fc"]["kernel"], rtol=1e-5)
    assert np.abs(less["conv"]["kernel"] - more["conv"]["kernel"]).max() > 1e-3


def test_alignment_counts_each_au_that_is_seen_once():
    rng = np.random.default_rng(0)
    attention, maps = rng.random((2, 4, 4)), rng.random((2, 8, 8, 3))
    maps[..., 1] = 0
    cosine, mse = (
        method.alignment(jnp.asarray(attention), jnp.asarray(maps), kind)
        for kind in ("cosine", "mse")
    )
    for i in range(2):
        a, cosines, squares = attention[i].ravel(), [], []
        for channel in (0, 2):
            h = maps[i, ..., channel].reshape(4, 2, 4, 2).mean((1, 3)).ravel()
            cosines.append(a @ h / np.linalg.norm(a) / np.linalg.norm(h))
            squares.append(((a - h / h.max()) ** 2).mean())
        assert float(cosine[i]) == pytest.approx(1 - np.mean(cosines), rel=1e-5)
        assert float(mse[i]) == pytest.approx(np.mean(squares), rel=1e-5)


# --- Passes -------------------------------------------------------------------------------------


def test_one_pass_or_several_give_the_same_without_batch_statistics():
    stacked = value(method.Options(consistency="cam+js"), stub_batch())
    separate = value(method.Options(consistency="cam+js", forward="separate"), stub_batch())
    assert stacked[0] == pytest.approx(separate[0], rel=1e-6)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), stacked[2], separate[2]
    )


def test_separate_passes_update_running_statistics_in_turn():
    parts, batch = stub_parts(Stub(batchnorm=True)), stub_batch()
    options = method.Options(heatmap_role="none", forward="separate")
    variables = method.init(jax.random.key(1), batch, parts=parts, options=options)
    conv = jax.tree.map(np.asarray, variables["params"]["conv"])
    mean, var = np.zeros(5), np.ones(5)
    for name in ("image", "image_erased"):
        x = (batch[name] / 255 - np.array(PLAIN.mean)) / np.array(PLAIN.std)
        cells = x.reshape(len(x), SIDE, 4, SIDE, 4, 3).mean((2, 4))
        y = (cells @ conv["kernel"] + conv["bias"]).reshape(-1, 5)
        mean, var = 0.9 * mean + 0.1 * y.mean(0), 0.9 * var + 0.1 * y.var(0, ddof=1)
        if name == "image":
            of_first = dataclasses.replace(options, statistics="first")
            state = value(of_first, batch, parts)[3]["batch_stats"]["bn"]
            np.testing.assert_allclose(state["mean"], mean, rtol=1e-4, atol=1e-6)
            np.testing.assert_allclose(state["var"], var, rtol=1e-4)
    state = value(options, batch, parts)[3]["batch_stats"]["bn"]
    np.testing.assert_allclose(state["mean"], mean, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(state["var"], var, rtol=1e-4)
    together = value(dataclasses.replace(options, forward="stacked"), batch, parts)[3]
    assert np.abs(together["batch_stats"]["bn"]["mean"] - mean).max() > 1e-4
