"""Requests by chance, byte for byte, to `aufer serve` with the network `small`."""

import contextlib
import functools
import pathlib
import re
import select
import socket

import cv2
import serving
import skimage.data
from fuzz import Silent

from aufer_jax.errors import UserError
from aufer_jax.runs import Predictor

SECONDS = 20.0  # that a client waits for an answer
PATIENCE = 0.2  # seconds until it says that there is no more of a request that is none
MOST = 1 << 20  # bytes of one that it reads
WORDS = (
    b"Content-Length: 99999999999\r\n", b"Content-Length: -1\r\n", b"Transfer-Encoding: chunked\r\n",
    b"Expect: 100-continue\r\n", b"Host: example.org\r\n", b"Origin: null\r\n", b"\r\n", b"\r\n\r\n",
    b"HTTP/9.9", b"%00", b"../..", b"?format=csv", b"?kind=", b"ffffffff\r\n", b"multipart/form-data",
)  # fmt: skip
_OPEN = contextlib.ExitStack()


@functools.cache
def whole() -> list[bytes]:
    """Requests as they should be."""
    png = portrait()
    form, kind = serving.form(png)
    chunks = b"".join(f"{len(part):x}\r\n".encode() + part + b"\r\n" for part in (png, b""))
    seen = ("/", "/healthz", "/metrics", "/openapi.json", "/v1/model", "/nothing")
    return [
        *(_request("GET", path) for path in seen),
        _request("POST", "/v1/predict", png, "Content-Type: image/png"),
        _request("POST", "/v1/predict?format=csv", form, f"Content-Type: {kind}"),
        _request("POST", "/v1/heatmap?kind=aus&face=0", png, "Content-Type: image/png"),
        _request("POST", "/v1/predict?format=jsonl", chunks, "Transfer-Encoding: chunked"),
    ]


def portrait() -> bytes:
    """A small portrait."""
    face = cv2.resize(skimage.data.astronaut()[:200, 150:300], (45, 60))
    return cv2.imencode(".png", face[..., ::-1])[1].tobytes()


def _request(method: str, path: str, body: bytes = b"", *headers: str) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", "Connection: close", *headers]
    if body and not any("chunked" in line for line in headers):
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


@functools.cache
def client() -> serving.Client:
    """Of a server that lasts as long as this process."""
    found = _OPEN.enter_context(serving.served(Predictor.load("small")))
    found.json("/v1/predict", portrait())  # compiled
    return found


def feed(data: bytes, folder: pathlib.Path) -> None:
    """Sends what may be a request; no answer counts as a refusal, one of our mistakes does not."""
    del folder
    answer = b""
    to = ("127.0.0.1", client().port)
    with socket.create_connection(to, SECONDS) as line, contextlib.suppress(ConnectionError):
        line.sendall(data)
        if not select.select([line], [], [], SECONDS if data in whole() else PATIENCE)[0]:
            line.shutdown(socket.SHUT_WR)  # there is no more of it
        while len(answer) < MOST and (part := line.recv(65536)):
            answer += part
    said = re.findall(rb"^HTTP/1\.1 (\d{3})", answer, re.MULTILINE)
    if any(status.startswith(b"5") and status != b"503" for status in said):
        raise Silent(f"answered {answer[:200]!r}")
    if client().ask("/healthz")[0] != 200:
        raise Silent("the server is not well")
    if not said or said[0] >= b"400":
        raise UserError(f"status {said[0].decode() if said else 'none'}")
