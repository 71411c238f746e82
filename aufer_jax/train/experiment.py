"""A run that is ready to step: data, method, optimizer and compiled steps, nothing trained yet."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
import optax

from aufer_jax import parallel
from aufer_jax.data import loader
from aufer_jax.models import ops, table
from aufer_jax.train import base, devices, evaluation, optimizer, schedules, setup
from aufer_jax.train import state as state_lib
from aufer_jax.train import step as step_lib
from aufer_jax.train.run import Run

# (state, batch) -> (state after it, what it logs)
TrainStep = Callable[
    [state_lib.TrainState, base.Batch], tuple[state_lib.TrainState, dict[str, Any]]
]


@dataclasses.dataclass
class Experiment:
    """A run made ready: task, devices, optimiser, and its compiled steps."""

    run: Run
    task: base.Task
    devices: devices.Devices
    tx: optax.GradientTransformation
    rate: schedules.Rate
    train_step: TrainStep
    frozen_step: TrainStep  # the training step in evaluation mode, see `Task.evaluation_mode_from`
    eval_step: Callable[..., Any]  # (params, model_state, batch) -> counts
    pure_step: Callable  # (state, batch, seed) as `TrainStep`, over the whole batch, to be traced
    definition: Callable  # the same without what `train.remat` computes again
    seed: np.ndarray  # the data of the key that all keys of its steps come from
    target: state_lib.TrainState  # shapes and types of the state
    report: loader.Report = dataclasses.field(default_factory=loader.Report)  # on the data read

    @property
    def total_steps(self) -> int:
        """Of all epochs."""
        return self.run.train.epochs * self.task.steps_per_epoch

    @property
    def sharding(self) -> state_lib.TrainState:
        """How each array of the state lies on the devices."""
        return self.devices.shardings(self.target)

    def step_function(self, step: int) -> TrainStep:
        """What is to be run as step `step`, counted from 0."""
        frozen_from = self.task.evaluation_mode_from
        frozen = frozen_from is not None and step >= frozen_from
        return self.frozen_step if frozen else self.train_step

    def traced_step(self, step: Callable | None = None) -> Any:
        """The training step over the whole batch, traced for no platform; by default as it is defined."""
        step = step or self.definition
        with ops.traced_for("tpu"):
            given = self.target, base.shapes(self.task.example), self.seed
            return jax.make_jaxpr(step)(*given).jaxpr

    def step_flops(self, traced: Any = None) -> float:
        """Of a training step over all devices: two for each multiply-add of its products; nothing is run.

        0 where they cannot be counted.
        """
        try:
            return 2.0 * sum(table.products(traced or self.traced_step()))
        except ValueError:  # a loop of unknown length in a method of the caller's own
            return 0.0

    def initial_state(self) -> state_lib.TrainState:
        """The state that training from scratch (or from `init_from`) begins with."""
        key = jax.random.key(self.run.seed)
        create = jax.jit(
            functools.partial(
                state_lib.create, self.task.method, self.tx, ema=self.run.train.ema_decay > 0
            ),
            out_shardings=self.sharding,
            compiler_options=self._quickly(),
        )
        return create(key, self.task.example)

    def _quickly(self) -> dict[str, Any]:
        """Options for a program that runs once: the same values, compiled in half the time on a CPU."""
        if self.devices.lowered_for != "cpu" or jax.config.read("jax_disable_most_optimizations"):
            return {}
        return {"xla_backend_optimization_level": 1}

    def stream(self, start: int) -> loader.Prefetch:
        """Batches on the devices, from step `start` on."""
        data = self.run.data
        batches = loader.train_batches(
            self.task.train,
            batch_size=data.batch_size,
            seed=self.run.seed,
            start=start,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
            workers=data.workers,
            threads=data.threads,
        )
        batches.report = self.report
        return loader.to_device(batches, self.devices.put_batch, ahead=data.ahead)

    def position(self, step: int) -> loader.State:
        """The stream's state before step `step`, for the checkpoint."""
        batch_size = self.run.data.batch_size
        description = loader.describe(self.task.train, batch_size=batch_size)
        return loader.State(step, self.run.seed, description)

    def evaluate(self, state: state_lib.TrainState, split: str) -> dict[str, Any]:
        """Metrics of a split, exact over padding and processes."""
        step = functools.partial(self.eval_step, state.evaluated(), state.model_state)
        part, labels = self.task.evaluation(split), self.task.labels
        return evaluation.evaluate(
            step, part, labels, data=self.run.data, on=self.devices, report=self.report
        )


def build(run: Run, on: Sequence[Any] | None = None) -> Experiment:
    """The experiment of a checked configuration; `on` limits it to some devices."""
    return assemble(run, base.build(run), on)


def assemble(
    run: Run, task: base.Task, on: Sequence[Any] | devices.Devices | None = None
) -> Experiment:
    """Devices, optimizer and compiled steps for a task, which may be of the caller's own making."""
    sync = run.train.sync_batchnorm
    if isinstance(on, devices.Devices):
        chosen = on
    else:
        chosen = devices.create(
            run.train.parallel, sync_batchnorm=sync, fsdp=run.train.fsdp, devices=on
        )
    period = loader.plan(task.train).period
    cycles = run.data.batch_size // run.train.accumulate // period
    chosen.check_batch(cycles, f"data.batch_size / train.accumulate / {period}")
    chosen.check_batch(run.data.eval_batch_size, "data.eval_batch_size")
    rate = task.rate or setup.rate(run, task.steps_per_epoch)
    variables = jax.eval_shape(task.method.init, jax.random.key(0), task.example)
    tx = optimizer.create(run.optimizer, rate, variables["params"])
    begin = functools.partial(state_lib.from_variables, tx=tx, ema=run.train.ema_decay > 0)
    target = jax.eval_shape(begin, variables)
    options = step_lib.StepOptions(
        accumulate=run.train.accumulate,
        period=period,
        ema_decay=run.train.ema_decay,
        freeze=run.optimizer.freeze,
        remat=run.train.remat,
    )

    step = functools.partial(
        step_lib.train_step, method=task.method, tx=tx, options=options, split=chosen.split
    )
    frozen = dataclasses.replace(options, evaluation_mode=True)
    seed = np.asarray(jax.random.key_data(jax.random.key(run.seed)))
    compiled = functools.partial(
        chosen.compile_train, state=target, seed=seed, remat=bool(run.train.remat)
    )
    whole = functools.partial(step, split=parallel.Split())
    return Experiment(
        run=run,
        task=task,
        devices=chosen,
        tx=tx,
        rate=rate,
        train_step=compiled(step),
        frozen_step=compiled(functools.partial(step, options=frozen)),
        eval_step=evaluation.compile_step(
            task.method.predict,
            len(task.expressions),
            chosen,
            (target.params, target.model_state),
        ),
        pure_step=whole,
        definition=functools.partial(whole, options=dataclasses.replace(options, remat="")),
        seed=seed,
        target=target,
    )
