"""What the validation split chooses, and `train.patience`, which a resumed run knows, too."""

import json

import jax
import numpy as np
import pytest
import toy

from aufer_jax.errors import UserError
from aufer_jax.train import experiment, loop, preemption

ACCURACY = {1: 0.5, 2: 0.7, 3: 0.6, 4: 0.7, 5: 0.9}  # epoch -> what the validation split says


@pytest.fixture(autouse=True)
def scripted(monkeypatch):
    """What is seen of the validation split is given, and the steps stay those of the run."""

    def evaluate(self, state, split):
        epoch = int(state.step) // self.task.steps_per_epoch
        return {"accuracy": ACCURACY[epoch], "uar": ACCURACY[epoch], "loss": float(state.step)}

    monkeypatch.setattr(experiment.Experiment, "evaluate", evaluate)


def train(workdir, patience, stop=None):
    config = toy.config(train__epochs=5, train__patience=patience)
    return loop.train_and_evaluate(config, workdir, toy.task(toy.run()), stop=stop)


class AfterSteps(preemption.Stop):
    """Asks for a stop once so many steps are done."""

    def __init__(self, steps):
        super().__init__()
        self.left = steps

    def requested(self, step):
        self.left -= 1
        return self.left == 0


def test_a_metric_that_the_validation_split_lacks_is_named(tmp_path):
    config = toy.config(train__epochs=1, train__best_metric="au_f1")
    with pytest.raises(UserError, match="no 'au_f1' of this run; it has accuracy, uar, loss"):
        loop.train_and_evaluate(config, tmp_path, toy.task(toy.run()))


def test_ends_after_so_many_epochs_without_a_better_one(tmp_path, capsys):
    patient = train(tmp_path / "patient", 2)
    assert patient.finished
    assert (
        patient.summary["steps"] == 8
    )  # the third and fourth epoch are not better than the second
    assert patient.summary["chosen"]["epoch"] == 2
    assert "train.patience: no epoch after 2 had a better accuracy" in capsys.readouterr().out

    with AfterSteps(5) as stop:  # in the third epoch
        assert not train(tmp_path / "stopped", 2, stop).finished
    resumed = train(tmp_path / "stopped", 2)
    assert resumed.summary == patient.summary
    jax.tree.map(
        np.testing.assert_array_equal,
        jax.device_get(resumed.state.params),
        jax.device_get(patient.state.params),
    )


def test_a_run_that_was_killed_before_its_summary_takes_no_further_step(tmp_path):
    first = train(tmp_path, 2).summary
    (tmp_path / "summary.json").unlink()
    assert (
        train(tmp_path, 2).summary == first == json.loads((tmp_path / "summary.json").read_text())
    )


def test_without_patience_all_epochs_are_trained(tmp_path):
    summary = train(tmp_path, 0).summary
    assert (summary["steps"], summary["chosen"]["epoch"]) == (10, 5)
