"""When a process counts as dead and what the others then say; `faults/hosts.py` kills real ones."""

import contextlib
import socket
import subprocess
import sys
import threading
import time
import types

import jax
import places
import pytest
from jax._src import distributed

from aufer_jax.errors import UserError
from aufer_jax.train import peers, preemption


class Service:
    """The store of keys and values that JAX's coordination service has."""

    def __init__(self):
        self.held = {}

    def key_value_set(self, key, value, allow_overwrite=False):
        assert allow_overwrite or key not in self.held
        self.held[key] = value

    def key_value_dir_get(self, place):
        return [(key, value) for key, value in self.held.items() if key.startswith(f"{place}/")]

    def key_value_try_get(self, key):
        return self.held[key]


@pytest.fixture
def service(monkeypatch):
    """This process is one of three; what it says at its end is in `said`."""
    held, said, made, stay = Service(), [], [], threading.Event()

    def leave(line, code):
        said.append((line, code))
        for watch in made:
            watch._over.set()  # this process goes on
        stay.set()

    monkeypatch.setattr(peers, "EVERY_S", 0.01)
    monkeypatch.setattr(peers, "PATIENCE_S", 0.3)
    monkeypatch.setattr(peers, "FAILED_S", 0.05)
    monkeypatch.setattr(preemption, "leave", leave)
    monkeypatch.setattr(peers, "_delay_aborts", lambda: None)
    monkeypatch.setattr(jax, "process_count", lambda: 3)

    def begin(me, address="127.0.0.1:1"):
        state = types.SimpleNamespace(client=held, coordinator_address=address)
        monkeypatch.setattr(distributed, "global_state", state)
        monkeypatch.setattr(jax, "process_index", lambda: me)
        made.append(peers._Watch())
        return made[-1]

    yield types.SimpleNamespace(held=held.held, client=held, begin=begin, said=said, end=stay.wait)
    for watch in made:
        watch._over.set()


@contextlib.contextmanager
def alive(service, *others):
    """Signs of life of other processes, while it lasts."""
    over = threading.Event()

    def live():
        beat = 0
        while not over.wait(0.01):
            beat += 1
            for other in others:
                service.client.key_value_set(f"aufer/alive/{other}", str(beat), True)

    thread = threading.Thread(target=live)
    thread.start()
    yield
    over.set()
    thread.join()


def test_those_who_live_and_those_who_have_ended_well_are_not_missed(service):
    service.held["aufer/alive/2"] = "done"
    with alive(service, 1):
        service.begin(0)
        time.sleep(0.8)
    assert not service.said
    assert int(service.held["aufer/alive/0"]) > 10


@pytest.mark.parametrize("began", [True, False])
def test_the_first_process_misses_one_and_tells_the_others(service, began):
    if began:
        service.held["aufer/alive/2"] = "7"
    with alive(service, 1):
        service.begin(0)
        assert service.end(10)
    ((line, code),) = service.said
    assert line.startswith(
        "process 2 of 3 has given no sign of life for 0.3 s; this one, 0, ends too."
    )
    assert code == 75
    assert service.held["aufer/lost"].startswith("process 2 of 3")


def test_the_others_hear_it_from_the_first(service):
    service.begin(1)
    service.held["aufer/lost"] = "process 2 of 3 is gone"
    assert service.end(10)
    assert service.said[0][0].startswith("process 2 of 3 is gone; this one, 1, ends too")


def test_an_error_of_a_process_is_told_and_is_no_death(service):
    watch = service.begin(2)
    watch.close("failed")
    with alive(service, 1):
        service.begin(0)
        assert service.end(10)
    assert "process 2 of 3 has ended with an error" in service.said[0][0]


def test_the_first_process_is_missed_where_nobody_listens(service, monkeypatch):
    asked = threading.Event()

    def hang(*_, **__):
        asked.set()
        time.sleep(20)

    monkeypatch.setattr(peers, "PATIENCE_S", 15.0)
    monkeypatch.setattr(service.client, "key_value_set", hang)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        service.begin(1, f"127.0.0.1:{port}")
        assert asked.wait(10)
        time.sleep(1.7)
        assert not service.said  # it is only slow
    assert service.end(10)
    assert service.said[0][0].startswith("process 0 of 3 has died; this one, 1,")


def test_what_goes_wrong_is_told_unless_it_is_an_echo(service, monkeypatch):
    waited = []
    monkeypatch.setattr(peers.time, "sleep", waited.append)
    for error, echo in (
        (UserError("no such folder"), False),
        (KeyError("a bug"), False),
        (RuntimeError("Gloo all-reduce failed: Connection closed by peer"), True),
    ):
        watch = service.begin(1)
        monkeypatch.setattr(peers, "_watch", watch)
        waited.clear()
        with pytest.raises(type(error)), peers.told():
            raise error
        assert bool(waited) == echo
        assert service.held["aufer/alive/1"] == "failed"


def test_one_process_alone_watches_nobody():
    peers.watch()
    assert peers._watch is None
    with pytest.raises(KeyError), peers.told():
        raise KeyError


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere an abort is left as it is")
def test_an_abort_waits_for_the_line():
    code = (
        "import ctypes, threading, time\n"
        "from aufer_jax.train import peers, preemption\n"
        "peers._delay_aborts()\n"
        "for _ in range(2):\n"
        "    threading.Thread(target=ctypes.CDLL(None).abort, daemon=True).start()\n"
        "time.sleep(0.3)\n"
        "preemption.leave('said', 75)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=places.ROOT, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (75, "aufer: said\n")
