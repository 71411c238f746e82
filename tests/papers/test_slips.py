"""What the published codes do by mistake: rates and frames by hand, and that it is off unless asked for."""

import dataclasses

import jax
import numpy as np
import pytest
import toy
import toydata

from aufer_jax.data import loader, records, sampling, views
from aufer_jax.papers.audfer import slips as audfer
from aufer_jax.papers.auvit import slips as auvit
from aufer_jax.train import config as config_lib
from aufer_jax.train import experiment, setup
from aufer_jax.train.schedules import Schedule

SPEC = views.Spec(size=16, aus=toydata.AUS, train=False, clip=sampling.Sampling(4, "spread"))


def run(text, epochs=None, schedule=None, **data):
    """The configured run, with another schedule or other data."""
    checked = config_lib.check(config_lib.load(text))
    return dataclasses.replace(
        checked,
        schedule=schedule or checked.schedule,
        train=dataclasses.replace(checked.train, epochs=epochs or checked.train.epochs),
        data=dataclasses.replace(checked.data, **data),
    )


def test_auvit_warms_up_from_one_unit_on():
    """FERPlus: 5 epochs of warm-up, T_max 13 of 20 epochs; the same warm-up of steps."""
    rate = auvit.rate(run("configs/auvit.py:ferplus,recipe=released"), 7)
    by_epoch = [float(rate(7 * epoch)) for epoch in range(20)]
    np.testing.assert_allclose(by_epoch[:5], 1e-4 * np.arange(1, 6) / 5, rtol=1e-5)
    np.testing.assert_allclose(by_epoch[17], 5e-7, rtol=1e-3)
    np.testing.assert_allclose(by_epoch[18:], [1.946e-6, 6.199e-6], rtol=1e-3)
    assert [float(rate(step)) for step in (7, 13)] == [by_epoch[1]] * 2  # held over an epoch

    schedule = Schedule("constant", warmup_epochs=1)
    rate = auvit.rate(run("configs/auvit.py:ferplus,recipe=released", schedule=schedule), 4)
    steps = [float(rate(step)) for step in range(5)]
    np.testing.assert_allclose(steps, 1e-4 * np.array([0.25, 0.5, 0.75, 1, 1]), rtol=1e-6)


@pytest.mark.parametrize(
    ("argument", "step"),
    [("rafdb,slip", 30), ("affectnet7,slip", 700), ("rafdb", None), ("affectnet8", None)],
)
def test_auvit_goes_on_in_evaluation_mode(argument, step):
    assert auvit.evaluation_mode_from(run(f"configs/auvit.py:{argument}"), 30) == step


def test_evaluation_mode_freezes_batchnorm():
    checked = toy.run()
    task = dataclasses.replace(toy.task(checked), evaluation_mode_from=2)
    built = experiment.assemble(checked, task, jax.devices()[:1])
    assert built.step_function(1) is built.train_step
    assert built.step_function(2) is built.frozen_step
    stream = loader.train_batches(built.task.train, batch_size=16, seed=0, threads=0)
    state = built.initial_state()
    before = jax.device_get((state.params, state.model_state))
    state, _ = built.frozen_step(state, built.devices.put_batch(next(stream)))
    after = jax.device_get((state.params, state.model_state))
    jax.tree.map(np.testing.assert_array_equal, after[1], before[1])
    changed = jax.tree.leaves(jax.tree.map(lambda a, b: np.abs(a - b).max(), after[0], before[0]))
    assert max(changed) > 0
    built = experiment.assemble(checked, toy.task(checked), jax.devices()[:1])
    assert built.step_function(10**6) is built.train_step


def test_a_task_s_own_rate_is_what_the_engine_trains_with():
    checked = toy.run(optimizer__name="sgd", optimizer__momentum=0.0)
    task = dataclasses.replace(toy.task(checked), rate=lambda step: 0.0 * step)
    built = experiment.assemble(checked, task, jax.devices()[:1])
    before = jax.device_get(built.initial_state().params)
    after, _ = toy.steps(built, 1)
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(after.params), before)


