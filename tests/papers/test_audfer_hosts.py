"""Every host of AU-DFER through the engine: jit and pmap alike, and a resumed run is the same run."""

import jax
import numpy as np
import pytest
import tiny_hosts
import toy
import toydata
from flax import traverse_util

from aufer_jax.data import records
from aufer_jax.models import s2d
from aufer_jax.train import checkpoints, experiment
from aufer_jax.train import config as config_lib


@pytest.fixture(autouse=True)
def clips(memory_catalog):
    """The dataset "toyclips" in memory."""
    info = toydata.info("toyclips", records.CLIP, splits={"train": 16, "validation": 8, "test": 8})
    rows = records.MemorySource(info, [toydata.clip_record(i) for i in range(16)])
    memory_catalog("toyclips", rows)


def built(host, parallel, **changes):
    config = config_lib.load(f"configs/audfer.py:toyclips,host={host},recipe=small")
    values = {
        "data.batch_size": 8, "data.eval_batch_size": 8, "data.threads": 1, "train.epochs": 2,
        "train.log_every": 100, "train.parallel": parallel, "loss.mix": 1.0, "augment.rand_ops": 2,
        **tiny_hosts.values(host), **changes,
    }  # fmt: skip
    with config.unlocked():
        for key, value in values.items():
            config_lib.set_value(config, key, value)
    return experiment.build(config_lib.check(config), jax.devices()[:4])


@pytest.mark.slow
@pytest.mark.parametrize("host", tiny_hosts.TINY)
def test_jit_and_pmap_train_alike_and_go_on_where_they_stopped(host, tmp_path):
    """Mixing and RandAugment included."""
    if len(jax.devices()) < 4:
        pytest.skip("needs four devices")
    run = built(host, "pmap")
    start = jax.device_get(run.initial_state())

    def begun():
        return run.devices.put_replicated(start)

    whole, logged = toy.steps(run, 3, state=begun())
    assert all(np.isfinite(line["sums"]["loss"][0]) for line in logged)
    first, _ = toy.steps(run, 1, state=begun())
    saver = checkpoints.Checkpoints(tmp_path, keep=1)
    saver.save(1, first, {})
    saver.wait()
    saver.close()
    restored, _ = checkpoints.Reader(tmp_path).restore(run.target, run.devices.replicated)
    after, rest = toy.steps(run, 2, start=1, state=restored)
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(after), jax.device_get(whole))
    jax.tree.map(np.testing.assert_array_equal, rest, logged[1:])
    _, by_jit = toy.steps(built(host, "jit"), 1, state=begun())
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), by_jit[0], logged[0]
    )


@pytest.mark.slow
def test_of_s2d_a_part_stays_as_it_is():
    constant = {
        "schedule.name": "constant", "schedule.warmup_epochs": 0.0, "optimizer.weight_decay": 0.0,
    }  # fmt: skip
    run = built("s2d", "jit", **{"optimizer.freeze": s2d.FROZEN, **constant})
    start = jax.device_get(run.initial_state())
    after, _ = toy.steps(run, 1)
    flat = traverse_util.flatten_dict(jax.device_get(after.params))
    for path, before in traverse_util.flatten_dict(start.params).items():
        now = flat[path]
        trained = any(name in "/".join(path) for name in s2d.TRAINED)
        unread = path[0] == "prompt_norms_1"  # the last one, see models.s2d
        assert np.array_equal(now, before) == (unread or not trained), path
