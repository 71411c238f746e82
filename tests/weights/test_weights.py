"""Checkpoints of every format, without PyTorch: what is read, refused, adapted, reported."""

import argparse
import collections
import io
import json
import os
import pickle
import tarfile
import types

import jax
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy
import torch_files

from aufer_jax import models, weights
from aufer_jax.train import initial
from aufer_jax.weights import adapt, layouts, loading, unpickle

FORMER = "former_dfer_small"


@pytest.fixture(autouse=True)
def stand_ins(monkeypatch):
    torch_files.install(monkeypatch)


@pytest.fixture(scope="module")
def published():
    """State dicts under the published names, filled with numbers, by architecture and options."""
    cache = {}

    def make(name, **options):
        chosen = (name, *options.items())
        if chosen not in cache:
            rng = np.random.default_rng(len(cache))
            shapes = loading.shapes(name, models.create(name, **options))
            fill = {
                key: jax.tree.map(lambda a: rng.standard_normal(a.shape).astype(np.float32), tree)
                for key, tree in shapes.items()
                if key in ("params", "batch_stats")
            }
            cache[chosen] = weights.to_torch(fill, name)
        return dict(cache[chosen])

    return make


def same(variables, name, expected):
    got = weights.to_torch(variables, name)
    assert got.keys() == expected.keys()
    for key, value in expected.items():
        np.testing.assert_array_equal(got[key], value, err_msg=key)


# Formats


def save_safetensors(path, arrays):
    safetensors.numpy.save_file({k: np.ascontiguousarray(v) for k, v in arrays.items()}, path)


def save_pickle(path, arrays):
    path.write_bytes(pickle.dumps(dict(arrays), protocol=4))


@pytest.mark.parametrize(
    ("suffix", "save"),
    [
        (".pth", lambda path, arrays: torch_files.save_zip(path, torch_files.state_dict(arrays))),
        (".pt", lambda path, arrays: torch_files.save_legacy(path, torch_files.state_dict(arrays))),
        (
            ".bin",
            lambda path, arrays: torch_files.save_zip(
                path, {"model": torch_files.state_dict(arrays)}
            ),
        ),
        (".safetensors", save_safetensors),
        (".pkl", torch_files.save_python2),
        (".pkl", save_pickle),
    ],
    ids=["zip", "legacy", "zip-wrapped", "safetensors", "python2", "pickle"],
)
def test_every_format_gives_the_same_variables(tmp_path, published, suffix, save):
    expected = published(FORMER)
    path = tmp_path / f"file{suffix}"
    save(path, expected)
    variables, report = weights.load(path, FORMER)
    same(variables, FORMER, expected)
    assert set(report.loaded) == set(expected)
    assert not (report.adapted or report.initial or report.unused or report.dropped)


def test_bfloat16_becomes_float32(tmp_path, published):
    expected = {k: v.astype(ml_dtypes.bfloat16) for k, v in published(FORMER).items()}
    torch_files.save_zip(tmp_path / "file.pth", torch_files.state_dict(expected))
    variables, _ = weights.load(tmp_path / "file.pth", FORMER)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {np.dtype(np.float32)}
    same(variables, FORMER, {k: v.astype(np.float32) for k, v in expected.items()})


def test_objects_of_the_training_script_are_read_past(tmp_path, published):
    expected = published(FORMER)
    held = {
        "state_dict": torch_files.state_dict({f"module.{k}": v for k, v in expected.items()}),
        "args": argparse.Namespace(lr=0.1),
        "counts": collections.Counter("aab"),
        "by": collections.defaultdict(list, a=[1]),
        "epoch": "best",
    }
    torch_files.save_zip(tmp_path / "file.pth", held)
    variables, report = weights.load(tmp_path / "file.pth", FORMER)
    same(variables, FORMER, expected)
    assert "module." in report.names
    got = unpickle.read(tmp_path / "file.pth")
    assert isinstance(got["args"], unpickle.Inert)
    assert got["counts"] == {"a": 2, "b": 1} and got["by"] == {"a": [1]} and got["epoch"] == "best"
    (tmp_path / "own.pkl").write_bytes(pickle.dumps([torch_files.Recorder(), 1]))
    got = unpickle.read(
        tmp_path / "own.pkl", inert=(f"{torch_files.Recorder.__module__}.Recorder",)
    )
    assert isinstance(got[0], unpickle.Inert) and got[1] == 1


