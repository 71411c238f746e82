"""A server in a thread of the tests, and what its clients do."""

import contextlib
import http.client
import json
import threading
import uuid

from aufer_jax.serve import app, server
from aufer_jax.serve.limits import Limits


class Client:
    """Asks a server on this machine."""

    def __init__(self, port, worker):
        self.port, self.worker = port, worker
        self.url = f"http://127.0.0.1:{port}/"

    def ask(self, path, body=None, kind="", method="", headers=None):
        """Status, headers and body of an answer."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        headers = {**({"Content-Type": kind} if kind else {}), **(headers or {})}
        chunked = body is not None and not isinstance(body, (bytes, str))
        method = method or ("GET" if body is None else "POST")
        connection.request(method, path, body, headers, encode_chunked=chunked)
        answer = connection.getresponse()
        found = answer.status, dict(answer.headers), answer.read()
        connection.close()
        return found

    def json(self, path, body=None, kind="image/png"):
        """What a good answer holds."""
        status, _, text = self.ask(path, body, kind if body is not None else "")
        assert status == 200, text
        return json.loads(text)

    def refused(self, *given, **options):
        """Status and line of a refusal, which never has two."""
        status, headers, text = self.ask(*given, **options)
        assert headers["content-type"] == "application/json"
        line = json.loads(text)["error"]
        assert "\n" not in line and "Traceback" not in line
        return status, line


@contextlib.contextmanager
def running(built, limits):
    """The port of a server of an application."""
    with server.listen("127.0.0.1", 0) as listening:
        ready = threading.Event()
        running = server.Server(built, limits, ready.set, lambda: None)
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        assert ready.wait(60)
        try:
            yield listening.getsockname()[1]
        finally:
            running.should_exit = True
            thread.join(30)


@contextlib.contextmanager
def served(network, **limits):
    """A server around a network."""
    limits = Limits(**limits)
    built = app.build(network, limits, ("127.0.0.1", "localhost"))
    with running(built, limits) as port:
        yield Client(port, built.worker)


def form(data, name="face.png"):
    """A form with a field and a file, and its type."""
    mark = uuid.uuid4().hex
    head = f'--{mark}\r\nContent-Disposition: form-data; name="x"\r\n\r\nfirst\r\n--{mark}\r\n'
    head += f'Content-Disposition: form-data; name="file"; filename="{name}"\r\n'
    body = (
        head.encode() + b"Content-Type: image/png\r\n\r\n" + data + f"\r\n--{mark}--\r\n".encode()
    )
    return body, f"multipart/form-data; boundary={mark}"
