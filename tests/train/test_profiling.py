"""`--profile`: a trace of named steps after the first ones, and where it is."""

import gzip
import json

import pytest
import toy

from aufer_jax import errors
from aufer_jax.train import loop, profiling


def test_a_trace_holds_the_steps_after_the_first_ones(tmp_path, capsys):
    config = toy.config(train__epochs=1)
    task = toy.task(toy.config_lib.check(config), 160)  # so that no evaluation is among them
    folder = tmp_path / "trace"
    assert loop.train_and_evaluate(config, tmp_path / "run", task, profile=str(folder)).finished
    assert f"profile of steps 3 to 7 in {folder}" in capsys.readouterr().out
    (path,) = folder.rglob("perfetto_trace.json.gz")
    events = json.loads(gzip.decompress(path.read_bytes()))["traceEvents"]
    steps = {
        int(event["args"]["step_num"]) for event in events if event.get("name") == profiling.NAME
    }
    assert steps == {3, 4, 5, 6, 7}
    assert list(folder.rglob("*.xplane.pb"))


def test_a_run_of_few_steps_has_none(tmp_path, capsys):
    profile = profiling.Profile(str(tmp_path / "trace"))
    with profile.step(0):
        pass
    profile.after(0, None)
    profile.close()
    assert "nothing is traced" in capsys.readouterr().out
    assert not (tmp_path / "trace").exists()


def test_a_file_is_no_folder(tmp_path):
    (tmp_path / "trace").write_text("")
    with pytest.raises(errors.UserError, match="is not a folder"):
        profiling.Profile(str(tmp_path / "trace"))
