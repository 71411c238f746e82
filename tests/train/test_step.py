"""One step, however it is compiled: jit and pmap, one device and four, parts of a batch."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import toy

from aufer_jax import parallel
from aufer_jax.data import loader
from aufer_jax.train import base, devices, experiment, step
from aufer_jax.train import state as state_lib


def train(devices: int = 4, steps: int = 3, **overrides):
    """State and logged sums of each step on the first so many devices."""
    run = toy.run(**overrides)
    built = experiment.assemble(run, toy.task(run), jax.devices()[:devices])
    batches = loader.train_batches(built.task.train, batch_size=16, seed=run.seed, threads=0)
    state, logged = built.initial_state(), []
    for _ in range(steps):
        state, line = built.train_step(state, built.devices.put_batch(next(batches)))
        logged.append(jax.device_get(line))
    return jax.device_get(state), logged, built


def assert_close(a, b, tolerance=1e-5):
    jax.tree.map(
        lambda x, y: np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance), a, b
    )


@pytest.fixture(scope="module")
def one():
    return train(devices=1)


@pytest.mark.parametrize("mode", ["jit", "pmap"])
def test_four_devices_train_like_one(one, mode):
    state, logged, _ = train(devices=4, train__parallel=mode)
    assert_close(logged[0], one[1][0])
    assert_close(logged[-1]["sums"], one[1][-1]["sums"], 1e-4)
    assert_close(state.model_state, one[0].model_state)


@pytest.mark.parametrize("mode", ["jit", "pmap"])
def test_gradients_of_four_devices_are_those_of_one(mode):
    """With plain SGD the change of the parameters is the gradient."""
    options = {"optimizer__name": "sgd", "optimizer__momentum": 0.0, "optimizer__lr": 1.0,
               "schedule__name": "constant"}  # fmt: skip
    alone = train(devices=1, steps=1, **options)[0]
    many = train(devices=4, steps=1, train__parallel=mode, **options)[0]
    assert_close(many.params, alone.params)


def test_modes_agree_on_per_device_batch_statistics(one):
    jit = train(steps=2, train__sync_batchnorm=False)
    pmap = train(steps=2, train__sync_batchnorm=False, train__parallel="pmap")
    assert_close(jit[0].model_state, pmap[0].model_state)
    assert_close(jit[1][0], pmap[1][0])
    with pytest.raises(AssertionError):  # and they differ from global statistics
        assert_close(jit[1][0], one[1][0])


def test_nothing_is_traced_again_after_the_first_step():
    traces = []

    def counted(task):
        def loss(*arguments):
            traces.append(1)
            return task.method.loss(*arguments)

        return dataclasses.replace(task, method=dataclasses.replace(task.method, loss=loss))

    run = toy.run()
    built = experiment.assemble(run, counted(toy.task(run)), jax.devices())
    toy.steps(built, 4)
    assert len(traces) == 1


def test_accumulation_of_equal_parts_is_the_mean_of_their_gradients():
    options = {"optimizer__name": "sgd", "optimizer__momentum": 0.0, "optimizer__lr": 1.0,
               "schedule__name": "constant", "loss__beta": 0.0}  # fmt: skip
    run = toy.run(**options)
    built = experiment.assemble(run, toy.task(run), jax.devices()[:1])
    batch = next(loader.train_batches(built.task.train, batch_size=16, seed=0, threads=0))
    start = jax.device_get(built.initial_state())

    def change(rows):
        state, _ = built.train_step(built.initial_state(), built.devices.put_batch(rows))
        return jax.tree.map(lambda a, b: a - b, jax.device_get(state.params), start.params)

    halves = [change({k: v[i::2] for k, v in batch.items()}) for i in range(2)]
    mean = jax.tree.map(lambda a, b: (a + b) / 2, *halves)
    state, _, _ = train(devices=1, steps=1, train__accumulate=2, **options)
    assert_close(jax.tree.map(lambda a, b: a - b, state.params, start.params), mean, 1e-4)


def test_parts_of_a_mixed_batch_keep_its_ratio():
    """Each part of an accumulated 3:1 batch has its target and its auxiliary rows."""
    seen = []

    def loss(params, model_state, batch, key):
        jax.debug.callback(lambda rows: seen.append(sorted(rows.tolist())), batch["row"])
        return jnp.sum(params["w"] * 0.0), (model_state, {"loss": (jnp.float32(0), jnp.float32(1))})

    method = base.Method(init=None, loss=loss, predict=None)
    tx = optax.sgd(0.1)
    state = state_lib.from_variables({"params": {"w": jnp.ones(1)}}, tx, ema=False)
    options = step.StepOptions(accumulate=2, period=4)
    batch = {"row": jnp.arange(16)}
    seed = jax.random.key_data(jax.random.key(0))
    step.train_step(
        state, batch, seed, method=method, tx=tx, options=options, split=parallel.Split()
    )
    jax.effects_barrier()
    assert sorted(seen) == [[0, 1, 2, 3, 8, 9, 10, 11], [4, 5, 6, 7, 12, 13, 14, 15]]


def test_bfloat16_keeps_float32_state_and_learns():
    state, logged, _ = train(steps=3, train__compute_dtype="bfloat16")
    assert {str(x.dtype) for x in jax.tree.leaves(state.params)} == {"float32"}
    exact = train(steps=1)[1][0]["sums"]["loss"]
    loss = logged[0]["sums"]["loss"]
    np.testing.assert_allclose(loss[0] / loss[1], exact[0] / exact[1], rtol=0.05)


def test_moving_average_follows_the_parameters():
    run = toy.run(train__ema_decay=0.5)
    built = experiment.assemble(run, toy.task(run), jax.devices()[:1])
    start = jax.device_get(built.initial_state())
    batch = next(loader.train_batches(built.task.train, batch_size=16, seed=0, threads=0))
    after, _ = built.train_step(built.initial_state(), built.devices.put_batch(batch))
    expected = jax.tree.map(lambda a, b: (a + b) / 2, start.params, jax.device_get(after.params))
    assert_close(after.ema, expected, 1e-6)
    assert after.evaluated() is after.ema


@pytest.mark.parametrize("mode", devices.MODES)
def test_a_step_moves_nothing_between_host_and_devices(mode):
    """Once it is compiled; what it logs is fetched when the run asks for it."""
    run = toy.run(train__parallel=mode)
    built = experiment.assemble(run, toy.task(run))
    with built.stream(0) as stream:
        state, _ = built.train_step(built.initial_state(), next(stream))
        batch = next(stream)
    with jax.transfer_guard("disallow"):
        state, logged = built.train_step(state, batch)
        jax.block_until_ready(logged)
        with pytest.raises(Exception, match="Disallowed host-to-device transfer"):
            built.train_step(state, jax.device_get(batch))


def test_batches_that_do_not_divide_are_refused():
    run = toy.run(data__batch_size=18)
    with pytest.raises(ValueError, match="multiple of the 4 devices"):
        experiment.assemble(run, toy.task(run), jax.devices())
