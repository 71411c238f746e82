"""How `aufer serve` stands many clients at once, and clients that mean harm.

    python benchmarks/serve.py --clients 32 --seconds 60

The server is a process of its own, with its default limits but for shorter patience; clients are threads of
this one, on the same cores, that send one picture after another over connections that they keep. The pictures
are drawn faces. Memory is the server's resident one, as it tells it. Writes docs/results/serve.md.
"""

import argparse
import collections
import concurrent.futures
import contextlib
import dataclasses
import http.client
import json
import os
import pathlib
import re
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from collections.abc import Callable, Iterator

import cv2
import numpy as np

from aufer_jax import synth
from aufer_jax.report import results

OUT = pathlib.Path(__file__).parents[1] / "docs" / "results" / "serve.md"
COMMAND = "python benchmarks/serve.py --clients {} --seconds {:g}"
PATIENCE = ("--timeout", "5", "--head", "5")
PNG, CLIP = "image/png", "video/mp4"
SIZES = (160, 320, 640)  # pixels of the pictures
FRAMES = 100  # of a clip


@dataclasses.dataclass
class Server:
    """One `aufer serve`."""

    process: subprocess.Popen
    port: int

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)

    def ask(
        self, path: str, body: bytes | Iterator[bytes] | None = None, kind: str = PNG
    ) -> tuple[int, bytes]:
        """Status and body of an answer; status 0 if the server hangs up."""
        connection = self.connect()
        try:
            head = {} if body is None else {"Content-Type": kind}
            chunked = body is not None and not isinstance(body, bytes)
            method = "GET" if body is None else "POST"
            connection.request(method, path, body, head, encode_chunked=chunked)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (ConnectionError, http.client.HTTPException):
            return 0, b""
        finally:
            connection.close()

    def memory(self) -> float:
        """MB."""
        found = re.search(rb"^aufer_resident_bytes (\d+)$", self.ask("/metrics")[1], re.MULTILINE)
        assert found is not None
        return int(found[1]) / 1e6


