"""docs/models.md lists every architecture with its exact number of parameters, and what a pass costs."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import places
import pytest

from aufer_jax import models
from aufer_jax.models import ops, table
from aufer_jax.weights import loading

TEXT = (places.ROOT / "docs" / "models.md").read_text()
ROWS = re.findall(r"^\| `(\w+)` .* \| ([\d.e+-]+) \| ([\d,]+) \|$", TEXT, re.MULTILINE)
LISTED = {name: int(count.replace(",", "")) for name, _, count in ROWS}
GMAC = {name: float(count) for name, count, _ in ROWS}

# Measured on the authors' and torchvision's code: convolutions and matrix products of one clip.
PUBLISHED = {
    "mae_dfer": 49.65,
    "mae_dfer_pretrain": 14.03,
    "svfap": 43.5,
    "former_dfer": 8.296,
    "m3dfel": 43.15,
    "r3d18": 40.70,
    "r2plus1d18": 40.52,
    "mc3_18": 43.34,
    "c3d": 38.55,
    "i3d": 27.79,
    "p3d63": 8.44,
    "resnet18_lstm": 9.12,
}


def test_every_architecture_is_listed():
    assert set(LISTED) == set(models.names())


@pytest.mark.parametrize("name", models.names())
def test_count(name):
    assert table.parameters(name) == LISTED[name]


@pytest.mark.parametrize("name", PUBLISHED)
def test_listed_multiply_adds_are_those_of_the_published_code(name):
    assert GMAC[name] == pytest.approx(PUBLISHED[name], rel=1.2e-3)


def test_the_published_multiply_adds_of_s2d_are_without_those_of_attention():
    of_frames = 12 * 2 * 197**2 * 768 * 16  # 197 tokens with each other, 12 blocks, 16 frames
    over_time = 12 * 2 * 16**2 * 192 * 196  # 16 frames with each other, at 196 places
    assert GMAC["s2d"] - (of_frames + over_time) / 1e9 == pytest.approx(298, abs=0.5)


@pytest.mark.parametrize("name", ["r3d_small", "m3dfel_small", "mae_dfer_small", "resnet_small"])
def test_multiply_adds_are_those_listed(name):
    assert table.macs(name) / 1e9 == pytest.approx(GMAC[name], rel=1e-3)


def _count(function, *shapes):
    with ops.traced_for("tpu"):
        traced = jax.make_jaxpr(function)(*[jnp.zeros(shape) for shape in shapes])
    return sum(table.products(traced.jaxpr))


def test_products_by_hand():
    assert _count(jnp.matmul, (2, 3, 4), (2, 4, 5)) == 2 * 3 * 5 * 4

    def conv(x, kernel):  # 5 x 5 in steps of 2 with a border of 1: 3 x 3 places
        return ops.conv(x, kernel, (2, 2), ((1, 1), (1, 1)))

    assert _count(conv, (2, 5, 5, 4), (3, 3, 4, 6)) == 2 * 9 * 6 * 9 * 4

    def backwards(x, kernel):  # twice as many; zeros between the places are not counted
        return jax.grad(lambda *given: conv(*given).sum(), (0, 1))(x, kernel)

    assert _count(backwards, (2, 6, 6, 4), (3, 3, 4, 6)) == pytest.approx(
        3 * 2 * 9 * 6 * 9 * 4, rel=0.05
    )

    def depthwise(x, kernel):
        return ops.conv(x, kernel, (1, 1), ((1, 1), (1, 1)), groups=4)

    assert _count(depthwise, (1, 5, 5, 4), (3, 3, 1, 4)) == 25 * 4 * 9

    def repeated(x, w):
        x = jax.lax.fori_loop(0, 7, lambda i, y: y @ w, x)
        return jax.lax.cond(x[0, 0] > 0, lambda y: y @ w @ w, lambda y: y @ w, x)

    assert _count(repeated, (2, 3), (3, 3)) == (7 + 2) * 2 * 3 * 3

    def unknown(x, w):
        return jax.lax.while_loop(lambda y: y[0, 0] > 0, lambda y: y @ w, x)

    with pytest.raises(ValueError, match="unknown length"):
        _count(unknown, (2, 3), (3, 3))


def test_xla_counts_two_operations_a_product_and_a_little_more():
    """Its analysis of the lowered program; without borders of zeros, which it leaves out."""
    model = models.create("mae_dfer_small")
    variables = loading.shapes("mae_dfer_small", model)
    with ops.traced_for("tpu"):
        lowered = jax.jit(model.apply).lower(variables, table.example("mae_dfer_small"))
    analysis = lowered.cost_analysis()
    assert analysis is not None
    flops = analysis["flops"]
    assert 1 < flops / 2 / table.macs("mae_dfer_small") < 1.15


def test_counting_leaves_the_lowering_alone():
    x, kernel = np.ones((1, 4, 4, 2), np.float32), np.ones((3, 3, 1, 2), np.float32)
    border = ((1, 1), (1, 1))
    with ops.traced_for("tpu"):
        plain = ops.conv(jnp.asarray(x), jnp.asarray(kernel), (1, 1), border, groups=2)
        assert not ops.for_cpu()
        with ops.traced_for("cpu"):
            assert ops.for_cpu()
    assert ops.for_cpu() == (jax.default_backend() == "cpu")
    np.testing.assert_allclose(
        plain, ops.conv(jnp.asarray(x), jnp.asarray(kernel), (1, 1), border, groups=2)
    )
