"""The expression loss in each of its forms, in the loss of each method, against NumPy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn
from mvfer_source import Stub, stub_batch, stub_parts

from aufer_jax.data import sampling, views
from aufer_jax.models.registry import Preprocess
from aufer_jax.papers.audfer import method as audfer
from aufer_jax.papers.auvit import method as auvit
from aufer_jax.papers.mvfer import method as mvfer
from aufer_jax.train import expression, mixing, setup

CLASSES, COUNTS = 3, (50, 30, 20)


class Mean(nn.Module):
    """The mean colour of an image or clip, one linear map to expressions."""

    @nn.compact
    def __call__(self, x, train=False):
        x = x.mean(tuple(range(1, x.ndim - 1)))
        return {"expression": nn.Dense(CLASSES, name="fc")(x)}


def parts_of(clip, labels):
    spec = views.Spec(
        size=16, labels=labels, expressions=("a", "b", "c"),
        clip=sampling.Sampling(2) if clip else None,
    )  # fmt: skip
    preprocess = Preprocess(16, mean=(0.5,) * 3, std=(0.25,) * 3)
    return setup.Parts(Mean(), preprocess, jnp.float32, spec, ("a", "b", "c"), 1, COUNTS)


def rows_of(clip, labels):
    """A batch whose third row has no expression and whose last cannot be read."""
    rng = np.random.default_rng(0)
    pixels = (6, 2, 16, 16, 3) if clip else (6, 16, 16, 3)
    batch = {
        "clip" if clip else "image": rng.integers(0, 256, pixels).astype(np.uint8),
        "expression": np.array([0, 1, -1, 2, 2, 1], np.int32),
        "mask": np.array([True] * 5 + [False]),
        "au": np.zeros((6, 2), np.float32),
        "au_known": np.zeros((6, 2), bool),
    }
    if labels != "majority":
        batch["expression_target"] = rng.dirichlet(np.ones(CLASSES), 6).astype(np.float32)
        batch["expression_target"][2] = 0
    return batch


METHODS = {
    "auvit": (auvit, {"beta": 0.0}, {}),
    "audfer": (audfer, {"au_weight": 0.0}, {"tables": audfer.Tables(np.ones(1), np.ones(1))}),
    "mvfer": (
        mvfer, {"ce_views": (1,), "consistency": "none", "heatmap_role": "none"}, {},
    ),
}  # fmt: skip


def loss_of(name, labels, options, key=None):
    """The method's loss where nothing but the expressions of the first view teach; logits of pixels."""
    module, alone, more = METHODS[name]
    clip = name == "audfer"
    parts, batch = parts_of(clip, labels), rows_of(clip, labels)
    chosen = module.Options(**{"label_smoothing": 0.0, **alone, **options})
    params = {"fc": {"kernel": np.eye(3, dtype=np.float32) * 2, "bias": np.zeros(3, np.float32)}}
    step = functools.partial(module.loss, parts=parts, options=chosen, **more)
    total, (_, sums) = jax.jit(step)(params, {}, batch, key)
    np.testing.assert_allclose(
        sums["original_loss" if name == "mvfer" else "expression_loss"][1], 4
    )

    def logits(pixels):
        x = (pixels.astype(np.float64) / 255 - 0.5) / 0.25
        return 2 * x.mean(tuple(range(1, x.ndim - 1)))

    return float(total), batch, logits


def log_softmax(z):
    return z - np.log(np.exp(z).sum(-1, keepdims=True))


TAUGHT = [0, 1, 3, 4]


def expected(z, target, options):
    """The mean over the rows that teach, in float64."""
    smoothing, form = options.get("label_smoothing", 0.0), options.get("expression")
    target = (1 - smoothing) * target + smoothing / CLASSES
    if form == "logit_adjusted":
        z = z + options["tau"] * np.log(np.array(COUNTS) / 100)
    log_p = log_softmax(z)
    weight = (1 - np.exp(log_p)) ** options["gamma"] if form == "focal" else 1.0
    return -(target * weight * log_p).sum(-1)[TAUGHT].mean()


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("labels", ["majority", "crossentropy"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"label_smoothing": 0.2},
        {"expression": "focal", "gamma": 1.5},
        {"expression": "logit_adjusted", "tau": 0.5, "label_smoothing": 0.1},
    ],
    ids=["cross_entropy", "smoothing", "focal", "logit_adjusted"],
)
def test_every_form_in_every_method(name, labels, options):
    total, batch, logits = loss_of(name, labels, options)
    one_hot = np.eye(CLASSES)[np.maximum(batch["expression"], 0)]
    target = batch.get("expression_target", one_hot)
    z = logits(batch["clip" if name == "audfer" else "image"])
    assert total == pytest.approx(expected(z, target, options), rel=1e-4)