@contextlib.contextmanager
def serving() -> Iterator[Server]:
    process = subprocess.Popen(
        [sys.executable, "-m", "aufer_jax.cli", "serve", "--port", "0", *PATIENCE],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        port = next(found[1] for line in process.stdout if (found := re.search(r":(\d+) ", line)))
        yield Server(process, int(port))
    finally:
        process.terminate()
        print("the server ends with", process.wait(30))


def png(image: np.ndarray) -> bytes:
    return cv2.imencode(".png", image[..., ::-1])[1].tobytes()


def faces() -> list[np.ndarray]:
    who = [synth.sample_identity(np.random.default_rng(seed)) for seed in range(4)]
    camera = synth.Camera()
    return [
        synth.render(one, np.zeros(len(synth.face.AUS)), camera, size=size, seed=1).image
        for one in who
        for size in SIZES
    ]


# --- Many clients -------------------------------------------------------------------------------


@dataclasses.dataclass
class Told:
    """What the clients have seen."""

    seconds: list[float] = dataclasses.field(default_factory=list)
    clips: int = 0
    statuses: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    memory: list[float] = dataclasses.field(default_factory=list)


def load(
    server: Server, pictures: list[bytes], clients: int, seconds: float, clip: bytes = b""
) -> Told:
    """Clients with pictures, and two with a clip if one is given, whose waiting is not counted."""
    told, end = Told(), time.monotonic() + seconds
    told.memory.append(server.memory())

    def client(number: int) -> None:
        connection, place = server.connect(), number
        while time.monotonic() < end:
            started = time.monotonic()
            try:
                connection.request(
                    "POST", "/v1/predict", pictures[place % len(pictures)], {"Content-Type": PNG}
                )
                answer = connection.getresponse()
                status = answer.status if b'"rows"' in answer.read() else -answer.status
            except (ConnectionError, http.client.HTTPException):
                status, connection = 0, server.connect()
            told.seconds.append(time.monotonic() - started)
            told.statuses[status] += 1
            place += 1

    def with_clips() -> None:
        while time.monotonic() < end:
            status, answer = server.ask("/v1/predict?format=csv", clip, CLIP)
            told.statuses[status if answer.count(b"\n") == 1 + FRAMES else -status] += 1
            told.clips += 1

    with concurrent.futures.ThreadPoolExecutor(clients + 2) as pool:
        running = [pool.submit(client, number) for number in range(clients)]
        running += [pool.submit(with_clips) for _ in range(2 if clip else 0)]
        time.sleep(seconds / 2)
        told.memory.append(server.memory())
        for one in running:
            one.result()
    told.memory.append(server.memory())
    return told


def load_row(told: Told, clients: int, seconds: float) -> dict:
    times = 1000 * np.array(told.seconds)
    return {
        "clients": f"{clients}, and 2 with clips" if told.clips else str(clients),
        "seconds": seconds,
        "pictures": len(times),
        "clips": told.clips,
        "failures": told.statuses.total() - told.statuses[200],
        "p50 ms": float(np.percentile(times, 50)),
        "p99 ms": float(np.percentile(times, 99)),
        "pictures a second": len(times) / seconds,
        **{
            f"MB, {when}": f"{mb:.0f}"
            for when, mb in zip(("start", "middle", "end"), told.memory, strict=True)
        },
    }


# --- Clients that mean harm ---------------------------------------------------------------------


def bomb(side: int = 60_000) -> bytes:
    """A PNG of a few bytes that says it has 3.6 billion pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        body = kind + data
        return struct.pack(">I", len(data)) + body + struct.pack(">I", zlib.crc32(body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(bytes(10**6)))
    return b"\x89PNG\r\n\x1a\n" + head + pixels + chunk(b"IEND", b"")


def film(images: list[np.ndarray]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/a.mp4"
        writer = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*"mp4v"), 10, images[0].shape[1::-1])
        for image in images:
            writer.write(image[..., ::-1])
        writer.release()
        return pathlib.Path(path).read_bytes()


def dripping(server: Server, head: bytes, drop: bytes, count: int) -> str:
    """What `count` clients hear that send a beginning, then a little now and then."""
    heard: collections.Counter = collections.Counter()

    def client(_: int) -> None:
        with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
            try:
                connection.sendall(head)
                connection.settimeout(0.5)
                while True:
                    with contextlib.suppress(TimeoutError):
                        answer = connection.recv(100)
                        heard[answer[9:12].decode() or "hung up"] += 1
                        return
                    connection.sendall(drop)
            except ConnectionError:
                heard["hung up"] += 1

    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        list(pool.map(client, range(count)))
    return _counted(heard)


def idle(server: Server, count: int) -> str:
    """What a visitor hears while so many connections are open and silent, and after they have ended."""
    with contextlib.ExitStack() as opened:
        for _ in range(count):
            place = ("127.0.0.1", server.port)
            opened.enter_context(socket.create_connection(place, timeout=60))
        during = server.ask("/healthz")[0]
    time.sleep(0.5)
    return f"{during}, then {server.ask('/healthz')[0]}"


def many(server: Server, body: bytes, count: int, clients: int = 32) -> str:
    heard: collections.Counter = collections.Counter()
    lock = threading.Lock()

    def client(_: int) -> None:
        status = server.ask("/v1/predict", body)[0]
        with lock:
            heard[str(status)] += 1

    with concurrent.futures.ThreadPoolExecutor(clients) as pool:
        list(pool.map(client, range(count)))
    return _counted(heard)


def _counted(heard: collections.Counter) -> str:
    return ", ".join(f"{count} times {word}" for word, count in heard.most_common())


def harm(server: Server, images: list[np.ndarray]) -> Iterator[tuple[str, str, Callable[[], str]]]:
    """What is tried, what is expected, and the trial, which gives what came."""
    whole = film([image for image in images if image.shape[0] == SIZES[0]] * 5)
    head = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
    noise = np.random.default_rng(0).integers(0, 256, 10**6, np.uint8).tobytes()

    def status(*given) -> Callable[[], str]:
        return lambda: str(server.ask("/v1/predict", *given)[0])

    large = 200 * 10**6
    yield "an upload of 200 MB", "413", status(bytes(large))
    parts = (bytes(10**6) for _ in range(200))
    yield "the same in chunks, without a word of its size", "413", status(parts)
    yield "a PNG of 1 kB that says 60,000 x 60,000", "422", status(bomb())
    yield "a text as image/png", "422", status(b"hello" * 1000)
    yield "a text as text/plain", "415", status(b"hello" * 1000, "text/plain")
    yield "1 MB of noise that begins like a JPEG", "422", status(b"\xff\xd8" + noise)
    yield "1 MB of noise that begins like a video", "422", status(b"\0\0\0\x18ftyp" + noise, CLIP)
    yield "a list of other files as video/mp4", "422", status(b"#EXTM3U\nfile:///etc/passwd", CLIP)
    yield "a video cut in its middle", "422", status(whole[: len(whole) // 2], CLIP)
    yield "a head of 200 kB", "400", lambda: _long_head(server)
    yield (
        "50 clients that send a head byte by byte", "50 times hung up",
        lambda: dripping(server, head, b"a", 50),
    )  # fmt: skip
    yield (
        "50 clients that send a body byte by byte", "50 times 408",
        lambda: dripping(server, head + b"Content-Length: 99999\r\n\r\n", b"x", 50),
    )  # fmt: skip
    yield "300 silent connections", "503, then 200", lambda: idle(server, 300)
    tiny = png(np.zeros((1, 1, 3), np.uint8))
    yield "1,000 pictures of one pixel", "1000 times 422", lambda: many(server, tiny, 1000)


def _long_head(server: Server) -> str:
    with socket.create_connection(("127.0.0.1", server.port), timeout=60) as connection:
        with contextlib.suppress(ConnectionError):
            connection.sendall(b"GET / HTTP/1.1\r\nX: " + b"a" * 200_000)
        with contextlib.suppress(ConnectionError):
            return connection.recv(100)[9:12].decode()
    return "hung up"


def harm_rows(server: Server, images: list[np.ndarray]) -> Iterator[dict]:
    good = png(images[1])
    for name, expected, trial in harm(server, images):
        started = time.monotonic()
        came = trial()
        seconds = time.monotonic() - started
        status, answer = server.ask("/v1/predict", good)
        lives = status == 200 and json.loads(answer)["rows"][0]["face"] == 0
        yield {
            "what is tried": name,
            "answer": came,
            "expected": expected,
            "seconds": seconds,
            "then a picture is told": "yes" if lives else f"no: {status}",
            "MB": f"{server.memory():.0f}",
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=60)
    given = parser.parse_args()
    images = faces()
    before = os.getloadavg()[0]
    command = COMMAND.format(given.clients, given.seconds)
    with serving() as server:
        pictures, loads = [png(image) for image in images], []
        for clip in (b"", film([images[1]] * FRAMES)):
            told = load(server, pictures, given.clients, given.seconds, clip)
            loads.append(load_row(told, given.clients, given.seconds))
            print(loads[-1], dict(told.statuses), flush=True)
        rows = []
        for found in harm_rows(server, images):
            rows.append(found)
            print(found, flush=True)
    sizes = ", ".join(map(str, SIZES))
    results.write_section(
        OUT, "Many clients", loads, command,
        f"Drawn faces of {sizes} pixels, as PNG; the network is `small`. A clip has "
        f"{FRAMES} frames of {SIZES[1]} pixels; times are of the pictures. A failure is any answer but 200 "
        "with the whole table. The clients take their share of the same cores. The load before the server "
        f"started, of what else the machine did, was {before:.1f}.", heading="aufer serve",
    )  # fmt: skip
    results.write_section(
        OUT, "Clients that mean harm", rows, command,
        "After each the server must still tell the face of a picture. Patience is set to 5 seconds "
        f"(`{' '.join(PATIENCE)}`), other limits are the defaults; memory is the server's.",
    )  # fmt: skip
    failed = any(row["failures"] for row in loads)
    if failed or any(
        one["answer"] != one["expected"] or one["then a picture is told"] != "yes" for one in rows
    ):
        raise SystemExit("not all went as it should")


if __name__ == "__main__":
    main()
