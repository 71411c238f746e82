"""Trackers: what each is told, that none of them ends a run, and that a resumed run goes on with its own.

Weights & Biases, MLflow and trackio are played by stand-ins here; the real ones are in test_services.py.
"""

import json
import sys
import types

import pytest
import toy

from aufer_jax.errors import UserError
from aufer_jax.train import config as config_lib
from aufer_jax.train import loop, preemption, services, trackers


class Told(trackers.Tracker):
    """Writes down what it is told."""

    def __init__(self):
        self.all = []

    def config(self, values):
        self.all.append(("config", values["method"]))

    def scalars(self, step, split, values):
        self.all.append((step, split))

    def summary(self, values):
        self.all.append(("summary", values["steps"]))

    def close(self):
        self.all.append("closed")


def test_a_run_tells_its_trackers_everything_once(tmp_path):
    own = Told()
    loop.train_and_evaluate(toy.config(), tmp_path, toy.task(toy.run()), tracked_by=[own])
    epochs = [(step, split) for step in (2, 4) for split in ("train", "validation")]
    assert own.all == [
        ("config", "auvit"), *epochs, (4, "test_last"), (4, "test_best"), ("summary", 4), "closed",
    ]  # fmt: skip
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [(line["step"], line["split"]) for line in lines] == own.all[1:-2]


def test_of_several_processes_the_first_one_tracks(tmp_path, monkeypatch):
    monkeypatch.setattr(loop.jax, "process_index", lambda: 1)
    own = Told()
    tracker = loop._tracker(toy.run(train__trackers=("wandb",)), tmp_path, 0, [own])
    tracker.scalars(1, "train", {"loss": 0.5})
    assert own.all == [] and list(tmp_path.iterdir()) == []


def test_one_that_has_failed_is_told_nothing_more(caplog):
    class Broken(Told):
        def scalars(self, step, split, values):
            super().scalars(step, split, values)
            raise ValueError

    broken = Broken()
    aside = trackers.Aside("mine", lambda: broken)
    for step in (1, 2):
        aside.scalars(step, "train", {})
    aside.close()
    assert broken.all == [(1, "train")]
    assert caplog.messages == ["mine: ValueError; the run goes on without it"]


def test_together_closes_all_of_them():
    class Broken(trackers.Tracker):
        def close(self):
            raise OSError("full")

    last = Told()
    with pytest.raises(OSError, match="full"):
        trackers.Together([Broken(), last]).close()
    assert last.all == ["closed"]


# --- Stand-ins --------------------------------------------------------------------------------------


class Kept:
    """What a stand-in for a package has been given, over all starts."""

    def __init__(self):
        self.begun, self.config, self.lines, self.ends = [], {}, [], []


class Config(dict):
    def update(self, values, allow_val_change=False):
        assert allow_val_change
        super().update(values)


def wandb(kept):
    def init(**options):
        kept.begun.append(options["id"])
        config = Config()
        kept.config = config
        summary = {}
        return types.SimpleNamespace(
            config=config,
            summary=summary,
            define_metric=lambda name, step_metric: None,
            log=lambda values: kept.lines.append((values["step"], values)),
            finish=lambda exit_code: kept.ends.append(
                ("ended" if summary else "stopped", exit_code)
            ),
        )

    return types.SimpleNamespace(init=init, Settings=lambda **options: options)


def trackio(kept):
    def init(project, *, name, resume, config, embed):
        assert resume == "allow" and not embed
        kept.begun.append(name)
        kept.config = config
        return types.SimpleNamespace(log=lambda values, step: kept.lines.append((step, values)))

    return types.SimpleNamespace(init=init, finish=lambda: kept.ends.append("closed"))


def mlflow(kept):
    class MlflowClient:
        def get_experiment_by_name(self, name):
            return None

        def create_experiment(self, name):
            return "7"

        def create_run(self, experiment, run_name):
            assert experiment == "7"
            kept.begun.append("r1")
            return types.SimpleNamespace(info=types.SimpleNamespace(run_id="r1"))

        def update_run(self, run, status):
            kept.begun.append((run, status))

        def get_run(self, run):
            return types.SimpleNamespace(data=types.SimpleNamespace(params=kept.config))

        def log_batch(self, run, params=(), metrics=()):
            assert len(params) <= 100 and not {p[0] for p in params} & kept.config.keys()
            kept.config |= dict(params)
            steps = {metric[3] for metric in metrics}
            kept.lines.extend((step, {m[0]: m[1] for m in metrics}) for step in steps)

        def set_terminated(self, run, status):
            kept.ends.append(status)

    entities = types.SimpleNamespace(Param=lambda *p: p, Metric=lambda *m: m)
    return types.SimpleNamespace(MlflowClient=MlflowClient, entities=entities)


