"""The report of runs that are at work, as a page that grows: a small server on this machine only."""

import hashlib
import http.server
import pathlib
import threading
from collections.abc import Sequence

from aufer_jax import remote
from aufer_jax.pages import files, report

HOST = "127.0.0.1"


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
                for name in ("metrics.jsonl", "summary.json")
                if (path := folder / name).exists()
            ]
            if state != self._state:
                runs = [files.read(folder) for folder in folders]
                text = report.page(runs, look=self._look, live=True).encode()
                tag = hashlib.sha256(text).hexdigest()[:16]
                self._state, self._page = state, (text, f'"{tag}"')
            return self._page
