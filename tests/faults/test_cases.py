"""The campaign's short form: whole files are taken, and a few hundred cases of every kind never fail."""

import json
import os
import pathlib
import sys

import pytest

sys.path.append(str(pathlib.Path(__file__).parent))
import campaign
import clients
import foreign
import fuzz
import ours
import targets

from aufer_jax.errors import UserError

# TensorStore's threads answer a read that has failed already.
pytestmark = pytest.mark.filterwarnings("ignore")

WHOLE = {
    "images": foreign.pictures,
    "arrays": foreign.arrays,
    "zips": foreign.archives,
    "safetensors": lambda: [foreign.tensors()],
    "tables": lambda: [foreign.LABELS, foreign.TRACK, foreign.PY_FEAT],
    "AU tracks": lambda: [foreign.TRACK, foreign.PY_FEAT],
    "landmark files": lambda: [b"%s:%s" % (n.encode(), d) for n, d in foreign.points().items()],
    "small files": lambda: [b"%s:%s" % (n.encode(), d) for n, d in ours.SMALL.items()],
    "configuration": lambda: [json.dumps(["auvit", "quick", {"train.epochs": "3"}]).encode()],
    "requests": lambda: [each for each in clients.whole() if b"/nothing" not in each],
    "command lines": lambda: [b'["data", "list"]'],
}


@pytest.fixture(scope="module", autouse=True)
def no_training():
    before = ours.loop.train_and_evaluate
    ours.without_training()
    yield
    ours.loop.train_and_evaluate = before


@pytest.mark.parametrize("name", targets.SHARES)
def test_cases_are_taken_or_refused(name, tmp_path):
    made = targets.target(name, tmp_path / "seeds")
    for data in WHOLE.get(name, list)():
        assert fuzz.outcome(made, data, tmp_path / "case") == ("taken", ""), data[:60]
    count = int(os.environ.get("AUFER_FUZZ_CASES", "60"))
    for number in range(count):
        data = fuzz.case(made, name, 2, number)
        kind, said = fuzz.outcome(made, data, tmp_path / "case")
        assert kind in ("taken", "refused"), (number, said)


def failing(how):
    def feed(data, folder):
        if how == "slow":
            while True:
                pass
        if how == "memory":
            bytearray(2**20)
        if how == "lines":
            raise UserError("two\nlines")
        raise KeyError(how)

    return fuzz.Target(lambda rng: b"", feed)


@pytest.mark.parametrize(
    "how, kind", [("slow", "slow"), ("lines", "unclear"), ("key", "unclear"), ("memory", "memory")]
)
def test_failures_are_noticed(how, kind, tmp_path, monkeypatch):
    monkeypatch.setattr(fuzz, "SECONDS", 0.05)
    if how == "memory":
        peaks = iter((0, 2**40))
        monkeypatch.setattr(fuzz, "peak_memory", lambda: next(peaks))
    found, said = fuzz.outcome(failing(how), b"", tmp_path / "case")
    assert found == kind and said


WORKER = """
import os, pathlib, sys, time
folder = pathlib.Path(sys.argv[5])
(folder / "now").write_text("12")
{what}
"""


@pytest.mark.parametrize(
    "what, kind", [("os.kill(os.getpid(), 11)", "crash"), ("time.sleep(60)", "hang")]
)
def test_crashes_and_hangs_are_noticed(what, kind, tmp_path, monkeypatch):
    worker = tmp_path / "worker.py"
    worker.write_text(WORKER.format(what=what))
    monkeypatch.setattr(campaign, "WORKER", worker)
    monkeypatch.setattr(campaign, "QUIET_S", 0.3)
    tally = campaign.Tally()
    assert campaign.supervise("images", 1, 10, 5, tmp_path / "place", tally) == 13
    assert tally.counts == {kind: 1, "taken or refused": 2} and tally.cases == 3
    assert tally.failures[0]["number"] == 12
