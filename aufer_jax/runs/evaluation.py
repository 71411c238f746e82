"""Metrics of a finished run, on as many devices and processes as there are."""

import functools
import json
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
from ml_collections import ConfigDict

from aufer_jax import remote
from aufer_jax.errors import UserError
from aufer_jax.evaluate import metrics
from aufer_jax.runs import conclusion
from aufer_jax.runs.predictor import Predictor
from aufer_jax.train import devices as devices_lib
from aufer_jax.train import evaluation, workdir


def evaluate(
    path: str | pathlib.Path,
    config: ConfigDict | None = None,
    devices: Sequence[Any] | None = None,
    *,
    data: str = "",
    data_dir: str = "",
    split: str = "",
    judge: bool = False,
) -> dict[str, Any]:
    """Metrics of the best state of a workdir on its evaluation splits, as at the end of training.

    Args:
      path: the workdir.
      config: checked to be the run's own, but for what may change, such as where its data are.
      devices: limits it to some of them.
      data: another prepared dataset, of which all records are evaluated, or those of `split`.
      data_dir: where prepared datasets are kept.
      split: only this one.
      judge: also writes predictions and mistakes, and says what simple guesses reach (`conclusion`).

    Returns:
      Split -> metrics.
    """
    path = remote.copy(path)
    if config is not None:
        workdir.refuse_another_run(pathlib.Path(path), json.loads(config.to_json_best_effort()))
    predictor = home = Predictor.load(path, config)
    run = predictor.run
    if run is None:
        raise UserError(f"workdir: {str(path)!r} holds converted weights; a run has data")
    if data:
        predictor = home.on(data, data_dir or run.data.dir, split)
        if data == run.data.target and split != "test":
            print(f"{data} is what the run was trained on: only its test split is new to it")
    sync = run.train.sync_batchnorm
    on = devices_lib.create(run.train.parallel, sync_batchnorm=sync, devices=devices)
    on.check_batch(run.data.eval_batch_size, "data.eval_batch_size")
    state = on.put_state((predictor.params, predictor.model_state))
    compiled = evaluation.compile_step(
        predictor.inference.predict, len(predictor.labels.expressions), on, state
    )
    step = functools.partial(compiled, *state)
    summary = {}
    for name in _splits(predictor, "" if data else split):
        part = predictor.split(name)
        summary[name] = values = evaluation.evaluate(
            step, part, predictor.labels, data=run.data, on=on, report=predictor.report
        )
        if devices_lib.is_first():
            which = f"{predictor.state} state, step {predictor.step}"
            print(f"{which}: {metrics.line(name, values)}", flush=True)
    if judge and predictor.expressions and jax.process_count() == 1:
        for name in summary:
            stem = "_".join(filter(None, (data, "" if name == "test" else name.replace("+", "_"))))
            told = conclusion.conclude(predictor, path, name, stem, home)
            print("\n".join(told["lines"]), flush=True)
    workdir.note_problems(path, predictor.report)
    return summary


def _splits(predictor: Predictor, only: str) -> tuple[str, ...]:
    return (only,) if only else predictor.inference.evaluation_splits()
