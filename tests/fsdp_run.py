"""A small network trained with a state that devices share: by the tests, and as a process of its own.

    python fsdp_run.py WORKDIR SHARING [SHARING ...]

trains on all devices there are, once for each number of devices that share, and writes what came of it;
as one of several processes (see `devices.start_processes`) it also saves a checkpoint.
"""

import pathlib
import pickle
import sys

import jax
import toy
from flax import linen as nn

from aufer_jax.models import layers
from aufer_jax.train import checkpoints, devices, experiment


class Network(nn.Module):
    """Two matrices that are shared, and vectors and heads that are not."""

    @nn.compact
    def __call__(self, x, train=False):
        x = nn.Dense(64, use_bias=False)(x.reshape(len(x), -1))
        x = nn.relu(layers.BatchNorm()(x, train))
        x = nn.tanh(nn.Dense(64)(x))
        return {"expression": nn.Dense(3)(x), "au": nn.Dense(3)(x), "features": x}


def built(sharing, on=None, **options):
    # Not Adam: what it divides by is rounding where a gradient is almost nothing.
    options = {
        "optimizer__name": "sgd",
        "optimizer__lr": 0.05,
        "optimizer__clip_norm": 1.0,
    } | options
    run = toy.run(train__fsdp=sharing, train__accumulate=2, train__ema_decay=0.5, **options)
    return experiment.assemble(run, toy.task(run, model=Network()), on)


def trained(made, count=3, start=0, state=None):
    """The experiment's state after some steps, what each logged, and the counts of an evaluation."""
    after, lines = toy.steps(made, count, start, state)
    share = len(made.task.example["mask"]) // jax.process_count()
    mine = slice(jax.process_index() * share, (jax.process_index() + 1) * share)
    batch = made.devices.put_batch({name: rows[mine] for name, rows in made.task.example.items()})
    counts = made.eval_step(after.evaluated(), after.model_state, batch)
    return after, {"state": devices.fetch(after), "lines": lines, "counts": jax.device_get(counts)}


def save(workdir, after):
    saver = checkpoints.Checkpoints(workdir)
    saver.save(int(after.step), after, {"note": "x"})
    saver.close()


def main(workdir, *sharings):
    devices.use_compilation_cache()
    devices.start_processes()
    found = {}
    for sharing in map(int, sharings):
        after, found[sharing] = trained(built(sharing))
    if jax.process_count() > 1:
        save(workdir, after)
    if devices.is_first():
        plain = {n: jax.tree.leaves(values) for n, values in found.items()}
        pathlib.Path(workdir, "found.pickle").write_bytes(pickle.dumps(plain))


if __name__ == "__main__":
    main(*sys.argv[1:])
