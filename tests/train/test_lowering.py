"""The papers' steps as programs for GPUs and TPUs, without one: what is in them, and what must not be.

They are lowered for abstract devices, so no memory is needed. Where libtpu is installed a small step is
compiled for a TPU slice that is not there; benchmarks/tpu_slice.py does that with the papers' steps.
"""

import importlib.util
import json
import os
import re
import subprocess
import sys

import jax
import numpy as np
import places
import pytest
import toy

import aufer_jax.papers  # noqa: F401
from aufer_jax import errors
from aufer_jax.datasets import catalog
from aufer_jax.models import ops
from aufer_jax.train import base, collectives, devices, experiment
from aufer_jax.train import config as config_lib

ROWS = 40  # of 8 devices, in AU-ViT's pattern of five
PLATFORMS = ("cuda", "tpu")
STEPS = {
    "AU-ViT": "configs/auvit.py:rafdb",
    "MV-FER": "configs/mvfer.py:rafdb",
    "M3DFEL": "configs/audfer.py:dfew,host=m3dfel,fold=1",
    "Former-DFER": "configs/audfer.py:dfew,host=former_dfer,fold=1",
    "MAE-DFER, small": "configs/audfer.py:synth_clips,host=mae_dfer",
    "pre-training, small": "configs/mae_pretrain.py",
}
LARGE = {
    "MAE-DFER": "configs/audfer.py:dfew,host=mae_dfer,fold=1",
    "pre-training": "configs/mae_pretrain.py:ferv39k",
}


def built(text, on, dtype="float32", rows=ROWS):
    """The experiment of a published recipe, on blank records."""
    with catalog.assuming():
        config = config_lib.load(text)
        config.train.compute_dtype = dtype
        config.data.batch_size = config.data.eval_batch_size = rows
        run = config_lib.check(config)
        return experiment.assemble(run, base.build(run), on)


def traced(made):
    """The training and the evaluation step of an experiment, as JAX traces them."""
    batch = base.shapes(made.task.example)
    target = made.target
    return {
        "train": made.train_step.trace(target, batch),
        "eval": made.eval_step.trace(target.params, target.model_state, batch),
    }


def check(program, state, dtype, count):
    """A lowered step: its types, that it stays on the device, its donated state, its devices."""
    text = program.as_text()
    assert not re.search(r"\bf64\b|xf64>", text)
    calls = set(re.findall(r"stablehlo\.custom_call @(\w+)", text))
    assert not {call for call in calls if "callback" in call.lower() or "host" in call.lower()}
    assert not re.search(r"stablehlo\.(send|recv|infeed|outfeed)\b", text)
    assert len(re.findall(r"tf\.aliasing_output|jax\.buffer_donor", text)) == state
    assert f"mhlo.num_partitions = {count} " in text
    products = re.findall(
        r"stablehlo\.(?:dot_general|convolution)\b.*? : \(tensor<\w*?x?(\w+)>", text
    )
    kinds = [re.sub(r"^(\d+x)+", "", kind) for kind in products]
    assert kinds
    if dtype == "float32":
        assert set(kinds) == {"f32"}
    else:
        assert kinds.count("bf16") / len(kinds) > 0.9
    return text


def lowered_for_all(text, dtype, count):
    made = built(text, devices.abstract("tpu", count), dtype)
    leaves = len(jax.tree.leaves(made.target))
    for kind, step in traced(made).items():
        for platform in PLATFORMS:
            program = step.lower(lowering_platforms=(platform,))
            check(program, leaves if kind == "train" else 0, dtype, count)


@pytest.mark.parametrize("text", STEPS.values(), ids=STEPS)
@pytest.mark.parametrize(("dtype", "count"), [("float32", 1), ("bfloat16", 8)])
def test_steps_of_the_papers(text, dtype, count):
    lowered_for_all(text, dtype, count)


@pytest.mark.slow
@pytest.mark.parametrize("text", LARGE.values(), ids=LARGE)
@pytest.mark.parametrize(("dtype", "count"), [("float32", 8), ("bfloat16", 1)])
def test_steps_of_the_large_networks(text, dtype, count):
    lowered_for_all(text, dtype, count)


