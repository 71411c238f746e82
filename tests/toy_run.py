"""Trains the toy task in a process of its own: `python toy_run.py WORKDIR [key=value ...]`.

`AUFER_DIE_AT=N` kills the process after N steps, `AUFER_DIE_SAVING=N` in the middle of its N-th save: no
handler runs. `AUFER_STOP_AT=N` asks it to stop after N steps. `AUFER_TOY_ROWS=N` makes the task larger.
"""

import os
import signal
import sys

from aufer_jax import errors
from aufer_jax.train import preemption


def die(how: signal.Signals = signal.SIGKILL) -> None:
    os.kill(os.getpid(), how)


def die_at_step(count: int, how: signal.Signals) -> None:
    from aufer_jax.train import experiment

    put = experiment.Experiment.stream

    def stream(self, start):
        for step, batch in enumerate(put(self, start), start):
            if step == count:
                die(how)
            yield batch

    class Dying:
        waited_s = 0.0

        def __init__(self, batches):
            self.batches = batches

        def __next__(self):
            return next(self.batches)

        def close(self):
            pass

    experiment.Experiment.stream = lambda self, start: Dying(stream(self, start))


def die_in_save(number: int) -> None:
    """Dies while the N-th save is being written in the background."""
    from aufer_jax.train import checkpoints

    save, seen = checkpoints.Checkpoints.save, []

    def dying(self, step, state, progress, *, kind="latest"):
        save(self, step, state, progress, kind=kind)
        seen.append(step)
        if len(seen) == number:
            die()

    checkpoints.Checkpoints.save = dying


@errors.boundary
def train(stop: preemption.Stop) -> None:
    import json
    import pathlib

    sys.path.insert(0, str(pathlib.Path(__file__).parent))
    import toy

    from aufer_jax.train import devices, loop

    devices.use_compilation_cache()
    devices.start_processes()
    overrides = dict(pair.split("=") for pair in sys.argv[2:])
    config = toy.config(**{key: json.loads(text) for key, text in overrides.items()})
    for name, how in (("AUFER_DIE_AT", signal.SIGKILL), ("AUFER_STOP_AT", signal.SIGTERM)):
        if name in os.environ:
            die_at_step(int(os.environ[name]), how)
    if "AUFER_DIE_SAVING" in os.environ:
        die_in_save(int(os.environ["AUFER_DIE_SAVING"]))
    rows = int(os.environ.get("AUFER_TOY_ROWS", "40"))
    task = toy.task(toy.config_lib.check(config), rows)
    loop.train_and_evaluate(config, sys.argv[1], task, stop=stop)


if __name__ == "__main__":
    with preemption.Stop(program=True) as stop:  # before anything slow
        code = train(stop)
    sys.exit(code)