def m3dfel(slips, schedule=None, epochs=100):
    checked = run("configs/audfer.py:dfew,host=m3dfel,fold=1", epochs, schedule)
    loss = dataclasses.replace(checked.loss, slips=slips)
    return dataclasses.replace(checked, loss=loss)


def test_m3dfel_s_clock_runs_in_the_warm_up():
    """100 epochs, 20 of warm-up: the rate drops to 0.905 of the full one when the warm-up ends."""
    rate = audfer.rate(m3dfel(("running_clock",)), 7)
    start, before, after = (float(rate(step)) for step in (0, 20 * 7 - 1, 20 * 7))
    assert start == 0
    np.testing.assert_allclose(before, 5e-4 * 139 / 140, rtol=1e-5)
    np.testing.assert_allclose(after / 5e-4, 0.905, atol=1e-3)
    np.testing.assert_allclose(float(rate(700)), 5e-6, rtol=1e-5)  # it ends at the minimum


def test_m3dfel_runs_two_steps_at_nothing_and_is_late_by_one():
    """Its scheduler sets the rate of step i after step i; 7 steps an epoch."""
    rate = audfer.rate(m3dfel(("running_clock", "late_rate")), 7)
    found = [float(rate(step)) for step in (0, 1, 2, 140, 141, 421)]
    cosine = [5e-6 + 0.5 * 4.95e-4 * (1 + np.cos(np.pi * t / 700)) for t in (140, 420)]
    np.testing.assert_allclose(found, [0, 0, 5e-4 / 140, 5e-4 * 139 / 140, *cosine], rtol=1e-5)


def test_without_slips_the_rate_is_the_configured_one():
    checked = m3dfel(())
    ours, configured = audfer.rate(checked, 7), setup.rate(checked, 7)
    assert [float(ours(t)) for t in range(700)] == [float(configured(t)) for t in range(700)]


def clips(spec, rows):
    """The clips of an evaluation over these records."""
    source = records.MemorySource(toydata.info(kind=records.CLIP), rows)
    return next(loader.eval_batches(source, spec, batch_size=len(rows), threads=0))["clip"]


def test_frames_drawn_in_evaluation_are_the_record_s_own():
    spec = audfer.evaluation(m3dfel(("test_jitter",)), SPEC)
    frames = np.array([spec.clip.choose(40, None, f"clip {i}") for i in range(3)])
    again = np.array([spec.clip.choose(40, None, f"clip {i}") for i in range(3)])
    np.testing.assert_array_equal(frames, again)
    ahead = frames - sampling.sample(40, SPEC.clip, None)
    assert ahead.min() >= 0 and ahead.max() <= 3 and len({tuple(row) for row in ahead}) > 1
    drawn = spec.clip.choose(40, np.random.default_rng(0), "clip 0")
    expected = sampling.sample(40, SPEC.clip, np.random.default_rng(0))
    np.testing.assert_array_equal(drawn, expected)  # training is as it was
    assert audfer.evaluation(m3dfel(()), SPEC) is SPEC
    several = dataclasses.replace(SPEC, clip=sampling.Sampling(4, "dense", views=2))
    with pytest.raises(ValueError, match="'test_jitter' takes one clip of a record"):
        audfer.evaluation(m3dfel(("test_jitter",)), several)


def test_a_batch_shows_them():
    spec = audfer.evaluation(m3dfel(("test_jitter",)), SPEC)
    rows = [toydata.clip_record(i, 40) for i in range(3)]
    first, again = clips(spec, rows), clips(spec, rows[::-1])
    np.testing.assert_array_equal(first, again[::-1])
    assert (first != clips(SPEC, rows)).any()


@pytest.mark.parametrize("method", ["auvit", "audfer"])
def test_a_slip_that_is_not_known(method):
    config = config_lib.load(f"configs/{method}.py")
    config.loss.slips = ("evaluation_mod", "test_jiter")
    with pytest.raises(
        ValueError, match=r"loss\.slips: 'evaluation_mod' is not known; choose one of"
    ):
        config_lib.check(config)
