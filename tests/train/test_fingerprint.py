"""A short run of every configuration is the same run: twice, resumed, and however its batches are made.

`AUFER_FINGERPRINTS=write` writes the losses of the first step to tests/golden/fingerprints.json. They are
compared to a tolerance, as processors round in their own ways, and later steps enlarge that; all else is
compared bit for bit.
"""

import dataclasses
import hashlib
import json
import os

import finished
import flax
import jax
import numpy as np
import places
import pytest
import toy

from aufer_jax.train import config as config_lib
from aufer_jax.train import experiment

FILE = places.GOLDEN / "fingerprints.json"
STEPS = 3
TINY = {
    "auvit": ("auvit_small", {"data.size": 32, **finished.IMAGES["auvit"][1]}),
    "mvfer": ("resnet_small", {"data.size": 32, **finished.IMAGES["mvfer"][1]}),
    "audfer": ("mc3_18", {**finished.tiny_hosts.values("mc3"), "loss.au": "none"}),
    "mae_pretrain": (
        "mae_dfer_pretrain_small",
        {"data.size": 32, "data.frames": 8}
        | {f"model.{key}": value for key, value in finished.PRETRAINING.items()},
    ),
}
CLIPS = ("audfer", "mae_pretrain")


def configuration(name):
    target = "toyclips" if name in CLIPS else "toyfaces"
    config = config_lib.load(f"{places.ROOT}/configs/{name}.py")
    architecture, tiny = TINY[name]
    config.model = config_lib.model(architecture)
    config.data.target, config.data.aux = target, ()
    common = {"data.batch_size": 4, "data.eval_batch_size": 4, "train.accumulate": 1}
    with config.unlocked():
        for key, value in {**common, **tiny}.items():
            config_lib.set_value(config, key, value)
    return config


def digest(tree):
    """Every bit of it."""
    held = hashlib.sha256()
    for leaf in jax.tree.leaves(jax.device_get(tree)):
        held.update(np.ascontiguousarray(leaf).tobytes())
    return held.hexdigest()


def said(logged):
    lines = []
    for line in logged:
        means = {name: float(n) / max(float(d), 1e-9) for name, (n, d) in line["sums"].items()}
        lines.append({name: value for name, value in means.items() if name.endswith("loss")})
    return lines


@pytest.mark.parametrize("name", TINY)
def test_a_run_is_the_same_run(name, monkeypatch):
    finished.memory_catalog(monkeypatch)
    built = experiment.build(config_lib.check(configuration(name)), jax.devices()[:1])
    whole, logged = toy.steps(built, STEPS)
    again, _ = toy.steps(built, STEPS)
    assert digest(again) == digest(whole)
    half, first = toy.steps(built, 1)
    saved = jax.device_get(half)
    resumed, rest = toy.steps(built, STEPS - 1, start=1, state=built.devices.put_state(saved))
    assert digest(resumed) == digest(whole)
    assert digest(first + rest) == digest(logged)
    built.run = _with_threads(built.run, 4)
    others, _ = toy.steps(built, STEPS)
    assert digest(others) == digest(whole)
    _compare(name, said(logged[:1]))


def _with_threads(run, count):
    return dataclasses.replace(run, data=dataclasses.replace(run.data, threads=count, ahead=1))


def _compare(name, found):
    known = json.loads(FILE.read_text()) if FILE.exists() else {}
    versions = {"jax": jax.__version__, "flax": flax.__version__}
    if os.environ.get("AUFER_FINGERPRINTS") == "write":
        known |= {name: found, "versions": versions}
        FILE.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
        return
    if known["versions"] != versions:
        pytest.skip(f"first values are drawn otherwise than by {known['versions']}")
    for ours, theirs in zip(found, known[name], strict=True):
        assert ours.keys() == theirs.keys()
        for key, value in theirs.items():
            assert ours[key] == pytest.approx(value, rel=1e-3, abs=1e-5), key
