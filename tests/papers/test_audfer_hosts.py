"""Every host of AU-DFER through the engine: jit and pmap alike, and a resumed run is the same run."""

import jax
import numpy as np
import pytest
import toy
import toydata

from aufer_jax.data import records
from aufer_jax.train import checkpoints, experiment
from aufer_jax.train import config as config_lib

# Host -> the least of it, and of its clips, that still has all of its parts. But for dropout: its draws are
# each device's own, so jit and pmap differ by them.
_CLIP = {"data.size": 16, "data.frames": 4}
TINY = {
    "m3dfel": {"layers": (1,), "widths": (4,), "hidden": 4, "attention_heads": 2},
    "former_dfer": {
        "width": 4, "layers": (1,) * 4, "s_heads": 2, "s_head_dim": 4, "s_hidden": 8,
        "t_depth": 1, "t_heads": 2, "t_head_dim": 4, "t_hidden": 8,
    },
    "mae_dfer": {"region": (1, 2, 2), "patch": 8, "dim": 8, "depth": 2, "heads": 2, "drop_path": 0.0},
    "r3d18": {"convs": ("3d",), "layers": (1,), "widths": (4,)},
    "r2plus1d18": {"convs": ("2plus1d",), "layers": (1,), "widths": (4,)},
    "mc3": {"convs": ("3d", "2d"), "layers": (1, 1), "widths": (4, 4)},
    "c3d": {"width": 2, "hidden": 4, "dropout": 0.0},
    "i3d": {"width": 0.0625, "blocks": ("3b", "5c"), "dropout": 0.0},
    "p3d": {"layers": (1, 1, 1, 1), "width": 2, "dropout": 0.0},
    "resnet18_lstm": {"layers": (1,), "width": 2, "hidden": 4, "lstm_layers": 1},
}  # fmt: skip
CLIPS = {
    "m3dfel": {"data.frames": 8},
    "c3d": {"data.size": 32, "data.frames": 16},
    "i3d": {"data.size": 32, "data.frames": 8},
    "p3d": {"data.size": 32, "data.frames": 16},
}


@pytest.fixture(autouse=True)
def clips(memory_catalog):
    """The dataset "toyclips" in memory."""
    info = toydata.info("toyclips", records.CLIP, splits={"train": 16, "validation": 8, "test": 8})
    rows = records.MemorySource(info, [toydata.clip_record(i) for i in range(16)])
    memory_catalog("toyclips", rows)


def built(host, parallel):
    config = config_lib.load(f"configs/audfer.py:toyclips,host={host},recipe=small")
    values = {
        "data.batch_size": 8, "data.eval_batch_size": 8, "data.threads": 1, "train.epochs": 2,
        "train.log_every": 100, "train.parallel": parallel, "loss.mix": 1.0, "augment.rand_ops": 2,
        **_CLIP, **CLIPS.get(host, {}), **{f"model.{k}": v for k, v in TINY[host].items()},
    }  # fmt: skip
    with config.unlocked():
        for key, value in values.items():
            config_lib.set_value(config, key, value)
    return experiment.build(config_lib.check(config), jax.devices()[:4])


@pytest.mark.slow
@pytest.mark.parametrize("host", TINY)
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