def test_other_files(tmp_path):
    path = tmp_path / "file.pth"
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match=r"file\.pth"):
        unpickle.read(path)
    np.savez(tmp_path / "file.npz", a=np.zeros(2))
    with pytest.raises(ValueError, match=r"without exactly one data\.pkl"):
        unpickle.read(tmp_path / "file.npz")
    with tarfile.open(path, "w") as tar:
        tar.addfile(tarfile.TarInfo("storages"), io.BytesIO())
    with pytest.raises(ValueError, match="tar format"):
        unpickle.read(path)
    path.write_bytes(pickle.dumps({"epoch": 3, "log": [1.0]}))
    with pytest.raises(ValueError, match=r"no state dict; it holds \['epoch', 'log'\]"):
        weights.load(path, FORMER)
    torch_files.save_legacy(path, {"a": torch_files.tensor(np.zeros(64))})
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(ValueError, match="ends early"):
        unpickle.read(path)
    with pytest.raises(FileNotFoundError):
        unpickle.read(tmp_path / "absent.pth")


# What is adapted


def test_heads_of_another_size_keep_their_initial_values(published):
    stored = published(FORMER, num_classes=11)
    model = models.create(FORMER, num_aus=5)
    variables, report = weights.from_torch(stored, FORMER, model)
    assert report.initial == {
        "fc.weight": "head of another size, [11, 64] to [7, 64]",
        "fc.bias": "head of another size, [11] to [7]",
        "AU_fc.weight": "not in the checkpoint",
        "AU_fc.bias": "not in the checkpoint",
    }
    assert len(report.loaded) == len(stored) - 2
    params = variables["params"]
    assert params["fc"]["kernel"].shape == (64, 7) and params["fc_au"]["kernel"].shape == (64, 5)
    bound = 1 / np.sqrt(64)
    assert 0.5 * bound < np.abs(params["fc"]["kernel"]).max() <= bound
    expected = params["s_former"]["conv1"]["kernel"]
    np.testing.assert_array_equal(
        np.transpose(expected, (3, 2, 0, 1)), stored["s_former.conv1.weight"]
    )


def test_values_given_are_the_initial_ones(published):
    stored = published(FORMER)
    del stored["fc.bias"]
    given = jax.tree.map(
        lambda a: np.full(a.shape, 7.0, np.float32), loading.shapes(FORMER, models.create(FORMER))
    )
    variables, report = weights.from_torch(stored, FORMER, given)
    assert report.initial == {"fc.bias": "not in the checkpoint"}
    np.testing.assert_array_equal(variables["params"]["fc"]["bias"], np.full(7, 7.0))
    with pytest.raises(ValueError, match="given as a shape; give the module"):
        weights.from_torch(stored, FORMER, loading.shapes(FORMER, models.create(FORMER)))


def test_positions_on_a_grid_are_resampled_as_pytorch_does():
    ramp = np.linspace(0, 3, 4)[:, None] * 10 + np.linspace(0, 3, 4)
    token = np.full((1, 1, 1), 99.0)
    value = np.concatenate([token, ramp.reshape(1, 16, 1)], axis=1).astype(np.float32)
    got, how = adapt.adapt("vit.pos_embed", value, (1, 65, 1), head=False)
    assert how == "positions resampled, [1, 17, 1] to [1, 65, 1]"
    assert got[0, 0, 0] == 99.0
    # What its `interpolate(mode="bicubic")` makes of 0, 1, 2, 3 along an axis, also with `antialias`.
    up = np.array([-0.1055, 0.1914, 0.6680, 1.2969, 1.7031, 2.3320, 2.8086, 3.1055])
    np.testing.assert_allclose(
        got[0, 1:, 0].reshape(8, 8), up[:, None] * 10 + up, rtol=1e-3, atol=1e-3
    )
    for smooth, down in ((False, [0.1262, 1.5, 2.8738]), (True, [0.1899, 1.5, 2.8101])):
        got, _ = adapt.adapt("pos_embed", value[:, 1:], (1, 9, 1), head=False, smooth=smooth)
        expected = np.array(down)[:, None] * 10 + down
        np.testing.assert_allclose(got[0, :, 0].reshape(3, 3), expected, rtol=1e-3)
    rows, _ = adapt.adapt("x.position_embedding.weight", value[0], (5, 1), head=False)
    assert rows.shape == (5, 1)  # CLIP's have no first axis
    with pytest.raises(ValueError, match="pos_embed"):
        adapt.adapt("pos_embed", value, (1, 24, 1), head=False)


def test_positions_over_time_are_resampled():
    value = np.array([99.0, 0, 10, 20, 30], np.float32).reshape(1, 5, 1)
    got, _ = adapt.adapt("t_former.pos_embedding", value, (1, 9, 1), head=False)
    expected = [99.0, 0, 2.5, 7.5, 12.5, 17.5, 22.5, 27.5, 30]
    np.testing.assert_allclose(got[0, :, 0], expected, rtol=1e-5)


