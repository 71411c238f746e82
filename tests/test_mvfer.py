"""MV-FER: its loss against NumPy, every switch, its views, and what reaches which parameter."""

import dataclasses
import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toydata
from flax import linen as nn
from golden_rule import load

from aufer_jax import config as config_lib
from aufer_jax.data import batches, heatmaps, loader, mixture, views
from aufer_jax.methods import base, mvfer, mvfer_views, setup
from aufer_jax.models import fusion
from aufer_jax.models.layers import BatchNorm, Linear, class_maps
from aufer_jax.models.registry import Preprocess
from aufer_jax.train import experiment

SIZE, SIDE, CLASSES = 16, 4, 3
PLAIN = Preprocess(SIZE, mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))
NO_LANDMARKS = (1, 4)  # of the toy batch


class Stub(nn.Module):
    """Cells of 4x4 pixels averaged, one linear map, ReLU, a head on the mean: as a network of four cells."""

    num_classes: int = CLASSES
    batchnorm: bool = False
    uneven: bool = False  # cells on the left count more

    @nn.compact
    def __call__(self, x, train=False):
        b, size = x.shape[:2]
        cells = x.reshape(b, SIDE, size // SIDE, SIDE, size // SIDE, 3).mean((2, 4))
        y = Linear(5, name="conv")(cells)
        y = BatchNorm(name="bn")(y, train) if self.batchnorm else y
        y = jax.nn.relu(y)
        if self.uneven:
            y = y * jnp.array([4.0, 3.0, 2.0, 1.0])[:, None]
        outputs = {"feature_map": y, "features": y.mean((1, 2))}
        if self.num_classes:
            head = Linear(self.num_classes, name="fc")
            outputs |= {"expression": head(outputs["features"]), "cam": class_maps(y, head)}
        return outputs


def stub_parts(model=None, **spec):
    heatmap = heatmaps.HeatmapSpec(size=SIZE)
    return setup.Parts(
        model=Stub() if model is None else model,
        preprocess=PLAIN,
        dtype=jnp.float32,
        spec=views.Spec(size=SIZE, heatmap=heatmap, **spec),
        expressions=toydata.EXPRESSIONS,
    )


def stub_batch(rows=6, seed=0):
    """Arrays with everything that can be missing: landmarks, labels, whole rows."""
    rng = np.random.default_rng(seed)
    batch = {
        "image": rng.integers(0, 256, (rows, SIZE, SIZE, 3)).astype(np.uint8),
        "image_erased": rng.integers(0, 256, (rows, SIZE, SIZE, 3)).astype(np.uint8),
        "erased_box": np.array([[2, 3, 5, 6], [0, 0, 0, 0], [0, 8, 16, 8]] * 2, np.int32)[:rows],
        "heatmap": rng.random((rows, SIZE, SIZE, 1)).astype(np.float32),
        "expression": np.array([0, 1, 2, -1, 2, 1], np.int32)[:rows],
        "mask": np.array([1, 1, 1, 1, 1, 0], bool)[:rows],
        "landmarks": np.zeros((rows, 68, 2), np.float32),
        "landmarks_valid": np.ones(rows, bool),
    }
    for i in NO_LANDMARKS:
        batch["landmarks"][i], batch["landmarks_valid"][i], batch["heatmap"][i] = np.nan, False, 0
    return batch


def value(options, batch, parts=None, params=None, state=None):
    """Loss, logged means, gradients and the model state after the step."""
    parts = parts or stub_parts()
    variables = mvfer.init(jax.random.key(1), batch, parts=parts, options=options)
    params = variables["params"] if params is None else params
    state = {k: v for k, v in variables.items() if k != "params"} if state is None else state
    function = functools.partial(mvfer.loss, parts=parts, options=options)
    (total, (new_state, sums)), gradients = jax.value_and_grad(function, has_aux=True)(
        params, state, batch, jax.random.key(2)
    )
    means = {name: float(s / max(float(n), 1)) for name, (s, n) in sums.items()}
    return float(total), means, gradients, new_state


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
    batch, options = stub_batch(), mvfer.Options(**options)
    params = mvfer.init(jax.random.key(1), batch, parts=stub_parts(), options=options)["params"]
    total, means, _, _ = value(options, batch)
    expected = numpy_loss(params, batch)
    for name in weights:
        np.testing.assert_allclose(means[f"{name}_loss"], expected[name], rtol=1e-4, err_msg=name)
    np.testing.assert_allclose(total, sum(w * expected[k] for k, w in weights.items()), rtol=1e-5)
    assert {name for name in means if name not in ("loss", "accuracy")} == {
        f"{name}_loss" for name in weights
    }


def test_votes_teach_every_view():
    batch, parts = stub_batch(), stub_parts(labels="crossentropy", expressions=toydata.EXPRESSIONS)
    batch["expression_target"] = np.random.default_rng(3).dirichlet(np.ones(3), 6).astype("f")
    batch["expression_target"][3] = 0
    options = mvfer.Options()
    params = mvfer.init(jax.random.key(1), batch, parts=parts, options=options)["params"]
    means = value(options, batch, parts)[1]
    for name, field in (("original", "image"), ("erased", "image_erased")):
        z, _, _ = numpy_network(params, batch[field].astype(np.float64))
        log_p = z - np.log(np.exp(z).sum(-1, keepdims=True))
        ce = -(batch["expression_target"] * log_p).sum(-1)[[0, 1, 2, 4]].mean()
        assert means[f"{name}_loss"] == pytest.approx(ce, rel=1e-4)


def test_eac_is_its_published_loss(monkeypatch):
    """Cross-entropy of view 1 and five times the fixture's consistency, from the fixture's maps."""
    fixture = load(pathlib.Path(__file__).parent / "golden" / "eac_resnet50.json")["outputs"]
    given = [
        {"expression": fixture[f"logits{n}"], "cam": np.moveaxis(fixture[f"cam{n}"], 1, -1)}
        for n in ("", "2")
    ]
    monkeypatch.setattr(mvfer_views, "forward", lambda *_, **__: (given, {}))
    batch = {"image": np.zeros((2, 1, 1, 3)), "image_erased": np.zeros((2, 1, 1, 3)),
             "expression": np.array([3, 5]), "mask": np.ones(2, bool)}  # fmt: skip
    options = config_lib.check(config_lib.load("configs/mvfer.py:eac")).loss
    total, (_, sums) = mvfer.loss(
        {}, {}, jax.tree.map(jnp.asarray, batch), None, parts=stub_parts(), options=options
    )
    z = fixture["logits"].astype(np.float64)
    ce = (np.log(np.exp(z).sum(-1)) - z[np.arange(2), [3, 5]]).mean()
    np.testing.assert_allclose(sums["cam_loss"][0] / 2, fixture["ac_loss"][0], rtol=1e-5)
    np.testing.assert_allclose(total, ce + 5 * fixture["ac_loss"][0], rtol=1e-6)


# --- What teaches, and what it reaches ----------------------------------------------------------


def test_a_mirror_equivariant_network_is_consistent_and_another_is_not():
    batch = stub_batch()
    batch["image_erased"] = batch["image"][:, :, ::-1].copy()
    assert value(mvfer.Options(), batch)[1]["cam_loss"] < 1e-10
    uneven = stub_parts(Stub(uneven=True))
    assert value(mvfer.Options(), batch, uneven)[1]["cam_loss"] > 1e-4


@pytest.mark.parametrize("options", [{}, {"align_source": "cam_true_class", "consistency": "js"}])
def test_faces_without_landmarks_teach_the_heatmap_terms_nothing(options):
    """Their images change the image terms only; gradients stay finite whatever they hold."""
    options = mvfer.Options(**options)
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
    _, means, gradients, _ = value(mvfer.Options(align_erased=True), batch)
    assert means["heatmap_loss"] == means["alignment_loss"] == means["alignment_erased_loss"] == 0
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(gradients))


