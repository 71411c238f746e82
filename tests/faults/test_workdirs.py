"""Locks, checksums, damaged checkpoints and small files of a run's folder."""

import json
import logging
import os
import pathlib
import shutil
import subprocess
import sys
import types

import jax
import numpy as np
import pytest

from aufer_jax.errors import UserError
from aufer_jax.train import checkpoints, lock, logs, trackers, workdir

sys.path.append(str(pathlib.Path(__file__).parent))
import fuzz
import ours
import targets
import workdirs

# TensorStore's threads answer a read that has failed already.
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
ON = jax.sharding.SingleDeviceSharding(jax.devices()[0])

# --- Locks ----------------------------------------------------------------------------------------


def test_a_workdir_has_one_run_at_a_time(tmp_path):
    with lock.held(tmp_path):
        with pytest.raises(UserError, match=rf"in use by process {os.getpid()} on .*, since "):
            lock.held(tmp_path).__enter__()
        held = json.loads((tmp_path / ".lock").read_text())
        assert held["process"] == os.getpid()
    with lock.held(tmp_path):
        pass


def test_the_lock_of_a_killed_process_is_free_at_once(tmp_path):
    code = f"import os\nfrom aufer_jax.train import lock\nwith lock.held({str(tmp_path)!r}): os._exit(9)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 9
    assert (tmp_path / ".lock").read_text()
    with lock.held(tmp_path):
        pass


def elsewhere(folder):
    text = json.dumps({"host": "another", "process": 7, "since": "then"})
    (folder / ".lock").write_text(text)


def test_a_machine_that_shares_no_locks_is_known_by_its_signs_of_life(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "PATIENCE_S", 0.2)
    elsewhere(tmp_path)
    with lock.held(tmp_path):  # silent for long enough
        pass
    elsewhere(tmp_path)
    signs = iter(range(10))
    monkeypatch.setattr(lock, "_sign", lambda _: next(signs))
    with pytest.raises(UserError, match="in use by process 7 on another, since then"):
        lock.held(tmp_path).__enter__()


def test_the_holder_gives_signs_of_life(tmp_path, monkeypatch):
    monkeypatch.setattr(lock, "ALIVE_S", 0.01)
    with lock.held(tmp_path):
        os.utime(tmp_path / ".lock", (0, 0))
        while not lock._sign(tmp_path):
            pass


def test_a_file_system_without_locks_is_said(tmp_path, monkeypatch, caplog):
    def none(*_, **__):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr(lock.store, "lock", none)
    with lock.held(tmp_path):
        assert "this file system has no locks (Function not implemented)" in caplog.text


# --- Checkpoints ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """A workdir with two latest checkpoints and a best one."""
    folder, state = tmp_path_factory.mktemp("saved"), ours.toy_state()
    saver = checkpoints.Checkpoints(folder)
    saver.save(3, state, ours.PROGRESS, kind="best")
    for step in (3, 4):
        saver.save(step, state.replace(step=state.step + step), ours.PROGRESS)
    saver.close()
    return folder


@pytest.fixture
def copied(saved, tmp_path):
    return pathlib.Path(shutil.copytree(saved, tmp_path / "run"))


def target():
    return jax.eval_shape(ours.toy_state)


OF_CHECKPOINTS = [name for name, (_, said) in workdirs.DAMAGES.items() if said == workdirs.ASIDE]


@pytest.mark.parametrize("name", OF_CHECKPOINTS)
def test_a_damaged_newest_checkpoint_is_set_aside(copied, name, caplog):
    spoil = workdirs.DAMAGES[name][0]
    spoil(copied)
    own = checkpoints.resume(copied, target(), ON)
    saver = checkpoints.Checkpoints(copied)  # sets aside what is no checkpoint at all
    assert own is not None and saver.latest_step() == max(own[0].step - 3, 3)
    saver.close()
    said = [r.getMessage() for r in caplog.records if workdirs.ASIDE in r.getMessage()]
    assert len(said) == 1 and "\n" not in said[0]
    assert len(list((copied / "checkpoints" / "damaged").iterdir())) == 1


def test_if_none_is_whole_that_is_said_and_nothing_is_moved(copied):
    for folder in (copied / "checkpoints" / "latest").iterdir():
        shutil.rmtree(folder / "progress")
    with pytest.raises(UserError, match=r"latest/4 is damaged"):
        checkpoints.resume(copied, target(), ON)
    assert checkpoints.Reader(copied).steps() == [4, 3]


def test_single_bits_are_noticed(tmp_path):
    made, kinds = targets.target("own checkpoints", tmp_path / "seeds"), set()
    for number in range(40):
        data = fuzz.case(made, "own checkpoints", 3, number)
        kind, said = fuzz.outcome(made, data, tmp_path / "case")
        assert kind in ("taken", "refused"), (data, said)
        kinds.add(kind)
    assert kinds == {"taken", "refused"}  # flips in what says nothing are taken


def test_checksums_are_of_every_array(saved):
    held = json.loads((workdirs.newest(saved) / "progress" / "metadata").read_text())["checksums"]
    state = ours.toy_state()
    assert len(held["state"]) == len(jax.tree.leaves(state))
    other = state.replace(
        params={**state.params, "layer1": {"kernel": np.zeros((4, 3), np.float32)}}
    )
    found = checkpoints.tree_sums({"params": other.params})
    differ = {path for path, value in found.items() if held["state"][path] != value}
    assert differ == {"params/layer1/kernel"}


