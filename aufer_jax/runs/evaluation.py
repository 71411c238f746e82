"""Metrics of a finished run, on as many devices and processes as there are."""

import functools
import json
import pathlib
from collections.abc import Sequence
from typing import Any

from ml_collections import ConfigDict

from aufer_jax.errors import UserError
from aufer_jax.evaluate import metrics
from aufer_jax.runs.predictor import Predictor
from aufer_jax.train import devices as devices_lib
from aufer_jax.train import evaluation, workdir


def evaluate(
    path: str | pathlib.Path, config: ConfigDict | None = None, devices: Sequence[Any] | None = None
) -> dict[str, Any]:
    """Metrics of the best state of a workdir on its evaluation splits, as at the end of training.

    `config` is checked to be the run's own, but for what may change, such as where its data are. `devices`
    limits it to some of them.
    """
    if config is not None:
        workdir.refuse_another_run(pathlib.Path(path), json.loads(config.to_json_best_effort()))
    predictor = Predictor.load(path, config)
    run = predictor.run
    if run is None:
        raise UserError(f"workdir: {str(path)!r} holds converted weights; a run has data")
    sync = run.train.sync_batchnorm
    on = devices_lib.create(run.train.parallel, sync_batchnorm=sync, devices=devices)
    on.check_batch(run.data.eval_batch_size, "data.eval_batch_size")
    compiled = evaluation.compile_step(
        predictor.inference.predict, len(predictor.labels.expressions), on
    )
    state = on.put_replicated((predictor.params, predictor.model_state))
    step = functools.partial(compiled, *state)
    summary = {}
    for split in predictor.inference.evaluation_splits():
        part = predictor.split(split)
        summary[split] = values = evaluation.evaluate(
            step, part, predictor.labels, data=run.data, on=on, report=predictor.report
        )
        if devices_lib.is_first():
            which = f"{predictor.state} state, step {predictor.step}"
            print(f"{which}: {metrics.line(split, values)}", flush=True)
    workdir.note_problems(path, predictor.report)
    return summary
