"""benchmarks/models.py: its PyTorch networks give what ours give; what it makes of their times."""

import argparse
import functools
import importlib.util
import sys

import jax
import numpy as np
import places
import pytest

from aufer_jax import models
from aufer_jax.weights import keymap

BENCHMARKS = places.ROOT / "benchmarks"
RNGS = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
VIT = {"patch": 8, "dim": 24, "depth": 2, "heads": 2}
RESNET = {"width": 4, "layers": (1, 1)}
NR = {"dynamic_blocks": 2, **RESNET}
LAYERS = {"depth": 1, "heads": 2, "head_dim": 3, "hidden": 8}
# Networks of which no small form is registered: options of ours, and of PyTorch's where they differ.
TINY = {
    "fru_adapter": ({"adapter_dim": 4, **VIT}, None),
    "stt": (LAYERS | RESNET, None),
    "dpcnet": ({"block": "basic", "reduction": 2, **RESNET}, None),
    "nr_dfernet": (
        NR | {f"{which}_{part}": value for which in "st" for part, value in LAYERS.items()},
        NR | dict.fromkeys(("spatial", "temporal"), tuple(LAYERS.values())),
    ),
    **dict.fromkeys(
        ("clip", "dinov2", "dinov3", "videomae", "vjepa2"), ({"hidden": 16, **VIT}, None)
    ),
}
SMALL = ("svfap_pretrain_small", "s2d_small", "mobilefacenet_small")


