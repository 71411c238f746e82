"""Two processes of which one is killed: the short form of hosts.py."""

import pathlib
import sys

import pytest

sys.path.append(str(pathlib.Path(__file__).parent))
import hosts


@pytest.mark.slow
def test_the_others_end_and_the_run_goes_on(tmp_path):
    ours = hosts.Campaign(tmp_path / "runs", epochs=2, count=2)
    assert ours.whole is not None
    row = ours.case("SIGKILL of process 1", hosts.kill(1), remote=True)
    assert row["ok"], row["found"]
