"""Runs and datasets in a store: what was sent is whole, whoever was killed; local paths stay as they are."""

import itertools
import json
import pathlib
import threading

import fsspec
import pytest
from places import stored

from aufer_jax import remote
from aufer_jax.errors import UserError
from aufer_jax.train import base, workdir

# --- Folders ----------------------------------------------------------------------------------------


def test_a_path_without_a_scheme_is_where_it_is(tmp_path):
    assert remote.copy(tmp_path) == tmp_path
    with remote.at_work(tmp_path) as folder:
        assert folder == tmp_path
    assert remote.name(tmp_path) == str(tmp_path)
    assert not remote.is_kept(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_is_written_is_sent_and_what_is_removed_goes(bucket, elsewhere):
    with remote.at_work(f"{bucket}/run") as folder:
        assert remote.name(folder) == f"{bucket}/run"
        assert remote.is_kept(folder)
        (folder / "a").write_text("one")
        (folder / "deep" / "er").mkdir(parents=True)
        (folder / "deep" / "er" / "b").write_text("two")
        (folder / ".lock").touch()
        (folder / "half.tmp").touch()
    assert sorted(stored(bucket)) == ["run/.aufer.json", "run/a", "run/deep/er/b"]
    elsewhere()
    with remote.at_work(f"{bucket}/run") as folder:
        assert (folder / "deep" / "er" / "b").read_text() == "two"
        (folder / "a").unlink()
        (folder / "c").write_text("three")
    assert sorted(stored(bucket)) == ["run/.aufer.json", "run/c", "run/deep/er/b"]
    elsewhere()
    copied = remote.copy(f"{bucket}/run")
    assert {path.name for path in copied.rglob("*") if path.is_file()} == {"b", "c", ".seen.json"}


def test_a_reader_sees_the_files_of_one_list_when_the_writer_is_killed(
    bucket, elsewhere, monkeypatch
):
    with remote.at_work(f"{bucket}/run") as folder:
        (folder / "checkpoints").mkdir(parents=True)
        (folder / "checkpoints" / "1").write_text("whole")
    killed = remote.Mirror(f"{bucket}/run", "runs")
    (folder / "checkpoints" / "1").unlink()
    (folder / "checkpoints" / "2").write_text("begun")
    monkeypatch.setattr(killed._store, "pipe_file", lambda *_: (_ for _ in ()).throw(KeyError()))
    with pytest.raises(UserError):
        killed.push()
    monkeypatch.undo()
    assert "run/checkpoints/2" in stored(bucket)  # it came so far
    elsewhere()
    copied = remote.copy(f"{bucket}/run")
    assert [path.name for path in (copied / "checkpoints").iterdir()] == ["1"]


def test_who_has_more_to_send_keeps_it_unless_another_has_sent_since(bucket, elsewhere, tmp_path):
    url = f"{bucket}/run"
    with remote.at_work(url) as folder:
        (folder / "a").write_text("one")
    (folder / "a").write_text("never sent")  # the process was killed
    with remote.at_work(url) as again:
        assert (again / "a").read_text() == "never sent"
    (folder / "a").write_text("never sent, again")
    with remote.written(url) as copied:  # another machine's
        (copied / "b").write_text("another's")
    with remote.at_work(url) as again:
        assert (again / "a").read_text() == "never sent"
        assert (again / "b").read_text() == "another's"


FIRST_SENDINGS = pytest.mark.parametrize("writes", range(4))  # that succeed, of those of two files


def begin(url, writes):
    """A run whose store refuses what is more than so many writes; what its end says."""
    fs, left = fsspec.get_filesystem_class("memory"), iter(range(writes))

    def limited(write):
        def refused(*given, **options):
            if next(left, None) is None:
                raise PermissionError("not yours")
            return write(*given, **options)

        return refused

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(remote, "_TRIES_S", ())
        for name in ("put_file", "pipe_file"):
            patch.setattr(fs, name, limited(getattr(fs, name)))
        with pytest.raises(UserError) as error, remote.at_work(url) as folder:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "a").write_text("never sent")
            (folder / "b").write_text("nor this")
    return str(error.value)


