"""Pre-trained encoders and FRU-Adapter: what is added to them, published files, mistakes."""

import functools
import re

import golden_encoders
import golden_encoders_make
import golden_rule
import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import places
import pytest
import safetensors.numpy
import tiny_hosts
from flax import traverse_util

from aufer_jax import models, weights
from aufer_jax.models import encoders, fru_adapter
from aufer_jax.weights import loading

RNGS = {"params": jax.random.key(0), "dropout": jax.random.key(1)}
CLIP = np.random.default_rng(0).standard_normal((2, 4, 16, 16, 3)).astype(np.float32)
FAMILIES = ("clip", "dinov2", "dinov3", "videomae", "vjepa2")


@functools.cache
def filled(name, **options):
    """A tiny host with random values everywhere."""
    model = models.create(name, **{**tiny_hosts.TINY[name], **options})
    shapes = jax.eval_shape(model.init, RNGS, CLIP)
    rng = np.random.default_rng(0)
    draw = lambda leaf: 0.3 * rng.standard_normal(leaf.shape).astype(np.float32)  # noqa: E731
    return model, jax.tree.map(draw, shapes)


@pytest.mark.parametrize("name", [*FAMILIES, "fru_adapter"])
def test_an_au_head_changes_no_expression(name):
    both, variables = filled(name, num_aus=18)
    alone, _ = filled(name)
    params = {k: v for k, v in variables["params"].items() if k != "fc_au"}

    @jax.jit
    def run(variables, params):
        return both.apply(variables, CLIP), alone.apply({"params": params}, CLIP)

    out, without = run(variables, params)
    assert out["au"].shape == (2, 18) and "au" not in without
    np.testing.assert_array_equal(out["expression"], without["expression"])


@pytest.mark.parametrize("adapter", ["serial", "parallel", "lora"])
def test_adapters_begin_as_nothing(adapter):
    model, _ = filled("dinov2", adapter=adapter)
    plain, variables = filled("dinov2", adapter="none")
    flat = traverse_util.flatten_dict(variables["params"])
    start = traverse_util.flatten_dict(jax.jit(model.init)(RNGS, CLIP)["params"])
    own = {path: value for path, value in start.items() if path not in flat}
    assert own and all(re.search("adapter|lora", "/".join(path)) for path in own)

    @jax.jit
    def run(own):
        params = traverse_util.unflatten_dict({**flat, **own})
        with_, without = model.apply({"params": params}, CLIP), plain.apply(variables, CLIP)
        return jnp.abs(with_["features"] - without["features"]).max()

    assert run(own) < 1e-5
    assert run({path: jax.random.normal(RNGS["params"], x.shape) for path, x in own.items()}) > 0.1


def test_frames_of_an_encoder_of_images_meet_in_the_head_alone():
    model, variables = filled("dinov2", temporal="attention")
    run = jax.jit(model.apply)
    out, moved = run(variables, CLIP), run(variables, jnp.asarray(CLIP).at[:, 0].add(1.0))
    change = np.abs(moved["times"] - out["times"]).max((0, 2))
    assert change[0] > 1e-3 and not change[1:].any()
    swapped = run(variables, CLIP[:, ::-1])  # the order counts
    assert np.abs(swapped["features"] - out["features"]).max() > 1e-4


def test_rotations_know_distances_only():
    """Products of turned queries and keys are the same wherever the two are, if as far from each other."""
    cos, sin = encoders.video_rotation((4, 3, 3), 14)
    assert cos.shape == (36, 14) and (cos[:, 12:] == 1).all() and not sin[:, 12:].any()
    q = np.random.default_rng(0).standard_normal((2, 8)).astype(np.float32)
    rotation = encoders.image_rotation((1, 4), 0, 8)

    def product(i, j):
        turned = [encoders.rotated(q[k], rotation[:, p], True) for k, p in ((0, i), (1, j))]
        return float(turned[0] @ turned[1])

    assert product(0, 1) == pytest.approx(product(2, 3), rel=1e-4)
    assert product(0, 1) != pytest.approx(product(0, 2), rel=1e-2)
    assert encoders.image_rotation((2, 2), 3, 8).shape == (2, 7, 8)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("clip", {"adapter": "lorra"}, "adapter: 'lorra'.*'lora'"),
        ("clip", {"mlp": "relu"}, "mlp: 'relu'"),
        ("clip", {"biases": "qkx"}, "biases: 'qkx'"),
        ("clip", {"pool": "whole"}, "pool: 'whole' is for encoders of clips"),
        ("clip", {"class_token": False}, "class_token is False"),
        ("clip", {"patch": 7}, "H of the clip: 16 is not a multiple of 7"),
        ("clip", {"heads": 3}, "heads: 3 do not divide"),
        ("videomae", {"tubelet": 3}, "T of the clip: 4 is not a multiple of 3"),
        ("videomae", {"registers": 2}, "tubelet: 2, of encoders of clips"),
        ("fru_adapter", {"attach": "beside"}, "attach: 'beside'"),
        ("fru_adapter", {"recalibrate": "all"}, "recalibrate: 'all'"),
        ("fru_adapter", {"patch": 7}, "multiple of the patch 7"),
    ],
)
def test_mistakes_are_named(name, options, message):
    model = models.create(name, **{**tiny_hosts.TINY[name], **options})
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(model.init, RNGS, CLIP)


