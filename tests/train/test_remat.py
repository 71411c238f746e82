"""`train.remat`: a step of less memory that trains the same numbers, however it is compiled."""

import jax
import numpy as np
import pytest
import toy

from aufer_jax import models
from aufer_jax.errors import UserError
from aufer_jax.models import remat, table
from aufer_jax.train import base, experiment
from aufer_jax.train import config as config_lib

SHARE = 0.5  # of the memory of a deep network's step that is left at most
# With plain SGD the change of the parameters is the gradient.
SGD = {"optimizer__name": "sgd", "optimizer__momentum": 0.0, "optimizer__lr": 1.0,
       "schedule__name": "constant"}  # fmt: skip


def deep(kind):
    run = toy.run(train__remat=kind)
    model = models.create(
        "vit", num_classes=3, aus=toy.AUS, au_token="intended", patch=2, dim=16, depth=8, heads=4
    )
    return experiment.assemble(run, toy.task(run, model=model), jax.devices()[:1])


def test_a_deep_network_takes_less_memory():
    most = None
    for kind in remat.KINDS[:2]:
        made = deep(kind)
        program = made.train_step.lower(made.target, base.shapes(made.task.example)).compile()
        taken = np.array(
            [
                program.memory_analysis().temp_size_in_bytes,
                table.live_bytes(made.traced_step(made.pure_step)),  # what `aufer check` says
            ]
        )
        flops = made.step_flops()
        if kind:
            assert (taken < SHARE * most[0]).all(), taken / most[0]
            assert flops == most[1]  # it is no more work by definition
        most = taken, flops


def stepped(kind, **options):
    run = toy.run(train__remat=kind, **SGD, **options)
    made = experiment.assemble(run, toy.task(run), jax.devices()[:2])
    state, logged = toy.steps(made, 1)
    return jax.device_get((state.params, state.model_state, logged))


@pytest.fixture(scope="module")
def plain():
    return stepped("")


@pytest.mark.parametrize(
    "options",
    [{}, {"train__parallel": "pmap"}, {"train__fsdp": 2}],
    ids=["jit", "pmap", "fsdp"],
)
def test_devices_train_the_same_numbers(plain, options):
    found = stepped("blocks", **options)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), found, plain)


def test_another_word_is_refused():
    with pytest.raises(UserError, match=r"train\.remat.*'block'.*blocks"):
        config_lib.check(toy.config(train__remat="block"))
