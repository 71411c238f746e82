"""SVFAP's pre-training network: what is hidden stays hidden, times in their order, and the published form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toymodels

from aufer_jax import models, weights
from aufer_jax.models import mae_dfer_pretrain, svfap_pretrain, table
from aufer_jax.weights import loading

RNGS = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
GRID = (4, 4, 4)


def network(**options):
    model = models.create("svfap_pretrain_small", **options)
    x = jax.random.normal(jax.random.key(2), (1, 8, 32, 32, 3))
    return model, toymodels.filled(jax.eval_shape(model.init, RNGS, x)), x


def test_times_are_repeated_one_by_one():
    x = jnp.arange(2 * 3.0).reshape(1, 6, 1)  # two times of three places

    def repeated(x, form):
        return svfap_pretrain.at_first_times(x, 2, 2, form, 2)[0, :, 0].tolist()

    assert repeated(x, "corrected") == [0, 1, 2, 0, 1, 2, 3, 4, 5, 3, 4, 5]
    x = jnp.arange(2 * 4.0).reshape(1, 8, 1)  # of four places: as published, halves of a time
    assert repeated(x, "reference") == [0, 1, 0, 1, 2, 3, 2, 3, 4, 5, 4, 5, 6, 7, 6, 7]


@pytest.mark.parametrize(("context", "leaks"), [("corrected", False), ("reference", True)])
def test_hidden_pixels_reach_the_encoder_only_as_published(context, leaks):
    model, variables, x = network(context=context)
    visible = mae_dfer_pretrain.tube_mask(jax.random.key(3), 1, GRID, 0.75)
    apply = jax.jit(lambda x: model.apply(variables, x, visible=visible)["encoder_out"])
    hidden = np.setdiff1d(range(16), np.asarray(visible)[0, :4])[0]
    y, column = 8 * (hidden // 4), 8 * (hidden % 4)
    changed = x.at[:, :, y : y + 8, column : column + 8].add(1.0)
    assert bool((apply(x) != apply(changed)).any()) == leaks


def test_the_sum_of_the_stages_is_of_all_times():
    model, variables, x = network()
    out = model.apply(variables, x, rngs={"dropout": jax.random.key(4)})
    assert out["encoder_out"].shape == (1, 4 * 4, 32)
    assert out["reconstruction"].shape == (1, 4 * 12, 2 * 8 * 8 * 3)
    hidden = np.asarray(out["masked"][0]).reshape(4, 12)  # the same places at all times
    np.testing.assert_array_equal(hidden, hidden[:1] + 16 * np.arange(4)[:, None])


def test_sizes_as_published():
    """The text's cost is that of 512 wide; the code pre-trains 768, which does not fit it."""
    wide = models.create("svfap", dim=768, heads=12)
    shapes = loading.shapes("svfap", wide)
    assert round(sum(x.size for x in jax.tree.leaves(shapes)) / 1e6, 1) == 173.9
    assert round(table.macs("svfap", wide) / 1e9, 1) == 91.3
    assert round(table.macs("svfap") / 1e9, 1) == 43.5
    published = loading.shapes("svfap_pretrain", models.create("svfap_pretrain_published"))
    encoder = published["params"]["encoder"]
    for name, value in shapes["params"]["encoder"].items():
        assert jax.tree.map(jnp.shape, value) == jax.tree.map(jnp.shape, encoder[name])


def test_fine_tuning_begins_with_the_encoder():
    held = loading.shapes("svfap_pretrain_small", models.create("svfap_pretrain_small"))
    rng = np.random.default_rng(0)
    held = jax.tree.map(lambda p: rng.normal(size=p.shape).astype(np.float32), held)
    stored = weights.to_torch(held, "svfap_pretrain_small")
    assert "encoder.norm.weight" in stored and "encoder.temporal_downsamples.0.weight" in stored
    model = models.create("svfap_small", bottleneck_tokens=(2,))
    variables, report = weights.from_torch(stored, "svfap_small", model)
    jax.tree.map(
        np.testing.assert_array_equal, variables["params"]["encoder"], held["params"]["encoder"]
    )
    assert not report.dropped
    assert sorted(report.initial) == ["fc_norm.bias", "fc_norm.weight", "head.bias", "head.weight"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"context": "leaky"}, "context: 'leaky'"),
        ({"upsampling": "refrence"}, "Did you mean 'reference'"),
        ({"temporal_kernel": 3}, "temporal_kernel: 3"),
        ({"upsampling": "reference", "mask_ratio": 0.7}, "visible places"),
    ],
)
def test_mistakes_are_named(options, message):
    model = models.create("svfap_pretrain_small", **options)
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(model.init, RNGS, jnp.zeros((1, 8, 32, 32, 3)))
