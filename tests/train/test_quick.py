"""`quick`: a trial run whose steps are small enough for any network, and whose time is limited."""

import jax
import pytest

from aufer_jax.train import config as config_lib


def load(text):
    config = config_lib.load(f"configs/{text}")
    return config, config_lib.check(config)


@pytest.mark.parametrize(
    "text",
    ["mvfer.py:synth_a,eac,quick", "audfer.py:synth_clips,recipe=paper,host=m3dfel,quick",
     "mae_pretrain.py:recipe=paper,quick", "auvit.py:rafdb,quick"],
)  # fmt: skip
def test_large_networks_have_small_steps(text):
    """ResNet-50 at 224 pixels with three views took ten minutes."""
    config, run = load(text)
    unit = run.data.period * jax.device_count()
    assert run.data.batch_size % unit == 0
    macs = run.data.batch_size * config_lib._step_macs(config)
    assert run.data.batch_size == unit or macs <= config_lib._STEP_MACS
    assert run.data.batch_size < load(text.replace(",quick", ""))[1].data.batch_size
    assert run.data.sizes["train"] == 4 * run.data.batch_size
    assert run.train.epochs == 2 and 0 < run.train.time_limit <= 45


@pytest.mark.parametrize("paper", ["auvit", "mvfer"])
def test_small_networks_keep_theirs(paper):
    quick, whole = load(f"{paper}.py:quick")[1], load(f"{paper}.py")[1]
    assert quick.data.batch_size == whole.data.batch_size


def test_an_estimate_follows_the_pixels_and_the_frames():
    config, _ = load("audfer.py:synth_clips,recipe=paper,host=m3dfel")
    before = config_lib._step_macs(config)
    config.data.size //= 2
    config.data.frames //= 2
    assert config_lib._step_macs(config) == pytest.approx(before / 8, rel=0.2)