def texts(folder):
    found = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
    return {name: path.read_text() for name, path in found.items() if name != remote.SEEN}


@FIRST_SENDINGS
def test_what_no_store_has_taken_yet_stays_and_is_sent(bucket, elsewhere, writes):
    assert "the same command sends them" in begin(f"{bucket}/run", writes)
    with remote.at_work(f"{bucket}/run") as again:
        assert texts(again) == {"a": "never sent", "b": "nor this"}
        (again / "a").write_text("longer")
    elsewhere()
    assert texts(remote.copy(f"{bucket}/run")) == {"a": "longer", "b": "nor this"}


def test_a_reader_sees_nothing_of_half_a_first_sending(bucket, elsewhere):
    begin(f"{bucket}/run", 2)
    assert "run/a" in stored(bucket)
    elsewhere()
    assert texts(remote.copy(f"{bucket}/run")) == {}


@FIRST_SENDINGS
def test_a_run_brought_by_hand_that_goes_on_is_not_lost(bucket, elsewhere, writes):
    fs, base = fsspec.core.url_to_fs(f"{bucket}/run")
    fs.pipe_file(f"{base}/a", b"by hand")
    fs.pipe_file(f"{base}/c", b"by hand, too")
    begin(f"{bucket}/run", writes)
    with remote.at_work(f"{bucket}/run") as again:
        assert texts(again) == {"a": "never sent", "b": "nor this", "c": "by hand, too"}


@pytest.mark.parametrize("sent", [True, False])
def test_a_folder_that_was_emptied_on_purpose_is_begun_anew(bucket, sent):
    fs, base = fsspec.core.url_to_fs(f"{bucket}/run")
    fs.pipe_file(f"{base}/a", b"by hand")
    if sent:
        with remote.at_work(f"{bucket}/run") as folder:
            (folder / "b").touch()
    else:
        begin(f"{bucket}/run", 2)
    fs.rm(base, recursive=True)
    with remote.at_work(f"{bucket}/run") as again:
        assert texts(again) == {}


def test_several_processes_are_not_promised_what_only_one_keeps(bucket, monkeypatch):
    monkeypatch.setattr(remote, "_processes", lambda: 2)
    said = begin(f"{bucket}/run", 0)
    assert "the run's files are in /" in said and "same command" not in said


def test_a_lone_run_keeps_what_it_has_where_several_were_at_work_before(bucket):
    url = f"{bucket}/run"
    other = remote.Mirror(url, "runs", 1)
    other.place.mkdir(parents=True)
    (other.place / "problems").touch()
    other.push()
    with remote.at_work(url) as folder:
        (folder / "a").write_text("one")
    (folder / "a").write_text("never sent")  # the process was killed
    with remote.at_work(url) as again:
        assert (again / "a").read_text() == "never sent"


def test_files_that_were_put_there_by_hand(bucket):
    fs, base = fsspec.core.url_to_fs(f"{bucket}/run")
    fs.pipe_file(f"{base}/deep/a", b"one")
    copied = remote.copy(f"{bucket}/run")
    assert (copied / "deep" / "a").read_text() == "one"
    fs.pipe_file(f"{base}/deep/a", b"two")
    assert (remote.copy(f"{bucket}/run") / "deep" / "a").read_text() == "two"
    assert remote.exists(f"{bucket}/run/deep/a")
    assert not remote.exists(f"{bucket}/run/deep/b")


def test_a_table_is_written_there_and_read_from_there(bucket, elsewhere):
    for text in ("one", "two"):
        with remote.written(f"{bucket}/tables/t.csv") as place:
            place.write_text(text)
        assert stored(bucket) == {"tables/t.csv": text.encode()}
        elsewhere()
    assert remote.copy(f"{bucket}/tables/t.csv").read_text() == "two"