@pytest.mark.parametrize("name", METHODS)
def test_votes_of_several_right_classes(name):
    total, batch, logits = loss_of(name, "multi_target", {})
    z = logits(batch["clip" if name == "audfer" else "image"])
    right = log_softmax(z)[TAUGHT]  # every class has a share: the most probable one counts
    assert total == pytest.approx(-right.max(-1).mean(), rel=1e-4)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("kind", [{"cutmix": 0.0}, {"mixup": 0.0}], ids=["mixup", "cutmix"])
def test_mixing_in_every_method(name, kind):
    """Rows 0 and 1 meet; 2 and 3 do not, one of them has no expression; 4 and 5 neither, one is broken."""
    key = jax.random.key(3)
    total, batch, logits = loss_of(name, "majority", {"mix": 1.0, **kind}, key)
    pair = jnp.array([True, True, False, False, False, False])
    options = mixing.Options(mix=1.0, **kind)
    mix = mixing.draw(jax.random.split(key)[1], pair, 16, options)
    assert 0.02 < float(mix.kept[0]) < 0.98 and (mix.kept[2:] == 1).all()
    pixels = batch["clip" if name == "audfer" else "image"].astype(np.float32)
    kept, box = float(mix.kept[0]), np.asarray(mix.box)[..., None]
    first = pixels[:2].copy()
    for i in (0, 1):
        blend = kept * first[i] + (1 - kept) * first[1 - i]
        pixels[i] = blend if "cutmix" in kind else np.where(box, first[1 - i], first[i])
    one = np.eye(CLASSES)[np.maximum(batch["expression"], 0)]
    target = one.copy()
    target[:2] = kept * one[:2] + (1 - kept) * one[[1, 0]]
    assert total == pytest.approx(expected(logits(pixels), target, {}), rel=1e-4)


def test_auxiliary_rows_meet_auxiliary_rows():
    """t a t a: targets mix with targets by their expressions, auxiliary rows by their AUs."""
    parts = parts_of(False, "majority")
    parts = setup.Parts(**{**vars(parts), "period": 2})
    batch = {"expression": jnp.array([0, -1, 2, -1]), "mask": jnp.ones(4, bool)}
    options = expression.Options(mix=1.0, cutmix=0.0)
    taught, _ = expression.taught(batch, jax.random.key(0), parts, options)
    assert taught.mask.tolist() == [True, False, True, False] and taught.mix.pair.all()
    kept = float(taught.mix.kept[0])
    np.testing.assert_allclose(
        mixing.labels(taught.mix, taught.target)[0], [kept, 0, 1 - kept], rtol=1e-5
    )


def test_all_views_of_a_face_are_mixed_alike():
    """A network that sees the same of a mirror image gives the same class maps, mixed or not."""
    batch = stub_batch()
    batch["image_erased"] = batch["image"][:, :, ::-1].copy()
    batch["heatmap"][:] = 1.0  # the third view is the first
    batch["landmarks_valid"][:], batch["mask"][:] = True, True
    batch["expression"][:] = [0, 1, 2, 1, 2, 1]
    for kind in ({"cutmix": 0.0}, {"mixup": 0.0}):
        options = mvfer.Options(mix=1.0, align_loss="none", **kind)
        parts = stub_parts(Stub())
        variables = mvfer.init(jax.random.key(1), batch, parts=parts, options=options)
        step = jax.jit(functools.partial(mvfer.loss, parts=parts, options=options))
        _, (_, sums) = step(variables["params"], {}, batch, jax.random.key(2))
        plain = mvfer.Options(align_loss="none")
        step = jax.jit(functools.partial(mvfer.loss, parts=parts, options=plain))
        _, (_, unmixed) = step(variables["params"], {}, batch, jax.random.key(2))
        assert float(sums["cam_loss"][0]) < 1e-8
        for view in ("erased_loss", "heatmap_loss"):
            np.testing.assert_allclose(sums[view][0], sums["original_loss"][0], rtol=1e-4)
        assert abs(float(sums["original_loss"][0] - unmixed["original_loss"][0])) > 1e-3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"expression": "focla"}, r"loss\.expression: 'focla' .* Did you mean 'focal'"),
        ({"gamma": -1.0}, r"loss\.gamma: -1\.0 must not be negative"),
        ({"label_smoothing": 1.0}, r"loss\.label_smoothing: 1\.0 must be from 0 up to 1"),
        ({"mix": 2.0}, r"loss\.mix: 2\.0 must be from 0 to 1"),
        ({"mix": 1.0, "mixup": 0.0, "cutmix": 0.0}, r"loss\.mix: needs"),
    ],
)
@pytest.mark.parametrize("module", [auvit, audfer, mvfer])
def test_mistakes(module, options, message):
    with pytest.raises(ValueError, match=message):
        module.Options(**options)


@pytest.mark.parametrize(
    "options", [{"mix": 1.0}, {"label_smoothing": 0.1}, {"expression": "focal"}]
)
def test_several_right_classes_are_a_loss_of_their_own(options):
    with pytest.raises(ValueError, match="'multi_target' is a loss of its own"):
        expression.Options(**options).check_labels("multi_target")