def test_no_gradient_reaches_the_classifier_through_class_maps():
    options = {"align_source": "cam_true_class", "align_weight": 0.1}
    less = value(mvfer.Options(**options, cam_weight=0.1), stub_batch())[2]
    options["align_weight"] = 10.0
    more = value(mvfer.Options(**options, cam_weight=50.0), stub_batch())[2]
    np.testing.assert_allclose(less["fc"]["kernel"], more["fc"]["kernel"], rtol=1e-5)
    assert np.abs(less["conv"]["kernel"] - more["conv"]["kernel"]).max() > 1e-3


def test_alignment_of_the_erased_view_leaves_out_the_box():
    maps = np.ones((1, SIZE, SIZE, 1), np.float32)
    cut = mvfer_views.without_box(jnp.asarray(maps), jnp.array([[4, 0, 8, 8]]), SIZE)
    expected = maps.copy()
    expected[:, 4:12, :8] = 0
    np.testing.assert_array_equal(cut, expected)
    coarse = mvfer_views.without_box(jnp.ones((1, 4, 4, 1)), jnp.array([[4, 0, 8, 7]]), SIZE)
    np.testing.assert_array_equal(coarse[0, ..., 0], [[1] * 4, [0, 0, 1, 1], [0, 0, 1, 1], [1] * 4])