@pytest.mark.parametrize("name", ["../../out", "/out", "a/../../out", "..\\out"])
def test_no_list_leads_out_of_the_folder(bucket, name, tmp_path):
    fs, base = fsspec.core.url_to_fs(f"{bucket}/run")
    fs.pipe_file(f"{base}/out", b"")
    listed = {"version": "1", "files": {name: [0, 0]}}
    fs.pipe_file(f"{base}/.aufer.json", json.dumps(listed).encode())
    with pytest.raises(UserError, match="leads out of the folder"):
        remote.copy(f"{bucket}/run")


def test_the_list_is_read_again_where_the_writer_has_gone_on(bucket, elsewhere, monkeypatch):
    with remote.at_work(f"{bucket}/run") as folder:
        (folder / "1").touch()
    writer, there = remote.Mirror(f"{bucket}/run", "runs"), remote.Mirror._there
    begun = iter([True])

    def then_it_goes_on(self):
        found = there(self)
        if next(begun, False):
            (folder / "1").rename(folder / "2")
            writer.push()
        return found

    elsewhere_folder = remote.Mirror(f"{bucket}/run", "copies")
    monkeypatch.setattr(remote.Mirror, "_there", then_it_goes_on)
    elsewhere_folder.pull()
    assert (elsewhere_folder.place / "2").exists()
    assert not (elsewhere_folder.place / "1").exists()


def test_other_processes_send_what_they_alone_have(bucket, elsewhere):
    url = f"{bucket}/run"
    with remote.at_work(url) as folder:
        (folder / "a").write_text("the first one's")
    for text in ("one", "two"):
        other = remote.Mirror(url, "runs", 1)
        other.pull()
        (other.place / f"problems_{text}").write_text(text)
        other.push()
        listed = json.loads(stored(url)[".aufer.1.json"])["files"]
        elsewhere()
    assert sorted(listed) == ["problems_one", "problems_two"]
    assert {path.name for path in remote.copy(url).iterdir()} - {".seen.json"} == {"a", *listed}


def checkpoint(url):
    """A run with one, and the second process, which has fetched nothing yet."""
    with remote.at_work(url) as folder:
        (folder / "checkpoints").mkdir(parents=True)
        (folder / "checkpoints" / "1").write_text("whole")
    return remote.Mirror(url, "runs", 1)


def test_what_is_being_fetched_is_not_sent_meanwhile(bucket, monkeypatch):
    url = f"{bucket}/run"
    other, see = checkpoint(url), remote.Mirror._see
    sender = threading.Thread(target=remote.Mirror(url, "runs", 1).push, daemon=True)

    def then_it_is_time_to_send(self, *seen):
        if not sender.ident:
            sender.start()
            sender.join(0.3)  # it waits for the end of what it must not see
        see(self, *seen)

    before = stored(url)
    monkeypatch.setattr(remote.Mirror, "_see", then_it_is_time_to_send)
    other.pull()
    sender.join()
    assert texts(other.place) == {"checkpoints/1": "whole"}
    assert stored(url) == before


def test_half_a_file_is_not_sent_after_a_failed_fetch(bucket, monkeypatch):
    url = f"{bucket}/run"
    other = checkpoint(url)

    def cut_off(self, names, places):
        for place in places:
            pathlib.Path(place).write_text("wh")
        raise OSError("no route")

    before = stored(url)
    monkeypatch.setattr(fsspec.get_filesystem_class("memory"), "get", cut_off)
    with pytest.raises(UserError, match="no route"):
        other.pull()
    other.push()
    assert stored(url) == before
    assert texts(other.place) == {}


