"""Networks as files: equal outputs, any batch, all platforms, what must be known beside them."""

import json
import os
import re
import subprocess
import sys

import finished
import jax
import numpy as np
import places
import pytest
import skimage.transform
import tiny_hosts
import toydata

from aufer_jax import cli, errors
from aufer_jax.faces import crops, detect
from aufer_jax.geometry.landmarks import five_points
from aufer_jax.runs import Predictor, export

QUICK = {"mvfer-views", "auvit-token", "r3d18", "converted"}
NAMES = [*finished.IMAGES, "mvfer-views", "converted", *tiny_hosts.KINDS]
EVERY = [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in NAMES]


def config(name):
    if name == "mvfer-views":
        return finished.images("mvfer", **{"loss.inference": "all"})
    if name == "auvit-token":
        return finished.images(name, **{"train.compute_dtype": "bfloat16"})
    return finished.images(name) if name in finished.IMAGES else finished.clips(name)


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """Untrained runs by name, and the files of them that were written so far."""
    folder, made = tmp_path_factory.mktemp("runs"), {}

    def get(name):
        if name not in made:
            with pytest.MonkeyPatch.context() as patch:
                finished.memory_catalog(patch)
                if name == "converted":
                    finished.converted(folder / name)
                else:
                    finished.save(folder / name, config(name))
            made[name] = Predictor.load(folder / name)
        return made[name], folder / name

    return get


def inputs(predictor, rows):
    """Noise, and a face with landmarks, one without."""
    shape = export.card(predictor, "onnx")["inputs"]["pixels"]["shape"]
    pixels = np.random.default_rng(0).integers(0, 256, (rows, *shape[1:]), np.uint8)
    points = np.float32(toydata.FACE_LANDMARKS * predictor.size / 112)
    unknown = np.full_like(points, np.nan)
    landmarks = np.stack([unknown if row == 1 else points for row in range(rows)])
    if predictor.kind == "clip":
        landmarks = np.repeat(landmarks[:, None], predictor.frames, 1)
    return (pixels, landmarks) if "landmarks" in expected(predictor) else (pixels,)


def expected(predictor):
    """The inputs of a file, in order."""
    points = predictor.reads_heatmap or (predictor.kind == "clip" and predictor.reads_geometry)
    return ["pixels", *["landmarks"] * points]


def check(predictor, path, format):
    export.write(predictor, path, format)
    run, card = export.load(path)
    exact = export.in_float32(predictor)
    for rows in (1, 3):
        given = inputs(predictor, rows)
        found, wanted = run(*given), exact(*given)
        assert list(found) == list(card["outputs"]) and "expression_probability" in found
        for name, value in found.items():
            assert ["batch", *value.shape[1:]] == card["outputs"][name] and len(value) == rows
            np.testing.assert_allclose(value, wanted[name], rtol=1e-4, atol=1e-4)
    return card


@pytest.mark.parametrize("name", EVERY)
def test_stablehlo_gives_what_the_predictor_gives(name, network, tmp_path):
    predictor, _ = network(name)
    card = check(predictor, tmp_path / "network.stablehlo", "stablehlo")
    assert card["expressions"] == list(predictor.expressions)
    assert card["aus"] == list(predictor.aus) and ("au" in card["outputs"]) == bool(predictor.aus)
    assert list(card["inputs"]) == expected(predictor)
    data = (tmp_path / "network.stablehlo").read_bytes()
    exported = jax.export.deserialize(bytearray(data))
    assert exported.platforms == export.PLATFORMS
    if name == "r3d18":  # a 3-D convolution as it is, which CPUs do not get
        assert "[b, 0, 1, 2, f]" in exported.mlir_module()
        assert card["clip"]["frames"] == predictor.frames == 4


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", EVERY)
def test_onnx_gives_what_the_predictor_gives(name, network, tmp_path):
    for module in ("jax2onnx", "onnxruntime"):
        pytest.importorskip(module, reason="pip install 'aufer-jax[onnx]'")
    check(network(name)[0], tmp_path / "network.onnx", "onnx")


def test_a_file_needs_jax_only(network, tmp_path):
    """The lines of docs/export.md, where nothing of this library is imported."""
    predictor, folder = network("auvit-token")
    assert (
        cli.main(["run", "export", str(folder), "--out", str(tmp_path / "network.stablehlo")]) == 0
    )
    code = re.search(
        r"```python\n(.*?)```", (places.ROOT / "docs" / "export.md").read_text(), re.DOTALL
    )
    assert code is not None
    after = "import sys; assert 'aufer_jax' not in sys.modules; print(likely.tolist())"
    env = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        [sys.executable, "-c", code[1] + after],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
    )
    assert not done.returncode, done.stderr
    black = np.zeros((2, predictor.size, predictor.size, 3), np.uint8)
    expected = export.in_float32(predictor)(black)["expression_probability"]
    np.testing.assert_allclose(json.loads(done.stdout), expected, atol=1e-4)


def test_the_card_says_how_a_face_is_cut_out(network):
    predictor, _ = network("auvit-token")
    card = export.card(predictor, "stablehlo")
    points = toydata.PHOTO_LANDMARKS
    face = detect.Face(detect.box_of(points), 1.0, points, "landmarks")
    five = five_points(points.astype(np.float64))
    move = skimage.transform.SimilarityTransform.from_estimate(five, card["pixels"]["points"])
    ours = crops.aligned(np.zeros((9, 9, 3), np.uint8), face, predictor.size, predictor.margin)
    assert ours is not None
    np.testing.assert_allclose(ours[1], move.params[:2], rtol=1e-3, atol=1e-2)
    assert card["pixels"]["margin"] == predictor.margin


def test_what_cannot_be_written(network, tmp_path, capsys, monkeypatch):
    folder = network("auvit-token")[1]
    command = ["run", "export", str(folder)]
    assert cli.main([*command, "--format", "onnxx"]) == 2
    assert "'onnxx' is not known; choose one of: stablehlo, onnx" in capsys.readouterr().err
    assert cli.main([*command, "--out", "a.onnx"]) == 2
    assert "a file of format 'stablehlo' must end with .stablehlo" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "jax2onnx", None)
    assert cli.main([*command, "--format", "onnx"]) == 2
    assert "jax2onnx is not installed: pip install 'aufer-jax[onnx]'" in capsys.readouterr().err
    with pytest.raises(errors.UserError, match="export: no file"):
        export.load(tmp_path / "gone.stablehlo")
    with pytest.MonkeyPatch.context() as patch:
        finished.memory_catalog(patch)
        finished.save(tmp_path / "run", finished.pretraining())
    with pytest.raises(errors.UserError, match="export: 'run' has no expression classes"):
        export.write(Predictor.load(tmp_path / "run"), tmp_path / "a.stablehlo")
