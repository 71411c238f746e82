"""One run from its configuration to its summary: data, state, steps, checkpoints, evaluation."""

import contextlib
import dataclasses
import json
import logging
import math
import pathlib
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
from ml_collections import ConfigDict
from tqdm import tqdm

from aufer_jax import remote
from aufer_jax.data import loader
from aufer_jax.errors import UserError
from aufer_jax.evaluate import metrics
from aufer_jax.train import (
    base,
    checkpoints,
    devices,
    initial,
    lock,
    logs,
    peers,
    preemption,
    profiling,
    resources,
    services,
    trackers,
)
from aufer_jax.train import config as config_lib
from aufer_jax.train import experiment as experiment_lib
from aufer_jax.train import meter as meter_lib
from aufer_jax.train import progress as progress_lib
from aufer_jax.train import speed as speed_lib
from aufer_jax.train import state as state_lib
from aufer_jax.train import workdir as workdir_lib

log = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Result:
    """What came of a call of `train_and_evaluate`."""

    state: state_lib.TrainState | None  # None: the run was stopped, or finished before
    summary: dict[str, Any]
    finished: bool  # False: stopped by a signal, a checkpoint was written


def train_and_evaluate(
    config: ConfigDict,
    workdir: str | pathlib.Path,
    task: base.Task | None = None,
    *,
    stop: preemption.Stop | None = None,
    tracked_by: Sequence[trackers.Tracker] = (),
    profile: str = "",
) -> Result:
    """Trains (or resumes) the run of `workdir`, evaluates it and writes its summary.

    Args:
      config: see `configs/`.
      workdir: everything the run writes goes here; a run that is already here is resumed. May be in a store
        (`gs://`, `s3://`).
      task: instead of the configured method and data, one of the caller's own.
      stop: who listens for signals; by default this call does while it lasts.
      tracked_by: trackers of the caller's own, beside those that every run and `train.trackers` have.
      profile: a folder for a trace of a few steps; none: no trace.
    """
    if stop is None:
        with preemption.Stop() as stop:
            return train_and_evaluate(
                config, workdir, task, stop=stop, tracked_by=tracked_by, profile=profile
            )
    if remote.is_remote(workdir):
        with remote.at_work(workdir) as folder:
            return train_and_evaluate(
                config, folder, task, stop=stop, tracked_by=tracked_by, profile=profile
            )
    # ---- configuration, devices, data, method
    run = config_lib.check(config)
    workdir = pathlib.Path(workdir)
    settings = json.loads(config.to_json_best_effort())
    workdir_lib.refuse_another_run(workdir, settings)
    summary = workdir_lib.saved_summary(workdir)
    if summary is not None:
        print(f"{remote.name(workdir)} holds a finished run", flush=True)
        _report(summary)
        return Result(None, summary, finished=True)
    services.check(run.train.trackers)
    task = task or base.build(run)  # before there is a folder: a mistake leaves none
    with peers.told(), lock.of_run(workdir):
        return _train_and_evaluate(run, settings, workdir, task, stop, tracked_by, profile)


def _train_and_evaluate(
    run: config_lib.Run,
    settings: dict,
    workdir: pathlib.Path,
    task: base.Task,
    stop: preemption.Stop,
    tracked_by: Sequence[trackers.Tracker],
    profile: str,
) -> Result:
    used, first = resources.Meter(), jax.process_index() == 0
    if first:
        print(task.description, flush=True)
    experiment = experiment_lib.assemble(run, task)
    experiment.eval_step = stop.leaves(experiment.eval_step)
    if first:
        print(_size(experiment), flush=True)

    # ---- state: own workdir, then `resume`, then `init_from`, then scratch
    state, progress = _start(experiment, workdir)
    if first:
        workdir_lib.begin(workdir, settings, task.labels)
    with contextlib.ExitStack() as closing:  # whatever happens, all of them
        if first:
            closing.push(_after(lambda: used.write(workdir)))
        closing.push(_after(lambda: workdir_lib.note_problems(workdir, experiment.report)))
        lines_until = int(state.step) - _is_unvalidated(experiment, state, progress)
        tracker = _tracker(run, workdir, lines_until, tracked_by)
        closing.push(_after(tracker.close))
        tracker.config(settings)
        saver = checkpoints.Checkpoints(workdir, keep=run.train.keep)
        closing.push(_after(saver.close))  # before trackers that wait for a network
        traced = profiling.Profile(profile, int(state.step), speaks=first)
        closing.callback(traced.close)
        return _run(experiment, state, progress, saver, tracker, stop, traced)


