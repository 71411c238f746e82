"""Every network against activations of its PyTorch reference: `pytest tests/test_golden.py --golden DIR`.

A fixture is NAME.json (layout of the reference checkpoint, configuration, inputs) and NAME.npz (what the
reference gave). Its `model` and `config` alone say which of our networks it is.
"""

import pathlib

import numpy as np
import places
import pytest
from golden_models import COMPARISONS
from golden_rule import inputs, load, state_dict
from golden_tools import subsampling

HERE = places.GOLDEN
TOLERANCE = 1e-4


def pytest_generate_tests(metafunc):
    folder = pathlib.Path(metafunc.config.getoption("--golden") or HERE)
    fixtures = sorted(path for path in folder.glob("*.json") if path.with_suffix(".npz").exists())
    metafunc.parametrize("path", fixtures, ids=[path.stem for path in fixtures])


def test_golden(path):
    fixture = load(path)
    if fixture["model"] not in COMPARISONS:
        pytest.fail(f"unknown model {fixture['model']!r}; known: {sorted(COMPARISONS)}")
    compare = COMPARISONS[fixture["model"]]
    ours = compare(fixture["config"], state_dict(fixture), inputs(fixture))
    parts = subsampling(fixture["descriptions"])
    compared = 0
    for name, reference in fixture["outputs"].items():
        assert name in ours, f"{name} is stored but not produced"
        value = np.asarray(ours[name])[parts[name]]
        assert value.shape == reference.shape, f"{name}: {value.shape} against {reference.shape}"
        worst = np.abs(value - reference).max(initial=0)
        assert worst <= TOLERANCE * np.abs(reference).max(initial=0), f"{name}: off by {worst}"
        compared += 1
    assert compared > 0