@pytest.fixture(scope="module")
def script():
    """benchmarks/models.py, which like its PyTorch networks finds its own folder's modules."""
    sys.path.insert(0, str(BENCHMARKS))
    spec = importlib.util.spec_from_file_location("benchmark_models", BENCHMARKS / "models.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    sys.path.remove(str(BENCHMARKS))


def forms(script, name):
    """Our network, PyTorch's and what both read."""
    known, hosts, encoders = map(
        importlib.import_module, ("torch_models", "torch_hosts", "torch_encoders")
    )
    entry = models.architecture(name)
    if name in SMALL:
        model = models.create(name)
        return model, known.NETWORKS[name](dict(entry.options)), script.noise(name, model, 2)
    build = {
        "fru_adapter": hosts.FRUAdapterViT,
        "stt": hosts.STT,
        "nr_dfernet": hosts.NRDFERNet,
        "dpcnet": lambda size, frames, **options: hosts.DPCNet(**options),
    }.get(name, functools.partial(encoders.PretrainedViT, name))
    own, theirs = TINY[name]
    side = 16 if "patch" in own else 32
    x = np.random.default_rng(0).standard_normal((2, 4, side, side, 3), np.float32)
    net = build(size=side, frames=4, **{**entry.options, **(theirs or own)})
    return models.create(name, **own), net, {"x": x}


@pytest.mark.parametrize("name", [*TINY, *SMALL])
def test_a_torch_form_gives_what_ours_gives(script, name):
    torch = pytest.importorskip(
        "torch", reason="PyTorch is the oracle: pip install 'aufer-jax[bench]'"
    )
    model, net, given = forms(script, name)
    known = importlib.import_module("torch_models")
    rng = np.random.default_rng(1)

    def drawn(leaf):  # variances and scales are positive
        value = rng.standard_normal(leaf.shape, np.float32)
        return 0.3 * value if leaf.ndim > 1 else 0.5 + 0.1 * np.abs(value)

    shapes = jax.eval_shape(functools.partial(model.init, RNGS), **given)
    variables = jax.tree.map(drawn, shapes)
    rules = models.architecture(name).torch_keys
    known.load(net, keymap.to_torch(variables, rules))
    ours = np.asarray(script.joined(jax.jit(model.apply)(variables, **given)))
    with torch.no_grad():
        first = script.channels_first(given).values()
        theirs = net.eval()(*(torch.tensor(value) for value in first)).numpy()
    assert theirs.shape == ours.shape and np.abs(theirs).max() > 1e-3
    assert np.abs(ours - theirs).max() < 1e-5 * np.abs(theirs).max()


class Scripted:
    """A process of which it is known how long its calls take."""

    def __init__(self, side, said, order):
        self.side, self.said, self.order = side, list(said), order

    def ask(self, kind, calls=1, step=0):
        self.order.append((self.side, calls))
        return {"seconds": self.said.pop(0), "memory": 100.0 + len(self.order), "step": 0}


def turns_of(script, ours, theirs, **limits):
    order = []
    workers = [Scripted("JAX", ours, order), Scripted("PyTorch", theirs, order)]
    return script.take_turns(workers, "forward", **limits), order


def test_the_first_to_go_changes_and_no_round_begins_that_does_not_fit(script):
    found, order = turns_of(script, [9, 2, 2, 2], [9, 4, 4, 4], seconds=60, most=3)
    sides = ["JAX", "PyTorch", "JAX", "PyTorch", "PyTorch", "JAX", "JAX", "PyTorch"]
    assert order == [(side, 1) for side in sides]  # after one call to warm up
    assert [round["PyTorch"]["seconds"] for round in found] == [4, 4, 4]
    found, _ = turns_of(script, [9, 2, 2], [9, 4, 4], seconds=-1, most=15)
    assert len(found) == script.FEW


def test_a_turn_of_a_small_network_is_many_calls(script):
    _, order = turns_of(script, [0.5, 0.01, 0.01], [0.5, 0.02, 0.02], seconds=60, most=1)
    assert [calls for _, calls in order] == [1, 1, 1, 1, 5, 5]


def test_columns_are_medians_of_times_and_of_ratios(script):
    pairs = [(1, 1), (4, 2), (9, 3), (9, 9)]
    sides = ("JAX", "PyTorch")
    rounds = [
        {s: {"seconds": t, "memory": t} for s, t in zip(sides, pair, strict=True)} for pair in pairs
    ]
    row = script.columns("forward", rounds, samples=2)
    assert row["forward, JAX"] == 3250 and row["forward, PyTorch"] == 1250
    assert row["forward, ratio"] == 1.5  # of 1, 1, 2, 3
    assert row["forward, MB, JAX"] == 9
    assert set(row) < set(script.HEADS)


def test_rows_stay_until_they_are_measured_again(script, tmp_path):
    options = argparse.Namespace(
        out=str(tmp_path / "models.md"), batch=[16, 1], threads=1, seconds=5, rounds=9, longest=7
    )
    rows = {(name, batch): script.empty(name, batch, "") for name in "ab" for batch in (16, 1)}
    rows["a", 1] |= {"difference": "1e-06", "forward, JAX": 0.01234}
    for title in ("threads: 1", "threads: 2"):
        script.write(rows, title, "2.0", options)
    found = script.kept(options.out, "threads: 1")
    assert list(found) == [("a", 1), ("a", 16), ("b", 1), ("b", 16)]
    assert found["a", 1]["forward, JAX"] == "0.0123" and found["a", 1]["remark"] == ""
    script.write({**found, ("b", 1): script.empty("b", 1, "other")}, "threads: 1", "2.0", options)
    again = script.kept(options.out, "threads: 1")
    assert again.pop(("b", 1))["remark"] == "other" != found.pop(("b", 1))["remark"]
    assert again == found
    assert len(script.kept(options.out, "threads: 2")) == 4
    assert not script.kept(options.out, "threads: 3") and not script.kept(None, "threads: 1")


def test_what_would_take_too_long_or_died_is_not_run(script):
    step = "forward + backward, "
    row = script.empty("a", 1, "") | {step + "JAX": "100", step + "PyTorch": "2000"}
    assert script.forbidding({("a", 1): row}, "a", 16, 31) == "not run: a step would take 32 s"
    assert script.forbidding({("a", 1): row}, "a", 16, 33) == ""
    assert script.forbidding({("a", 1): row}, "b", 16, 1) == ""
    assert script.forbidding({("a", 16): row}, "a", 1, 1) == ""
    refused = script.empty("a", 1, "PyTorch: Expected more than 1 value")
    assert script.forbidding({("a", 1): refused}, "a", 16, 1) == ""
    for remark in ("JAX: ended with -9", "JAX: 27.0 GB needed, 20.0 GB free"):
        died = script.empty("a", 1, remark)
        assert remark in script.forbidding({("a", 1): died}, "a", 16, 1)