def _tracker(
    run: config_lib.Run, workdir: pathlib.Path, step: int, others: Sequence[trackers.Tracker]
) -> trackers.Tracker:
    """All that the run is tracked by as one; of several processes the first one tracks."""
    if jax.process_index() != 0:
        return trackers.Together([])
    inside = trackers.in_workdir(workdir, step)
    outside = services.begin(run.train.trackers, workdir)
    outside += [trackers.Aside(type(own).__name__, lambda own=own: own) for own in others]
    return trackers.Together([*inside, *outside])


def _after(close: Callable[[], None]) -> Callable[..., None]:
    """Closes something; what then fails is told, and does not hide why the run has ended."""

    def leave(kind: Any, error: BaseException | None, trace: Any) -> None:
        try:
            close()
        except Exception as another:
            if error is None:
                raise
            log.warning("%s", another)

    return leave


def _run(experiment, state, progress, saver, tracker, stop, traced) -> Result:
    try:
        # ---- steps
        training = _Training(experiment, state, progress, saver, tracker, stop, traced)
        state, progress = training.finish()
        # ---- evaluation of the last and of the best state
        saver.wait()
        summary = _conclude(experiment, state, progress, saver, tracker)
        if devices.is_first():
            logs.write_json(pathlib.Path(saver.workdir) / "summary.json", summary)
        tracker.summary(summary)
        return Result(state, summary, finished=True)
    except preemption.Stopped:
        saver.wait()
        print(f"stopped at step {saver.latest_step()}; run the same command to resume", flush=True)
        return Result(None, {}, finished=False)


def _size(experiment: experiment_lib.Experiment) -> str:
    run, count = experiment.run, sum(x.size for x in jax.tree.leaves(experiment.target.params))
    return (
        f"{count / 1e6:.1f} million parameters, {run.data.size} pixels, {run.data.batch_size} rows a step, "
        f"{experiment.task.steps_per_epoch} steps an epoch, {run.train.epochs} epochs"
    )


def _is_unvalidated(experiment, state, progress) -> bool:
    """Whether the run was stopped between an epoch's last step and the end of its validation."""
    return bool(progress["sums"]) and int(state.step) % experiment.task.steps_per_epoch == 0


def _start(
    experiment: experiment_lib.Experiment, workdir: pathlib.Path
) -> tuple[state_lib.TrainState, dict]:
    run, sharding = experiment.run, experiment.sharding
    fresh = {"sums": {}, "best": None}
    own = checkpoints.resume(workdir, experiment.target, sharding)
    if own is not None:
        state, progress = own
        saved = loader.State.from_dict(progress.pop("loader"))
        experiment.position(saved.step).check(saved)
        log.info("state: own checkpoint of step %d", int(state.step))
        return state, progress
    if run.resume:
        other = checkpoints.Reader(remote.copy(run.resume))
        if other.latest_step() is None:
            raise UserError(f"resume: {run.resume!r} holds no checkpoint")
        state, _ = other.restore(experiment.target, sharding)
        if int(state.step) >= experiment.total_steps:
            raise UserError(
                f"train.epochs: {run.train.epochs} are {experiment.total_steps} steps, and the run "
                f"in {run.resume!r} has made {int(state.step)}; nothing is left to train"
            )
        log.info("state: resumed from %s, step %d", run.resume, int(state.step))
        return state, fresh
    state = experiment.initial_state()
    if run.init_from:
        variables = devices.fetch({"params": state.params, **state.model_state})
        variables = initial.initial_weights(run, variables)
        state = experiment.devices.put_state(
            state_lib.from_variables(variables, experiment.tx, ema=run.train.ema_decay > 0)
        )
        log.info("state: initial weights from %s", run.init_from)
    else:
        stays = "; what optimizer.freeze names stays so, init_from would give it weights"
        log.info("state: from scratch%s", stays if run.optimizer.freeze else "")
    return state, fresh


