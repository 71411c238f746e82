"""ScoreCAM against NumPy, where it and attention point, and the command on small trained runs."""

import json
import shutil

import cv2
import finished
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toydata
from flax import linen as nn

from aufer_jax import cli, explain, models, runs
from aufer_jax.explain import panels, samples

RNG = np.random.default_rng(0)


def initialised(model, x):
    """Parameters and statistics, as arrays that a test may change."""
    key = {"params": jax.random.key(0), "dropout": jax.random.key(0)}
    variables = jax.device_get(jax.jit(model.init)(key, x))
    return {name: variables[name] for name in ("params", "batch_stats") if name in variables}


# --- ScoreCAM -----------------------------------------------------------------------------------


def oracle(forward, x, label, baseline=0.0, channels=None):
    """ScoreCAM of one image [H, W, C], channel after channel; OpenCV enlarges with half-pixel centres."""
    maps, _ = forward(x)
    height, width = x.shape[:2]

    def probability(image):
        logits = forward(image)[1]
        e = np.exp(logits - logits.max())
        return e[label] / e.sum()

    start, total = probability(np.full_like(x, baseline)), np.zeros((height, width))
    for k in range(maps.shape[-1]) if channels is None else channels:
        up = cv2.resize(maps[..., k], (width, height), interpolation=cv2.INTER_LINEAR)
        if up.max() == up.min():
            continue
        mask = (up - up.min()) / (up.max() - up.min())
        masked = baseline + (x - baseline) * mask[..., None]
        total += (probability(masked) - start) * up
    return np.maximum(total, 0)


KERNEL = RNG.normal(size=(3, 6)).astype(np.float32)  # 1x1 convolution over 4x4 cells
HEAD = RNG.normal(size=(6, 4)).astype(np.float32)