KINDS = {"wandb": wandb, "mlflow": mlflow, "trackio": trackio}
ENDS = {
    "wandb": [("stopped", 1), ("ended", 0)], "mlflow": ["KILLED", "FINISHED"], "trackio": ["closed"] * 2,
}  # fmt: skip


def stand_in(monkeypatch, name):
    kept = Kept()
    module = KINDS[name](kept)
    module.__spec__ = object()  # it is installed
    monkeypatch.setitem(sys.modules, name, module)
    if name == "mlflow":
        monkeypatch.setitem(sys.modules, "mlflow.entities", module.entities)
        for key in services._PATIENCE:
            monkeypatch.setenv(key, "1")
    return kept


def train(workdir, name, stop=None, **overrides):
    config = toy.config(train__trackers=(name,), **overrides)
    return loop.train_and_evaluate(config, workdir, toy.task(toy.run()), stop=stop)


class After(preemption.Stop):
    def __init__(self, steps):
        super().__init__()
        self.steps = steps

    def requested(self, step):
        return step == self.steps


@pytest.mark.parametrize("name", KINDS)
def test_a_resumed_run_goes_on_with_its_tracker_run(tmp_path, monkeypatch, name):
    kept = stand_in(monkeypatch, name)
    with After(3) as stop:
        assert not train(tmp_path, name, stop).finished
    assert train(tmp_path, name, train__log_every=7).finished
    first, again = kept.begun
    assert again in (first, (first, "RUNNING"))
    assert json.loads((tmp_path / "trackers.json").read_text()) == {name: first}
    config = kept.config.get("train", {}).get("epochs") or kept.config["train.epochs"]
    assert str(config) == "2"
    assert [step for step, values in kept.lines if "train/loss" in values] == [2, 4]
    last = {key: value for _, values in kept.lines for key, value in values.items()}
    assert 0 <= last["test_best/accuracy"] <= 1 and "test_best/confusion" not in last
    assert all(isinstance(value, (int, float)) for value in last.values())
    assert kept.ends == ENDS[name]


def test_a_run_that_came_to_nothing_is_another_run_when_it_begins_again(tmp_path, monkeypatch):
    kept = stand_in(monkeypatch, "wandb")
    (tmp_path / "trackers.json").write_text('{"wandb": "old"}')
    train(tmp_path, "wandb")
    assert kept.begun != ["old"]


@pytest.mark.parametrize("when", ["init", "log", "finish"])
def test_a_tracker_that_fails_is_said_once_and_the_run_goes_on(tmp_path, monkeypatch, caplog, when):
    kept = stand_in(monkeypatch, "wandb")
    real = sys.modules["wandb"].init

    def fail(*args, **options):
        raise ConnectionError("no\nnetwork")

    def init(**options):
        run = real(**options)
        setattr(run, when, fail)
        return run

    monkeypatch.setattr(sys.modules["wandb"], "init", fail if when == "init" else init)
    assert train(tmp_path, "wandb").finished
    assert caplog.messages.count("wandb: no network; the run goes on without it") == 1
    assert not kept.ends
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert len(lines) == 6


def test_a_damaged_list_of_trackers_is_no_obstacle(tmp_path, monkeypatch, caplog):
    kept = stand_in(monkeypatch, "trackio")
    (tmp_path / "trackers.json").write_text("{")
    trackers.Together(services.begin(["trackio", "trackio"], tmp_path)).config({})
    assert "trackers begin a new run" in caplog.text and len(kept.begun) == 1


def test_a_package_that_is_not_installed_is_named_before_there_is_a_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(services.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"mlflow is not installed.*'aufer-jax\[mlflow\]'"):
        train(tmp_path / "run", "mlflow")
    assert not (tmp_path / "run").exists()


def test_a_tracker_that_nobody_knows_is_named():
    with pytest.raises(UserError, match=r"train.trackers: 'wandbd' .* Did you mean 'wandb'"):
        config_lib.check(toy.config(train__trackers=("mlflow", "wandbd")))
    config = toy.config()
    config_lib.set_value(config, "train.trackers", "wandb,mlflow")
    assert config_lib.check(config).train.trackers == ("wandb", "mlflow")


def test_every_name_has_its_tracker():
    assert set(services._KINDS) == set(config_lib.TRACKERS) == set(KINDS)