def test_alignment_counts_each_au_that_is_seen_once():
    rng = np.random.default_rng(0)
    attention, maps = rng.random((2, 4, 4)), rng.random((2, 8, 8, 3))
    maps[..., 1] = 0
    cosine, mse = (
        mvfer.alignment(jnp.asarray(attention), jnp.asarray(maps), kind)
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
    stacked = value(mvfer.Options(consistency="cam+js"), stub_batch())
    separate = value(mvfer.Options(consistency="cam+js", forward="separate"), stub_batch())
    assert stacked[0] == pytest.approx(separate[0], rel=1e-6)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), stacked[2], separate[2]
    )


def test_separate_passes_update_running_statistics_in_turn():
    parts, batch = stub_parts(Stub(batchnorm=True)), stub_batch()
    options = mvfer.Options(heatmap_role="none", forward="separate")
    variables = mvfer.init(jax.random.key(1), batch, parts=parts, options=options)
    conv = jax.tree.map(np.asarray, variables["params"]["conv"])
    mean, var = np.zeros(5), np.ones(5)
    for name in ("image", "image_erased"):
        x = (batch[name] / 255 - np.array(PLAIN.mean)) / np.array(PLAIN.std)
        cells = x.reshape(len(x), SIDE, 4, SIDE, 4, 3).mean((2, 4))
        y = (cells @ conv["kernel"] + conv["bias"]).reshape(-1, 5)
        mean, var = 0.9 * mean + 0.1 * y.mean(0), 0.9 * var + 0.1 * y.var(0, ddof=1)
    state = value(options, batch, parts)[3]["batch_stats"]["bn"]
    np.testing.assert_allclose(state["mean"], mean, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(state["var"], var, rtol=1e-4)
    together = value(dataclasses.replace(options, forward="stacked"), batch, parts)[3]
    assert np.abs(together["batch_stats"]["bn"]["mean"] - mean).max() > 1e-4


# --- Views --------------------------------------------------------------------------------------


def test_renders():
    image = np.full((2, SIZE, SIZE, 3), 200, np.uint8)
    maps = np.zeros((2, SIZE, SIZE, 1), np.float32)
    maps[0, :8], maps[0, 8:] = 1.0, 0.5
    heatmap = mvfer_views.Heatmap(jnp.asarray(maps), jnp.array([True, False]))
    drawn = {
        kind: np.asarray(mvfer_views.render(jnp.asarray(image), heatmap, kind))
        for kind in mvfer_views.RENDERS
    }
    for pixels in drawn.values():
        np.testing.assert_array_equal(pixels[1], image[1])  # no landmarks: the image as it is
    np.testing.assert_allclose(drawn["weighted"][0, [0, 15], 0], [[200.0] * 3, [130.0] * 3])
    np.testing.assert_allclose(drawn["gray3"][0, [0, 15], 0], [[255.0] * 3, [127.5] * 3])
    red_half, yellow_green = [0.5, 0.0, 0.0], [0.5, 1.0, 0.5]
    expected = [100 + 127.5 * np.array(colour) for colour in (red_half, yellow_green)]
    np.testing.assert_allclose(drawn["overlay"][0, [0, 15], 0], expected, rtol=1e-5)


@pytest.mark.parametrize("per_au", [False, True])
def test_heatmaps_of_host_and_device_are_equal(per_au):
    spec = views.Spec(
        size=56, views=("original", "heatmap"), heatmap=heatmaps.HeatmapSpec(28, per_au=per_au)
    )
    source = toydata.images(4)
    source.records[2]["landmarks"][:] = np.nan
    part = mixture.Part(source, spec)
    rows = [batches.Row(part, i, np.random.default_rng(i)) for i in range(4)]
    batch = jax.tree.map(jnp.asarray, batches.assemble(rows, spec)[0])
    host = mvfer_views.heatmap(batch, spec, on_device=False)
    device = jax.jit(lambda b: mvfer_views.heatmap(b, spec, on_device=True))(batch)
    np.testing.assert_allclose(host.maps, device.maps, atol=1e-5)
    np.testing.assert_array_equal(host.valid, [True, True, False, True])
    np.testing.assert_array_equal(host.valid, device.valid)


def test_only_views_that_a_term_asks_for_are_loaded():
    def loaded(**options):
        chosen = mvfer.Options(**options)
        return chosen.loaded(train=True), chosen.loaded(train=False)

    none = {"ce_views": (1,), "consistency": "none", "heatmap_role": "none"}
    image = ("original",)
    assert loaded(**none) == (image, image)
    assert loaded() == (("original", "erased", "heatmap"), image)
    assert loaded(heatmap_on="device") == (("original", "erased"), image)
    assert loaded(heatmap_role="none") == (("original", "erased"), image)
    assert loaded(**none | {"consistency": "js"}) == (("original", "erased"), image)
    assert loaded(**none | {"heatmap_role": "supervise"}) == (("original", "heatmap"), image)
    assert loaded(**none | {"heatmap_role": "encoder"}) == (("original", "heatmap"),) * 2
    assert loaded(inference="all")[1] == ("original", "heatmap")
    assert loaded(inference="flip")[1] == image
    assert loaded(erased_weight=0.0, cam_weight=0.0)[0] == ("original", "heatmap")


def test_the_base_row_makes_one_pass_of_one_view(monkeypatch):
    config = config_lib.load("configs/mvfer.py:synth_a,ablate=base")
    options = config_lib.check(config).loss
    seen, plain = [], base.forward
    spy = lambda model, p, s, x, **k: seen.append(x.shape) or plain(model, p, s, x, **k)  # noqa: E731
    monkeypatch.setattr(base, "forward", spy)
    batch = {k: v for k, v in stub_batch().items() if k in ("image", "expression", "mask")}
    _, means, _, _ = value(options, batch)
    assert seen == [(6, SIZE, SIZE, 3)]
    assert set(means) == {"original_loss", "accuracy", "loss"}


# --- Inference ----------------------------------------------------------------------------------


def test_inference_is_the_mean_probability_of_its_views():
    batch, parts = stub_batch(), stub_parts(Stub(uneven=True))
    params = mvfer.init(jax.random.key(1), batch, parts=parts, options=mvfer.Options())["params"]

    def probabilities(image):
        x = base.normalise(jnp.asarray(image), PLAIN)
        return np.asarray(jax.nn.softmax(parts.model.apply({"params": params}, x)["expression"]))

    image = batch["image"]
    drawn = image * (0.3 + 0.7 * batch["heatmap"])
    p = [probabilities(x) for x in (image, image[:, :, ::-1], drawn)]
    valid = batch["landmarks_valid"][:, None]
    expected = {
        "image": p[0],
        "flip": (p[0] + p[1]) / 2,
        "all": np.where(valid, (p[0] + p[1] + p[2]) / 3, (p[0] + p[1]) / 2),
    }
    for inference, wanted in expected.items():
        options = mvfer.Options(inference=inference)
        logits = mvfer.predict(params, {}, batch, parts=parts, options=options)["expression"]
        np.testing.assert_allclose(jax.nn.softmax(logits), wanted, rtol=1e-4, err_msg=inference)
    assert np.abs(p[0] - p[1]).max() > 1e-4


# --- Networks -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", fusion.FUSIONS)
def test_class_maps_of_a_network_with_heatmap_add_up_to_its_logits(kind):
    model = fusion.WithHeatmap(Stub(num_classes=0), CLASSES, kind)
    x, maps = jax.random.normal(jax.random.key(0), (3, SIZE, SIZE, 3)), jnp.ones((3, 8, 8, 2))
    maps = maps.at[1].set(0.3)
    valid = jnp.array([True, True, False])
    variables = model.init(jax.random.key(1), x, heatmap=maps, valid=valid)
    outputs = model.apply(variables, x, heatmap=maps, valid=valid)
    bias = variables["params"]["fc"]["bias"]
    np.testing.assert_allclose(
        outputs["cam"].mean((1, 2)) + bias, outputs["expression"], rtol=1e-4, atol=1e-6
    )
    changed = model.apply(variables, x, heatmap=1 - maps, valid=valid)["expression"]
    moved = np.abs(np.asarray(changed - outputs["expression"])).max(-1)
    assert moved[0] > 1e-4 and moved[1] > 1e-4 and moved[2] == 0  # without landmarks: no heatmap


def test_twins_see_different_views_and_begin_alike():
    parts = stub_parts(fusion.Twins(Stub(), Stub()))
    options, batch = mvfer.Options(share_weights=False), stub_batch()
    variables = mvfer.init(jax.random.key(1), batch, parts=parts, options=options)
    variables = fusion.twins_alike(variables)
    params = variables["params"]
    jax.tree.map(np.testing.assert_array_equal, params["heatmap_backbone"]["fc"], params["fc"])
    alike = value(options, batch, parts, params)
    shared = {k: v for k, v in params.items() if k != "heatmap_backbone"}
    one = value(mvfer.Options(), batch, params=shared)
    assert alike[0] == pytest.approx(one[0], rel=1e-6)
    both = jax.tree.map(jnp.add, alike[2]["heatmap_backbone"]["conv"], alike[2]["conv"])
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), both, one[2]["conv"]
    )
    assert np.abs(alike[2]["heatmap_backbone"]["conv"]["kernel"]).max() > 0


