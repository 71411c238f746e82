"""MV-FER's views, its inference over them, and the networks that see them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toydata
from mvfer_source import CLASSES, PLAIN, SIZE, Stub, stub_batch, stub_parts, value

from aufer_jax.data import batches, heatmaps, mixture, views
from aufer_jax.models import fusion
from aufer_jax.papers.mvfer import method
from aufer_jax.papers.mvfer import views as mvfer_views
from aufer_jax.train import base
from aufer_jax.train import config as config_lib

# --- Views --------------------------------------------------------------------------------------


def test_the_heatmap_view_is_dim_outside_the_au_areas():
    image = np.full((2, SIZE, SIZE, 3), 200, np.uint8)
    maps = np.zeros((2, SIZE, SIZE, 1), np.float32)
    maps[0, :8], maps[0, 8:] = 1.0, 0.5
    heatmap = mvfer_views.Heatmap(jnp.asarray(maps), jnp.array([True, False]))
    drawn = np.asarray(mvfer_views.render(jnp.asarray(image), heatmap))
    np.testing.assert_array_equal(drawn[1], image[1])  # no landmarks: the image as it is
    np.testing.assert_allclose(drawn[0, [0, 15], 0], [[200.0] * 3, [130.0] * 3])


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
    host = mvfer_views.heatmap(batch)
    draw = jax.jit(lambda points: heatmaps.draw(points, spec.heatmap, spec.size, xp=jnp)[0])
    np.testing.assert_allclose(host.maps, draw(batch["landmarks"]), atol=1e-5)
    np.testing.assert_array_equal(host.valid, [True, True, False, True])


def test_only_views_that_a_term_asks_for_are_loaded():
    def loaded(**options):
        chosen = method.Options(**options)
        return chosen.loaded(train=True), chosen.loaded(train=False)

    none = {"ce_views": (1,), "consistency": "none", "heatmap_role": "none"}
    image = ("original",)
    assert loaded(**none) == (image, image)
    assert loaded() == (("original", "erased", "heatmap"), image)
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
    assert {name for name in means if "loss" in name} == {"original_loss", "loss"}


# --- Inference ----------------------------------------------------------------------------------


def test_inference_is_the_mean_probability_of_its_views():
    batch, parts = stub_batch(), stub_parts(Stub(uneven=True))
    params = method.init(jax.random.key(1), batch, parts=parts, options=method.Options())["params"]

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
        options = method.Options(inference=inference)
        logits = method.predict(params, {}, batch, parts=parts, options=options)["expression"]
        np.testing.assert_allclose(jax.nn.softmax(logits), wanted, rtol=1e-4, err_msg=inference)
    assert np.abs(p[0] - p[1]).max() > 1e-4


# --- Networks -----------------------------------------------------------------------------------


def test_class_maps_of_a_network_with_heatmap_add_up_to_its_logits():
    model = fusion.WithHeatmap(Stub(num_classes=0), CLASSES)
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
