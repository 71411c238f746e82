"""`train.fsdp`: devices that share one copy of the state train the numbers of those that each have one."""

import dataclasses
import os
import pickle
import subprocess
import sys

import fsdp_run
import jax
import numpy as np
import places
import pytest
import toy

from aufer_jax import parallel
from aufer_jax.errors import UserError
from aufer_jax.train import base, checkpoints, collectives, preview
from aufer_jax.train import config as config_lib

SCRIPT = places.TESTS / "fsdp_run.py"


def process(workdir, *sharings, count=1, **environment):
    return subprocess.Popen(
        [sys.executable, SCRIPT, workdir, *map(str, sharings)],
        env={**os.environ, "XLA_FLAGS": places.xla_flags(count), **environment},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def results(workdir, *processes):
    """Sharing -> all numbers of a training, once the processes have ended."""
    for each in processes:
        output = each.communicate(timeout=240)[0]
        assert each.returncode == 0, output
    return pickle.loads((workdir / "found.pickle").read_bytes())


def assert_close(a, b):
    for one, other in zip(a, b, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


@pytest.fixture(scope="module")
def alone():
    """Four devices with a state each."""
    return fsdp_run.trained(fsdp_run.built(1))


@pytest.fixture(scope="module")
def sharing():
    """Four devices that share one."""
    made = fsdp_run.built(4)
    return made, *fsdp_run.trained(made)


@pytest.mark.parametrize(
    ("shape", "spread"),
    [
        ((768, 64), ("fsdp",)),
        ((3, 3, 64, 128), (None, None, None, "fsdp")),
        ((7, 1024), (None, "fsdp")),
        ((1023, 6), ()),  # nothing that four divides
        ((4096,), ()),  # a vector
        ((16, 16), ()),  # small
        ((), ()),
    ],
)
def test_the_longest_axis_that_divides_is_shared(shape, spread):
    assert tuple(parallel.shares(shape, 4)) == spread
    assert tuple(parallel.shares(shape, 1)) == ()


def test_eight_devices_that_share_train_like_eight_that_do_not(tmp_path, alone):
    found = results(tmp_path, process(tmp_path, 1, 4, count=8))
    assert_close(found[4], found[1])
    assert_close(found[4], jax.tree.leaves(alone[1]))  # and like four


def test_each_device_has_its_share_of_every_large_array(sharing):
    _, after, _ = sharing
    spread = 0
    for leaf in jax.tree.leaves(after):
        share = leaf.addressable_data(0).size
        large = leaf.ndim > 1 and leaf.size >= parallel.SMALLEST
        assert share == (leaf.size // 4 if large else leaf.size)
        spread += large
    assert spread == 2 * 3  # two matrices: they, their momentum, and their average


def test_parameters_are_gathered_and_nothing_else_is_sent(sharing):
    made, *_ = sharing
    step = made.train_step.lower(made.target, base.shapes(made.task.example))
    sent = collectives.of(step.compile().as_text())
    large = [4 * x.size for x in jax.tree.leaves(made.target.params) if x.size >= 1024]
    assert set(sent["all-gather"]) == set(large)
    assert sent.keys() <= {"all-gather", "all-reduce", "reduce-scatter"}


def test_batch_statistics_are_those_of_the_whole_batch(alone, sharing):
    apart, _ = toy.steps(fsdp_run.built(4, train__sync_batchnorm=False), 3)
    states = (alone[0], sharing[1], apart)
    one, shared, others = [jax.tree.leaves(state.model_state) for state in states]
    assert_close(shared, one)
    with pytest.raises(AssertionError):
        assert_close(others, one)


@pytest.mark.parametrize(("saved", "restored"), [(4, 1), (1, 4), (2, 4)])
def test_checkpoints_go_from_any_sharing_to_any(tmp_path, saved, restored):
    one, other = fsdp_run.built(saved), fsdp_run.built(restored)
    before = one.initial_state()
    fsdp_run.save(tmp_path, before)
    state, progress = checkpoints.Reader(tmp_path).restore(other.target, other.sharding)
    assert progress == {"note": "x"}
    jax.tree.map(np.testing.assert_array_equal, state, before)
    for leaf, sharding in zip(jax.tree.leaves(state), jax.tree.leaves(other.sharding), strict=True):
        assert leaf.sharding.is_equivalent_to(sharding, leaf.ndim)


def test_a_run_goes_on_with_another_sharing(tmp_path, alone, sharing):
    """Two steps of four devices that share, saved, and the third of four that do not."""
    made, *_ = sharing
    fsdp_run.save(tmp_path, toy.steps(made, 2)[0])
    other = fsdp_run.built(1)
    state, _ = checkpoints.Reader(tmp_path).restore(other.target, other.sharding)
    after = fsdp_run.trained(other, 1, 2, state)[1]
    assert_close(jax.tree.leaves(after["state"]), jax.tree.leaves(alone[1]["state"]))


def test_two_processes_share_and_what_they_save_is_whole(tmp_path, unused_port, alone):
    """Neither has all of it; the checkpoint's checksums are those of the whole state."""
    both = [
        process(
            tmp_path, 2, AUFER_COORDINATOR=f"127.0.0.1:{unused_port}", AUFER_PROCESSES="2",
            AUFER_PROCESS=str(index),
        )
        for index in range(2)
    ]  # fmt: skip
    assert_close(results(tmp_path, *both)[2], jax.tree.leaves(alone[1]))
    other = fsdp_run.built(4)
    state, _ = checkpoints.Reader(tmp_path).restore(other.target, other.sharding)
    assert_close(jax.tree.leaves(state), jax.tree.leaves(alone[1]["state"]))


def test_what_cannot_be_is_refused():
    with pytest.raises(UserError, match=r"train\.fsdp: 3 does not divide the 4 devices"):
        fsdp_run.built(3)
    with pytest.raises(UserError, match=r"train\.fsdp: 2 needs train\.parallel=jit, not pmap"):
        toy.run(train__fsdp=2, train__parallel="pmap")
    with pytest.raises(UserError, match=r"train\.fsdp: 0 must be greater than 0"):
        toy.run(train__fsdp=0)


def test_check_tells_the_memory_of_a_device_that_shares():
    config = config_lib.load("configs/mvfer.py")
    config.data.size = 32
    config.train.fsdp = 8
    found = preview.look(config, preview.Wish(devices=8))
    whole = 3 * 4 * found.parameters  # and Adam's two moments
    assert whole / 8 < found.state < whole / 7
    assert found.estimate > 4 * found.parameters  # gathered
    assert "statistics, shared by 8 devices)" in preview.text(found)
    alone = dataclasses.replace(found, sharing=1, limit=found.state)
    assert "train.fsdp=8 spreads" in preview.text(alone)
