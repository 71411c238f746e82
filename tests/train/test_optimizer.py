"""Learning-rate curves and optax chains against numbers from the papers and by hand."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from aufer_jax.train import config, optimizer, schedules
from aufer_jax.train.optimizer import Optimizer
from aufer_jax.train.schedules import Schedule


def rates(schedule, steps, **run):
    curve = schedules.create(schedule, **run)
    return [float(curve(step)) for step in steps]


def test_auvit_rafdb_turns_up_again_after_its_minimum():
    """Released recipe: by epoch, T_max 8 of 10 epochs."""
    schedule = Schedule("cosine", unit="epoch", decay_epochs=8, min_lr=5e-7)
    run = {"lr": 1e-4, "epochs": 10, "steps_per_epoch": 5}
    by_epoch = rates(schedule, range(0, 50, 5), **run)
    np.testing.assert_allclose(by_epoch[0], 1e-4, rtol=1e-6)
    np.testing.assert_allclose(by_epoch[8], 5e-7, rtol=1e-3)
    np.testing.assert_allclose(by_epoch[9], 4.287e-6, rtol=1e-3)
    assert rates(schedule, [0, 4], **run) == [by_epoch[0]] * 2  # held over an epoch


def test_mae_dfer_warms_up_to_the_full_rate():
    """DFEW: 97 steps an epoch, 485 of them evenly from 0 to the peak, which step 485 has again."""
    schedule = Schedule("cosine", warmup_epochs=5, warmup_inclusive=True, min_lr=3.75e-7)
    found = rates(
        schedule, [0, 1, 242, 484, 485, 4850, 9699], lr=3.75e-4, epochs=100, steps_per_epoch=97
    )
    expected = [0, 7.74793e-7, 1.875e-4, 3.75e-4, 3.75e-4, 2.031557e-4, 3.750109e-7]
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-12)


def test_eac_decays_by_a_tenth_each_epoch():
    schedule = Schedule("exponential", unit="epoch", gamma=0.9)
    curve = rates(schedule, [0, 3, 4, 8], lr=1e-4, epochs=60, steps_per_epoch=4)
    np.testing.assert_allclose(curve, [1e-4, 1e-4, 0.9e-4, 0.81e-4], rtol=1e-6)


def test_former_dfer_steps_down_every_forty_epochs():
    schedule = Schedule("step", unit="epoch", gamma=0.1, milestones=(40, 80))
    curve = rates(schedule, [0, 39, 40, 80], lr=0.01, epochs=100, steps_per_epoch=1)
    np.testing.assert_allclose(curve, [0.01, 0.01, 1e-3, 1e-4], rtol=1e-5)


def test_compiled_epochs_begin_where_they_begin():
    """97 steps an epoch: 97 / 97 in floats may be less than 1 once it is compiled."""
    schedule = Schedule("exponential", unit="epoch", gamma=0.5)
    curve = jax.jit(schedules.create(schedule, lr=1.0, epochs=5, steps_per_epoch=97))
    found = [float(curve(jnp.int32(step))) for step in (96, 97, 193, 194, 387, 388)]
    np.testing.assert_allclose(found, [1, 0.5, 0.5, 0.25, 0.125, 0.0625], rtol=1e-6)


def test_linear_ends_at_its_minimum():
    curve = rates(Schedule("linear", min_lr=0.1), [0, 5, 10], lr=1.1, epochs=2, steps_per_epoch=5)
    np.testing.assert_allclose(curve, [1.1, 0.6, 0.1], rtol=1e-6)


PARAMS = {"blocks_0": {"kernel": jnp.ones(3), "bias": jnp.ones(3)}, "head": {"kernel": jnp.ones(3)}}
GRADIENTS = jax.tree.map(lambda x: 2 * x, PARAMS)


def updates(**options):
    tx = optimizer.create(Optimizer(lr=1.0, **options), lambda step: 0.1, PARAMS)
    result, _ = tx.update(GRADIENTS, tx.init(PARAMS), PARAMS)
    return jax.tree.map(lambda x: float(x[0]), result)


def test_weight_decay_goes_into_the_gradient_of_sgd():
    plain = updates(name="sgd", momentum=0.9, weight_decay=0.5)
    np.testing.assert_allclose(jax.tree.leaves(plain), [-0.1 * 2.5] * 3, rtol=1e-6)


def test_weight_decay_is_apart_in_adamw_but_not_in_adam():
    """The first Adam update is the gradient's sign, so decay shows only where it is decoupled."""
    np.testing.assert_allclose(
        updates(name="adamw", weight_decay=0.5)["head"]["kernel"], -0.15, rtol=1e-5
    )
    np.testing.assert_allclose(
        updates(name="adam", weight_decay=0.5)["head"]["kernel"], -0.1, rtol=1e-5
    )


