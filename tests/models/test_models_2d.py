"""ResNet, IR-50, ViT and AU-ViT: sizes, wiring, switches and one training step of tiny ones."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import toymodels
from flax import traverse_util

from aufer_jax import facs, models
from aufer_jax.geometry.mean_face import NEUTRAL
from aufer_jax.models.au_branch import AUBranch
from aufer_jax.models.transformer import Block
from aufer_jax.weights import keymap

KEY = jax.random.key(0)
RNGS = {"params": KEY, "dropout": jax.random.key(1)}


@pytest.fixture(autouse=True, scope="module")
def quick_compilation():
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


def _filled(model, x):
    return toymodels.filled(jax.eval_shape(model.init, RNGS, x))


def _images(batch=4, size=28, seed=0):
    shape = (batch, size, size, 3)
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def _shapes(model, size):
    keys = jax.eval_shape(lambda: RNGS)
    image = jax.ShapeDtypeStruct((1, size, size, 3), jnp.float32)
    variables = jax.eval_shape(model.init, keys, image)
    return variables, jax.eval_shape(model.apply, variables, image)


def _count(variables):
    return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(variables["params"]))


# --- Sizes -------------------------------------------------------------------------------------

PARAMETERS = {  # published figures where there are any
    "resnet18": 11_180_103,  # torchvision's 11,689,512 less the 1000-way head, plus a 7-way one
    "resnet50": 23_522_375,  # 25,557,032 likewise
    "resnet50_caffe": 23_522_375,
    "eac_resnet50": 23_522_375,
    "resnet_small": 605_223,
    "ir50": 43_574_976,
    "ir50_classifier": 30_730_951,
    "vit": 85_804_039,  # 86,567,656 likewise
    "auvit_vanilla": 85_834_785,
    "auvit_token": 85_820_956,
    "cnn_vit": 22_503_879,
    "auvit_released": 37_831_905,
    "auvit_multistage": 40_110_812,  # 40,218,844 stored, 108,032 never read
    "auvit_paper": 40_110_305,
    "auvit_small": 597_553,
}


@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_and_outputs_of_one_image(name):
    size = models.architecture(name).preprocess.size
    variables, outputs = _shapes(models.create(name), size)
    assert _count(variables) == PARAMETERS[name]
    if name != "ir50":
        assert outputs["expression"].shape == (1, 7)
    if name.startswith("auvit"):
        assert outputs["au"].shape == (1, 21)
    assert outputs["features"].shape == (1, outputs["features"].size)


def test_ir50_reads_224_pixels_with_a_larger_linear_layer():
    variables, outputs = _shapes(models.create("ir50"), 224)
    kernel = variables["params"]["output_layer_3"]["kernel"]
    assert kernel.shape == (512 * 14 * 14, 512)
    assert outputs["embedding"].shape == (1, 512)


@pytest.mark.parametrize("name", ["resnet18", "resnet50_caffe", "ir50_classifier"])
def test_odd_image_sizes(name):
    _, outputs = _shapes(models.create(name, num_classes=8), 97)
    assert outputs["expression"].shape == (1, 8)


def test_heads_can_be_left_out():
    _, outputs = _shapes(models.create("resnet18", num_classes=0), 64)
    assert "expression" not in outputs
    _, outputs = _shapes(models.create("resnet18", num_aus=18), 64)
    assert outputs["au"].shape == (1, 18)


# --- The ablation of the AU-ViT paper ----------------------------------------------------------

OFF = {"multistage": False, "conv_ffn": False, "patch_flatten": False, "regions": None}
ROWS = {  # Table III, row by row: the last map's side and width
    "cnn": (OFF, 14, 256),
    "multistage": (OFF | {"multistage": True}, 7, 512),
    "conv-ffn": (OFF | {"multistage": True, "conv_ffn": True}, 7, 512),
    "patch-flatten": ({"regions": None}, 7, 512),
    "au branch": ({}, 7, 512),
    "patches in place of the cnn": ({"cnn_embedding": False, "patch": 8}, 7, 512),
}


@pytest.mark.parametrize("row", ROWS)
def test_rows_of_the_ablation(row):
    options, side, width = ROWS[row]
    variables, outputs = _shapes(models.create("auvit_paper", **options), 112)
    assert outputs["stage2"].shape == (1, side, side, width)
    assert outputs["features"].shape == (1, width)
    assert ("au" in outputs) == (options.get("regions", 7) is not None)
    mlp = variables["params"]["transformers_0"]["blocks_0"]["mlp"]
    assert ("dwconv" in mlp) == options.get("conv_ffn", True)
    assert ("output_layer_2" in variables["params"]) == options.get("patch_flatten", True)


@pytest.mark.parametrize("name", ["auvit_released", "auvit_paper"])
def test_only_the_released_network_projects_a_map_that_has_its_width(name):
    variables, _ = _shapes(models.create(name, **TINY_AUVIT | {"dim": 6}), 28)
    assert ("patch_embed" in variables["params"]) == (name == "auvit_released")


@pytest.mark.parametrize("supervise_layer", [1, 4, 5, 6])
def test_supervise_layer_of_auvit(supervise_layer):
    options = TINY_AUVIT | {"depth": (4, 2), "regions": 2}
    model = models.create("auvit_paper", **options, supervise_layer=supervise_layer)
    _, outputs = _shapes(model, 28)
    side, width = (14, 8) if supervise_layer <= 4 else (7, 16)
    assert outputs["base"].shape == (1, side, side, width)


@pytest.mark.parametrize("supervise_layer", [1, 6, 12])
def test_supervise_layer_of_vit_splits_the_keys(supervise_layer):
    options = TINY_VIT | {"depth": 12}
    model = models.create("auvit_vanilla", **options, supervise_layer=supervise_layer)
    variables, _ = _shapes(model, 28)
    keys = _keys("auvit_vanilla", variables)
    for block in range(12):
        stage, index = (1, block) if block < supervise_layer else (2, block - supervise_layer)
        assert f"blocks_{stage}.{index}.attn.qkv.weight" in keys


def _keys(name, variables):
    rules = models.architecture(name).torch_keys
    return {keymap.torch_key(path[1:], rules) for path in keymap.flat(variables)}


HEADS = {
    1: {"vit.norm_AU.weight", "vit.AU_head.weight"},
    2: {"vit.norm_AU_up.bias", "vit.upperAU_head.weight", "vit.lowerAU_head.bias"},
    3: {"vit.norm_AU2.weight", "vit.head_AU1.weight"},
    5: {"vit.head_AU1.weight", "vit.norm_AU23.bias"},
    7: {"vit.head_AU11.weight", "vit.norm_AU3.weight"},
    9: {"vit.head_AU31.weight", "vit.head_AU33.bias"},
}


@pytest.mark.parametrize("scheme", HEADS)
def test_published_keys_of_the_au_heads(scheme):
    variables, _ = _shapes(models.create("auvit_released", **TINY_AUVIT, regions=scheme), 28)
    assert HEADS[scheme] <= _keys("auvit_released", variables)


# --- The AU branch -----------------------------------------------------------------------------

CROPS = {  # rows and columns of the published crops
    "AU": (slice(0, 14), slice(0, 14)),
    "AU_up": (slice(0, 8), slice(0, 14)),
    "AU_low": (slice(6, 14), slice(0, 14)),
    "AU1": (slice(0, 7), slice(0, 14)),
    "AU2": (slice(4, 12), slice(0, 14)),
    "AU3": (slice(6, 14), slice(0, 14)),
    "AU11": (slice(0, 7), slice(0, 7)),
    "AU12": (slice(0, 7), slice(4, 10)),
    "AU13": (slice(0, 7), slice(7, 14)),
    "AU21": (slice(5, 12), slice(0, 6)),
    "AU22": (slice(4, 10), slice(4, 10)),
    "AU23": (slice(5, 12), slice(8, 14)),
    "AU31": (slice(6, 14), slice(0, 5)),
    "AU32": (slice(6, 14), slice(5, 10)),
    "AU33": (slice(6, 14), slice(9, 14)),
}


def _join(*parts):
    return np.concatenate([part if part.ndim == 2 else part[:, None] for part in parts], axis=1)


def _eyes_and_cheeks(y, both):
    eye, cheek = both(y["AU11"], y["AU13"]), both(y["AU21"], y["AU23"])
    return _join(
        eye[:, :2], y["AU12"], eye[:, 2], cheek, eye[:, 3], y["AU22"]
    )  # AU1 2 | 4 | 5 | 6 | 7 | 9


ASSEMBLIES = {
    1: lambda y, both: y["AU"],
    2: lambda y, both: _join(y["AU_up"], y["AU_low"]),
    3: lambda y, both: _join(
        y["AU1"][:, :4], y["AU2"][:, 0], y["AU1"][:, 4], y["AU2"][:, 1], y["AU3"]
    ),
    5: lambda y, both: _join(
        y["AU1"][:, :4], both(y["AU21"], y["AU23"]), y["AU1"][:, 4], y["AU22"], y["AU3"]
    ),
    7: lambda y, both: _join(_eyes_and_cheeks(y, both), y["AU3"]),
    9: lambda y, both: _join(_eyes_and_cheeks(y, both), both(y["AU31"], y["AU32"], y["AU33"])),
}


@pytest.mark.parametrize("maxout", [True, False])
@pytest.mark.parametrize("scheme", ASSEMBLIES)
def test_au_branch_against_numpy(scheme, maxout):
    x = np.random.default_rng(0).standard_normal((3, 14, 14, 5)).astype(np.float32)
    branch = AUBranch(scheme, maxout=maxout)
    outputs, variables = jax.jit(branch.init_with_output)(KEY, x)
    logits = {}
    for region in facs.REGIONS[scheme]:
        rows, columns = CROPS[region.key]
        mean = x[:, rows, columns].mean((1, 2))
        normed = (mean - mean.mean(1, keepdims=True)) / np.sqrt(mean.var(1, keepdims=True) + 1e-6)
        names = {"AU": "AU_head", "AU_up": "upperAU_head", "AU_low": "lowerAU_head"}
        head = variables["params"][names.get(region.key, f"head_{region.key}")]
        logits[region.key] = normed @ head["kernel"] + head["bias"]

    def both(*sides):
        return np.max(sides, axis=0) if maxout else np.mean(sides, axis=0)

    np.testing.assert_allclose(outputs["au"], ASSEMBLIES[scheme](logits, both), atol=1e-5)


def test_au_branch_of_thirteen_aus():
    x = jnp.ones((1, 14, 14, 4))
    outputs, variables = AUBranch(2, aus=facs.COMMON_13).init_with_output(KEY, x)
    assert outputs["au"].shape == (1, 13)
    heads = variables["params"]
    assert heads["upperAU_head"]["bias"].shape == (6,)
    assert heads["lowerAU_head"]["bias"].shape == (7,)


@pytest.mark.parametrize(("wiring", "expression_token"), [("reference", 0), ("intended", 1)])
def test_au_token_wiring(wiring, expression_token):
    options = {"patch": 7, "dim": 8, "depth": 1, "heads": 2, "au_token": wiring}
    model = models.create("auvit_token", **options)
    outputs, variables = jax.jit(model.init_with_output)(KEY, _images())
    tokens, params = outputs["final_tokens"], variables["params"]
    assert tokens.shape == (4, 2 + 16, 8)  # the AU token, the class token, the patches
    assert params["pos_embed"].shape == (1, 17, 8)
    for name, index in (("expression", expression_token), ("au", 1 - expression_token)):
        head = params["head" if name == "expression" else "AU_head"]
        expected = tokens[:, index] @ head["kernel"] + head["bias"]
        np.testing.assert_allclose(outputs[name], expected, atol=1e-5)


def test_class_maps_average_to_the_logits():
    for name, options in (("resnet18", TINY_RESNET), ("ir50_classifier", TINY_IR)):
        model = models.create(name, **options)
        outputs, variables = jax.jit(model.init_with_output)(RNGS, _images(size=31))
        logits = outputs["cam"].mean((1, 2)) + variables["params"]["fc"]["bias"]
        np.testing.assert_allclose(logits, outputs["expression"], atol=1e-5)


# --- Tiny ones: a training step ----------------------------------------------------------------

TINY_IR = {"units": (1, 2), "channels": (4, 8)}
TINY_AUVIT = {
    "dim": 8,
    "depth": (1, 1),
    "heads": (2, 2),
    "mlp_ratio": 2.0,
    "ir_units": (1,),
    "ir_channels": (6,),
    "ir_strides": (1,),
    "stem_stride": 2,
}
TINY_VIT = {"patch": 2, "dim": 8, "depth": 2, "heads": 2, "mlp_ratio": 2.0}
TINY_RESNET = {"width": 4, "layers": (1, 1)}
TINY = {
    "resnet18": TINY_RESNET | {"num_aus": 5},
    "eac_resnet50": TINY_RESNET,
    "ir50": TINY_IR | {"embedding": 6, "num_classes": 3},
    "auvit_vanilla": TINY_VIT | {"supervise_layer": 1, "maxout": False},
    "auvit_token": TINY_VIT,
    "cnn_vit": {"ir_units": (1, 1), "ir_channels": (4, 8), "depth": 2, "heads": 2},
    "auvit_released": TINY_AUVIT | {"maxout": False},
    "auvit_multistage": TINY_AUVIT,
    "auvit_paper": TINY_AUVIT | {"maxout": False},
}
BEFORE_A_NORM = ("mlp/fc1/bias", "mlp/fc2/bias", "dwconv/bias", "output_layer_3/bias")


@pytest.mark.parametrize("name", TINY)
def test_training_step_reaches_everything(name):
    model, x = models.create(name, **TINY[name]), _images()
    variables = _filled(model, x)
    stats = variables.get("batch_stats", {})

    @jax.jit
    @functools.partial(jax.value_and_grad, has_aux=True)
    def loss(params):
        outputs, state = model.apply(
            {"params": params, "batch_stats": stats},
            x,
            True,
            rngs={"dropout": KEY},
            mutable=["batch_stats"],
        )
        heads = [outputs[key] for key in ("expression", "au", "embedding") if key in outputs]
        return sum(jnp.square(head - 1).mean() for head in heads), state

    (value, state), gradient = loss(variables["params"])
    assert np.isfinite(value)
    for path, leaf in traverse_util.flatten_dict(gradient, sep="/").items():
        assert np.isfinite(leaf).all(), path
        if not path.endswith(BEFORE_A_NORM):  # a norm takes such a bias away again
            assert np.any(leaf), f"no gradient reaches {path}"
    moved = jax.tree.map(lambda a, b: bool(np.any(a != b)), stats, state.get("batch_stats", {}))
    assert all(jax.tree.leaves(moved))


def test_dropout_is_where_the_papers_have_it():
    """AU-ViT drops before the patch-flatten only, CNN-ViT inside attention, IR-50 before its linear."""
    x = _images()
    paper = models.create("auvit_paper", **TINY_AUVIT, flatten_dropout=0.5)
    assert _noisy(paper, x) == {"expression", "features", "flat"}
    assert not _noisy(models.create("auvit_released", **TINY_AUVIT), x)
    assert {"blocks", "expression"} <= _noisy(models.create("cnn_vit", **TINY["cnn_vit"]), x)
    assert _noisy(models.create("ir50", **TINY["ir50"]), x) == {"embedding"}


def _noisy(model, x):
    """The outputs that another dropout key changes."""
    variables = _filled(model, x)
    run = jax.jit(
        lambda key: model.apply(variables, x, True, rngs={"dropout": key}, mutable=["batch_stats"])[
            0
        ]
    )
    first, second = run(jax.random.key(1)), run(jax.random.key(2))
    return {key for key in first if not np.allclose(first[key], second[key], atol=1e-6)}


def test_models_compute_in_the_type_of_their_input():
    for name in ("resnet18", "ir50", "auvit_vanilla", "cnn_vit", "auvit_paper"):
        model = models.create(name, **TINY[name])
        image = jax.ShapeDtypeStruct((2, 28, 28, 3), jnp.bfloat16)
        outputs, variables = jax.eval_shape(
            model.init_with_output, jax.eval_shape(lambda: RNGS), image
        )
        assert {output.dtype for output in outputs.values()} == {jnp.dtype(jnp.bfloat16)}, name
        assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype(jnp.float32)}


INITIAL = [  # a kernel and the deviation of its initial values
    ("resnet18", "layer2_0/conv1", np.sqrt(2 / (9 * 128))),  # Kaiming's normal one, by fan out
    ("ir50", "body_3/res_layer_1", np.sqrt(2 / (9 * (64 + 128)))),  # Xavier's uniform one
    ("auvit_small", "transformers_1/blocks_0/attn/qkv", np.sqrt(1 / (3 * 96))),  # PyTorch's own
    ("vit", "blocks_0/mlp/fc1", 0.02),
    ("vit", "patch_embed_proj", np.sqrt(1 / (3 * 16 * 16 * 3))),
]


@pytest.mark.parametrize(("name", "path", "deviation"), INITIAL)
def test_initial_values(name, path, deviation):
    model = models.create(name, **({"depth": 1} if name == "vit" else {}))
    size = models.architecture(name).preprocess.size

    @jax.jit
    def kernel(x):
        params = traverse_util.flatten_dict(model.init(RNGS, x)["params"], sep="/")
        return params[f"{path}/kernel"], params.get(f"{path}/bias", jnp.zeros(1))

    values, bias = kernel(jnp.zeros((1, size, size, 3)))
    assert np.std(values) == pytest.approx(deviation, rel=0.03)
    assert np.abs(np.mean(values)) < 0.03 * deviation
    if name == "vit" and "mlp" in path:
        assert not np.any(bias)


# --- Mistakes ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet18", {"block": "bottlenck"}, "bottleneck"),
        ("resnet18", {"layres": (1, 1)}, "layers"),
        ("ir50", {"units": (1, 1)}, "same number of stages"),
        ("vit", {"au_token": "refrence"}, "reference"),
        ("auvit_token", TINY_VIT | {"regions": 7}, "one of them"),
        ("auvit_vanilla", TINY_VIT | {"supervise_layer": 3}, "1..2"),
        ("auvit_vanilla", TINY_VIT | {"supervise_layer": 1, "patch": 4}, "14x14"),
        ("auvit_vanilla", TINY_VIT | {"supervise_layer": 1, "regions": 4}, "4"),
        ("auvit_paper", TINY_AUVIT | {"supervise_layer": 9}, "1..2"),
        ("auvit_paper", TINY_AUVIT | {"heads": (2,)}, "depth"),
        ("auvit_paper", TINY_AUVIT | {"heads": (3, 2)}, "heads"),
    ],
)
def test_mistakes_are_named(name, options, message):
    with pytest.raises(ValueError, match=message):
        _shapes(models.create(name, **options), 28)


def test_conv_ffn_needs_a_square_of_tokens():
    with pytest.raises(ValueError, match="square"):
        Block(2, conv_ffn=True).init(KEY, jnp.ones((1, 12, 4)), False)


# --- Landmarks and blendshapes beside the image -------------------------------------------------


@pytest.fixture(scope="module")
def face_network():
    tiny = {"dim": 16, "heads": (2, 2), "ir_channels": (8, 16), "aus": (1, 12)}
    model = models.create("auvit_face", **tiny)
    x = jax.random.normal(jax.random.key(0), (2, 112, 112, 3))
    variables = model.init({"params": jax.random.key(1), "dropout": jax.random.key(2)}, x)

    @jax.jit
    def run(landmarks, blendshapes):
        return model.apply(variables, x, landmarks=landmarks, blendshapes=blendshapes)

    return run, model.apply(variables, x)


def test_geometry_counts_where_it_is_known(face_network):
    run, without = face_network
    points = jnp.asarray(NEUTRAL[None, :, :2] * 40 + 56, jnp.float32).repeat(2, 0)
    shapes = jnp.full((2, 52), 0.2).at[1].set(jnp.nan)
    found = run(points.at[0, 3].set(jnp.nan), shapes)  # of the first only blendshapes
    for name in ("expression", "au"):
        moved = jnp.abs(found[name] - without[name]).max(1)
        # The mean face says the same as an unknown one.
        assert moved[0] > 1e-3 and moved[1] < 1e-4
        smaller = run(points.at[1].multiply(0.5), shapes)[name]
        np.testing.assert_allclose(smaller[1], found[name][1], atol=1e-4)
        assert (
            jnp.abs(run(points.at[1, 30].add(5.0), shapes)[name][1] - found[name][1]).max() > 1e-3
        )


def test_the_second_opinion_is_added_where_the_mesh_is_known():
    tiny = {"dim": 16, "heads": (2, 2), "ir_channels": (8, 16), "aus": (1, 12)}
    model = models.create("auvit_face", mesh_head=True, **tiny)
    x = jax.random.normal(jax.random.key(0), (2, 112, 112, 3))
    variables = model.init({"params": jax.random.key(1), "dropout": jax.random.key(2)}, x)
    head = variables["params"]["mesh_head"]["linear"]
    features = jax.random.normal(jax.random.key(3), (2, 512)).at[1].set(jnp.nan)
    run = jax.jit(lambda variables: model.apply(variables, x, mesh_features=features))
    without = model.apply(variables, x)["expression"]
    np.testing.assert_allclose(
        run(variables)["expression"], without, atol=1e-5
    )  # it begins with none
    kernel = jax.random.normal(jax.random.key(4), head["kernel"].shape)
    head = {"linear": {"kernel": kernel, "bias": jnp.arange(7.0)}}
    found = run({**variables, "params": {**variables["params"], "mesh_head": head}})["expression"]
    said = np.asarray(features[0]) @ np.asarray(kernel) + np.arange(7)
    np.testing.assert_allclose(found[0] - without[0], said, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found[1], without[1], atol=1e-5)
    with pytest.raises(ValueError, match="mesh_head"):
        models.create("auvit_small", mesh_head=True).init(jax.random.key(0), x)