def test_image_kernels_are_inflated():
    value = np.random.default_rng(0).standard_normal((4, 3, 2, 2)).astype(np.float32)
    got, how = adapt.adapt("patch_embed.proj.weight", value, (4, 3, 2, 2, 2), head=False)
    np.testing.assert_allclose(got.sum(2), value, rtol=1e-6)
    np.testing.assert_array_equal(got[:, :, 0], got[:, :, 1])
    assert how.startswith("inflated over time")


def test_pretraining_starts_fine_tuning(published):
    """Other regions in the checkpoint too; the final norm of pre-training is not read."""
    stored = published("mae_dfer_pretrain_small")
    variables, report = weights.from_torch(stored, "mae_dfer_small")
    assert report.initial == {
        "encoder.lg_region_tokens": "another number of regions, [4, 32] to [8, 32]",
        **dict.fromkeys(
            ("fc_norm.weight", "fc_norm.bias", "head.weight", "head.bias"), "not in the checkpoint"
        ),
    }
    assert not report.dropped and "encoder.norm.weight" in report.unused
    assert all(key.startswith(("decoder.", "mask_token", "encoder")) for key in report.unused)
    kernel = variables["params"]["encoder"]["blocks_1"]["mlp"]["fc1"]["kernel"]
    np.testing.assert_array_equal(kernel.T, stored["encoder.blocks.1.mlp.fc1.weight"])
    text = str(report)
    assert "without their 'encoder.'" in text
    assert "left at the initial value, not in the checkpoint: 4 (" in text


def test_a_backbone_finds_its_place_in_a_larger_network(published):
    stored = {
        key.removeprefix("s_former."): value
        for key, value in published(FORMER).items()
        if key.startswith(("s_former.conv1", "s_former.bn1", "s_former.layer"))
    }
    variables, report = weights.from_torch(stored, FORMER)
    assert len(report.loaded) == len(stored) and not report.dropped
    assert report.names == "its own names, as our 's_former.'"
    kernel = variables["params"]["s_former"]["layer4_0"]["conv2"]["kernel"]
    np.testing.assert_array_equal(
        np.transpose(kernel, (3, 2, 0, 1)), stored["layer4.0.conv2.weight"]
    )


@pytest.mark.parametrize("first", [1, 2, 3])
def test_a_plain_vit_starts_one_with_an_au_branch(published, first):
    small = {"dim": 8, "depth": 3, "heads": 2, "patch": 56}
    ours = published("vit", **small)
    stored = {f"module.{key}": value for key, value in ours.items()}
    with_branch = models.create("auvit_vanilla", **small, regions=1, supervise_layer=first)
    variables, report = weights.from_torch(stored, "auvit_vanilla", with_branch)
    assert not report.dropped and all("AU" in key for key in report.initial)
    got = weights.to_torch(variables, "auvit_vanilla")
    for block in range(3):
        half = f"blocks_1.{block}" if block < first else f"blocks_2.{block - first}"
        np.testing.assert_array_equal(
            got[f"{half}.attn.qkv.weight"], ours[f"blocks.{block}.attn.qkv.weight"]
        )


# The wrong network


@pytest.fixture
def few_names(monkeypatch):
    known = (FORMER, "mae_dfer_small", "mae_dfer_pretrain_small")
    monkeypatch.setattr(models, "names", lambda: known)


def test_a_checkpoint_of_another_network_names_the_closest(tmp_path, few_names, published):
    torch_files.save_zip(tmp_path / "file.pth", torch_files.state_dict(published("mae_dfer_small")))
    with pytest.raises(
        ValueError, match=r"file.pth: .*not one of 'former_dfer_small'.*'mae_dfer_small'"
    ):
        weights.load(tmp_path / "file.pth", FORMER)
    with pytest.raises(ValueError, match="no architecture here is close"):
        weights.from_torch({"a.weight": np.zeros((3, 3), np.float32)}, FORMER)


def test_a_shape_that_nothing_explains_is_an_error(few_names, published):
    stored = published("mae_dfer_small")
    stored["blocks.0.mlp.fc1.bias"] = np.zeros(3, np.float32)
    message = (
        r"blocks.0.mlp.fc1.bias: shape \[3\] in the checkpoint, \[128\] in the model; the closest"
    )
    with pytest.raises(ValueError, match=message):
        weights.from_torch(stored, "mae_dfer_small")


# Converted weights


