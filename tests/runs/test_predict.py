"""Pictures to tables: what the network sees, several faces, none, bad files, layouts and files."""

import json
import os
import shutil

import cv2
import finished
import numpy as np
import pytest
import skimage.data
import toydata

from aufer_jax import cli, errors
from aufer_jax.data import batches, mixture, records
from aufer_jax.faces import chain, crops
from aufer_jax.runs import Predictor, drawing, files, pictures, prediction
from aufer_jax.runs import table as table_lib
from aufer_jax.sources import tracks

PORTRAIT = skimage.data.astronaut()


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Untrained runs: with AUs, and with heatmap and alignment."""
    folder = tmp_path_factory.mktemp("runs")
    with pytest.MonkeyPatch.context() as patch:
        finished.memory_catalog(patch)
        finished.save(folder / "aus", finished.images("auvit-token"))
        aligned = finished.images("mvfer-heatmap", **{"data.align": "5pt"})
        finished.save(folder / "aligned", aligned)
    return folder


@pytest.fixture(scope="module")
def network(saved):
    return Predictor.load(saved / "aus")


@pytest.fixture
def photographs(tmp_path):
    folder = tmp_path / "photographs"
    (folder / "below").mkdir(parents=True)
    bgr = PORTRAIT[..., ::-1]
    near = bgr[20:300, 90:360]
    cv2.imwrite(str(folder / "a.png"), bgr)
    cv2.imwrite(str(folder / "below" / "two.png"), np.concatenate([near, near[:, ::-1]], 1))
    cv2.imwrite(str(folder / "none.png"), np.full((64, 80, 3), 99, np.uint8))
    return folder


def test_the_network_sees_what_faces_align_gives(network):
    found = network.predict(PORTRAIT)
    face = chain.MeshDetector()(PORTRAIT)[0]
    for margin, table in ((0.0, found), (0.3, network.predict([PORTRAIT], margin=0.3))):
        crop, _ = crops.aligned(PORTRAIT, face, network.size, margin)
        outputs = network(crop[None])
        given = [table[name][0] for name in network.expressions]
        np.testing.assert_allclose(given, outputs["expression_probability"][0], rtol=1e-5)
        aus = [table[f"AU{au:02d}"][0] for au in network.aus]
        np.testing.assert_allclose(aus, outputs["au_probability"][0], rtol=1e-5)
        assert table["label"][0] == network.expressions[int(np.argmax(given))]
    assert found.rows == 1 and found.problems == []
    # The eyes of this portrait, read off the picture by hand; it looks straight ahead.
    assert np.hypot(found["x_36"][0] - 197, found["y_36"][0] - 105) < 12
    assert found["left"][0] < 190 and found["left"][0] + found["width"][0] > 250
    assert max(abs(found[name][0]) for name in ("pitch", "roll", "yaw")) < 15


def test_the_margin_of_the_training_faces_travels_with_the_run(saved, network, tmp_path):
    assert network.margin == Predictor.load(saved / "aligned").margin == 0
    shutil.copytree(saved / "aus", tmp_path / "run")
    labels = json.loads((saved / "aus" / "labels.json").read_text())
    (tmp_path / "run" / "labels.json").write_text(json.dumps(labels | {"margin": 0.3}))
    found, wanted = (
        Predictor.load(tmp_path / "run").predict(PORTRAIT),
        network.predict(PORTRAIT, margin=0.3),
    )
    for name in network.expressions:
        np.testing.assert_array_equal(found[name], wanted[name])


def test_a_run_on_aligned_faces_sees_what_training_saw(saved):
    network = Predictor.load(saved / "aligned")
    reading = chain.MeshDetector().read([PORTRAIT])[0][0]
    record = toydata.image_record(0)
    record["image"] = cv2.imencode(".png", PORTRAIT[..., ::-1])[1].tobytes()
    record["landmarks"] = reading.landmarks
    source = records.MemorySource(toydata.info("one"), [record])
    part = mixture.Part(source, network.inference.spec)
    batch, problems = batches.assemble([batches.Row(part, 0, None)], part.spec)
    assert not problems
    expected = network.apply(batch)["expression_probability"][0]
    found = network.predict(PORTRAIT)
    given = [found[name][0] for name in network.expressions]
    np.testing.assert_allclose(given, expected, atol=2e-3)
    with pytest.raises(errors.UserError, match=r"margin: got 0\.1, but the run aligns its faces"):
        network.predict(PORTRAIT, margin=0.1)


def test_folders_several_faces_and_none(network, photographs):
    found = network.predict(photographs)
    names = [name.rsplit("/", 1)[-1] for name in found["file"]]
    assert names == ["a.png", "two.png", "two.png", "none.png"]
    assert found["face"].tolist() == [0, 0, 1, -1]
    assert found["label"][3] == "" and np.isnan(found["score"][3]) and np.isnan(found["AU12"][3])
    np.testing.assert_allclose(found["score"][:3].astype(bool), True)
    pattern = network.predict(str(photographs / "*.png"))
    assert pattern["face"].tolist() == [0, -1]


def test_bad_files_are_named_and_the_rest_is_predicted(
    saved, network, photographs, tmp_path, capfd
):
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.jpg").write_text("no picture")
    cv2.imwrite(str(tmp_path / "dot.png"), np.zeros((1, 1, 3), np.uint8))
    bad = [str(tmp_path / name) for name in ("gone.jpg", "empty", "text.jpg", "dot.png", "z*.jpg")]
    found = network.predict([*bad, photographs / "a.png", PORTRAIT])
    assert found.rows == 2
    said = [
        "gone.jpg: does not exist",
        "empty: a folder without pictures or videos",
        "z*.jpg: matches no file",
        "text.jpg: not usable, not an image file",
        "dot.png: not usable, too small: 1x1 pixels",
    ]
    assert [problem.rsplit("/", 1)[-1] for problem in found.problems] == said
    with pytest.raises(errors.UserError, match=r"nothing can be read; .*gone\.jpg: does not exist"):
        network.predict(bad)
    run = str(saved / "aus")
    assert cli.main(["predict", *bad, "--model", run, "--out", str(tmp_path / "t.csv")]) == 2
    printed = capfd.readouterr().err
    assert all(line in printed for line in said) and "Traceback" not in printed
    assert not (tmp_path / "t.csv").exists()
    assert cli.main(["predict", *bad, str(photographs / "a.png"), "--model", run]) == 0
    assert "1 files, 1 pictures and frames, 0 of them without a face" in capfd.readouterr().out


def test_the_command_writes_tables_and_drawings(saved, photographs, tmp_path, capfd):
    run, out = str(saved / "aus"), tmp_path / "table.jsonl"
    words = ["predict", str(photographs), "--model", run]
    words += ["--out", str(out), "--draw", str(tmp_path / "drawn")]
    assert cli.main(words) == 0
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["face"] for row in rows] == [0, 0, 1, -1] and rows[3]["AU12"] is None
    drawn = {path.name: cv2.imread(str(path)) for path in (tmp_path / "drawn").iterdir()}
    assert drawn.keys() == {"a.jpg", "two.jpg", "none.jpg"}
    height, width = PORTRAIT.shape[:2]
    moved = np.abs(drawn["a.jpg"][:height, :width].astype(int) - PORTRAIT[..., ::-1])
    left, top, size = (int(rows[0][name]) for name in ("left", "top", "width"))
    edge = moved[top : top + size, left - 1 : left + 2].max((1, 2))
    assert (edge > 40).mean() > 0.9  # the box
    assert moved[300:].mean() < 5
    assert "Next: look at" in capfd.readouterr().out
    assert cli.main([*words[:-3], str(tmp_path / "table.txt")]) == 2
    assert "out, its ending: '.txt' is not known" in capfd.readouterr().err
    assert cli.main(["predict", run, str(photographs)]) == 2
    assert f"{run} is a trained network; name it with --model {run}" in capfd.readouterr().err


def test_openfaces_columns_are_read_as_openfaces(network, photographs, tmp_path):
    found = network.predict([photographs / "a.png", photographs / "none.png"])
    found.write(str(tmp_path / "o.csv"), "openface")
    lines = (tmp_path / "o.csv").read_text().splitlines()
    head = lines[0].split(",")
    assert head[:6] == ["file", "frame", "face_id", "timestamp", "confidence", "success"]
    assert head[6:12] == [f"pose_{kind}{axis}" for kind in "TR" for axis in "xyz"]
    shared = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 17, 20, 23, 25, 26)
    both = [f"AU{au:02d}_r" for au in (*shared, 45)] + [f"AU{au:02d}_c" for au in (*shared, 28, 45)]
    assert head[12 + 136 :] == both
    row = dict(zip(head, lines[1].split(","), strict=True))
    np.testing.assert_allclose(float(row["AU12_r"]), 5 * found["AU12"][0], rtol=1e-5)
    assert float(row["AU12_c"]) == (found["AU12"][0] >= 0.5) and row["AU45_c"] == ""
    np.testing.assert_allclose(float(row["pose_Rz"]), np.radians(found["roll"][0]), rtol=1e-5)
    assert set(lines[2].split(",")[4:]) == {"0"}
    track = tracks.read("o.csv", "\n".join(lines[:2]))
    assert track.frames.tolist() == [1] and track.success.all()
    np.testing.assert_allclose(track.landmarks[0, 36], [found["x_36"][0], found["y_36"][0]], 1e-5)
    # Of one file, OpenFace's own order: nothing stands before `frame`.
    network.predict(photographs / "a.png").write(str(tmp_path / "alone.csv"), "openface")
    out = str(tmp_path / "written.csv")
    files.write(network, [str(photographs / "a.png")], out=out, columns="openface")
    for name in ("alone.csv", "written.csv"):
        assert (tmp_path / name).read_text().splitlines()[:2] == [
            line.partition(",")[2] for line in lines[:2]
        ]


def test_py_feats_columns_are_read_as_py_feats(network, photographs, tmp_path):
    found = network.predict(photographs / "a.png")
    found.write(str(tmp_path / "p.csv"), "pyfeat")
    text = (tmp_path / "p.csv").read_text()
    head = text.splitlines()[0].split(",")
    assert head[:5] == ["input", "frame", "approx_time", "FaceRectX", "FaceRectY"]
    assert {"FaceScore", "Pitch", "Roll", "Yaw", "AU43", "anger", "neutral"} <= set(head)
    track = tracks.read("p.csv", text)
    assert track.frames.tolist() == [1] and len(track.aus) == 20
    np.testing.assert_allclose(
        track.probability[0, track.aus.index(12)], found["AU12"][0], rtol=1e-5
    )


def test_parquet_and_pandas_only_where_they_are(network, tmp_path, monkeypatch):
    found = network.predict(PORTRAIT)
    parquet = pytest.importorskip("pyarrow.parquet")
    found.write(str(tmp_path / "t.parquet"))
    back = parquet.read_table(tmp_path / "t.parquet").to_pydict()
    assert back["label"] == found["label"].tolist() and back["AU01"] == found["AU01"].tolist()
    monkeypatch.setattr(table_lib.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(errors.UserError, match=r"needs pyarrow: pip install pyarrow"):
        table_lib.Writer("t.parquet")

    def absent(name):
        raise ImportError(name)

    monkeypatch.setattr(table_lib.importlib, "import_module", absent)
    with pytest.raises(errors.UserError, match="pandas is not installed"):
        found.to_pandas()


def test_what_cannot_be_given(network):
    for given, said in ((3, "got int"), (np.zeros((4, 4), np.float32), "image: got float32")):
        with pytest.raises(errors.UserError, match=said):
            network.predict(given)
    with pytest.raises(errors.UserError, match="window: got 0"):
        network.predict(PORTRAIT, window=0)


def test_a_pattern_that_goes_down_finds_each_file_once(photographs):
    found = pictures.items(str(photographs / "**"), pytest.fail)
    assert found == pictures.items(photographs, pytest.fail) and len(found) == 3


def test_names_that_are_not_utf_8(network, photographs, tmp_path):
    path = os.fsdecode(os.fsencode(photographs) + b"/caf\xe9.png")
    try:
        (photographs / "a.png").rename(path)
    except OSError:
        pytest.skip("the file system takes UTF-8 only")
    lost = os.fsdecode(b"f\xeate.jpg")
    found = network.predict([path, lost])
    assert found["file"].tolist() == [f"{photographs}/caf%E9.png"]
    assert found.problems == ["f%EAte.jpg: does not exist"]
    found.write(str(tmp_path / "t.csv"))
    with drawing.Drawings(str(tmp_path / "drawn"), ()) as drawings:
        drawings.add([prediction.Seen(path, 0, 0.0, [], PORTRAIT)], {"face": np.array([-1])})
    assert os.listdir(tmp_path / "drawn") == ["caf%E9.jpg"]


def test_bad_files_of_a_person_at_rest_are_named(network, tmp_path):
    given = [PORTRAIT, str(tmp_path / "gone.jpg")]
    found = network.predict(PORTRAIT, neutral=given)
    assert found.problems == [f"neutral: {tmp_path}/gone.jpg: does not exist"]
