"""Metrics of a whole split on all devices, in training and of a finished run."""

import functools
from collections.abc import Callable
from typing import Any

import jax

from aufer_jax.data import loader, mixture
from aufer_jax.evaluate import metrics
from aufer_jax.train import base, config, devices
from aufer_jax.train import step as step_lib
from aufer_jax.train.meter import AHEAD


def compile_step(
    predict: Callable[..., Any], num_classes: int, on: devices.Devices, state: Any
) -> Callable:
    """step(params, model_state, batch) -> counts over the whole batch; `state` has the shapes of the two."""
    counts = functools.partial(metrics.counts, num_classes=num_classes)
    step = functools.partial(step_lib.eval_step, predict=predict, counts=counts, split=on.split)
    return on.compile_eval(step, state)


def evaluate(
    step: Callable[[Any], metrics.Sums],
    part: mixture.Part,
    labels: base.Labels,
    *,
    data: config.Data,
    on: devices.Devices,
    report: loader.Report,
) -> dict[str, Any]:
    """Metrics of all records of a part, exact over padding and processes.

    Args:
      step: batch -> counts.
      part: the records.
      labels: whose classes and AUs are counted.
      data: how many records are read at a time, and by how many threads and processes.
      on: the devices the step was compiled for.
      report: what is wrong with records is added here.
    """
    batches = loader.eval_batches(
        part,
        batch_size=data.eval_batch_size,
        process_index=jax.process_index(),
        process_count=jax.process_count(),
        workers=data.workers,
        threads=data.threads,
    )
    batches.report = report
    with loader.to_device(batches, on.put_batch, ahead=data.ahead) as stream:
        counts = []
        for batch in stream:
            counts.append(step(batch))
            jax.block_until_ready(counts[-AHEAD - 1 : -AHEAD])
        sums = functools.reduce(metrics.add, jax.device_get(counts))
    return metrics.summarize(sums, expressions=labels.expressions, aus=labels.aus)