def test_patterns_spare_and_freeze():
    result = updates(
        name="adamw", weight_decay=0.5, no_decay=("bias$",), freeze=("^head",), layer_decay=1.0
    )
    np.testing.assert_allclose(result["blocks_0"]["bias"], -0.1, rtol=1e-5)
    np.testing.assert_allclose(result["blocks_0"]["kernel"], -0.15, rtol=1e-5)
    assert result["head"]["kernel"] == 0


def test_layers_before_the_output_learn_more_slowly():
    result = updates(name="sgd", momentum=0.0, layer_decay=0.5, layers=("^stem|^blocks_0",))
    np.testing.assert_allclose(result["blocks_0"]["kernel"], -0.1, rtol=1e-6)
    np.testing.assert_allclose(result["head"]["kernel"], -0.2, rtol=1e-6)


def test_vectors_can_be_spared_from_decay():
    params = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}
    options = Optimizer(name="adamw", weight_decay=0.5, decay_vectors=False)
    tx = optimizer.create(options, lambda step: 0.1, params)
    result, _ = tx.update(params, tx.init(params), params)
    np.testing.assert_allclose(result["kernel"], -0.15, rtol=1e-5)
    np.testing.assert_allclose(result["bias"], -0.1, rtol=1e-5)


def test_layer_groups_of_mae_dfer():
    """Group 0 is the embedding, i + 1 block i, 17 the rest: 0.75 for each group before the last."""
    run = config.check(config.load("configs/audfer.py:dfew,host=mae_dfer,recipe=paper"))
    names = {
        "patch_embed_proj": 0.75**17,
        "blocks_0": 0.75**16,
        "blocks_1": 0.75**15,
        **{f"blocks_{i}": 0.75 ** (16 - i) for i in range(2, 16)},
        "lg_region_tokens": 1.0,
    }
    params = {"encoder": {n: {"kernel": jnp.ones((1, 1))} for n in names}, "head": jnp.ones((1, 1))}
    options = dataclasses.replace(run.optimizer, name="sgd", momentum=0.0, weight_decay=0.0)
    tx = optimizer.create(options, lambda step: 1.0, params)
    result, _ = tx.update(params, tx.init(params), params)
    for name, factor in names.items():
        np.testing.assert_allclose(-result["encoder"][name]["kernel"][0, 0], factor, rtol=1e-6)
    assert result["head"][0, 0] == -1
    np.testing.assert_allclose(names["patch_embed_proj"], 0.00752, atol=5e-6)


def test_frozen_layers_and_layer_wise_rates_go_together():
    result = updates(
        name="sgd", momentum=0.0, freeze=("^head",), layer_decay=0.5, layers=("^blocks_0",)
    )
    np.testing.assert_allclose(result["blocks_0"]["kernel"], -0.1, rtol=1e-6)
    assert result["head"]["kernel"] == 0


def test_what_is_frozen_has_no_gradient():
    params = {"head": {"kernel": jnp.ones(2)}, "stem": jnp.ones(2)}

    def loss(params):
        params = optimizer.held(params, ("^head",))
        return (params["head"]["kernel"] * params["stem"]).sum()

    gradients = jax.grad(loss)(params)
    assert not gradients["head"]["kernel"].any() and (gradients["stem"] == 1).all()
    assert optimizer.held(params, ()) is params


def test_clipping_is_by_the_norm_of_all_gradients():
    result = updates(name="sgd", momentum=0.0, clip_norm=1.0)
    np.testing.assert_allclose(jax.tree.leaves(result), [-0.1 / 3] * 3, rtol=1e-5)
    assert abs(float(optax.global_norm(GRADIENTS)) - 6) < 1e-6


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "adan"}, r"optimizer\.name: 'adan' .* Did you mean 'adam'"),
        ({"freeze": ("^blokcs_0",)}, r"optimizer\.freeze: .* Did you mean 'blocks_0'"),
    ],
)
def test_mistakes_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        updates(**options)


def test_unknown_curve_is_named():
    with pytest.raises(ValueError, match="Did you mean 'cosine'"):
        schedules.create(Schedule("cosin"), lr=1.0, epochs=1, steps_per_epoch=1)