def forward(x):
    """Means of 4x4 cells -> six channels, rectified -> their means -> four logits; in NumPy."""
    h, w, c = x.shape
    cells = x.reshape(h // 4, 4, w // 4, 4, c).mean((1, 3))
    maps = np.maximum(cells @ KERNEL, 0)
    return maps, 3 * maps.mean((0, 1)) @ HEAD


def apply(x):
    b, h, w, c = x.shape
    cells = x.reshape(b, h // 4, 4, w // 4, 4, c).mean((2, 4))
    maps = jax.nn.relu(cells @ KERNEL)
    tokens = maps.reshape(b, -1, maps.shape[-1])
    other = 100 * jnp.ones((b, 1, maps.shape[-1]))
    return {
        "map": maps,
        "tokens": jnp.concatenate([other, tokens], 1),
        "expression": 3 * maps.mean((1, 2)) @ HEAD,
    }


IMAGES = RNG.normal(size=(3, 16, 16, 3)).astype(np.float32)


@pytest.mark.parametrize("chunk", [1, 4, 32])
@pytest.mark.parametrize("layer", ["map", "tokens"])
def test_score_cam_is_what_numpy_gives(layer, chunk):
    labels = np.array([3, 1, 3])
    ours = explain.score_cam(apply, IMAGES, layer, labels, chunk=chunk)
    theirs = np.stack([oracle(forward, x, label) for x, label in zip(IMAGES, labels, strict=True)])
    assert theirs.max((1, 2)).min() > 0.01
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


def test_score_cam_of_the_predicted_class_and_another_baseline():
    labels = np.array([forward(x)[1].argmax() for x in IMAGES])
    ours = explain.score_cam(apply, IMAGES, "map", baseline=0.5)
    theirs = [oracle(forward, x, label, 0.5) for x, label in zip(IMAGES, labels, strict=True)]
    np.testing.assert_allclose(ours, np.stack(theirs), atol=1e-5)


def test_score_cam_with_the_channels_that_vary_most():
    spread = forward(IMAGES[0])[0].var((0, 1))
    ours = explain.score_cam(apply, IMAGES[:1], "map", 1, top=2)
    theirs = oracle(forward, IMAGES[0], 1, channels=np.argsort(spread)[-2:])
    np.testing.assert_allclose(ours[0], theirs, atol=1e-5)
    everything = explain.score_cam(apply, IMAGES[:1], "map", 1)
    np.testing.assert_array_equal(explain.score_cam(apply, IMAGES[:1], "map", 1, top=6), everything)


def test_tokens_of_a_grid_that_is_no_square():
    wide = RNG.normal(size=(1, 8, 24, 3)).astype(np.float32)
    ours = explain.score_cam(apply, wide, "tokens", 2, grid=(2, 6))
    np.testing.assert_allclose(ours[0], oracle(forward, wide[0], 2), atol=1e-5)


def test_parameters_bound_to_a_partial_are_not_compiled_in():
    traced = []

    def scaled(scale, x):
        traced.append(1)
        return apply(scale * x)

    for scale in (1.0, 0.5):
        bound = jax.tree_util.Partial(scaled, jnp.float32(scale))
        ours = explain.score_cam(bound, IMAGES[:1], "map", 1)
        theirs = oracle(lambda x, s=scale: forward(s * x), IMAGES[0], 1)
        np.testing.assert_allclose(ours[0], theirs, atol=1e-5)
        traced.append(0)
    assert sum(traced[traced.index(0) :]) == 1  # shapes alone; nothing is compiled again


@pytest.mark.parametrize("layer", ["layer2", "tokens"])
def test_score_cam_finds_the_planted_patch(layer):
    """A network whose class is redness alone, where the one red patch is in a known corner."""
    model = models.create("resnet_small", num_classes=0, layers=(1, 1), width=8, stem_stride=1)
    x = RNG.normal(0, 0.02, (4, 32, 32, 3)).astype(np.float32)
    corners = [(4, 4), (4, 20), (20, 4), (20, 20)]
    for image, (top, left) in zip(x, corners, strict=True):
        image[top : top + 8, left : left + 8] = (1.5, -0.5, -0.5)
    variables = initialised(model, x)

    def outputs(variables, x):
        found = model.apply(variables, x, train=False)
        redness = 20 * (x[..., 0] - x[..., 1]).mean((1, 2))
        tokens = found["layer2"].reshape(len(x), 256, -1)
        tokens = jnp.concatenate([tokens.mean(1, keepdims=True), tokens], 1)
        logits = jnp.stack([redness, jnp.full_like(redness, 1.0)], -1)
        return {**found, "tokens": tokens, "expression": logits}

    bound = jax.tree_util.Partial(outputs, variables)
    heat = np.asarray(explain.score_cam(bound, x, layer, 0))
    for image, (top, left) in zip(heat, corners, strict=True):
        rest = np.ones((32, 32), bool)
        rest[top - 4 : top + 12, left - 4 : left + 12] = False
        assert image[top : top + 8, left : left + 8].mean() > 2 * image[rest].mean()


def test_layers_and_channels_that_there_are_not():
    with pytest.raises(ValueError, match=r"layer: 'mapp' is not known; .*Did you mean 'map'"):
        explain.score_cam(apply, IMAGES, "mapp", 0)
    for top in (0, -1):
        with pytest.raises(ValueError, match=f"top: {top} must be greater than 0"):
            explain.score_cam(apply, IMAGES, "map", 0, top=top)
    with pytest.raises(ValueError, match="neither map nor tokens"):
        explain.score_cam(apply, IMAGES, "expression", 0)
    with pytest.raises(ValueError, match="21 tokens are not a square"):
        explain.as_map(jnp.zeros((1, 21, 4)))


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("auvit_paper", "stage2"),
        ("auvit_vanilla", "blocks"),
        ("auvit_token", "blocks"),
        ("cnn_vit", "blocks"),
        ("resnet18", "feature_map"),
    ],
)
def test_default_layer(name, layer):
    entry, model = models.architecture(name), models.create(name)
    x = jnp.zeros((1, entry.preprocess.size, entry.preprocess.size, 3))
    key = {"params": jax.random.key(0), "dropout": jax.random.key(0)}
    shapes = jax.eval_shape(lambda: model.init_with_output(key, x)[0])
    assert explain.default_layer(shapes) == layer
    assert layer in explain.spatial_layers(shapes)


# --- Attention ----------------------------------------------------------------------------------


def test_token_maps_read_the_class_token_or_all():
    matrix = np.arange(25.0).reshape(1, 5, 5)
    np.testing.assert_array_equal(explain.token_map(matrix), [[[1, 2], [3, 4]]])
    two = np.arange(36.0).reshape(1, 6, 6)
    np.testing.assert_array_equal(explain.token_map(two, token=1), [[[8, 9], [10, 11]]])
    plain = np.arange(16.0).reshape(1, 4, 4)
    np.testing.assert_array_equal(explain.token_map(plain), [[[6, 7], [8, 9]]])
    np.testing.assert_array_equal(explain.token_map(plain, grid=(1, 3), token=2), [[[9, 10, 11]]])


def test_rollout_multiplies_the_blocks():
    first = np.array([[0.2, 0.8], [0.6, 0.4]])
    second = np.array([[1.0, 0.0], [0.5, 0.5]])
    # heads whose means these are
    blocks = [np.stack([m + 0.1, m - 0.1])[None] for m in (first, second)]
    # (second + I) / 2 @ (first + I) / 2
    expected = np.array([[1.0, 0.0], [0.25, 0.75]]) @ np.array([[0.6, 0.4], [0.3, 0.7]])
    np.testing.assert_allclose(explain.rollout(blocks)[0], expected, rtol=1e-6)