def size(tree):
    return sum(4 * leaf.size for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize("together", [True, False], ids=["together", "each its own"])
def test_gradients_are_summed_once(together):
    """On the suite's four devices; batch statistics that span them cost a few small sums more."""
    run = toy.run(train__sync_batchnorm=together)
    made = experiment.assemble(run, toy.task(run))
    step = made.train_step.lower(made.target, base.shapes(made.task.example))
    sums = collectives.of(step.compile().as_text())["all-reduce"]
    parameters, statistics = size(made.target.params), size(made.target.model_state)
    assert 0.95 * parameters < sums[0] < 1.05 * parameters
    assert parameters <= sum(sums) < 1.02 * (parameters + statistics)
    layers = len(jax.tree.leaves(made.target.model_state)) // 2
    assert layers < len(sums) <= 4 * layers if together else len(sums) <= 2


FOR_A_SLICE = """
import json, jax, toy
import aufer_jax.papers
from aufer_jax.train import base, devices, experiment
run = toy.run(train__sync_batchnorm=False, train__compute_dtype="bfloat16")
on = devices.create("jit", sync_batchnorm=False, devices=devices.tpu_slice("v5e:2x4"))
made = experiment.assemble(run, toy.task(run), on)
compiled = made.train_step.lower(made.target, base.shapes(made.task.example)).compile()
size = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(made.target))
parameters = sum(leaf.size for leaf in jax.tree.leaves(made.target.params))
aliased = compiled.memory_analysis().alias_size_in_bytes
print(json.dumps([on.lowered_for, aliased, size, parameters, compiled.as_text()]))
"""


@pytest.mark.skipif(not importlib.util.find_spec("libtpu"), reason="the extra tpu is not installed")
def test_a_tpus_own_compiler_sums_gradients_once_and_reuses_the_state():
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}  # it refuses a CPU's
    environment["PYTHONPATH"] = os.pathsep.join([str(places.TESTS), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", FOR_A_SLICE], env=environment, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    platform, aliased, state, parameters, text = json.loads(done.stdout.splitlines()[-1])
    sums = collectives.of(text)["all-reduce"]
    assert platform == "tpu"
    assert aliased >= state
    assert len(sums) <= 3
    # Gradients in bfloat16, those of what is kept in float32 and the statistics beside them.
    assert 2 * parameters <= sum(sums) < 2.2 * parameters


def test_without_a_tpus_compiler_it_is_said():
    if importlib.util.find_spec("libtpu"):
        pytest.skip("it is installed")
    with pytest.raises(errors.UserError, match="pip install 'aufer-jax"):
        devices.tpu_slice("v5e:2x4")


def test_the_devices_decide_on_the_lowering_not_the_machine():
    """A depth-wise convolution: on a CPU shifted sums, elsewhere a convolution in groups."""

    def step(state, batch, seed):
        y = ops.conv(batch, state, (1, 1), ((1, 1), (1, 1)), groups=4)
        return state - y.sum(), {}

    kernel = jax.ShapeDtypeStruct((3, 3, 1, 4), np.float32)
    x = jax.ShapeDtypeStruct((8, 5, 5, 4), np.float32)
    found = {}
    for platform in ("cpu", "cuda", "tpu"):
        with ops.traced_for("cpu"):  # whatever the machine has
            step_ = devices.abstract(platform, 8).compile_train(
                step, kernel, np.zeros(2, np.uint32)
            )
            found[platform] = step_.trace(kernel, x).lower(lowering_platforms=(platform,)).as_text()
    assert "feature_group_count = 4" in found["cuda"]
    assert "feature_group_count = 4" in found["tpu"]
    assert "convolution" not in found["cpu"]


def test_jaxs_default_device_counts():
    with jax.default_device(jax.devices("cpu")[0]):
        assert ops.platform() == "cpu"
    with jax.default_device("cpu"):
        assert ops.for_cpu()