class _Training:
    """The remaining steps of a run; `state` and `progress` are those after step `step`."""

    def __init__(self, experiment, state, progress, saver, tracker, stop, traced) -> None:
        run, self.total = experiment.run, experiment.total_steps
        self.experiment, self.state, self.progress = experiment, state, progress
        self.saver, self.tracker, self.stop, self.traced = saver, tracker, stop, traced
        self.step, self.per_epoch = int(state.step), experiment.task.steps_per_epoch
        self.speed = speed_lib.of(
            run.train, run.data.batch_size, experiment.devices, experiment.step_flops
        )
        self.speed.start(self.step)
        self.meter = meter_lib.Meter(progress["sums"], progress.get("norms", {}), self.step)
        self.clock = progress_lib.Clock(
            steps_per_epoch=self.per_epoch, total_steps=self.total, limit_s=run.train.time_limit
        )
        self.compiled: experiment_lib.TrainStep | None = None
        self.stream = experiment.stream(self.step)
        self.display = progress_lib.Display(self.step, self.total, active=devices.is_first())

    def finish(self) -> tuple[Any, dict]:
        """Takes all steps; raises `Stopped` if a signal stops them, with a checkpoint on its way."""
        try:
            if _is_unvalidated(self.experiment, self.state, self.progress):
                self._end_epoch()
            over = _is_settled(self.experiment, self.progress, self.step)
            while self.step < self.total and not over:
                self._call()
                over = self._after_step()
            if over and self.step < self.total and devices.is_first():
                print(_why_over(self.experiment, self.progress, self.step), flush=True)
            return self.state, self.progress
        finally:
            self.display.close()
            self.stream.close()

    def _call(self) -> None:
        batch, function = next(self.stream), self.experiment.step_function(self.step)
        if function is not self.compiled:
            _compile(function, self.state, batch)
            self.compiled = function
            self.speed.start(self.step)
        # All that a step reads is on the devices; a program that waits for the host would be slow unseen.
        with self.traced.step(self.step), jax.transfer_guard("disallow"):
            self.state, logged = function(self.state, batch)
        self.traced.after(self.step, logged)
        self.stop.first_step_taken()
        self.step += 1
        self.meter.add(logged)

    def _after_step(self) -> bool:
        """Does what is due: shows, validates, saves. Whether training is over."""
        train = self.experiment.run.train
        over = train.time_limit > 0 and preemption.agreed(self.clock.is_over())
        ends_epoch = self.step % self.per_epoch == 0 or over
        stopped = self.stop.requested(self.step)
        saves = ends_epoch or stopped or (train.save_every and self.step % train.save_every == 0)
        self._show(saves)
        if ends_epoch:
            self._end_epoch()
        if saves:
            self.saver.save(self.step, self.state, self._snapshot())
        if ends_epoch:
            self.meter.restart_clock()
            self.speed.start(self.step)
            self.clock.evaluated()
            over = over or _is_settled(self.experiment, self.progress, self.step)
        if stopped and self.step < self.total:
            raise preemption.Stopped
        return over

    def _show(self, saves: bool) -> None:
        """Fetches what the steps have logged, where it is to be saved or shown."""
        due = self.display.is_due()
        if saves or due or self.step % self.experiment.run.train.log_every == 0:
            self.meter.flush(self.saver.latest_step())
        self.clock.done(self.meter.done)
        self.display.expect(self.meter.done, self.clock.expected())
        if due:
            fast = speed_lib.brief(self.speed.values(self.meter.done))
            text = self.meter.brief() + fast + self.clock.text()
            self.display.show(self.meter.done, text)

    def _end_epoch(self) -> None:
        before = self._snapshot()
        line = {**self.meter.take(self.stream.waited_s), **self.speed.values(self.step)}
        line["lr"] = float(self.experiment.rate(self.step - 1))
        try:
            self.progress = _end_of_epoch(
                self.experiment,
                self.state,
                self.progress,
                self.saver,
                self.tracker,
                self.step,
                line,
            )
        except preemption.Stopped:
            self.saver.save(self.step, self.state, before)
            raise

    def _snapshot(self) -> dict:
        """What a checkpoint says beside the state."""
        kept = {"sums": self.meter.sums, "norms": self.meter.norms}
        return {**self.progress, **kept, "loader": self.experiment.position(self.step).to_dict()}


