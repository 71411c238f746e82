"""AU-DFER: the loss by hand, any host with an AU head, and what happens without AUs."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny_hosts
import toy
import toydata
import toymodels
from flax import linen as nn

from aufer_jax import models
from aufer_jax.data import loader, records, sampling
from aufer_jax.datasets import catalog
from aufer_jax.models.heads import heads
from aufer_jax.models.registry import Architecture, Preprocess
from aufer_jax.papers.audfer import method as audfer
from aufer_jax.train import base, checkpoints, experiment, mixing, setup
from aufer_jax.train import config as config_lib


class ToyVideo(nn.Module):
    """The plug-in of docs/audfer.md: the mean colour of a clip, and the shared heads."""

    num_classes: int = 7
    num_aus: int | None = None

    @nn.compact
    def __call__(self, x, train=False):
        return heads(x.mean((1, 2, 3)), self.num_classes, self.num_aus)


class Headless(nn.Module):
    num_classes: int = 7

    @nn.compact
    def __call__(self, x, train=False):
        return heads(x.mean((1, 2, 3)), self.num_classes, None)


@pytest.fixture(scope="module", autouse=True)
def toy_models():
    form = {"preprocess": Preprocess(16, frames=4), "input": "clip"}
    with toymodels.registered(
        toy_video=Architecture(ToyVideo, **form), headless_video=Architecture(Headless, **form)
    ):
        yield


def source(count, **changes):
    return records.MemorySource(
        toydata.info("toyclips", records.CLIP, splits={"train": 16, "validation": 8, "test": 8}),
        [toydata.clip_record(i, **changes) for i in range(count)],
    )


@pytest.fixture
def clips(memory_catalog):
    """The dataset "toyclips" in memory; a test may put other records in."""
    held = {"train": source(16), "validation": source(8), "test": source(8)}
    held["train+validation"] = source(24)
    memory_catalog("toyclips", held["train"], held)
    return held


def configured(host="toy_video", **changes):
    config = config_lib.load(f"configs/audfer.py:toyclips,host={host},recipe=small")
    for key, value in {
        "data.size": 16, "data.frames": 4, "data.batch_size": 8, "data.eval_batch_size": 8,
        "data.threads": 1, "train.epochs": 2, **changes,
    }.items():  # fmt: skip
        with config.unlocked():
            config_lib.set_value(config, key, value)
    return config_lib.check(config)


@pytest.mark.parametrize("host", tiny_hosts.HOSTS)
def test_every_host_trains_in_its_small_form(host, clips):
    """Shapes of a whole step, backwards too; nothing is computed."""
    run = config_lib.check(config_lib.load(f"configs/audfer.py:toyclips,host={host},recipe=small"))
    task = dataclasses.replace(run.data, batch_size=2)
    parts = setup.parts(dataclasses.replace(run, data=task), field="clip", views=("original",))
    tables = audfer.Tables(np.ones((3, 18)), np.ones((3, 18)))
    step = functools.partial(audfer.loss, options=run.loss, tables=tables)
    method = setup.method(parts, "clip", step)
    batch = random_batch(2, run.data.frames, run.data.size, 3, 18)

    def both(key, batch):
        variables = method.init(key, batch)
        params, state = variables["params"], {k: v for k, v in variables.items() if k != "params"}
        return jax.value_and_grad(method.loss, has_aux=True)(params, state, batch, key)

    (total, (_, sums)), _ = jax.eval_shape(both, jax.random.key(0), batch)
    assert total.shape == () and {"loss", "expression_loss", "au_loss"} <= sums.keys()


# --- The loss by hand ---------------------------------------------------------------------------


def random_batch(rows, frames=4, size=16, classes=3, aus=6, seed=0):
    rng = np.random.default_rng(seed)
    return {
        "clip": rng.integers(0, 256, (rows, frames, size, size, 3)).astype(np.uint8),
        "expression": rng.integers(0, classes, rows).astype(np.int32),
        "au": rng.integers(0, 2, (rows, aus)).astype(np.float32),
        "au_known": rng.random((rows, aus)) < 0.8,
        "mask": np.ones(rows, bool),
    }


def toy_parts(classes=3, aus=6, **spec):
    return setup.Parts(
        model=models.create("toy_video", num_classes=classes, num_aus=aus),
        preprocess=models.architecture("toy_video").preprocess,
        dtype=jnp.float32,
        spec=setup.Spec(size=16, aus=toydata.AUS, clip=sampling.Sampling(4), **spec),
        expressions=toydata.EXPRESSIONS,
        class_counts=(50, 30, 20),
    )


def tables(seed=1):
    rng = np.random.default_rng(seed)
    return audfer.Tables(5 * rng.random((3, 6)), rng.uniform(0.5, 9, (3, 6)))


def setting(**options):
    parts, rng = toy_parts(), np.random.default_rng(2)
    params = {
        "fc": {"kernel": rng.normal(0, 1, (3, 3)), "bias": rng.normal(0, 1, 3)},
        "fc_au": {"kernel": rng.normal(0, 1, (3, 6)), "bias": rng.normal(0, 1, 6)},
    }
    params = jax.tree.map(lambda x: x.astype(np.float32), params)
    options = audfer.Options(**{"label_smoothing": 0.0, **options})
    loss = functools.partial(audfer.loss, parts=parts, options=options, tables=tables())
    return params, jax.jit(loss, static_argnames=())


def logits_of(params, clip):
    x = (clip.astype(np.float64) / 255 - 0.5) / 0.5
    x = x.mean((1, 2, 3))
    return tuple(x @ params[n]["kernel"] + params[n]["bias"] for n in ("fc", "fc_au"))


def log_softmax(z):
    return (
        z - z.max(-1, keepdims=True) - np.log(np.exp(z - z.max(-1, keepdims=True)).sum(-1))[:, None]
    )


def expected_loss(z, a, target, au, known, weight, pos, ratio=0.25):
    """Eq. 5 (without its constant), 9 and 10, mean over rows and over known AUs."""
    expression = -(target * log_softmax(z)).sum(-1).mean()
    p = 1 / (1 + np.exp(-a))
    elements = weight * -(pos * au * np.log(p) + (1 - au) * np.log(1 - p))
    return (1 - ratio) * expression + ratio * elements[known].mean(), expression


def test_the_loss_by_hand():
    batch = random_batch(5)
    params, loss = setting(label_smoothing=0.1)
    total, (_, sums) = loss(params, {}, batch, jax.random.key(0))
    z, a = logits_of(params, batch["clip"])
    y, t = batch["expression"], tables()
    target = 0.9 * np.eye(3)[y] + 0.1 / 3
    expected, expression = expected_loss(
        z, a, target, batch["au"], batch["au_known"], t.weight[y], t.positive_weight[y]
    )
    np.testing.assert_allclose(total, expected, rtol=1e-5)
    np.testing.assert_allclose(sums["expression_loss"][0] / 5, expression, rtol=1e-5)
    # Eq. 5 read literally: minus log 5, with the same gradient.
    literal = -(target * (log_softmax(z) + np.log(5))).sum(-1).mean()
    np.testing.assert_allclose(literal, expression - np.log(5), rtol=1e-9)


def test_a_soft_label_by_hand():
    """Shares 1/2, 1/4, 1/4 and probabilities 1/2, 1/4, 1/4: 3/2 log 2; the AU loss goes by the label."""
    batch, t = random_batch(2), tables()
    batch["expression"], batch["au_known"][:] = np.array([1, -1], np.int32), [True]
    batch["expression_target"] = np.array([[0.5, 0.25, 0.25], [0.5, 0.5, 0]], np.float32)
    parts = toy_parts(labels="distribution", expressions=toydata.EXPRESSIONS)
    params = {
        "fc": {"kernel": np.zeros((3, 3)), "bias": np.log([2.0, 1.0, 1.0])},
        "fc_au": {"kernel": np.zeros((3, 6)), "bias": np.zeros(6)},
    }
    params = jax.tree.map(lambda x: x.astype(np.float32), params)
    options = audfer.Options(label_smoothing=0.0)
    total, (_, sums) = audfer.loss(
        params, {}, jax.tree.map(jnp.asarray, batch), None, parts=parts, options=options, tables=t
    )
    expression = (1.5 + (0.5 * 1 + 0.5 * 2)) / 2 * np.log(2)
    positive = np.where(batch["au"][0], t.positive_weight[1], 1)
    au = (t.weight[1] * positive).mean() * np.log(2)
    np.testing.assert_allclose(total, 0.75 * expression + 0.25 * au, rtol=1e-5)
    assert float(sums["expression_loss"][1]) == 2 and float(sums["au_loss"][1]) == 6


def test_rows_without_expression_or_au_teach_what_they_have():
    batch = random_batch(4)
    batch["expression"][1] = -1  # its AUs have no row of the knowledge
    batch["au_known"][2] = False
    batch["mask"][3] = False
    params, loss = setting()
    total, _ = loss(params, {}, batch, None)
    z, a = logits_of(params, batch["clip"])
    y, t = batch["expression"], tables()
    known = batch["au_known"] & np.array([True, False, False, False])[:, None]
    cross = -log_softmax(z)[[0, 2], y[[0, 2]]].mean()
    p = 1 / (1 + np.exp(-a))
    row = np.maximum(y, 0)
    elements = t.weight[row] * -(
        t.positive_weight[row] * batch["au"] * np.log(p) + (1 - batch["au"]) * np.log(1 - p)
    )
    np.testing.assert_allclose(total, 0.75 * cross + 0.25 * elements[known].mean(), rtol=1e-5)
    batch["au_known"][:] = False
    only, _ = loss(params, {}, batch, None)
    np.testing.assert_allclose(only, 0.75 * cross, rtol=1e-5)


@pytest.mark.parametrize("form", ["mixed", "released"])
def test_mixed_rows_by_hand(form):
    batch, key = random_batch(4, seed=3), jax.random.key(5)
    params, loss = setting(mix=1.0, cutmix=0.0, mix_aus=form)
    total, _ = loss(params, {}, batch, key)
    x = ((batch["clip"] / 255 - 0.5) / 0.5).astype(np.float32)
    drawn = mixing.draw(
        jax.random.split(key)[1], jnp.ones(4, bool), 16, mixing.Options(1.0, cutmix=0.0)
    )
    mixed = mixing.pixels(drawn, x)
    s, other = float(drawn.kept[0]), [1, 0, 3, 2]
    assert 0.05 < s < 0.95
    z, a = logits_of(params, (np.asarray(mixed) * 0.5 + 0.5) * 255)
    y, t, known = batch["expression"], tables(), batch["au_known"]
    one = np.eye(3)[y]
    target = s * one + (1 - s) * one[other]
    if form == "mixed":
        row = [s * v[y] + (1 - s) * v[y][other] for v in (t.weight, t.positive_weight)]
        au, known = s * batch["au"] + (1 - s) * batch["au"][other], known & known[other]
    else:
        largest = y if s >= 0.5 else y[other]
        row = [t.weight[largest], t.positive_weight[largest]]
        au = batch["au"]
    expected, _ = expected_loss(z, a, target, au, known, *row)
    np.testing.assert_allclose(total, expected, rtol=1e-4)


def test_evaluation_mode_does_not_mix():
    batch = random_batch(4)
    params, loss = setting(mix=1.0)
    plain = setting()[1]
    np.testing.assert_allclose(
        loss(params, {}, batch, None)[0], plain(params, {}, batch, None)[0], rtol=1e-6
    )


def test_other_expression_losses_by_hand():
    batch = random_batch(5)
    params, focal = setting(expression="focal", gamma=2.0, au_weight=0.0)
    _, adjusted = setting(expression="logit_adjusted", tau=0.5, au_weight=0.0)
    z, _ = logits_of(params, batch["clip"])
    rows = np.arange(5), batch["expression"]
    log_p = log_softmax(z)[rows]
    expected = (-((1 - np.exp(log_p)) ** 2) * log_p).mean()
    np.testing.assert_allclose(focal(params, {}, batch, None)[0], expected, rtol=1e-5)
    prior = np.log(np.array([50, 30, 20]) / 100)
    expected = -log_softmax(z + 0.5 * prior)[rows].mean()
    np.testing.assert_allclose(adjusted(params, {}, batch, None)[0], expected, rtol=1e-5)


def test_views_are_averaged_as_probabilities():
    z, a = np.random.default_rng(0).normal(0, 2, (2, 4, 3))
    outputs = {"expression": jnp.asarray(z), "au": jnp.asarray(a), "features": jnp.asarray(z)}
    found = base.average_views(outputs, 2)
    p = np.exp(log_softmax(z)).reshape(2, 2, 3).mean(1)
    np.testing.assert_allclose(jax.nn.softmax(found["expression"]), p, rtol=1e-5)
    q = (1 / (1 + np.exp(-a))).reshape(2, 2, 3).mean(1)
    np.testing.assert_allclose(jax.nn.sigmoid(found["au"]), q, rtol=1e-5)
    np.testing.assert_allclose(found["features"], z.reshape(2, 2, 3).mean(1), rtol=1e-5)


# --- Runs ---------------------------------------------------------------------------------------

TINY = {
    "r3d18": {"convs": ("3d",), "layers": (1,), "widths": (4,)},
    "mae_dfer": {"region": (1, 2, 2), "patch": 8, "dim": 8, "depth": 1, "heads": 2},
}
MIXED = {"loss.mix": 1.0, "train.log_every": 100}


def tiny(host, **changes):
    model = {f"model.{key}": value for key, value in TINY.get(host, {}).items()}
    return configured(host, **MIXED, **model, **changes)


@pytest.mark.parametrize("host", TINY)
def test_jit_and_pmap_train_alike(host, clips):
    """Mixing included: its draws are the step's, its pairs lie on one device."""
    if len(jax.devices()) < 4:
        pytest.skip("needs four devices")
    found = []
    for mode in ("jit", "pmap"):
        run = tiny(host, **{"train.parallel": mode})
        state, logged = toy.steps(experiment.build(run, jax.devices()[:4]), count=1)
        assert np.isfinite(logged[0]["sums"]["loss"][0])
        found.append((jax.device_get(state.model_state), logged[0]))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), *found)


