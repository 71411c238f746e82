"""benchmarks/step_model.py: whether a host's cores feed its GPU."""

import places
import pytest

from aufer_jax.train import chips


@pytest.fixture(scope="module")
def model():
    return places.script("step_model")


def test_one_gpu_beside_the_cores_of_its_host(model, tmp_path, monkeypatch):
    page = tmp_path / "page.md"
    row = {"loader": "aufer_jax", "workers": 2, "clips/s": 500.0}
    model.results.write_section(page, "Clips", [{**row, "workers": 0}, row], "")
    monkeypatch.setattr(model, "ROOT", tmp_path)
    monkeypatch.setattr(
        model, "MEASURED", {"clip": ("page.md", "Clips", "clips/s", (16, 112, 112))}
    )
    # Eight rows at half of the peak in 4 ms: 2,000 rows/s; 16 cores read 4,000.
    flops = 0.004 * 0.5 * chips.chip("H200", "bfloat16").peak
    asked = model.Work("clip", (16, 112, 112), 8, flops, moved=0, parameters=0, state=0, layers=9)
    assert model.fed_row("it", asked) == {
        "model": "it",
        "a row": "16 x 112 x 112",
        "rows/s asked": "2,000",
        "rows/s a core": "250",
        "asked of the cores": "50%",
    }
    larger = model.dataclasses.replace(asked, shape=(16, 224, 112))
    assert model.fed_row("it", larger)["asked of the cores"] == "50% to 100%"
