"""What is refused: by status, in one line, without harm to what comes after."""

import asyncio
import contextlib
import http.client
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
import types
import zlib

import places
import pytest
import serving

from aufer_jax import cli, errors
from aufer_jax.serve import app, metrics, start, uploads, worker
from aufer_jax.serve import server as room
from aufer_jax.serve.limits import Limits
from aufer_jax.sources import limits

PNG = "image/png"


def bomb(side=60_000):
    """A PNG of a few bytes that says it has 3.6 billion pixels."""

    def chunk(kind, data):
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + head + pixels + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("path", "options", "status", "line"),
    [
        ("/nowhere", {}, 404, "'/nowhere': not found; there are /, /v1/predict"),
        ("/v1/predict", {}, 405, "method not allowed"),
        ("/v1/model", {"body": b"x", "kind": PNG}, 405, "method not allowed"),
        ("/v1/predict", {"body": b"", "kind": PNG}, 400, "nothing was sent"),
        ("/v1/predict?format=xml", {"body": b"x", "kind": PNG}, 400, "format: 'xml' is not known"),
        ("/v1/predict?mesh=2", {"body": b"x", "kind": PNG}, 400, "mesh: '2' is not known"),
        ("/v1/heatmap?kind=hot", {"body": b"x", "kind": PNG}, 400, "kind: 'hot' is not known"),
        ("/v1/heatmap?face=-1", {"body": b"x", "kind": PNG}, 400, "face: '-1' is not a whole"),
        ("/v1/predict", {"body": b"x", "kind": "text/plain"}, 415, "'text/plain' is not taken"),
        ("/v1/predict", {"body": b"hello", "kind": ""}, 415, "neither a picture nor a clip"),
        ("/v1/predict", {"body": b"hello", "kind": PNG}, 422, "not an image file"),
        ("/v1/predict", {"body": b"#EXTM3U\n/etc/passwd", "kind": "video/mp4"}, 422, "not a video"),
        ("/v1/predict", {"body": b"\0\0\0\x18ftypheic", "kind": ""}, 415, "send it as JPEG or PNG"),
        ("/v1/predict", {"body": bomb(), "kind": PNG}, 422, "too large: 60000x60000 pixels"),
        ("/v1/predict", {"body": b"x", "kind": "multipart/form-data"}, 400, "without a boundary"),
        (
            "/v1/predict",
            {"body": b"--b\r\n\r\n", "kind": "multipart/form-data; boundary=b"},
            400,
            "a form without a file",
        ),
        ("/healthz", {"headers": {"Host": "evil.example"}}, 421, "Host: 'evil.example'"),
        (
            "/v1/predict",
            {"body": b"x", "kind": PNG, "headers": {"Sec-Fetch-Site": "cross-site"}},
            403,
            "pages of other sites",
        ),
    ],
)
def test_statuses(server, path, options, status, line):
    found, told = server.refused(path, **options)
    assert found == status and line in told


def test_too_large_by_its_word_and_by_its_bytes(server, portrait):
    large = bytes(2_000_001)
    assert server.refused("/v1/predict", large, PNG) == (413, "too large: at most 2 MB are taken")
    parts = (large[:65536] for _ in range(40))
    assert server.refused("/v1/predict", parts, PNG)[0] == 413
    assert len(server.json("/v1/predict", portrait[1])["rows"]) == 1


