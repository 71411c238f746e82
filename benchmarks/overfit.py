"""Whether a host can learn at all: 32 clips, until it tells every one of them.

    python benchmarks/overfit.py --hosts mae_dfer r3d18

The small recipe of configs/audfer.py without its AU loss; the clips are the first of `synth_clips`.
Writes its section of docs/results/audfer.md.
"""

import argparse
import json
import pathlib
import sys
import time

import jax
import numpy as np

from aufer_jax.papers.audfer import recipes
from aufer_jax.report import results
from aufer_jax.train import config as config_lib
from aufer_jax.train import devices, experiment

OUT = pathlib.Path(__file__).parents[1] / "docs" / "results" / "audfer.md"
CLIPS, EPOCHS = 32, 400
SIZES = {"train": 800, "validation": 100, "test": 800}  # the studies' clips, the first of them


def measure(host: str) -> dict[str, str]:
    """Steps until an epoch's clips were all told, and the loss of that epoch."""
    config = recipes.create("small", host, "synth_clips", au="none")
    with config.unlocked():
        config.data.sizes = SIZES
    config.data.target_rows, config.train.epochs = CLIPS, EPOCHS
    run = config_lib.check(config)
    made = experiment.build(run)
    state, losses, shares = made.initial_state(), [], []
    began = time.perf_counter()
    with made.stream(0) as stream:
        while len(shares) < EPOCHS and max(shares, default=0.0) < 1:
            sums = []
            for _ in range(made.task.steps_per_epoch):
                state, logged = made.train_step(state, next(stream))
                sums.append(jax.device_get(logged["sums"]))
            right, count = np.sum([s["accuracy"] for s in sums], 0)
            losses.append(np.divide(*np.sum([s["loss"] for s in sums], 0)))
            shares.append(right / count)
    row = {
        "host": host,
        "clips": f"{count:.0f}",
        "told in the best epoch": f"{max(shares):.0%}",
        "epochs": str(len(shares)),
        "steps": str(int(state.step)),
        "first loss": f"{losses[0]:.3f}",
        "last loss": f"{losses[-1]:.3f}",
        "seconds": f"{time.perf_counter() - began:.0f}",
    }
    print(json.dumps(row), flush=True)
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--hosts", nargs="+", default=["mae_dfer"])
    given = parser.parse_args()
    devices.keep_freed_memory()
    rows = [measure(host) for host in given.hosts]
    note = (
        f"The small networks from chance, on the same {CLIPS} clips of `synth_clips` in every epoch: until "
        f"all are told in one, at most {EPOCHS} epochs. Told and loss: those of training, before each step."
    )
    command = "python " + " ".join(sys.argv)
    results.write_section(OUT, "AU-DFER: 32 clips by heart", rows, command, note)


if __name__ == "__main__":
    main()
