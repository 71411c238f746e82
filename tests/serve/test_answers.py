"""What the API says of pictures and clips, and of itself."""

import concurrent.futures
import csv
import io
import json
import re
import sys
import tempfile
import threading

import cv2
import numpy as np
import pytest
import serving

from aufer_jax import facs
from aufer_jax.serve import answers, openapi
from aufer_jax.serve.limits import Limits
from aufer_jax.serve.metrics import Metrics
from aufer_jax.serve.worker import Job, Worker


@pytest.fixture(scope="module")
def expected(network, portrait):
    return network.predict(portrait[0])


def test_a_picture_is_told_as_the_predictor_tells_it(server, portrait, expected):
    told = server.json("/v1/predict", portrait[1])
    assert (told["width"], told["height"], told["problems"]) == (256, 256, [])
    (row,) = told["rows"]
    assert list(row) == list(expected)
    assert row["label"] == "happiness" and row["face"] == 0
    for name in ("AU12", "AU12_intensity", "AU12_left", "happiness", "pitch", "x_30", "left"):
        assert row[name] == pytest.approx(float(expected[name][0]), rel=1e-3, abs=1e-3), name


def test_csv_form_and_mesh(server, portrait, expected):
    body, kind = serving.form(portrait[1], name="C:\\people\\a \u00e9.png")
    status, headers, text = server.ask("/v1/predict?format=csv", body, kind)
    assert status == 200 and headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(text.decode(), newline="")))
    assert len(rows) == 1 and list(rows[0]) == list(expected)
    assert rows[0]["file"] == "a \u00e9.png" and rows[0]["label"] == "happiness"
    mesh = np.reshape(server.json("/v1/predict?mesh=1", portrait[1])["mesh"][0], (478, 2))
    nose = [float(expected[name][0]) for name in ("x_30", "y_30")]
    assert np.hypot(*(mesh - nose).T).min() < 1


def test_a_picture_without_a_face(server):
    grey = cv2.imencode(".png", np.full((64, 64, 3), 99, np.uint8))[1].tobytes()
    told = server.json("/v1/predict?mesh=1", grey)
    assert told["rows"][0]["face"] == -1 and told["rows"][0]["AU12"] is None
    assert told["mesh"] == [None]
    assert server.refused("/v1/heatmap", grey, "image/png") == (422, "face: none is found")


def test_a_clip_row_by_row(server, clip):
    data = clip.read_bytes()
    status, headers, text = server.ask("/v1/predict?format=jsonl", data, "video/webm")
    assert status == 200 and headers["content-type"] == "application/x-ndjson"
    *rows, last = [json.loads(line) for line in text.splitlines()]
    assert [row["frame"] for row in rows] == list(range(6))
    assert [row["time"] for row in rows] == pytest.approx([i / 4 for i in range(6)], abs=2e-3)
    assert {row["face"] for row in rows} == {0} and {row["file"] for row in rows} == {"clip"}
    assert rows[-1]["AU12_intensity"] > rows[0]["AU12_intensity"]
    assert last == {"problems": ["only the first 6 frames are read"]}
    told = server.json("/v1/predict", data, "video/webm")
    assert len(told["rows"]) == 6 and told["problems"] == last["problems"]
    assert told["rows"][3] == rows[3]


def test_a_picture_need_not_wait_for_a_clip(server, clip, portrait, monkeypatch):
    """The worker is held after a clip's first part; a picture that comes then is answered first."""
    told, held = [], threading.Event()
    worker = server.worker
    original = worker._found

    def found(job, seen, columns):
        told.append(job.name)
        if job.name == "clip":
            held.wait(10)
        return original(job, seen, columns)

    monkeypatch.setattr(worker, "_found", found)
    monkeypatch.setattr("aufer_jax.runs.prediction._AT_ONCE", 2)
    with concurrent.futures.ThreadPoolExecutor() as pool:
        long = pool.submit(server.json, "/v1/predict", clip.read_bytes(), "video/webm")
        while not told:
            pass
        short = pool.submit(server.json, "/v1/predict", portrait[1])
        while not worker.waiting:
            pass
        held.set()
        assert len(short.result()["rows"]) == 1 and len(long.result()["rows"]) == 6
    assert told == ["clip", "picture", "clip", "clip"]


def test_what_waits_is_one_batch_and_says_the_same(network, portrait, server):
    metrics, told = Metrics(), {}
    worker = Worker(network, Limits(), metrics)
    images = [portrait[0], np.ascontiguousarray(portrait[0][:, ::-1]), portrait[0][:200, 20:]]
    for i, image in enumerate(images):
        data = cv2.imencode(".png", image[..., ::-1])[1].tobytes()
        worker.put(Job(f"{i}.png", data, False, told.setdefault(i, []).append))
    worker.put(Job("3.png", b"\xff\xd8 no picture", False, told.setdefault(3, []).append))
    worker.start()
    while len(told[3]) < 2 or any(len(told[i]) < 2 for i in range(3)):
        assert worker.alive
    worker.stop()
    text = metrics.text(0, 0)
    assert "\naufer_batches_total 1\n" in text and "\naufer_faces_total 3\n" in text
    for i, image in enumerate(images):
        alone, (found, end) = network.predict(image), told[i]
        assert end is None and found.columns["file"][0] == f"{i}.png"
        for name in ("happiness", "AU12_intensity", "x_30", "yaw"):
            assert found.columns[name][0] == pytest.approx(float(alone[name][0]), abs=2e-2), name
    assert "JPEG ends too early" in told[3][0].text and told[3][1] is None
    del server


