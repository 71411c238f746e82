"""Blocks that compute values again in the backward pass: the same numbers, and never by default."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_hosts
import toymodels

from aufer_jax import models
from aufer_jax.errors import UserError
from aufer_jax.models import remat

_VIT = {"patch": 8, "dim": 8, "depth": 2, "heads": 2, "mlp_ratio": 1.0, "attention_dropout": 0.2}
_IR = {"dim": 8, "heads": (2, 2), "ir_channels": (4, 8), "regions": None}
_PRETRAIN = {"dim": 8, "depth": 2, "decoder_dim": 4, "region": (2, 2, 2)}


def host(name, **changes):
    return {**tiny_hosts.TINY[name], **changes}


IMAGE, CLIP = (2, 32, 32, 3), (2, 4, 16, 16, 3)
LONG = (2, 16, 32, 32, 3)
DROP = {"drop_path": 0.5}
# Network -> its options, what it reads, and the blocks that it repeats.
CASES = {
    "vit": (_VIT, IMAGE, 2),
    "resnet18": ({"layers": (1, 1), "width": 4}, IMAGE, 2),
    "r3d18": (host("r3d18", layers=(2,)), CLIP, 2),
    "mae_dfer": (host("mae_dfer", **DROP), CLIP, 2),
    "svfap": (host("svfap", **DROP), CLIP, 3),
    "clip": (host("clip", depth=2, adapter="parallel"), CLIP, 2),
    "auvit_small": (_IR, IMAGE, 4),  # two of the convolutional embedding
    "former_dfer": (host("former_dfer"), CLIP, 6),
    "m3dfel": (host("m3dfel"), (2, 8, 16, 16, 3), 1),
    "mae_dfer_pretrain_small": (_PRETRAIN, (2, 8, 32, 32, 3), 3),  # one of them decodes
    "s2d": (host("s2d"), CLIP, 4),  # a prompt and a block each
    "fru_adapter": (host("fru_adapter"), CLIP, 2),
    "stt": (host("stt"), CLIP, 2),
    "nr_dfernet": (host("nr_dfernet"), CLIP, 4),
    "p3d63": (host("p3d"), LONG, 4),
    "i3d": (host("i3d"), (2, 8, 32, 32, 3), 2),
}
COMPUTED = ("vit", "resnet18", "r3d18", "mae_dfer", "svfap", "clip")  # one of each kind
KEYS = {"params": jax.random.key(0), "dropout": jax.random.key(1)}


def traced(name, kind):
    """The first pass of a network as a program, and the shapes of its variables."""
    options, shape, _ = CASES[name]
    model = models.create(name, **options)
    with remat.traced_with(kind):
        program, (_, variables) = jax.make_jaxpr(
            lambda x: model.init_with_output(KEYS, x, train=True), return_shape=True
        )(jnp.zeros(shape))
    return program, variables


def blocks(program):
    return sum("remat" in step.primitive.name for step in program.eqns)


@pytest.mark.parametrize("name", CASES)
def test_every_block_is_one_and_by_default_none(name):
    plain, variables = traced(name, "")
    again, same = traced(name, "blocks")
    assert blocks(plain.jaxpr) == 0
    assert blocks(again.jaxpr) == CASES[name][2]
    assert jax.tree.map(lambda x: x.shape, same) == jax.tree.map(lambda x: x.shape, variables)


def numbers(name, kind):
    """Loss, gradients and batch statistics of a training pass, dropout included."""
    options, shape, _ = CASES[name]
    model = models.create(name, **options)
    x = jax.random.normal(jax.random.key(2), shape)
    variables = toymodels.filled(jax.eval_shape(model.init, KEYS, x))
    rest = {"batch_stats": variables.get("batch_stats", {})}

    def loss(params):
        with remat.traced_with(kind):
            out, state = model.apply(
                {"params": params, **rest}, x, train=True, mutable=["batch_stats"],
                rngs={"dropout": jax.random.key(3)},
            )  # fmt: skip
        return jnp.square(out["expression"]).sum(), state

    (value, state), gradients = jax.jit(jax.value_and_grad(loss, has_aux=True))(variables["params"])
    return jax.device_get({"loss": value, "state": state, "gradients": gradients})


@pytest.mark.parametrize("name", COMPUTED)
def test_numbers_are_those_of_blocks_that_keep_all(name):
    expected = numbers(name, "")
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(expected))
    for kind in remat.KINDS[1:]:
        found = numbers(name, kind)
        for part, value in expected.items():
            largest = max(np.abs(leaf).max(initial=0) for leaf in jax.tree.leaves(value) or [0.0])
            jax.tree.map(
                lambda a, b, most=largest: np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6 * most),
                found[part], value,
            )  # fmt: skip


def test_products_are_kept_where_that_is_asked():
    """What attention computes among tokens is not, and a block's input is always."""

    def kept(kind):
        model = models.create("vit", **{**_VIT, "depth": 1})
        x = jnp.zeros(IMAGE)
        variables = toymodels.filled(jax.eval_shape(model.init, KEYS, x))

        def loss(params):
            with remat.traced_with(kind):
                out = model.apply({"params": params}, x, train=True, rngs=KEYS)
            return out["expression"].sum()

        program = jax.make_jaxpr(jax.grad(loss))(variables["params"]).jaxpr
        backward = next(step for step in reversed(program.eqns) if "remat" in step.primitive.name)
        return sorted(
            v.aval.shape for v in backward.invars if v.aval.shape[:2] in ((2, 17), (2, 2), (34, 8))
        )

    tokens = (2, 17, 8)
    assert set(kept("blocks")) == {tokens}
    assert len(kept("dots")) > len(kept("blocks"))
    assert not [shape for shape in kept("dots") if shape[-2:] == (17, 17)]


def test_a_network_that_repeats_none_is_refused():
    model = models.create("c3d", **tiny_hosts.TINY["c3d"])
    with (
        pytest.raises(UserError, match=r"train\.remat: 'blocks', but this network has no blocks"),
        remat.traced_with("blocks"),
    ):
        jax.eval_shape(model.init, KEYS, jnp.zeros(LONG))