def softmax(x):
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def test_attention_of_a_vit_is_what_numpy_gives():
    """The first block's attention from the network's tokens, by the definition; blocks in their order."""
    model = models.create("vit", dim=16, depth=11, heads=2, mlp_ratio=1.0, patch=7)
    x = RNG.normal(size=(2, 28, 28, 3)).astype(np.float32)
    variables = initialised(model, x)
    p = variables["params"]
    block = p["blocks_0"]
    block["attn"]["qkv"]["kernel"] = 20 * block["attn"]["qkv"]["kernel"]
    weights = explain.attention_weights(model, variables, x)
    assert list(weights) == [f"blocks_{i}/attn" for i in range(11)]

    patches = np.asarray(jax.jit(model.apply)(variables, x)["patch_embed"])
    first = np.broadcast_to(p["cls_token"], (2, 1, 16))
    tokens = np.concatenate([first, patches], 1) + p["pos_embed"]
    tokens = tokens - tokens.mean(-1, keepdims=True)
    tokens = tokens / np.sqrt((tokens**2).mean(-1, keepdims=True) + 1e-6)
    qkv = tokens @ block["attn"]["qkv"]["kernel"] + block["attn"]["qkv"]["bias"]
    q, k = (qkv[..., 16 * i : 16 * i + 16].reshape(2, 17, 2, 8) for i in (0, 1))
    expected = softmax(np.einsum("bqhd,bkhd->bhqk", q, k) / np.sqrt(8))
    assert expected.max() > 0.2
    np.testing.assert_allclose(weights["blocks_0/attn"], expected, atol=1e-5)

    (name, matrix), *rest = explain.mean_attention(weights).items()
    assert (name, rest) == ("blocks_10/attn", [])
    np.testing.assert_allclose(matrix, weights[name].mean(1))


def test_every_stage_has_its_own_attention_and_it_costs_nothing_unasked():
    options = {"dim": 16, "heads": (2, 2), "depth": (2, 1), "ir_channels": (8, 16)}
    model = models.create("auvit_small", regions=None, **options)
    x = RNG.normal(size=(1, 32, 32, 3)).astype(np.float32)
    variables = initialised(model, x)
    weights = explain.attention_weights(model, variables, x)
    assert [block.shape for block in weights.values()] == [(1, 2, n, n) for n in (16, 16, 4)]
    blocks = [f"transformers_{stage}/blocks_{i}/attn" for stage, i in ((0, 0), (0, 1), (1, 0))]
    assert list(weights) == blocks
    assert list(explain.mean_attention(weights)) == blocks[1:]
    traced = jax.make_jaxpr(lambda x: model.apply(variables, x))(x)
    assert len(traced.jaxpr.outvars) == len(jax.eval_shape(model.apply, variables, x))


