"""The report of runs that are at work, as a page that grows: a small server on this machine only."""

import hashlib
import http.server
import pathlib
import threading
from collections.abc import Sequence

from aufer_jax import remote
from aufer_jax.pages import files, local, report

HOST = "127.0.0.1"
_NAMES = (HOST, "localhost")  # a page of another site can lead its own name here
_GROWING = ("metrics.jsonl", "summary.json", "resources.json", "conclusion.json")


def serve(
    workdirs: Sequence[str | pathlib.Path], port: int = 0, *, look: bool = False
) -> http.server.ThreadingHTTPServer:
    """A server of the page of these runs, not yet running.

    Args:
      workdirs: of the runs.
      port: 0 takes a free one.
      look: shows what the best state so far says of some validation records; needs the data.
    """
    for workdir in workdirs:
        files.read(workdir)  # says what is wrong before anything is served
    pages = _Pages(workdirs, look)

    class Handler(http.server.BaseHTTPRequestHandler):
        timeout = 10

        def do_GET(self) -> None:
            if local.hostname(self.headers.get("Host", "")) not in _NAMES:
                self.send_error(421)
                return
            if self.path != "/":
                self.send_error(404)
                return
            text, tag = pages.now()
            if self.headers.get("If-None-Match") == tag:
                self.send_response(304)
                self.end_headers()
                return
            self.send_response(200)
            self.send_header("Content-Type", "text/html; charset=utf-8")
            self.send_header("Content-Length", str(len(text)))
            self.send_header("ETag", tag)
            self.send_header("Cache-Control", "no-cache")
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing is said of requests."""

    with local.listening(HOST, port):
        return http.server.ThreadingHTTPServer((HOST, port), Handler)


class _Pages:
    """The page, written anew when a file of the runs has changed."""

    def __init__(self, workdirs: Sequence[str | pathlib.Path], look: bool) -> None:
        self._look, self._lock = look, threading.Lock()
        self._workdirs = [remote.name(workdir) for workdir in workdirs]
        self._state: object = None
        self._page = b"", ""

    def now(self) -> tuple[bytes, str]:
        """The page and its tag."""
        with self._lock:
            folders = [remote.copy(workdir) for workdir in self._workdirs]
            state = [
                (path, path.stat().st_mtime_ns)
                for folder in folders
                for name in _GROWING
                if (path := folder / name).exists()
            ]
            if state != self._state:
                runs = [files.read(folder) for folder in folders]
                text = report.page(runs, look=self._look, live=True).encode()
                tag = hashlib.sha256(text).hexdigest()[:16]
                self._state, self._page = state, (text, f'"{tag}"')
            return self._page