def test_a_resumed_run_is_the_same_run(clips, tmp_path):
    built = experiment.build(tiny("toy_video", **{"augment.rand_ops": 2}), jax.devices()[:1])
    whole, logged = toy.steps(built, 3)
    first, _ = toy.steps(built, 1)
    saver = checkpoints.Checkpoints(tmp_path, keep=1)
    saver.save(1, first, {"note": "x"})
    saver.wait()
    restored, _ = checkpoints.Reader(tmp_path).restore(built.target, built.devices.replicated)
    saver.close()
    after, rest = toy.steps(built, 2, start=1, state=restored)
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(after), jax.device_get(whole))
    jax.tree.map(np.testing.assert_array_equal, rest, logged[1:])


def test_a_plug_in_host_is_evaluated_over_several_clips(clips):
    changes = {"data.sampling": "dense", "data.test_clips": 2, "data.frames": 2}
    task = base.build(configured(**changes))
    batch = next(loader.eval_batches(task.evaluation("test"), batch_size=8, threads=0))
    assert batch["clip"].shape[:2] == (8, 4) and task.example["clip"].shape[:2] == (8, 2)
    variables = task.method.init(jax.random.key(0), task.example)
    both = task.method.predict(variables["params"], {}, batch)
    one = [
        task.method.predict(variables["params"], {}, {"clip": batch["clip"][:, i : i + 2]})
        for i in (0, 2)
    ]
    p = sum(jax.nn.softmax(view["expression"]) for view in one) / 2
    np.testing.assert_allclose(jax.nn.softmax(both["expression"]), p, rtol=1e-5)
    assert both["au"].shape == (8, 18)


