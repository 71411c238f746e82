"""`aufer check`: what a configuration would train and need, with no data and nothing trained."""

import dataclasses

import jax
import jax.numpy as jnp
import pytest

from aufer_jax import cli
from aufer_jax.data import records
from aufer_jax.datasets import assumed, catalog
from aufer_jax.errors import UserError
from aufer_jax.models import table
from aufer_jax.train import config as config_lib
from aufer_jax.train import preview

# ResNet-18 as torchvision has it: 11,689,512 with 1000 classes, 512 * 1000 + 1000 of them in the last layer.
PARAMETERS = 11_689_512 - 513_000 + 512 * 7 + 7
FORWARD = 2 * 1.814e9  # operations of an image of 224 pixels without that layer


@pytest.fixture(scope="module")
def resnet():
    with catalog.assuming("cards"):
        config = config_lib.load("configs/mvfer.py:rafdb")
    return preview.look(config, preview.Wish(devices=8, memory=16))


def test_what_is_known_of_a_dataset_that_is_not_there(resnet):
    assert resnet.cards == ("rafdb",)
    assert "12271 training records" in resnet.description  # as its authors count them
    assert resnet.steps_per_epoch == 12271 // 32
    assert resnet.outputs["expression"] == ((128, 7), "float32")
    assert resnet.inputs["image"] == ((32, 224, 224, 3), "uint8")


def test_size_and_work(resnet):
    assert resnet.parameters == PARAMETERS
    assert resnet.row_flops == pytest.approx(FORWARD, rel=0.01)
    # Three views, forwards and twice that backwards; the first layer's pixels get no gradient.
    assert resnet.step_flops == pytest.approx(32 * 3 * 3 * FORWARD, rel=0.04)
    assert resnet.state == pytest.approx(3 * 4 * PARAMETERS, rel=0.01)  # Adam's two moments
    assert resnet.rows // resnet.devices == 4


def test_the_least_time_of_a_step(resnet):
    assert "it takes" not in preview.text(resnet)  # of a CPU no peak is known
    known = dataclasses.replace(resnet, step_flops=8e12, devices=8, peak=100e12)
    assert "it takes         10 ms at least" in preview.text(known)


def test_only_what_differs_is_told(resnet):
    assert resnet.settings["data.size"] == (224, 112)
    assert "data.threads" not in resnet.settings
    said = preview.text(resnet)
    assert "data.size               224  (default 112)" in said
    assert "data.threads" not in said
    assert "data.threads" in preview.text(resnet, every=True)
    assert "This fits into 16 GB" in said
    assert "assumed: rafdb" in said


def test_what_does_not_fit_is_said(resnet):
    less = dataclasses.replace(resnet, limit=resnet.state + resnet.needed // 3)
    assert "does not fit" in preview.text(less)
    assert "train.accumulate=" in preview.text(less)
    none = dataclasses.replace(resnet, limit=resnet.state)
    assert "nor does a single row" in preview.text(none)
    assert "--memory GB" in preview.text(dataclasses.replace(resnet, limit=0))
    compiled = dataclasses.replace(resnet, compiled=10**9)
    assert compiled.needed == resnet.state + resnet.batch + 10**9
    assert "XLA's plan" in preview.text(compiled)


def test_the_command_draws_and_writes_nothing(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv(catalog.DATA_VARIABLE, str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    words = ["check", "configs/mvfer.py", "--config.data.size=32", "--config.train.epochs", "3"]
    assert cli.main([*words, "--memory", "0.001"]) == 0
    said = capsys.readouterr().out
    assert "data.size" in said
    assert "nor does a single row" in said
    assert said.endswith(
        "Next: aufer train configs/mvfer.py --config.data.size=32 --config.train.epochs=3\n"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["configs/auvit.py", "--memory", "-1"], "must not be negative"),
        (["configs/auvit.py", "--slice", "v5e:2x4", "--devices", "8"], "leave --devices out"),
        (["configs/auvit.py", "--config.train.epoch=3"], "Did you mean 'train.epochs'?"),
        (["configs/auvit.py", "--devices", "7"], "is not a multiple of the 7 devices"),
    ],
)
def test_mistakes(words, said, capsys):
    assert cli.main(["check", *words]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.slow
def test_xla_is_asked(tmp_path, monkeypatch):
    config = config_lib.load("configs/mvfer.py")
    for key, value in {"data.size": 32, "data.batch_size": 8}.items():
        config_lib.set_value(config, key, value)
    found = preview.look(config, preview.Wish(devices=2, compile=True))
    assert 0 < found.compiled < 1e9
    assert found.compiled_for == "cpu"


# --- What is assumed of datasets ----------------------------------------------------------------


def test_blank_records_hold_what_their_kind_holds():
    with catalog.assuming():
        for name in ("rafdb", "dfew", "rafau", "synth_a", "synth_clips"):
            info = catalog.info(name)
            source = catalog.source(name, next(iter(info.splits)))
            record = source[3]
            assert record["au"].shape[-1] == record["au_known"].size == len(info.aus)
            assert record.keys() == records.complete(record, info.kind).keys()
            assert record["expression"] == (3 if info.expressions else -1)
    with pytest.raises(UserError, match="is not prepared"):
        catalog.info("rafdb", "/nowhere")


def test_sizes_are_the_cards_or_assumed():
    with catalog.assuming():
        assert len(catalog.source("ferv39k", "train+validation")) == 31088
        assert len(catalog.source("dfew", "fold1+fold1_validation")) == 2341
        assert len(catalog.source("rafau", "train")) == assumed.RECORDS
        assert len(catalog.source("synth_a", "train", sizes={"train": 7})) == 7
        with pytest.raises(UserError, match="Did you mean 'train'"):
            catalog.source("rafdb", "trains")


def test_with_cards_alone_records_are_real(tmp_path):
    with catalog.assuming("cards"), pytest.raises(UserError, match="is not prepared in"):
        catalog.source("rafdb", "train", tmp_path)


# --- Estimates ----------------------------------------------------------------------------------


def test_bytes_held_by_hand():
    x, w = jnp.zeros((4, 8)), jnp.zeros((8, 8))

    def chain(x, w):  # each product is dropped once the next is there: two at a time
        return x @ w @ w @ w

    def kept(x, w):
        first = x @ w
        return (x @ w) @ w + first

    product = 4 * 8 * 4
    assert table.live_bytes(jax.make_jaxpr(chain)(x, w).jaxpr) == 2 * product
    assert table.live_bytes(jax.make_jaxpr(kept)(x, w).jaxpr) == 3 * product
    inside = jax.make_jaxpr(jax.jit(chain))(x, w).jaxpr
    assert table.live_bytes(inside) == 3 * product  # and the function's own result


def test_numbers_moved_by_hand():
    x, w = jnp.zeros((4, 8)), jnp.zeros((8, 8))

    def work(x, w):  # what is between a product and a sum is computed on the way
        return jax.nn.relu(jax.jit(jnp.dot)(x, w) + 1).sum()

    assert table.moved(jax.make_jaxpr(work)(x, w).jaxpr) == (4 * 8 + 8 * 8 + 4 * 8) + 4 * 8