def test_checkpoints_without_checksums_are_read_and_that_is_said(copied, caplog):
    workdirs._without_sums(copied)
    with caplog.at_level(logging.INFO):
        state, progress = checkpoints.Reader(copied).restore(target(), ON)
    assert progress == ours.PROGRESS and int(state.step) == 7
    assert "not verified" in caplog.text


def test_the_progress_is_that_of_the_call(tmp_path):
    """It is written in the background, when the next steps have changed it."""
    progress = {"sums": {}}
    saver = checkpoints.Checkpoints(tmp_path)
    saver.save(1, ours.toy_state(), progress)
    progress["sums"]["loss"] = [1.0, 1.0]
    saver.close()
    assert checkpoints.Reader(tmp_path).restore(target(), ON)[1] == {"sums": {}}


def test_a_best_that_is_gone_or_damaged_is_said(copied, caplog):
    best = workdirs.newest(copied, "best")
    workdirs._zeros(best / "state" / "d")
    with pytest.raises(checkpoints.Damaged, match=r"best/3 is damaged"):
        checkpoints.Reader(copied).variables()
    assert checkpoints.Reader(copied).usable() == "best"
    shutil.rmtree(best)
    assert checkpoints.Reader(copied).usable() == "latest"
    checkpoints.resume(copied, target(), ON)
    assert caplog.text.count("of step 3, is missing") == 2


def test_what_the_disk_refuses_is_one_line(saved):
    saver = checkpoints.Checkpoints(saved)
    with (
        pytest.raises(UserError, match=r"no space left on device; that of step 4 is whole$"),
        saver._explained(),
    ):
        raise ValueError("RESOURCE_EXHAUSTED: No space left on device [os_error_code='28']")
    saver.close()


def test_a_disk_without_room_for_folders_ends_the_run(tmp_path):
    """The library below used to wait five minutes for them."""
    place = tmp_path / "disk"
    if not workdirs.can_mount(place):
        pytest.skip("file systems cannot be mounted here")
    with workdirs.disk(place, "size=64m,nr_inodes=20"):
        code, output = workdirs.finish(workdirs.start(place / "run"))
    assert code == 2 and workdirs.line_of(output).startswith("aufer: checkpoints: "), output
    assert "no space left on device" in output


# --- Small files ----------------------------------------------------------------------------------


def test_small_files_are_written_whole_or_not_at_all(tmp_path, monkeypatch):
    logs.write_json(tmp_path / "a.json", {"a": 1})
    monkeypatch.setattr(pathlib.Path, "replace", _full)
    with pytest.raises(OSError, match="No space"):
        logs.write_json(tmp_path / "a.json", {"a": 2})
    assert logs.read_json(tmp_path / "a.json") == {"a": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def _full(*_, **__):
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("text", ["", "{", "[1]", "\udcff", '{"method": 3, "model": {}}'])
def test_a_damaged_configuration_is_explained(tmp_path, text):
    (tmp_path / "config.json").write_text(text, errors="surrogateescape")
    (tmp_path / "summary.json").write_text("{}")
    with pytest.raises(UserError, match=r"config\.json is damaged"):
        workdir.saved_config(tmp_path)
    with pytest.raises(UserError, match="remove that file to go on with"):
        workdir.refuse_another_run(tmp_path, {})


def test_a_damaged_summary_is_made_again(tmp_path, caplog):
    (tmp_path / "summary.json").write_text('{"steps": 6, ')
    assert workdir.saved_summary(tmp_path) is None
    assert "summary.json is damaged" in caplog.text and "evaluated again" in caplog.text


def test_damaged_lines_of_metrics_are_left_out(tmp_path, caplog):
    good = {"step": 2, "split": "train", "loss": 1.5}
    lines = [json.dumps(good), "[]", "\udcff", '{"step": 3}', '{"step": 4, "spl']
    (tmp_path / "metrics.jsonl").write_text("\n".join(lines), errors="surrogateescape")
    trackers.JsonLines(tmp_path / "metrics.jsonl", 3).close()
    assert logs.read_lines(tmp_path / "metrics.jsonl") == [good]
    assert "3 damaged lines are left out" in caplog.text  # a kill cuts off the last one


@pytest.mark.parametrize("text", ["[1", "[1]", '{"broken image": 3}', '{"broken image": [4]}'])
def test_damaged_problems_are_begun_anew(tmp_path, text, caplog):
    (tmp_path / "data_problems_0.json").write_text(text)
    workdir.note_problems(tmp_path, types.SimpleNamespace(problems={"broken image": {"k9"}}))
    assert logs.read_json(tmp_path / "data_problems_0.json") == {"broken image": ["k9"]}
    assert "begun anew" in caplog.text


def test_events_are_written_at_once_and_fail_at_once(tmp_path, monkeypatch):
    """tensorboardX's own thread waits for ever once a full disk has ended it."""
    writer = trackers.TensorBoard(tmp_path, 0)
    writer.scalars(1, "train", {"loss": 0.5})
    (events,) = tmp_path.iterdir()
    assert b"train/loss" in events.read_bytes()
    monkeypatch.setattr(writer._file, "flush", _full)
    with pytest.raises(OSError, match="No space"):
        writer.scalars(2, "train", {"loss": 0.4})
    monkeypatch.undo()
    writer.close()


@pytest.mark.skipif("COVERAGE_PROCESS_CONFIG" in os.environ, reason="coverage writes a larger file")
def test_a_file_that_may_not_grow_ends_the_run_in_one_line(tmp_path):
    code, output = workdirs.finish(workdirs.start(tmp_path / "run", limit=4096))
    assert code == 2 and workdirs.line_of(output).endswith(
        "file too large; there is no earlier one"
    )
    assert "Traceback" not in output and "never awaited" not in output