def test_without_the_au_loss_there_is_no_au_head(clips):
    task = base.build(configured(**{"loss.au_weight": 0.0}))
    assert task.method.init(jax.random.key(0), task.example)["params"].keys() == {"fc"}


def test_the_published_protocol_holds_nothing_out(clips):
    task = base.build(configured(**{"train.validation_split": "test"}))
    assert len(task.train.source) == 24
    assert task.evaluation("validation").source is clips["test"]
    assert "ON THE TEST SPLIT" in task.description and task.evaluation_splits == ("test",)
    task = base.build(configured())
    assert len(task.train.source) == 16
    assert task.evaluation("validation").source is clips["validation"]
    assert "ON THE TEST" not in task.description


def test_a_fold_trains_on_the_others(clips, monkeypatch):
    parts = {"train": "fold2+fold3", "validation": "validation2+validation3", "test": "fold1"}
    monkeypatch.setattr(catalog, "fold_splits", lambda info, fold: parts)
    clips |= {"fold2+fold3": source(9), parts["validation"]: source(8), "fold1": source(8)}
    clips["fold2+fold3+validation2+validation3"] = source(17)
    task = base.build(configured(**{"data.fold": 1}))
    assert len(task.train.source) == 9 and "fold 1" in task.description
    assert task.evaluation("test").source is clips["fold1"]
    whole = base.build(configured(**{"data.fold": 1, "train.validation_split": "test"}))
    assert len(whole.train.source) == 17
    few = base.build(configured(**{"data.fold": 1, "data.target_rows": 8}))
    assert len(few.train.source) == 8