def test_convert_and_load_again(tmp_path, published):
    stored = published("mae_dfer_small", num_classes=11, num_aus=4)
    path = tmp_path / "file.pth"
    torch_files.save_zip(path, {"model": torch_files.state_dict(stored), "epoch": "best"})
    report = weights.convert(path, "mae_dfer_small", tmp_path / "out")
    assert not report.initial
    model, variables, card = weights.load_converted(tmp_path / "out")
    assert (model.num_classes, model.num_aus) == (11, 4)
    same(variables, "mae_dfer_small", stored)
    assert card["model"] == "mae_dfer_small" and card["source"]["file"] == "file.pth"
    assert len(card["source"]["sha256"]) == 64
    assert card["preprocess"]["mean"] == [0.485, 0.456, 0.406]
    assert card["preprocess"]["frames"] == 8
    assert card == json.loads((tmp_path / "out" / "card.json").read_text())


def test_converting_with_options(tmp_path, published):
    stored = published("mae_dfer_small")
    save_safetensors(tmp_path / "file.safetensors", stored)
    options = {"num_classes": 3, "readout": "org", "region": (2, 2, 2)}
    report = weights.convert(
        tmp_path / "file.safetensors", "mae_dfer_small", tmp_path / "out", **options
    )
    assert set(report.initial) == {"head.weight", "head.bias"}
    model, variables, _ = weights.load_converted(tmp_path / "out")
    assert (model.num_classes, model.readout, model.region) == (3, "org", (2, 2, 2))
    assert variables["params"]["head"]["kernel"].shape == (32, 3)
    with pytest.raises(ValueError, match=r"no card\.json"):
        weights.load_converted(tmp_path)
    with pytest.raises(ValueError, match=r"readouts.*Did you mean 'readout'"):
        weights.convert(
            tmp_path / "file.safetensors", "mae_dfer_small", tmp_path / "out2", readouts="org"
        )


def test_converted_weights_are_read_as_a_checkpoint_is(tmp_path, published):
    stored = published("mae_dfer_small", num_aus=4)
    torch_files.save_zip(tmp_path / "file.pth", torch_files.state_dict(stored))
    out = tmp_path / "out"
    weights.convert(tmp_path / "file.pth", "mae_dfer_small", out)
    assert {path.stat().st_mode & 0o777 for path in out.iterdir()} == {0o666 & ~umask()}
    moved = tmp_path / "moved.safetensors"
    moved.write_bytes((out / "weights.safetensors").read_bytes())
    for place in (out, out / "weights.safetensors", moved):
        got = loading.read(place)
        assert got.keys() == stored.keys()
        for key, value in stored.items():
            np.testing.assert_array_equal(got[key], value)
    _, report = weights.load(out, "mae_dfer_small")  # without an AU head, as any run may be
    assert not report.initial and all("fc_au" in key for key in report.dropped)
    with pytest.raises(ValueError, match=r"holds weights\.safetensors already"):
        weights.convert(tmp_path / "file.pth", "mae_dfer_small", out)
    weights.convert(tmp_path / "file.pth", "mae_dfer_small", out, overwrite=True)
    with pytest.raises(ValueError, match=r"no weights\.safetensors"):
        weights.load(tmp_path, "mae_dfer_small")


def umask():
    now = os.umask(0)
    os.umask(now)
    return now


def test_converted_weights_start_a_run(tmp_path, published):
    stored = published(FORMER)
    torch_files.save_zip(tmp_path / "file.pth", torch_files.state_dict(stored))
    weights.convert(tmp_path / "file.pth", FORMER, tmp_path / "out")
    empty = jax.tree.map(
        lambda a: np.zeros(a.shape, np.float32), loading.shapes(FORMER, models.create(FORMER))
    )
    for place in ("out", "out/weights.safetensors", "file.pth"):
        run = types.SimpleNamespace(model={"name": FORMER}, init_from=str(tmp_path / place))
        same(initial.initial_weights(run, empty), FORMER, stored)


def test_damaged_cards_say_so(tmp_path, published):
    torch_files.save_zip(tmp_path / "file.pth", torch_files.state_dict(published(FORMER)))
    weights.convert(tmp_path / "file.pth", FORMER, tmp_path)
    for text in ("{", "[]", "{}", '{"format": 1}', '{"format": 9, "model": "a", "options": {}}'):
        (tmp_path / "card.json").write_text(text)
        with pytest.raises(ValueError, match=r"damaged; convert|a card of format"):
            weights.load_converted(tmp_path)


@pytest.mark.parametrize("name", [FORMER, "mae_dfer_small", "resnet_small", "resnet18"])
def test_the_table_of_layouts_is_current(name):
    assert layouts.table()[name] == layouts.layout(name)


@pytest.mark.slow
def test_the_whole_table_of_layouts_is_current():
    assert layouts.table() == {name: layouts.layout(name) for name in models.names()}