def test_damaged_pictures_and_clips(server, portrait, clip):
    status, line = server.refused("/v1/predict", portrait[1][:-500], PNG)
    assert status == 422 and "truncated or damaged PNG" in line
    status, line = server.refused("/v1/predict", clip.read_bytes()[:300], "video/webm")
    assert status == 422 and "video" in line
    for form in ("json", "jsonl", "csv"):
        status, _ = server.refused(f"/v1/predict?format={form}", portrait[1][:99], PNG)
        assert status == 422
    half = clip.read_bytes()
    told = server.json("/v1/predict", half[: len(half) * 2 // 3], "video/webm")
    assert 0 < len(told["rows"]) < 7
    assert server.refused("/v1/heatmap", half, "video/webm")[0] == 415


@contextlib.contextmanager
def dripping(port, head, drop):
    """Sends a request's beginning, then `drop` again and again, and gives the open socket."""
    ended = threading.Event()
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(head)

        def drip():
            with contextlib.suppress(OSError):
                while not ended.wait(0.1):
                    connection.sendall(drop)

        thread = threading.Thread(target=drip)
        thread.start()
        yield connection
        ended.set()
        thread.join()


def test_slow_clients(network, portrait):
    with serving.served(network, timeout=0.5, head=0.5) as client:
        head = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
        with dripping(client.port, head + b"Content-Length: 9999\r\n\r\n", b"x") as connection:
            answer = http.client.HTTPResponse(connection)
            answer.begin()
            assert answer.status == 408 and answer.headers["connection"] == "close"
            assert "has not arrived within 0.5 seconds" in json.loads(answer.read())["error"]
        dripped, reset = (
            dripping(client.port, head, b"X-A: b\r\n"),
            contextlib.suppress(ConnectionError),
        )
        with dripped as connection, reset:
            assert connection.recv(100) == b""
        with socket.create_connection(("127.0.0.1", client.port), timeout=20) as idle:
            assert idle.recv(100) == b""
        assert len(client.json("/v1/predict", portrait[1])["rows"]) == 1


def test_a_full_queue_says_when_to_come_again(network, portrait, monkeypatch):
    with serving.served(network, queue=1, batch=1, body=1, held=1) as client:
        held, began, original = threading.Event(), threading.Event(), client.worker._predict

        def predict(batch):
            began.set()
            held.wait(20)
            original(batch)

        monkeypatch.setattr(client.worker, "_predict", predict)
        answers = []
        threads = [
            threading.Thread(target=lambda: answers.append(client.json("/v1/predict", portrait[1])))
            for _ in range(2)
        ]
        threads[0].start()
        assert began.wait(20)
        threads[1].start()
        while not client.worker.waiting:
            time.sleep(0.01)
        status, headers, text = client.ask("/v1/predict", portrait[1], PNG)
        assert status == 503 and int(headers["retry-after"]) >= 1
        assert json.loads(text)["error"] == "too much is waiting; try again"
        status, headers, text = client.ask("/v1/predict", bytes(900_000), PNG)
        assert status == 503 and "retry-after" in headers and b"too many uploads" in text
        assert client.json("/healthz") == {"status": "ok", "waiting": 1}
        held.set()
        for thread in threads:
            thread.join(30)
        assert len(answers) == 2
        assert "\naufer_upload_bytes 0\n" in client.ask("/metrics")[2].decode()


def test_clients_that_leave_are_forgotten(network, portrait, monkeypatch):
    with serving.served(network, batch=1) as client:
        held, original = threading.Event(), client.worker._predict
        done = []

        def predict(batch):
            held.wait(20)
            done.extend(job.name for job in batch)
            original(batch)

        monkeypatch.setattr(client.worker, "_predict", predict)
        for _ in range(3):
            connection = http.client.HTTPConnection("127.0.0.1", client.port, timeout=20)
            connection.request("POST", "/v1/predict", portrait[1], {"Content-Type": PNG})
            connection.close()
        line = 'aufer_requests_total{path="/v1/predict",status="499"} 3\n'
        while line not in client.ask("/metrics")[2].decode():
            time.sleep(0.02)
        assert client.json("/healthz")["waiting"] == 0
        bytes_of_one = f"\naufer_upload_bytes {len(portrait[1])}\n"  # what is under way
        assert bytes_of_one in client.ask("/metrics")[2].decode()
        held.set()
        assert len(client.json("/v1/predict", portrait[1])["rows"]) == 1
        assert "\naufer_upload_bytes 0\n" in client.ask("/metrics")[2].decode()
        assert len(done) < 4


def test_jobs_that_are_dropped_leave_their_place():
    waiting = worker.Worker(None, Limits(queue=2), metrics.Metrics())
    jobs = [worker.Job("", b"", clip, print) for clip in (True, False)]
    for job in jobs:
        waiting.put(job)
    with pytest.raises(worker.Full):
        waiting.put(worker.Job("", b"", True, print))
    assert [waiting.drop(job) for job in (*jobs, jobs[0])] == [True, True, False]
    assert waiting.waiting == 0 and all(job.gone for job in jobs)


@pytest.mark.parametrize("slow", ["client", "worker"])
def test_bytes_are_held_as_long_as_anybody_has_them(network, slow):
    service, jobs = app._Service(network, Limits()), []
    service.worker = types.SimpleNamespace(put=jobs.append, drop=drop)

    async def ask():
        request = types.SimpleNamespace(receive=asyncio.Event().wait)
        with service.room.shared() as share:
            share.take(5)
            parts = service._told(request, uploads.Upload("", b"12345", True), share)
            asking = asyncio.ensure_future(anext(parts))
            await asyncio.sleep(0)
            jobs[0].tell(worker.Problem("short"))
            assert (await asking).text == "short"
        ends = [parts.aclose, end]
        for step in ends if slow == "worker" else ends[::-1]:
            assert service.room.held == 5
            await step()
        assert service.room.held == 0

    async def end():
        jobs[0].tell(worker.END)
        await asyncio.sleep(0)

    asyncio.run(ask())


def drop(job):
    """As a worker does that has begun."""
    job.gone = True
    return False


def test_a_clip_that_the_end_of_the_server_cuts_off(network, clip, monkeypatch, caplog):
    monkeypatch.setattr("aufer_jax.runs.prediction._AT_ONCE", 2)
    with serving.served(network) as client:
        original = client.worker._found

        def found(*given):
            client.worker.end()
            return original(*given)

        monkeypatch.setattr(client.worker, "_found", found)
        data = clip.read_bytes()
        status, _, text = client.ask("/v1/predict?format=jsonl", data, "video/webm")
        *rows, last = text.splitlines()
        assert status == 200 and len(rows) == 2
        assert json.loads(last) == {"problems": ["the server ends"]}
        assert client.refused("/v1/predict", data, "video/webm")[0] == 503
        assert client.refused("/healthz") == (503, "the worker has ended")
    assert caplog.text == ""


def test_a_mistake_of_ours_is_logged_and_not_told(network, portrait, monkeypatch, caplog):
    with serving.served(network) as client:
        monkeypatch.setattr("aufer_jax.serve.answers.table", lambda *_: 1 / 0)
        assert client.refused("/v1/predict", portrait[1], PNG)[0] == 500
        monkeypatch.undo()
        assert len(client.json("/v1/predict", portrait[1])["rows"]) == 1
    assert "ZeroDivisionError" in caplog.text


def test_clients_that_do_not_read():
    """What is sent to them is bounded, and after a while they are hung up on."""
    left = threading.Event()

    async def app(scope, receive, send):
        if scope["type"] == "lifespan":
            await receive()
            await send({"type": "lifespan.startup.complete"})
            await receive()
            await send({"type": "lifespan.shutdown.complete"})
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while (await asyncio.wait_for(_now(receive), 30)) is None:
            await send({"type": "http.response.body", "body": bytes(10**6), "more_body": True})
        left.set()

    async def _now(receive):
        asking = asyncio.ensure_future(receive())
        await asyncio.sleep(0)
        if not asking.done() or asking.result()["type"] == "http.request":
            asking.cancel()
            return None
        return asking.result()

    with serving.running(app, Limits(head=0.3)) as port:
        place = ("127.0.0.1", port)
        with socket.create_connection(place, timeout=20) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert left.wait(20)


SERVED = """
import sys
from aufer_jax.serve import server
from aufer_jax.serve.limits import Limits
from aufer_jax.sources import limits
async def app(scope, receive, send):
    while scope["type"] == "lifespan":
        word = (await receive())["type"]
        await send({"type": word + ".complete"})
        if word.endswith("shutdown"):
            return
def ready():
    print("ready", flush=True)
def ending():
    print("asked to")
with server.listen("127.0.0.1", 0) as listening:
    server.Server(app, Limits(), ready, ending).run(sockets=[listening])
print("ended")
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ends_cleanly(number):
    process = subprocess.Popen(
        [sys.executable, "-c", SERVED], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(places.ROOT)},
    )  # fmt: skip
    assert process.stdout.readline() == "ready\n"
    process.send_signal(number)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (0, "asked to\nended\n", "")


@pytest.mark.parametrize(
    ("host", "names", "heard"),
    [
        ("127.0.0.1", (), {"localhost", "127.0.0.1", "[::1]"}),
        ("0.0.0.0", (), set()),
        ("0.0.0.0", ("a.example",), {"localhost", "127.0.0.1", "[::1]", "0.0.0.0", "a.example"}),
    ],
)
def test_says_where_it_listens_and_to_whom(network, monkeypatch, capsys, host, names, heard):
    monkeypatch.setenv("AUFER_MOST_PIXELS", "1")
    monkeypatch.setattr(start.Predictor, "load", lambda _: network)
    warmed, served = [], []
    monkeypatch.setattr(start, "warm", lambda *given: warmed.append(given))

    class Fake:
        def __init__(self, app, limits, ready, ending):
            served.append(app)
            self.ready = ready

        def run(self, sockets):
            self.ready()

    monkeypatch.setattr(room, "Server", Fake)
    start.run("clean", host, 0, names, Limits(pixels=3))
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "clean: getting ready ..." and said[-1] == "ended"
    assert said[1].startswith(f"http://{host}:") and said[1].endswith("CTRL-C ends it")
    assert ("without a password" in said[2]) == (host != "127.0.0.1")
    assert served[0]._names == heard and len(warmed) == 1
    assert limits.most("PIXELS") == 3_000_000


def test_mistakes_of_the_command(unused_port, capsys):
    with room.listen("127.0.0.1", unused_port):
        assert cli.main(["serve", "--port", str(unused_port)]) == 2
    assert f"port: 127.0.0.1:{unused_port} cannot be listened on" in capsys.readouterr().err
    assert cli.main(["serve", "nothing", "--port", "0"]) == 2
    assert cli.main(["serve", "--queue", "0"]) == 2
    assert "queue: 0 must be above 0" in capsys.readouterr().err
    with pytest.raises(errors.UserError, match="held: 1 MB must be at least one upload, 2 MB"):
        Limits(body=2, held=1)