# --- FRU-Adapter ----------------------------------------------------------------------------------


@pytest.mark.parametrize("recalibrate", ["frames", "places", "none"])
def test_the_adapter_by_hand(recalibrate):
    adapter = fru_adapter.FRUAdapter(frames=3, hidden=4, recalibrate=recalibrate)
    rng = np.random.default_rng(1)
    x = rng.standard_normal((6, 2, 5)).astype(np.float32)
    shapes = jax.eval_shape(adapter.init, RNGS, x)
    variables = jax.tree.map(lambda s: rng.standard_normal(s.shape).astype(np.float32), shapes)
    p = variables["params"]

    def linear(x, part):
        return x @ part["kernel"] + part["bias"]

    def normed(x, part):
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
        return x * part["scale"] + part["bias"]

    def softmax(x):
        weights = np.exp(x - x.max(-1, keepdims=True))
        return weights / weights.sum(-1, keepdims=True)

    former, expected = p["TFormer"], np.zeros((2, 3, 2, 5))
    y = normed(linear(x, p["linear1"]), p["ln"]).reshape(2, 3, 2, 4)
    for clip in range(2):
        for place in range(2):
            rows = y[clip, :, place]  # [T, h]
            mean = rows.mean(-1) if recalibrate == "places" else y[clip].mean((1, 2))
            if recalibrate != "none":
                rows = rows * softmax(linear(mean, p["T_linear1"]))[:, None]
            seen = normed(rows, former["norm"])
            q, k, v = (linear(seen, former[f"proj_{part}"]) for part in "QKV")
            rows = rows + linear(softmax(q @ k.T / 2) @ v, former["proj_output"])
            expected[clip, :, place] = linear(rows, p["linear2"])
    got = adapter.apply(variables, x)
    np.testing.assert_allclose(got, expected.reshape(6, 2, 5), rtol=1e-4, atol=1e-4)


def test_the_adapter_stands_beside_a_block_or_before_it():
    beside, variables = filled("fru_adapter")
    before = beside.clone(attach="before")
    out, other = (jax.jit(m.apply)(variables, CLIP) for m in (beside, before))
    np.testing.assert_array_equal(out["embedded"], other["embedded"])
    assert np.abs(out["block0"] - other["block0"]).max() > 1e-2


def test_what_is_trained():
    """FRU-Adapter's authors tell 2 % without heads; an encoder's parts are few as well."""
    counts = {}
    for name, options, frozen in (
        ("fru_adapter", {}, fru_adapter.FROZEN),
        ("clip", {"adapter": "parallel", "temporal": "attention"}, encoders.FROZEN),
        ("clip", {"adapter": "lora", "adapter_dim": 8}, encoders.FROZEN),
    ):
        flat = loading.keymap.flat(loading.shapes(name, models.create(name, **options)))
        trained = {p: x.size for p, x in flat.items() if not re.search(frozen[0], "/".join(p[1:]))}
        counts[len(counts)] = sum(trained.values())
        adapters = sum(n for p, n in trained.items() if "tsea" in p[1])
        if name == "fru_adapter":
            assert 0.02 < adapters / sum(x.size for x in flat.values()) < 0.03
    assert counts[2] == 12 * 2 * 2 * 768 * 8 + 768 * 7 + 7
    block = 4 * 768**2 + 4 * 768 + 2 * 768**2 + 2 * 768 + 4 * 768 + 16 * 768
    assert counts[1] == 12 * (2 * 768 * 64 + 64 + 768) + block + 768 * 7 + 7