# --- Whole steps of a small network ---------------------------------------------------------------


def run_of(heatmap=None, train=None, **loss):
    config = config_lib.default("mvfer")
    config.model = config_lib.model(
        "resnet18", layers=(1,), width=4, stem_kernel=5, stem_stride=4, stem_pool=False
    )
    config.data.size = SIZE
    config.data.batch_size = config.data.eval_batch_size = 8
    config.loss.update(loss)
    config.heatmap.update(heatmap or {})
    config.train.update(train or {})
    return config_lib.check(config)


def built(run, devices=1):
    """The experiment of a run on made-up faces, two of which have no landmarks."""
    source = toydata.images(16)
    for i in NO_LANDMARKS:
        source.records[i]["landmarks"][:] = np.nan
    parts = setup.Parts(
        model=setup.create_model(run.model, num_classes=CLASSES, aus=toydata.AUS),
        preprocess=PLAIN,
        dtype=jnp.dtype(run.train.compute_dtype),
        spec=views.Spec(
            size=SIZE, aus=toydata.AUS, views=run.loss.loaded(train=True), erase=run.erase
        ),
        expressions=toydata.EXPRESSIONS,
    )
    parts = mvfer.network(run, parts)
    part = mixture.Part(source, parts.spec)
    task = base.Task(
        method=mvfer.method(parts, run.loss),
        description="toy",
        train=part,
        evaluation=lambda split: mixture.Part(
            source, dataclasses.replace(parts.spec, train=False, views=run.loss.loaded(train=False))
        ),
        evaluation_splits=("test",),
        expressions=toydata.EXPRESSIONS,
        aus=toydata.AUS,
        steps_per_epoch=2,
        example=next(loader.train_batches(part, batch_size=8, seed=0, threads=0)),
    )
    return experiment.assemble(run, task, jax.devices()[:devices])