@pytest.mark.parametrize(("cap", "weight"), [(0.0, 3.0), (2.0, 2.0), (10.0, 3.0)])
def test_positive_weights_have_a_limit_where_one_is_set(clips, cap, weight):
    for i, clip in enumerate(clips["train"].records):  # an AU is in 4 clips of 16
        clip["au"] = np.full_like(clip["au"], 5.0 * (i % 4 == 0))
    run = configured(**{"loss.positive_cap": cap})
    found = audfer._tables(run, setup.parts(run, field="clip", views=("original",)))
    assert found.positive_weight.max() == weight


def test_positive_weights_are_counted_in_training(clips):
    run = configured(**{"loss.au": "distinct"})
    found = audfer._tables(run, setup.parts(run, field="clip", views=("original",)))
    au = np.array([(r["au"] >= 1).mean(0) * 2 >= 1 for r in clips["train"].records])
    label = np.array([r["expression"] for r in clips["train"].records])
    column = found.positive_weight[:, 0]  # AU01, the toy's first too
    for expression in range(3):
        positives, count = au[label == expression, 0].sum(), (label == expression).sum()
        usable = 0 < positives < count
        expected = (count - positives) / positives if usable else 1.0
        np.testing.assert_allclose(column[expression], expected)
    assert found.weight.shape == (3, 18) and 0 < found.weight.min() <= found.weight.max() < 5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"loss.shift": "midrang"}, r"loss\.shift: 'midrang' .* Did you mean 'midrange'"),
        ({"loss.shift": "nan"}, r"loss\.shift: 'nan'"),
        ({"loss.expression": "focla"}, r"loss\.expression: 'focla' .* Did you mean 'focal'"),
        ({"loss.mix_aus": "none"}, r"loss\.mix_aus: 'none'"),
        ({"loss.mix": 2.0}, r"loss\.mix: 2\.0 must be from 0 to 1"),
        ({"loss.mix": 1.0, "loss.mixup": 0.0, "loss.cutmix": 0.0}, r"loss\.mix: needs"),
        ({"loss.positive_weights": "publish"}, "Did you mean 'published'"),
        (
            {"loss.positive_cap": 0.5},
            r"loss\.positive_cap: 0\.5 must be 0, for none, or at least 1",
        ),
        ({"data.sampling": "spraed"}, r"data\.sampling: 'spraed' .* Did you mean 'spread'"),
        ({"data.au_frames": "some"}, r"data\.au_frames: 'some'"),
        ({"train.validation_split": "tset"}, "Did you mean 'test'"),
    ],
)
def test_mistakes_are_named_before_data_are_read(changes, message):
    with pytest.raises(ValueError, match=message):
        configured(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"host": "headless_video"}, "'headless_video' has no AU head"),
        ({"loss.positive_weights": "published"}, "for dfew and ferv39k, not for 'toyclips'"),
        ({"loss.knowledge": "/nowhere.csv"}, "nowhere.csv"),
        ({"data.labels": "multi_target", "loss.mix": 1.0}, "'multi_target' is a loss of its own"),
    ],
)
def test_what_the_data_or_the_model_lack_is_named(clips, changes, message):
    with pytest.raises(ValueError, match=message):
        base.build(configured(**changes))


def test_a_dataset_without_aus_is_refused_and_classes_without_records_too(clips):
    clips["train"] = source(16, au_known=np.zeros(6, bool))
    with pytest.raises(ValueError, match="no training record of 'toyclips' has any of the AUs"):
        base.build(configured())
    clips["train"] = source(16, expression=1)
    with pytest.raises(ValueError, match="there are none of neutral, anger"):
        base.build(configured(**{"loss.expression": "logit_adjusted"}))


def test_a_number_may_shift_the_knowledge():
    assert audfer.Options(shift="2.5").shift_value() == 2.5
    assert audfer.Options().shift_value() == "midrange"