# --- Published files ------------------------------------------------------------------------------


def test_a_file_with_both_of_clips_networks_is_read(tmp_path):
    """In half precision, under the names of the whole, on a larger grid."""
    fixture = golden_rule.load(places.GOLDEN / "clip")
    held = {f"vision_model.{key}": value for key, value in golden_rule.state_dict(fixture).items()}
    held |= {
        "logit_scale": np.ones(1, np.float32), "visual_projection.weight": np.zeros((4, 32), np.float32),
        "text_model.encoder.layers.0.mlp.fc1.bias": np.zeros(4, np.float32),
        "vision_model.embeddings.position_ids": np.arange(17)[None],
    }  # fmt: skip
    stored = {
        k: v.astype(ml_dtypes.bfloat16) if v.dtype == np.float32 else v for k, v in held.items()
    }
    safetensors.numpy.save_file(stored, tmp_path / "model.safetensors")
    options = {"patch": 8, "dim": 32, "depth": 2, "heads": 2, "hidden": 48, "temporal": "attention"}
    model = models.create("clip", **options, adapter="lora", num_aus=4)
    initial = jax.tree.map(
        lambda leaf: np.full(leaf.shape, 7, np.float32),
        jax.eval_shape(model.init, RNGS, np.zeros((1, 4, 48, 48, 3), np.float32)),
    )
    variables, report = weights.load(tmp_path / "model.safetensors", "clip", initial)
    assert not report.dropped and len(report.unused) == 4
    assert list(report.adapted) == ["embeddings.position_embedding.weight"]
    own = {key.split(".")[0] for key in report.initial if not re.search("lora", key)}
    assert own == {"classifier", "fc_au", "temporal_embedding", "temporal_block"}
    kernel = variables["params"]["layer_1_attention"]["query"]["kernel"]
    key = "vision_model.encoder.layers.1.self_attn.q_proj.weight"
    np.testing.assert_allclose(kernel, held[key].T, rtol=0.01)
    assert variables["params"]["positions"].shape == (37, 32)


@pytest.mark.parametrize("name", ["clip", "dinov2_registers", "videomae_finetuned", "vjepa2"])
def test_names_go_back_as_they_came(name):
    fixture = golden_rule.load(places.GOLDEN / name)
    family, told = fixture["model"], golden_rule.state_dict(fixture)
    model = models.create(family, **golden_encoders.options(family, fixture["config"]))
    size = fixture["config"].get("image_size", 32)
    shapes = jax.eval_shape(model.init, RNGS, np.zeros((1, 4, size, size, 3), np.float32))
    initial = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), shapes)
    variables, report = weights.from_torch(told, family, initial)
    back = weights.to_torch(variables, family)
    named = {re.sub(r"^videomae\.", "", k).replace("fc_norm", "layernorm"): k for k in told}
    for key in report.loaded:
        np.testing.assert_array_equal(back[key], told[named[key]])
    assert len(report.loaded) + len(report.unused) == len(told)


def test_published_names_of_fru_adapter():
    model = models.create("fru_adapter", **tiny_hosts.TINY["fru_adapter"])
    shapes = jax.eval_shape(model.init, RNGS, CLIP)
    keys = weights.to_torch(jax.tree.map(lambda s: np.zeros(s.shape), shapes), "fru_adapter")
    for key in (
        "patch_embed.proj.weight", "blocks.0.attn.qkv.weight", "fc_norm.weight", "cls_token",
        "tsea_blocks.0.T_linear1.weight", "tsea_blocks.0.TFormer.proj_Q.bias", "classifier.fc2.bias",
    ):  # fmt: skip
        assert key in keys


@pytest.mark.slow
@pytest.mark.parametrize("name", golden_encoders_make.CASES)
def test_fixtures_are_what_transformers_gives(name):
    pytest.importorskip("transformers")
    told, outputs = golden_encoders_make.fixture(name)
    stored = golden_rule.load(places.GOLDEN / name)
    assert stored["tensors"] == told["tensors"] and stored["config"] == told["config"]
    for key, value in outputs.items():
        np.testing.assert_allclose(stored["outputs"][key], value, rtol=1e-4, atol=1e-5)