def test_a_verb_that_writes_beside_a_running_run_undoes_nothing(bucket, elsewhere):
    url = f"{bucket}/run"
    checkpoint(url)
    run, verb = remote.Mirror(url, "runs"), remote.Mirror(url, "copies")
    verb.pull()
    (run.place / "checkpoints" / "1").rename(run.place / "checkpoints" / "2")
    run.push()
    (verb.place / "report").write_text("of step 1")
    verb.push()
    seen = {"checkpoints/2": "whole", "report": "of step 1"}
    for line in ("", "one", "two"):  # the run goes on
        if line:
            seen["metrics"] = line
            (run.place / "metrics").write_text(line)
            run.push()
        elsewhere()
        assert texts(remote.copy(url)) == seen


def test_a_file_that_is_listed_and_gone_is_done_without(bucket, elsewhere, caplog, monkeypatch):
    url = f"{bucket}/run"
    checkpoint(url)
    with remote.written(url) as folder:
        (folder / "a").touch()
    fs, base = fsspec.core.url_to_fs(url)
    fs.rm_file(f"{base}/checkpoints/1")
    elsewhere()
    for _ in range(2):
        assert texts(remote.copy(url)) == {"a": ""}
    assert caplog.text.count("run: listed, but not there: checkpoints/1") == 1

    def away(self, path, **options):
        raise OSError("no route")

    elsewhere()
    monkeypatch.setattr(type(fs), "info", away)  # which denies nothing
    with pytest.raises(UserError, match="no route"):
        remote.copy(url)


def test_what_the_first_process_begins_anew_hurts_no_reader(bucket, elsewhere):
    url = f"{bucket}/run"
    problems = "data_problems_1.json"
    other = remote.Mirror(url, "runs", 1)
    for name in (problems, "trace_1"):
        other.place.mkdir(parents=True, exist_ok=True)
        (other.place / name).write_text("{}")
    other.push()
    with remote.at_work(url) as folder:
        assert (folder / problems).exists()
        workdir.begin(folder, {}, base.Labels("image", ("neutral",), ()))
    assert problems in json.loads(stored(url)[".aufer.1.json"])["files"]
    elsewhere()
    held = {path.name for path in remote.copy(url).iterdir()}
    assert held == {"config.json", "labels.json", "environment.json", "trace_1", remote.SEEN}
    other = remote.Mirror(url, "runs", 1)
    other.pull()
    (other.place / "trace_1").write_text("[]")
    other.push()
    assert sorted(json.loads(stored(url)[".aufer.1.json"])["files"]) == ["trace_1"]


def test_a_store_that_is_away_for_a_while(bucket, monkeypatch, caplog):
    tries = iter([OSError("no route"), OSError("no route"), None])

    def put(self, *given):
        error = next(tries)
        if error:
            raise error

    monkeypatch.setattr(remote, "_TRIES_S", (0.01, 0.01, 0.01))
    monkeypatch.setattr(fsspec.get_filesystem_class("memory"), "put", put)
    with remote.at_work(f"{bucket}/run") as folder:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "a").touch()
    assert next(tries, "all taken") == "all taken"
    tries = itertools.repeat(OSError("no route"))
    with (
        pytest.raises(UserError, match=r"memory://.*no route; the run's files are in /.*/run, and"),
        remote.at_work(f"{bucket}/run") as folder,
    ):
        (folder / "b").touch()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("s4://bucket/run", "Protocol not known: s4"),
        ("az://bucket/run", "adlfs"),
        ("memory://bucket/*.jpg", "a pattern is not looked up"),
    ],
)
def test_what_cannot_be_opened_is_one_line(url, said, bucket):
    with pytest.raises(UserError, match=said) as error, remote.written(url):
        pass
    assert "\n" not in str(error.value)


def test_a_package_that_is_missing_is_named(monkeypatch, bucket):
    def missing(*given, **options):
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr(fsspec.core, "url_to_fs", missing)
    with pytest.raises(
        UserError, match=r"s3://b/r: Install s3fs .*; pip install 'aufer-jax\[s3\]'"
    ):
        remote.copy("s3://b/r")


def test_the_module_says_whether_a_file_is_there(tmp_path):
    assert remote.exists(str(tmp_path))
    assert not remote.exists(str(pathlib.Path(tmp_path) / "none"))
