"""Whose workdir it is: every difference is named, and a run of an earlier version is known again."""

import json
import types

import pytest
import toy

from aufer_jax import main
from aufer_jax.train import config as config_lib
from aufer_jax.train import workdir
from aufer_jax.train.base import Labels

LABELS = Labels("image", ("neutral", "happiness"), ())


def settings(**changes):
    config = toy.config(**changes)
    config.model = config_lib.model("resnet18")
    return json.loads(config.to_json_best_effort())


def test_every_key_that_differs_is_named(tmp_path):
    workdir.begin(tmp_path, settings(), LABELS)
    (tmp_path / "checkpoints" / "latest" / "3" / "state").mkdir(parents=True)
    workdir.refuse_another_run(tmp_path, settings())
    workdir.refuse_another_run(tmp_path, settings(train__log_every=7, data__workers=1))
    with pytest.raises(ValueError) as found:
        workdir.refuse_another_run(tmp_path, settings(train__epochs=9, loss__beta=3.0, seed=1))
    for part in ("loss.beta was 1.0, is 3.0", "seed was 0, is 1", "train.epochs was 2, is 9"):
        assert part in str(found.value)
    assert f"choose another --workdir, such as --workdir={tmp_path}-2" in str(found.value)


def test_a_run_of_an_earlier_version_goes_on(tmp_path):
    """It lacks newer keys, which have their defaults, and has keys that are gone since."""
    old = settings(data__sizes={"train": 40})
    del old["loss"]["slips"], old["data"]["align"], old["model"]["width"], old["seed"]
    old["train"]["eval_mode_from"] = -1
    old["schedule"]["lag"] = 1
    old["heirloom"] = {"of": 1}
    (tmp_path / "config.json").write_text(json.dumps(old))
    (tmp_path / "summary.json").write_text("{}")
    workdir.refuse_another_run(tmp_path, settings(data__sizes={"train": 40}))
    checked = config_lib.check(workdir.saved_config(tmp_path))
    assert checked.data.sizes == {"train": 40} and checked.loss.slips == ()
    with pytest.raises(ValueError, match=r"loss\.slips was \[\], is \['warmup_from_one'\]"):
        workdir.refuse_another_run(
            tmp_path, settings(data__sizes={"train": 40}, loss__slips=("warmup_from_one",))
        )
    with pytest.raises(ValueError, match=r"data\.sizes\.train was 40, is None"):
        workdir.refuse_another_run(tmp_path, settings())


def test_a_folder_without_a_run(tmp_path):
    workdir.refuse_another_run(tmp_path, settings())
    with pytest.raises(ValueError, match="holds no run"):
        workdir.saved_config(tmp_path)


def test_a_run_that_saved_nothing_blocks_no_other(tmp_path):
    workdir.begin(tmp_path, settings(), LABELS)
    (tmp_path / "checkpoints" / "best" / "2").mkdir(parents=True)
    (tmp_path / "data_problems_0.json").write_text("{}")
    other = settings(seed=1)
    workdir.refuse_another_run(tmp_path, other)
    workdir.begin(tmp_path, other, LABELS)
    assert workdir.saved_config(tmp_path).seed == 1
    assert not (tmp_path / "checkpoints").exists()
    assert not (tmp_path / "data_problems_0.json").exists()


def test_problems_of_an_earlier_start_stay_named(tmp_path, capsys):
    path = tmp_path / "data_problems_0.json"

    def note(**problems):
        report = types.SimpleNamespace(problems={k: set(keys) for k, keys in problems.items()})
        workdir.note_problems(tmp_path, report)

    note()
    assert not path.exists()
    note(broken=["b.jpg"])
    note(unmarked=["c.jpg"])
    note(broken=["a.jpg"])
    assert json.loads(path.read_text()) == {"broken": ["a.jpg", "b.jpg"], "unmarked": ["c.jpg"]}
    assert "2 x broken, 1 x unmarked; see" in capsys.readouterr().out
    before = path.stat().st_mtime_ns
    note()
    assert path.stat().st_mtime_ns == before
    assert not capsys.readouterr().out


def test_the_default_folder_is_named_by_the_overrides():
    """But not by those that may change between two starts of one run."""

    def name(config, **changes):
        changes = {key.replace("__", "."): value for key, value in changes.items()}
        return main.default_workdir(config, changes).as_posix()

    assert name("configs/auvit.py") == "runs/auvit"
    assert name("configs/auvit.py:synth_b,aux=synth_au") == "runs/auvit-synth_b,aux=synth_au"
    free = {"data__dir": "/x", "train__time_limit": "9", "data__threads": "1"}
    assert name("configs/auvit.py", train__epochs="3", **free) == "runs/auvit-train.epochs=3"
    assert name("a.py:b", init_from="x/y.pth") == "runs/a-b,init_from=x_y.pth"
    long = [name("a.py", init_from="x" * 200 + end) for end in "ab"]
    assert long[0] != long[1] and max(map(len, long)) < 160