def steps(ready, count=2):
    stream = loader.train_batches(ready.task.train, batch_size=8, seed=0, threads=0)
    state, logged = ready.initial_state(), []
    for _ in range(count):
        state, line = ready.train_step(state, ready.devices.put_batch(next(stream)))
        logged.append(jax.device_get(line["sums"]))
    return state, logged


SWITCHES = [  # beside the default, which trains on one device and on four below
    {"share_weights": False, "heatmap_render": "gray3", "inference": "all"},
    {"heatmap_role": "view", "heatmap_render": "overlay", "heatmap_on": "device",
     "heatmap": {"size": 12, "aus": (1, 12)}, "consistency": "cam+js"},
    {"heatmap_role": "supervise", "heatmap": {"per_au": True}, "align_source": "cam_true_class",
     "align_loss": "mse"},
    {"heatmap_role": "supervise", "align_loss": "std_cosine", "align_erased": True},
    {"heatmap_role": "encoder", "consistency": "js", "label_smoothing": 0.1},
    {"heatmap_role": "encoder", "fusion": "gate", "heatmap": {"per_au": True},
     "inference": "flip", "forward": "separate"},
    {"heatmap_role": "none", "consistency": "none", "ce_views": (1,)},
    {"heatmap_scale": 0.5},
    {"align_loss": "none", "consistency": "none", "ce_views": (1, 3)},
]  # fmt: skip


@pytest.mark.parametrize(
    "switches", SWITCHES, ids=lambda s: ",".join(f"{k}={v}" for k, v in s.items())
)
def test_every_switch_trains_and_predicts(switches):
    ready = built(run_of(**switches))
    state, logged = steps(ready)
    assert ready.train_step._cache_size() == 1
    for line in logged:
        for name, (total, count) in line.items():
            assert np.isfinite(total) and count > 0, name
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(jax.device_get(state.params)))
    if switches.get("inference") or switches.get("heatmap_role") == "encoder":
        assert 0 <= ready.evaluate(state, "test")["accuracy"] <= 1


def test_switches_cover_every_choice():
    for key, permitted in mvfer.CHOICES.items():
        used = {switches.get(key) for switches in SWITCHES} | {getattr(mvfer.Options(), key)}
        assert used - {None} == set(permitted), key


@pytest.fixture(scope="module")
def one():
    return steps(built(run_of()))


@pytest.mark.parametrize("mode", ["jit", "pmap"])
def test_four_devices_train_like_one(mode, one):
    many = steps(built(run_of(train={"parallel": mode}), devices=4))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
        (one[1], jax.device_get(one[0].model_state)),
        (many[1], jax.device_get(many[0].model_state)),
    )
