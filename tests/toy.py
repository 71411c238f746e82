"""A task so small that the engine's tests compile in seconds: noisy colour patches, a tiny ResNet."""

import functools

import cv2
import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from ml_collections import ConfigDict

from aufer_jax import models
from aufer_jax.data import loader, mixture, records, views
from aufer_jax.papers.auvit import method as auvit
from aufer_jax.train import base, checkpoints, setup
from aufer_jax.train import config as config_lib

EXPRESSIONS = ("neutral", "happiness", "sadness")
AUS = (1, 6, 12)
COLOURS = 128 + 20 * np.eye(3)


def source(count: int, seed: int, broken: tuple[int, ...] = ()) -> records.MemorySource:
    """Patches whose colour is their expression and whose AUs are random bits written in brightness."""
    info = records.DatasetInfo(
        name="toy", kind="image", expressions=EXPRESSIONS, aus=AUS, splits={"train": count},
        licence="", how_to_get="",
    )  # fmt: skip
    rng = np.random.default_rng(seed)
    rows = []
    for index in range(count):
        label = int(rng.integers(3))
        image = COLOURS[label] + rng.normal(0, 60, (16, 16, 3))
        png = cv2.imencode(".png", image.clip(0, 255).astype(np.uint8)[..., ::-1])[1].tobytes()
        au = rng.integers(0, 2, 3).astype(np.float32)
        rows.append(
            {
                "image": b"not an image" if index in broken else png,
                "expression": label,
                "expression_votes": np.zeros(0, np.float32),
                "au": au,
                "au_known": np.array([True, True, index % 2 == 0]),
                "landmarks": np.full((68, 2), np.nan, np.float32),
                "visible": np.ones(68, bool),
                "box": np.array([0, 0, 16, 16], np.float32),
                "subject": f"s{index}",
                "key": f"k{index}",
                "note": "",
            }
        )
    return records.MemorySource(info, rows)


def config(**overrides) -> ConfigDict:
    """The toy task's configuration; overrides as in `train__epochs=3`."""
    values = config_lib.default("auvit")
    values.model.name = "resnet18"
    values.data.size = 16
    values.data.batch_size = 16
    values.data.eval_batch_size = 16
    values.optimizer.lr = 0.01
    values.train.epochs = 2
    for key, value in overrides.items():
        section, _, leaf = key.rpartition("__")
        with (values[section] if section else values).unlocked():
            (values[section] if section else values)[leaf] = value
    return values


def run(**overrides) -> config_lib.Run:
    return config_lib.check(config(**overrides))


def task(
    run_: config_lib.Run,
    count: int = 40,
    broken: tuple[int, ...] = (),
    model: nn.Module | None = None,
) -> base.Task:
    model = model or models.create(
        "resnet18", layers=(1, 1), width=8, stem_pool=False, num_classes=3, num_aus=3
    )
    spec = views.Spec(size=16, aus=AUS, expressions=EXPRESSIONS, augment=run_.augment)
    parts = setup.Parts(
        model=model,
        preprocess=models.architecture("resnet18").preprocess,
        dtype=jnp.dtype(run_.train.compute_dtype),
        spec=spec,
        expressions=EXPRESSIONS,
    )
    train = mixture.Part(source(count, 0, broken), spec)
    batch = next(loader.train_batches(train, batch_size=run_.data.batch_size, seed=0, threads=0))
    method = setup.method(parts, "image", functools.partial(auvit.loss, options=run_.loss))
    return base.Task(
        method=method,
        description="toy",
        train=train,
        evaluation=lambda split: mixture.Part(source(21, 1), spec),
        evaluation_splits=("test",),
        expressions=EXPRESSIONS,
        aus=AUS,
        steps_per_epoch=count // run_.data.batch_size,
        example=batch,
    )


def steps(experiment, count, start=0, state=None):
    """The state after `count` steps from step `start` on, and what each of them logged."""
    state, logged = experiment.initial_state() if state is None else state, []
    stream = experiment.stream(start)
    try:
        for _ in range(count):
            state, line = experiment.train_step(state, next(stream))
            logged.append(jax.device_get(line))
    finally:
        stream.close()
    return state, logged


def resumed(experiment, begun, folder):
    """What three steps log, which one step, a checkpoint of it and two more steps are equal to."""
    whole, logged = steps(experiment, 3, state=begun())
    first, _ = steps(experiment, 1, state=begun())
    saver = checkpoints.Checkpoints(folder, keep=1)
    saver.save(1, first, {})
    saver.wait()
    saver.close()
    reader = checkpoints.Reader(folder)
    restored, _ = reader.restore(experiment.target, experiment.devices.replicated)
    after, rest = steps(experiment, 2, start=1, state=restored)
    jax.tree.map(np.testing.assert_array_equal, jax.device_get(after), jax.device_get(whole))
    jax.tree.map(np.testing.assert_array_equal, rest, logged[1:])
    return logged