def test_a_network_without_attention_has_none():
    class Plain(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            return {"expression": nn.Dense(2)(x)}

    variables = Plain().init(jax.random.key(0), jnp.zeros((1, 3)), False)
    assert explain.attention_weights(Plain(), variables, jnp.zeros((1, 3))) == {}


# --- Figures and runs ---------------------------------------------------------------------------


def test_overlay_is_hot_where_the_map_is():
    image = np.zeros((8, 8, 3), np.uint8)
    heat = np.zeros((2, 2))
    heat[0, 1] = 3
    shown = panels.overlay(image, heat)
    assert shown.shape == (8, 8, 3)
    assert shown[0, 7, 0] > shown[0, 7, 2]  # red
    assert shown[7, 0, 2] > shown[7, 0, 0]  # blue
    assert np.isfinite(panels.overlay(image, np.zeros((2, 2)))).all()


@pytest.fixture(scope="module")
def sources():
    with pytest.MonkeyPatch.context() as patch:
        yield finished.memory_catalog(patch, 12)


@pytest.fixture(scope="module")
def workdirs(tmp_path_factory, sources):
    folder = tmp_path_factory.mktemp("runs")
    for seed, name in enumerate("ab"):
        finished.save(folder / name, finished.images("auvit-vit", seed=seed))
    return folder


def test_two_runs_are_explained(workdirs, capsys, tmp_path):
    out = tmp_path / "out"
    arguments = [
        "run",
        "explain",
        str(workdirs / "a"),
        str(workdirs / "b"),
        "--count",
        "3",
        "--top",
        "4",
    ]
    assert cli.main([*arguments, "--out", str(out)]) == 0
    assert str(out) in capsys.readouterr().out
    summary = json.loads((out / "explain.json").read_text())
    assert len(summary["keys"]) == 3
    assert len(set(summary["labels"])) == 3
    assert list(summary["runs"]) == ["a", "b"]
    assert summary["runs"]["a"]["layer"] == "blocks"
    found = {path.name for path in out.iterdir()}
    assert found >= {"score_cam.png", "attention.png"}
    disagreement = summary["disagreement"]
    correct = {}
    for name in ("a", "b"):
        metrics = runs.evaluate(workdirs / name)["test"]
        correct[name] = round(12 * metrics["accuracy"])
    assert disagreement["samples"] == 12
    assert disagreement["better"] - disagreement["worse"] == correct["b"] - correct["a"]
    for name in ("better", "worse"):
        assert (f"{name}.png" in found) == bool(disagreement[name])


def test_four_runs_are_one_grid(workdirs, tmp_path, monkeypatch):
    """A row for each face; a column for the face, and one for each run under its name."""
    shutil.copytree(workdirs / "a", tmp_path / "c")
    shutil.copytree(workdirs / "b", tmp_path / "other" / "a")
    four = [workdirs / "a", workdirs / "b", tmp_path / "c", tmp_path / "other" / "a"]
    drawn = {}
    monkeypatch.setattr(samples, "save", lambda figure, path: drawn.update({path.stem: figure}))
    summary = explain.explain(four, count=2, top=1, out=tmp_path)
    short = [
        f"{path.parent.name}/{path.name}" for path in four
    ]  # the last folders, until they differ
    assert list(summary["runs"]) == short and "disagreement" not in summary
    said = [run["predicted"] for run in summary["runs"].values()]
    assert said[2:] == said[:2]
    assert drawn.keys() == {"score_cam", "attention"}
    for figure in drawn.values():
        titles = [axes.get_title().partition("\n")[0] for axes in figure.axes[:5]]
        assert titles == ["face", *summary["runs"]] and len(figure.axes) == 2 * 5
        shown = [axes.images[0].get_array() for axes in figure.axes[:5]]
        np.testing.assert_array_equal(shown[1], shown[3])
        assert np.abs(shown[1] - shown[2]).max() > 0.01


def test_records_and_layer_are_chosen(workdirs):
    first = explain.explain([workdirs / "a"], count=2, top=2)
    assert (workdirs / "a" / "explain" / "score_cam.png").exists()
    chosen = first["keys"][::-1]
    again = explain.explain([workdirs / "a"], keys=chosen, layer="patch_embed", top=2)
    assert again["keys"] == chosen
    assert again["runs"]["a"]["layer"] == "patch_embed"
    assert again["runs"]["a"]["predicted"] == first["runs"]["a"]["predicted"][::-1]


def test_mistakes_are_named(workdirs, tmp_path):
    with pytest.raises(ValueError, match="holds no run"):
        explain.explain([tmp_path])
    with pytest.raises(ValueError, match="got 5, one to four can be explained"):
        explain.explain([workdirs / "a"] * 5)
    with pytest.raises(ValueError, match=r"layer: 'blok' .* Did you mean 'blocks'"):
        explain.explain([workdirs / "a"], layer="blok", count=1)
    with pytest.raises(ValueError) as found:  # keys may be people's names
        explain.explain([workdirs / "a"], keys=["fase3"])
    assert str(found.value).startswith("keys: no record 'fase3' among 12; the nearest: face3, face")
    assert str(found.value).count("face") == 3


def test_runs_on_other_records_are_refused(workdirs, sources, tmp_path):
    sources["others"] = toydata.images(9, "others")
    finished.save(tmp_path / "c", finished.images("auvit-vit", **{"data.target": "others"}))
    with pytest.raises(ValueError, match="different records"):
        explain.explain([workdirs / "a", tmp_path / "c"], count=12, top=1)


def test_runs_of_other_classes_are_refused(workdirs, sources, tmp_path):
    sources["renamed"] = toydata.images(12, "renamed")
    info = toydata.info("renamed", expressions=("fear", "happiness", "anger"))
    sources["renamed"] = toydata.records.MemorySource(info, sources["renamed"].records)
    finished.save(tmp_path / "c", finished.images("auvit-vit", **{"data.target": "renamed"}))
    with pytest.raises(ValueError, match="c' has other classes than the first"):
        explain.explain([workdirs / "a", tmp_path / "c"], count=2, top=1)


def test_faces_in_memory_are_not_needed_to_draw_disagreements():
    images = np.stack([cv2.resize(toydata.picture(i), (16, 16)) for i in range(7)])
    names = ["fear"] * 7
    figure = panels.disagreements(images, names, ("a", ["anger"] * 7), ("b", names), "title")
    texts = [(t.get_text(), t.get_color()) for axes in figure.axes for t in axes.texts]
    assert texts[:3] == [("fear", "black"), ("a: anger", "tab:red"), ("b: fear", "tab:green")]
    assert len(texts) == 21