def _is_settled(experiment: experiment_lib.Experiment, progress: dict, step: int) -> bool:
    """Whether the best epoch lies so many epochs back that training ends; the same after a resume."""
    patience, per_epoch = experiment.run.train.patience, experiment.task.steps_per_epoch
    if not patience or progress["best"] is None or step % per_epoch:
        return False
    return step // per_epoch - progress["best"]["epoch"] >= patience


def _why_over(experiment: experiment_lib.Experiment, progress: dict, step: int) -> str:
    train, total = experiment.run.train, experiment.total_steps
    if _is_settled(experiment, progress, step):
        best = progress["best"]
        return (
            f"train.patience: no epoch after {best['epoch']} had a better {best['metric']} on the "
            f"validation split; training ends at step {step} of {total}"
        )
    return f"train.time_limit: {train.time_limit:g} s are over, at step {step} of {total}"


def _compile(function: experiment_lib.TrainStep, state: Any, batch: Any) -> None:
    began = time.monotonic()
    needed = devices.step_memory(function, state, batch)
    devices.return_large_memory(needed)
    if devices.is_first():
        gigabytes = f"; a step takes {needed / 1e9:.1f} GB of memory a device" if needed else ""
        print(f"compiled in {time.monotonic() - began:.0f} s{gigabytes}", flush=True)


def _end_of_epoch(experiment, state, progress, saver, tracker, step, train_line) -> dict:
    """Validates, logs, keeps the best state."""
    run = experiment.run
    epoch = math.ceil(step / experiment.task.steps_per_epoch)  # of a time limit, part of one
    validation = experiment.evaluate(state, "validation")
    tracker.scalars(step, "train", {"epoch": epoch, **train_line})
    tracker.scalars(step, "validation", {"epoch": epoch, **validation})
    if run.train.best_metric not in validation:
        measured = [name for name in metrics.HIGHER_IS_BETTER if name in validation]
        raise UserError(
            f"train.best_metric: the validation split has no {run.train.best_metric!r} of this run; it has "
            f"{', '.join(measured)}"
        )
    value = validation[run.train.best_metric]
    if jax.process_index() == 0:
        loss = train_line.get("loss", math.nan)
        tqdm.write(
            f"epoch {epoch}/{run.train.epochs}  loss {loss:.4f}  {metrics.line('validation', validation)}  "
            f"{train_line['seconds']:.0f} s, {100 * train_line['waited']:.1f} % waiting for data"
            f"{speed_lib.brief(train_line)}",
            file=sys.stdout,
        )
    sign = 1 if metrics.HIGHER_IS_BETTER[run.train.best_metric] else -1
    if progress["best"] is None or sign * value > sign * progress["best"]["value"]:
        best = {"value": value, "epoch": epoch, "step": step, "metric": run.train.best_metric}
        saver.save(step, state, {"best": best}, kind="best")
        return {**progress, "best": best}
    return progress


def _conclude(experiment, state, progress, saver, tracker) -> dict[str, Any]:
    """Evaluates last and best state on every evaluation split; prints and returns the summary."""
    summary: dict[str, Any] = {
        "steps": int(state.step),
        "chosen": progress["best"],
        "expressions": list(experiment.task.expressions),
        "annotated_aus": list(experiment.task.annotated_aus),
    }
    states, reader = {"last": state}, checkpoints.Reader(saver.workdir)
    if progress["best"]:
        try:
            states["best"], _ = reader.restore(
                experiment.target,
                experiment.sharding,
                kind="best",
                step=progress["best"]["step"],
            )
        except checkpoints.Damaged as error:
            summary["best_lost"] = str(error)
            log.warning("the best state cannot be evaluated: %s", error)
    for split in experiment.task.evaluation_splits:
        for kind, chosen in states.items():
            same = kind == "best" and progress["best"]["step"] == int(state.step)
            values = summary[f"{split}_last"] if same else experiment.evaluate(chosen, split)
            summary[f"{split}_{kind}"] = values
            tracker.scalars(int(state.step), f"{split}_{kind}", values)
    if jax.process_index() == 0:
        _report(summary)
    return summary


def _report(summary: dict[str, Any]) -> None:
    for name, values in summary.items():
        split, _, kind = name.rpartition("_")
        if kind in ("last", "best") and isinstance(values, dict):
            print(metrics.line(f"{split} ({kind} epoch)", values), flush=True)