def test_one_that_fails_does_not_spoil_the_others(network, portrait, monkeypatch, caplog):
    told = {}
    worker = Worker(network, Limits(), Metrics())
    original = worker._found

    def found(job, seen, columns):
        if job.name == "bad":
            raise RuntimeError("a mistake")
        return original(job, seen, columns)

    monkeypatch.setattr(worker, "_found", found)
    for name in ("good", "bad"):
        worker.put(Job(name, portrait[1], False, told.setdefault(name, []).append))
    worker.start()
    while any(len(lines) < 2 for lines in told.values()):
        assert worker.alive
    worker.stop()
    assert told["good"][0].columns["label"][0] == "happiness"
    assert told["bad"][0].broken and "a mistake" not in told["bad"][0].text
    assert "a mistake" in caplog.text


@pytest.mark.parametrize("kind", ["aus", "scorecam"])
def test_heatmaps_lie_on_the_face(server, portrait, expected, kind):
    status, headers, data = server.ask(f"/v1/heatmap?kind={kind}", portrait[1], "image/png")
    assert status == 200 and headers["content-type"] == "image/png"
    drawn = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert drawn.shape == (256, 256, 4)
    rows, columns = np.nonzero(drawn[..., 3] > drawn[..., 3].max() // 2)
    left, top, width, height = (float(expected[n][0]) for n in ("left", "top", "width", "height"))
    assert left - width / 2 < columns.mean() < left + 1.5 * width
    assert top - height / 2 < rows.mean() < top + 1.5 * height
    if kind == "aus":  # she smiles: the strongest are at the mouth
        assert rows.mean() > float(expected["y_30"][0])
    assert server.refused(f"/v1/heatmap?kind={kind}&face=3", portrait[1], "image/png")[0] == 422


def test_the_card_and_the_page(server, network):
    card = server.json("/v1/model")
    assert card["expressions"] == list(network.expressions) and card["intensities"]
    assert {"number": 12, "column": "AU12", "name": facs.AUS[12].name} in card["aus"]
    assert "5(1)(f)" in card["not_for"] and card["limits"]["frames"] == 6
    status, headers, page = server.ask("/")
    assert status == 200 and headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    for words in (answers.NOT_FOR, answers.LIMITS_OF_IT):
        assert words in page.decode()
    assert not re.search(rb"{{|https?://(?!www\.w3\.org/2000/svg)", page)


def test_openapi_lists_each_route(server, expected):
    told = server.json("/openapi.json")
    assert told["openapi"] == "3.1.0"
    assert {(path, method) for path, found in told["paths"].items() for method in found} == {
        (path, method) for path, method, _ in openapi.ROUTES
    }
    operation = told["paths"]["/v1/predict"]["post"]
    assert {"400", "403", "408", "413", "415", "422", "503"} <= operation["responses"].keys()
    content = operation["responses"]["200"]["content"]
    row = content["application/json"]["schema"]["properties"]["rows"]["items"]
    assert list(row["properties"]) == list(expected)
    for reference in re.findall(r'"#/([\w/]+)"', json.dumps(told)):
        place = told
        for step in reference.split("/"):
            place = place[step]


def test_metrics_count(server, portrait):
    def counted(text, line):
        found = re.search(rf"^{re.escape(line)} ([\d.]+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    def now():
        return server.ask("/metrics")[2].decode()

    before = now()
    for _ in range(2):
        server.json("/v1/predict", portrait[1])
    server.ask("/nowhere")
    after = now()
    grown = {
        'aufer_requests_total{path="/v1/predict",status="200"}': 2,
        'aufer_requests_total{path="other",status="404"}': 1,
        'aufer_request_seconds_count{path="/v1/predict"}': 2,
        'aufer_request_seconds_bucket{path="/v1/predict",le="+Inf"}': 2,
        "aufer_faces_total": 2,
        "aufer_pictures_total": 2,
    }
    for line, count in grown.items():
        assert counted(after, line) - counted(before, line) == count, line
    assert counted(after, "aufer_queue_length") == 0 == counted(after, "aufer_upload_bytes")
    assert counted(after, "aufer_resident_bytes") > 1e7
    assert server.json("/healthz") == {"status": "ok", "waiting": 0}


WRITTEN: list[str] | None = None


def _hook(event, given):
    if WRITTEN is not None and event == "open" and isinstance(given[0], str):
        path, mode, flags = given
        if (mode and set(mode) & set("wax+")) or flags & 3:
            WRITTEN.append(path)


def test_nothing_is_written(server, portrait, clip, tmp_path, monkeypatch):
    global WRITTEN
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    data = clip.read_bytes()
    sys.addaudithook(_hook)
    WRITTEN = []
    body, kind = serving.form(portrait[1])
    try:
        for _ in range(2):
            assert server.ask("/v1/predict", body, kind)[0] == 200
            assert server.ask("/v1/predict", data, "video/webm")[0] == 200
            assert server.ask("/v1/heatmap", portrait[1], "image/png")[0] == 200
    finally:
        found, WRITTEN = WRITTEN, None
    assert [path for path in found if not path.startswith("/dev/null")] == []
    assert list(tmp_path.iterdir()) == []
